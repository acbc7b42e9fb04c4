/**
 * A node's client certificate in which nothing but the date is wrong. It proves which machine asks, since the handshake shows its key, and the machine may
 * have been off past the certificate's end. TLS libraries report one problem of a certificate, so all others are looked for here.
 */
import type { X509Certificate } from 'node:crypto';
import { isIssuedBy } from '#pki/chain.ts';
import { DerError } from '#pki/der.ts';
import { readExtendedKeyUsages, readSubject } from '#pki/read.ts';
import type { ApiRequest } from './request.ts';

export type ExpiredNode = Exclude<ApiRequest['expiredNode'], undefined>;

const NODE_PREFIX = 'system:node:';
const NODES = 'system:nodes';

/**
 * Undefined unless one of these authorities, itself valid, signed the certificate directly, for a client of exactly O=system:nodes and CN=system:node:NAME,
 * and it has expired.
 */
export function expiredNodeOf(
  certificate: X509Certificate,
  { authorities, nowMs }: { readonly authorities: readonly X509Certificate[]; readonly nowMs: number },
): ExpiredNode | undefined {
  const notAfterMs = certificate.validToDate.getTime();
  if (notAfterMs > nowMs || certificate.ca) return undefined;
  const nodeName = nodeNameOf(certificate);
  if (nodeName === undefined || !readExtendedKeyUsages(certificate).includes('clientAuth')) return undefined;
  const isTrusted = authorities.some(
    (authority) =>
      authority.ca &&
      authority.validFromDate.getTime() <= nowMs &&
      authority.validToDate.getTime() > nowMs &&
      isIssuedBy(certificate, authority),
  );
  return isTrusted ? { nodeName, notAfterMs, fingerprint: certificate.fingerprint256 } : undefined;
}

function nodeNameOf(certificate: X509Certificate): string | undefined {
  try {
    const { commonName, organizations } = readSubject(certificate);
    const isNode = organizations.length === 1 && organizations[0] === NODES;
    // Nothing else in the subject: one line for each attribute.
    if (!isNode || certificate.subject.split('\n').length !== 2) return undefined;
    return commonName.startsWith(NODE_PREFIX) ? commonName.slice(NODE_PREFIX.length) || undefined : undefined;
  } catch (error) {
    if (!(error instanceof DerError)) throw error;
    return undefined;
  }
}
