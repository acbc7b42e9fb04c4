/**
 * EndpointSlices that somebody publishes for itself (a DNS server that runs by itself, say) and that must go when it dies: such a slice has a label, and
 * beside it is a Lease of the same name and label, which its publisher renews. What was not renewed for as long as the lease lasts is taken away by
 * the leased-endpointslice-controller.
 */
export const LEASED_LABEL = 'capstan.dev/leased-endpoints';

/** How long endpoints stay whose publisher is gone, and how often it shows that it is there. */
export const ENDPOINTS_LEASE_SECONDS = 5;
export const ENDPOINTS_RENEW_MS = 1_500;
