/** Which certificates belong together: a certificate and its key, a leaf and the authorities above it. Reads no files. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { KeyPair } from './certificate.ts';
import { altNamesOf, isSelfIssued } from './read.ts';
import { canonicalIp, type AltNames } from './names.ts';
import { certificatesIn, PemError, privateKeyPem } from './pem.ts';

/** Longer ones are none. */
const MAX_CHAIN = 8;

/** Whether the issuer's key and name match. Ignores dates. */
export function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

interface ChainOptions {
  /** The verifier's trust anchors, roots or intermediates. */
  readonly authorities: readonly X509Certificate[];
  /** Sent beside the leaf; not trusted by themselves. */
  readonly intermediates?: readonly X509Certificate[];
  readonly nowMs: number;
}

/** Why a verifier with these authorities rejects the certificate; undefined when it accepts it. Ignores usages and names. */
export function chainProblem(
  leaf: X509Certificate,
  { authorities, intermediates = [], nowMs }: ChainOptions,
): string | undefined {
  let certificate = leaf;
  for (let depth = 0; depth < MAX_CHAIN; depth++) {
    const current = certificate;
    const what = depth === 0 ? 'it' : `the certificate of ${current.subject.replaceAll('\n', ', ')}`;
    if (current.validToDate.getTime() <= nowMs) return `${what} expired on ${current.validTo}`;
    if (current.validFromDate.getTime() > nowMs) return `${what} is not valid before ${current.validFrom}`;
    if (authorities.some((authority) => isTrustedBy(current, { authority, nowMs }))) return undefined;
    const issuer = intermediates.find((other) => other.ca && isIssuedBy(current, other));
    if (!issuer || isSelfIssued(current))
      return `${what} was issued by ${current.issuer.replaceAll('\n', ', ')}, which is not among the authorities`;
    certificate = issuer;
  }
  return `its chain is longer than ${MAX_CHAIN} certificates`;
}

function isTrustedBy(
  certificate: X509Certificate,
  { authority, nowMs }: { readonly authority: X509Certificate; readonly nowMs: number },
): boolean {
  if (certificate.raw.equals(authority.raw)) return true;
  return (
    authority.ca &&
    authority.validFromDate.getTime() <= nowMs &&
    authority.validToDate.getTime() > nowMs &&
    isIssuedBy(certificate, authority)
  );
}

/**
 * A PEM text with one or more certificates and the first one's key, in any order. Throws PemError when one of them is missing or damaged, or when they
 * do not match.
 */
export function readPair(text: string): KeyPair & { readonly certificates: readonly X509Certificate[] } {
  const certificates = certificatesIn(text);
  const keyPem = privateKeyPem(text);
  const [leaf] = certificates;
  if (!leaf || keyPem === undefined) throw new PemError('it should hold a certificate and its key, as PEM');
  if (!belongsTo(leaf, keyPem)) throw new PemError("the key is not the certificate's");
  return { certificatePem: certificates.map(String).join(''), keyPem, certificates };
}

/** Throws what node:crypto throws for a key that is none. */
export function belongsTo(certificate: X509Certificate, keyPem: string): boolean {
  return certificate.checkPrivateKey(createPrivateKey(keyPem));
}

/** Those of the wanted names that the certificate lacks. */
export function missingNames(certificate: X509Certificate, wanted: AltNames): string[] {
  const has = altNamesOf(certificate);
  const dnsNames = new Set(has.dnsNames);
  const ipAddresses = new Set(has.ipAddresses);
  return [
    ...wanted.dnsNames.filter((name) => !dnsNames.has(name)),
    ...wanted.ipAddresses.filter((address) => !ipAddresses.has(canonicalIp(address))),
  ];
}
