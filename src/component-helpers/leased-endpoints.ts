/**
 * EndpointSlices that a server publishes for itself (a standalone DNS server, say) and that must be removed when it crashes: such a slice has a label, and
 * a Lease of the same name and label, which the publisher renews. The leased-endpointslice-controller deletes slices whose Lease
 * has expired.
 */
export const LEASED_LABEL = 'capstan.dev/leased-endpoints';

/** Lease duration of published endpoints, and the renewal interval. */
export const ENDPOINTS_LEASE_SECONDS = 5;
export const ENDPOINTS_RENEW_MS = 1_500;
