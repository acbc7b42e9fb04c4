/**
 * The peer of a TLS connection: its certificate, and which authority signed it, the client CA or the front-proxy CA. Computed once a connection.
 */
import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { isIssuedBy } from '#pki/chain.ts';
import { certificatesIn } from '#pki/pem.ts';
import { realClock } from '#stdx/clock.ts';
import { expiredNodeOf, type ExpiredNode } from './expired-node.ts';
import type { ApiRequest } from './request.ts';

export type ClientCertificate = Exclude<ApiRequest['clientCertificate'], undefined>;

export interface Peer {
  readonly remoteAddress: string;
  readonly certificate: ClientCertificate | undefined;
  readonly certificateError: string | undefined;
  readonly expiredNode?: ExpiredNode | undefined;
  readonly frontProxy: { readonly commonName: string; readonly notAfterMs: number } | undefined;
}

/** The two authorities separately: the handshake verifies against both together. */
export interface Authorities {
  readonly client: readonly X509Certificate[];
  /** Undefined where no front-proxy CA is configured. */
  readonly frontProxy: readonly X509Certificate[] | undefined;
}

/** From PEM bundles. */
export function authoritiesFrom({
  clientCa,
  frontProxyCa,
}: {
  readonly clientCa?: string | Buffer;
  readonly frontProxyCa?: string | Buffer;
}): Authorities {
  return {
    client: certificatesIn(String(clientCa ?? '')),
    frontProxy: frontProxyCa === undefined ? undefined : certificatesIn(String(frontProxyCa)),
  };
}

/** Upstream's object identifier of a user's UID in a subject. */
const UID = '1.3.6.1.4.1.57683.2';

export function peerOf(socket: TLSSocket, authorities: Authorities): Peer {
  const remoteAddress = socket.remoteAddress ?? '';
  const certificate = socket.getPeerCertificate();
  if (!certificate?.subject)
    return { remoteAddress, certificate: undefined, certificateError: undefined, frontProxy: undefined };
  if (!socket.authorized) {
    return {
      remoteAddress,
      certificate: undefined,
      certificateError: String(socket.authorizationError ?? 'client certificate is not trusted'),
      expiredNode: expiredNodeAt(socket, authorities),
      frontProxy: undefined,
    };
  }
  const {
    CN,
    O,
    [UID]: uids,
  } = certificate.subject as { CN?: string | string[]; O?: string | string[]; [UID]?: string | string[] };
  // Several values are ambiguous.
  if (Array.isArray(uids))
    return {
      remoteAddress,
      certificate: undefined,
      certificateError: `expected 1 UID, but found multiple: [${uids.join(' ')}]`,
      frontProxy: undefined,
    };
  const commonName = Array.isArray(CN) ? (CN.at(-1) ?? '') : (CN ?? '');
  const organizations = Array.isArray(O) ? O : O === undefined ? [] : [O];
  const own = {
    commonName,
    organizations,
    fingerprint: certificate.fingerprint256,
    notAfterMs: Date.parse(certificate.valid_to),
    ...(uids ? { uid: uids } : {}),
  };
  if (!authorities.frontProxy)
    return { remoteAddress, certificate: own, certificateError: undefined, frontProxy: undefined };
  const isClient = endsAt(socket, authorities.client),
    isFrontProxy = endsAt(socket, authorities.frontProxy);
  return {
    remoteAddress,
    certificate: isClient ? own : undefined,
    certificateError: isClient ? undefined : 'certificate signed by unknown authority',
    frontProxy: isFrontProxy ? { commonName, notAfterMs: own.notAfterMs } : undefined,
  };
}

function expiredNodeAt(socket: TLSSocket, { client }: Authorities): ExpiredNode | undefined {
  const certificate = socket.getPeerX509Certificate();
  return certificate && expiredNodeOf(certificate, { authorities: client, nowMs: realClock.now() });
}

const MAX_CHAIN = 8;

/** True if the chain, verified by the handshake, ends at one of these. */
function endsAt(socket: TLSSocket, authorities: readonly X509Certificate[]): boolean {
  let certificate = socket.getPeerX509Certificate();
  for (let depth = 0; certificate && depth < MAX_CHAIN; depth++) {
    const current = certificate;
    if (
      authorities.some(
        (authority) => current.fingerprint256 === authority.fingerprint256 || isIssuedBy(current, authority),
      )
    )
      return true;
    // Undefined after session resumption: then only a leaf signed directly by the authority is accepted.
    const issuer: X509Certificate | undefined = certificate.issuerCertificate;
    if (!issuer || issuer.fingerprint256 === certificate.fingerprint256) return false;
    certificate = issuer;
  }
  return false;
}
