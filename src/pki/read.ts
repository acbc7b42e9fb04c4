/** Reads what node:crypto's X509Certificate does not tell byte for byte: names, key identifiers, extensions. */
import type { X509Certificate } from 'node:crypto';
import { assert } from '#stdx/assert.ts';
import { DerError, explicit, oid, readAll, readOne, type DerValue } from './der.ts';
import { computeKeyId, publicKeyDer } from './keys.ts';
import { NO_ALT_NAMES, readAltNames, readName, type AltNames, type Subject } from './names.ts';

export type ExtendedKeyUsage = 'serverAuth' | 'clientAuth';
export const EXTENDED_KEY_USAGES: Readonly<Record<ExtendedKeyUsage, string>> = {
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
};

const SUBJECT_KEY_ID = oid('2.5.29.14');
const SUBJECT_ALT_NAME = oid('2.5.29.17');
const VERSION = explicit(0)[0]!;
const EXTENSIONS = explicit(3)[0]!;

/** The subject as a distinguished name in DER: a leaf repeats its authority's byte for byte. */
export function readSubjectDer(certificate: X509Certificate): Buffer {
  const fields = fieldsOf(certificate);
  const subject = fields[fields[0]?.tag === VERSION ? 5 : 4];
  assert(subject !== undefined, 'a certificate has a subject');
  return subject.whole;
}

export function readSubject(certificate: X509Certificate): Required<Subject> {
  const { commonNames, organizations } = readName(readSubjectDer(certificate));
  return { commonName: commonNames.at(-1) ?? '', organizations };
}

/** The names a certificate is for, IP addresses in one spelling. Throws DerError for more than 1000 names. */
export function altNamesOf(certificate: X509Certificate): Required<AltNames> {
  const value = extensionOf(certificate, SUBJECT_ALT_NAME);
  return value ? readAltNames(value) : NO_ALT_NAMES;
}

/** The subject key identifier, or what RFC 5280 would make it. */
export function readKeyIdentifier(certificate: X509Certificate): Buffer {
  const value = extensionOf(certificate, SUBJECT_KEY_ID);
  return value ? readOne(value).content : computeKeyId(publicKeyDer(certificate.publicKey));
}

/** Those of the two that Kubernetes uses. */
export function readExtendedKeyUsages(certificate: X509Certificate): ExtendedKeyUsage[] {
  const has = new Set(certificate.keyUsage);
  return (Object.keys(EXTENDED_KEY_USAGES) as ExtendedKeyUsage[]).filter((usage) =>
    has.has(EXTENDED_KEY_USAGES[usage]),
  );
}

export function isSelfIssued(certificate: X509Certificate): boolean {
  return certificate.subject === certificate.issuer;
}

function extensionOf(certificate: X509Certificate, id: Buffer): Buffer | undefined {
  const field = fieldsOf(certificate).find(({ tag }) => tag === EXTENSIONS);
  return field && readExtension(field.content, id);
}

/** The value of one extension, from SEQUENCE OF Extension. Throws DerError. */
export function readExtension(extensions: Buffer, id: Buffer): Buffer | undefined {
  for (const { content } of readAll(readOne(extensions).content)) {
    const [type, ...rest] = readAll(content);
    const value = rest.at(-1);
    if (type?.whole.equals(id)) {
      if (!value) throw new DerError('an extension has a value');
      return value.content;
    }
  }
  return undefined;
}

function fieldsOf(certificate: X509Certificate): DerValue[] {
  return readAll(readOne(readOne(certificate.raw).content).content);
}
