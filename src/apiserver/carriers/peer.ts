/** Who is at the other end of a TLS connection: worked out once a connection, from what the handshake verified. */
import type { TLSSocket } from 'node:tls';
import type { ApiRequest } from '../http.ts';

export type ClientCertificate = Exclude<ApiRequest['clientCertificate'], undefined>;
export interface Peer { readonly remoteAddress: string; readonly certificate: ClientCertificate | undefined; readonly certificateError: string | undefined }

export function peerOf(socket: TLSSocket): Peer {
  const remoteAddress = socket.remoteAddress ?? '';
  const certificate = socket.getPeerCertificate();
  if (!certificate?.subject) return { remoteAddress, certificate: undefined, certificateError: undefined };
  if (!socket.authorized) {
    return { remoteAddress, certificate: undefined, certificateError: String(socket.authorizationError ?? 'client certificate is not trusted') };
  }
  const { CN, O } = certificate.subject as { CN?: string | string[]; O?: string | string[] };
  const commonName = Array.isArray(CN) ? CN.at(-1) ?? '' : CN ?? '';
  const organizations = Array.isArray(O) ? O : O === undefined ? [] : [O];
  return { remoteAddress, certificate: { commonName, organizations, fingerprint: certificate.fingerprint256 }, certificateError: undefined };
}
