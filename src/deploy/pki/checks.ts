/** Checks of a certificate folder beyond the certificates themselves: their identities and missing names. Pure. */
import { createPublicKey, type X509Certificate } from 'node:crypto';
import type { ExtendedKeyUsage } from '#pki/read.ts';
import { missingNames } from '#pki/chain.ts';
import type { AltNames, Subject } from '#pki/names.ts';
import { readSubject } from '#pki/read.ts';

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
  readonly altNames?: AltNames | undefined;
  /** An administrator's own certificate is used with a warning, and never replaced. */
  readonly mayBeForeign?: boolean;
}

/** Neither made by this program nor by an earlier authority of this folder's. */
export function isForeign(
  certificate: X509Certificate,
  { authority, definition }: { readonly authority: X509Certificate; readonly definition: LeafDefinition },
): boolean {
  const wanted = [definition.subject.commonName, ...(definition.subject.organizations ?? [])];
  const { commonName, organizations = [] } = readSubject(certificate);
  if ([commonName, ...organizations].join('\n') !== wanted.join('\n')) return true;
  return ![authority.subject, `CN=${OUR_AUTHORITY}`].includes(certificate.issuer);
}

export function missingName(certificate: X509Certificate, wanted: AltNames | undefined): string | undefined {
  const missing = wanted ? missingNames(certificate, wanted) : [];
  return missing.length > 0 ? `it lacked ${missing.join(', ')}` : undefined;
}

export function samePublicKey(path: string, pem: string, keyPem: string): boolean {
  try {
    return createPublicKey(pem).equals(createPublicKey(keyPem));
  } catch (error) {
    throw new PkiError('unreadable', path, `${path} is not a public key in PEM: ${(error as Error).message}`);
  }
}
