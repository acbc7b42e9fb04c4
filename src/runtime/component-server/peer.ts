/** The user of a connection's client certificate. */
import type { PeerCertificate, TLSSocket } from 'node:tls';
import type { ReviewedUser } from './reviews.ts';

export type Peer = Pick<TLSSocket, 'authorized'> & { getPeerCertificate(): Partial<PeerCertificate> };

/** Whether the peer presented a certificate of an accepted CA that has not expired: a connection may outlive its certificate. */
export function isTrustedPeer(peer: Peer, nowMs: number): boolean {
  return peer.authorized && Date.parse(peer.getPeerCertificate().valid_to ?? '') >= nowMs;
}

/** Undefined: its subject has no user name. */
export function userOfPeer(peer: Peer): ReviewedUser | undefined {
  const { CN, O } = (peer.getPeerCertificate().subject ?? {}) as {
    readonly CN?: string | string[];
    readonly O?: string | string[];
  };
  // A certificate with several common names is not accepted.
  if (typeof CN !== 'string' || CN === '') return undefined;
  return { username: CN, groups: [...(O === undefined ? [] : [O].flat()), 'system:authenticated'] };
}
