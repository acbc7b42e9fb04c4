/** What is checked of keys and certificates: whether a key is sound, whom a certificate is of, which names it lacks. Pure. */
import { createPublicKey, sign, verify, type KeyObject, type X509Certificate } from 'node:crypto';
import { altNamesOf, canonicalIp, subjectOf } from './certificate.ts';
import type { AltNames, ExtendedKeyUsage, Subject } from './certificate.ts';

/** Of authorities that this program made. */
const OUR_AUTHORITY = 'kubernetes';

export class PkiError extends Error {
  /**
   * unreadable: damaged or not readable · expired · mismatched: certificate and key do not belong together · incomplete: a part is missing ·
   * missing: all of it, though the cluster has run before.
   */
  readonly code: 'unreadable' | 'expired' | 'mismatched' | 'incomplete' | 'missing';
  readonly path: string;
  constructor(code: PkiError['code'], path: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'PkiError';
    this.code = code;
    this.path = path;
  }
}

export interface LeafDefinition {
  readonly subject: Subject;
  readonly usages: readonly ExtendedKeyUsage[];
  readonly altNames?: AltNames;
  /** An administrator may put one of their own there: it is used, warned about, and never replaced. */
  readonly mayBeForeign?: boolean;
}

/** Comparing public parts is not enough: a private key carries a copy of its public one, which stays right where a bit of the rest has flipped. */
export function signsForItself(key: KeyObject): boolean {
  const text = Buffer.from('signed to be verified at once');
  const hash = key.asymmetricKeyType === 'rsa' || key.asymmetricKeyType === 'ec' ? 'sha256' : null;
  try {
    return verify(hash, text, createPublicKey(key as unknown as string), sign(hash, text, key));
  } catch {
    return false; // OpenSSL found it itself
  }
}

/** Neither made by this program nor by an earlier authority of this folder's. */
export function isForeign(
  certificate: X509Certificate,
  { authority, definition }: { readonly authority: X509Certificate; readonly definition: LeafDefinition },
): boolean {
  const wanted = [definition.subject.commonName, ...(definition.subject.organizations ?? [])];
  const { commonName, organizations = [] } = subjectOf(certificate);
  if ([commonName, ...organizations].join('\n') !== wanted.join('\n')) return true;
  return ![authority.subject, `CN=${OUR_AUTHORITY}`].includes(certificate.issuer);
}

export function missingName(certificate: X509Certificate, wanted: AltNames | undefined): string | undefined {
  if (!wanted) return undefined;
  const has = altNamesOf(certificate);
  const missing = [
    ...wanted.dnsNames.filter((name) => !has.dnsNames.includes(name)),
    ...wanted.ipAddresses.filter((address) => !has.ipAddresses.includes(canonicalIp(address))),
  ];
  return missing.length > 0 ? `it lacked ${missing.join(', ')}` : undefined;
}

/** The PEM blocks of a file. */
export function splitPem(text: string): string[] {
  return text.match(/-----BEGIN [^-]+-----[^-]+-----END [^-]+-----/g) ?? [];
}

export function samePublicKey(path: string, pem: string, keyPem: string): boolean {
  try {
    return createPublicKey(pem).equals(createPublicKey(keyPem));
  } catch (error) {
    throw new PkiError('unreadable', path, `${path} is not a public key in PEM: ${(error as Error).message}`);
  }
}
