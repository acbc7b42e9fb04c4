/** Who a client certificate says that the peer of a connection is. */
import type { PeerCertificate, TLSSocket } from 'node:tls';
import type { ReviewedUser } from './reviews.ts';

export type Peer = Pick<TLSSocket, 'authorized'> & { getPeerCertificate(): Partial<PeerCertificate> };

/** Whether the peer showed a certificate of an accepted authority that has not expired: a connection may outlive it. */
export function isTrustedPeer(peer: Peer, nowMs: number): boolean {
  return peer.authorized && Date.parse(peer.getPeerCertificate().valid_to ?? '') >= nowMs;
}

/** Undefined: its subject names nobody. */
export function userOfPeer(peer: Peer): ReviewedUser | undefined {
  const { CN, O } = (peer.getPeerCertificate().subject ?? {}) as {
    readonly CN?: string | string[];
    readonly O?: string | string[];
  };
  // A certificate with several common names is not accepted.
  if (typeof CN !== 'string' || CN === '') return undefined;
  return { username: CN, groups: [...(O === undefined ? [] : [O].flat()), 'system:authenticated'] };
}
