/**
 * The header of a request that a peer has passed on: it is served here or nowhere, so that requests cannot circle. It gives no rights: a client that sets
 * it only forgoes the proxy.
 */
export const PEER_PROXIED = 'x-kubernetes-peer-proxied';
