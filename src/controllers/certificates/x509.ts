/**
 * Reads certificate signing requests (RFC 2986) and signs certificates (RFC 5280) for them. The library takes a third of a second to
 * load, which a cluster without requests does not spend: it is loaded by the first.
 */
import { createPrivateKey, randomBytes, webcrypto, type KeyObject } from 'node:crypto';
import type { Pkcs10CertificateRequest, SubjectAlternativeNameExtension } from '@peculiar/x509';
import type { RequestedNames } from './requests.ts';

/** PEM. */
export interface SigningKeys {
  readonly certificate: string;
  readonly key: string;
}

interface ParsedRequest extends RequestedNames {
  readonly request: Pkcs10CertificateRequest;
}

/** What is asked cannot be signed, now or later. */
export class UnsignableError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'UnsignableError';
  }
}

type Library = typeof import('@peculiar/x509');
let library: Promise<Library> | undefined;

function load(): Promise<Library> {
  return (library ??= import('reflect-metadata').then(() => import('@peculiar/x509')));
}

const SUBJECT_ALT_NAME = '2.5.29.17';
const SUBJECT_KEY_ID = '2.5.29.14';
/** Clocks of machines differ. */
const BACKDATE_MS = 5 * 60_000;
/** What is shorter is not shortened by the backdating too. */
const SHORT_MS = 8 * 3_600_000;

/** spec.request of the API: base64 of PEM. Throws UnsignableError for what is no request. */
export async function parseRequest(base64: string): Promise<ParsedRequest> {
  const { Pkcs10CertificateRequest } = await load();
  try {
    const request = new Pkcs10CertificateRequest(Buffer.from(base64, 'base64').toString('latin1'));
    const names =
      (request.getExtension(SUBJECT_ALT_NAME) as SubjectAlternativeNameExtension | null)?.names.items ?? [];
    const of = (type: string): string[] =>
      names.filter((name) => name.type === type).map(({ value }) => value);
    return {
      request,
      commonName: request.subjectName.getField('CN').at(-1) ?? '',
      organizations: request.subjectName.getField('O'),
      dnsNames: of('dns'),
      ipAddresses: of('ip'),
      emailAddresses: of('email'),
      uris: of('url'),
    };
  } catch (error) {
    throw new UnsignableError(`unable to parse csr: ${(error as Error).message}`);
  }
}

interface SignOptions {
  readonly usages: readonly string[];
  readonly lifetimeMs: number;
  readonly nowMs: number;
}

/** PEM of the leaf alone. Throws UnsignableError, and others for keys that are of no use. */
export async function signRequest(
  { certificate, key }: SigningKeys,
  parsed: ParsedRequest,
  { usages, lifetimeMs, nowMs }: SignOptions,
): Promise<string> {
  const x509 = await load();
  const { request } = parsed;
  if (!(await request.verify().catch(() => false)))
    throw new UnsignableError('unable to verify certificate request signature');
  const authority = new x509.X509Certificate(certificate);
  const notBeforeMs = nowMs - BACKDATE_MS;
  const notAfterMs = Math.min(
    (lifetimeMs < SHORT_MS ? nowMs : notBeforeMs) + lifetimeMs,
    authority.notAfter.getTime(),
  );
  if (notAfterMs <= nowMs)
    throw new Error(`the signer has expired: NotAfter=${authority.notAfter.toISOString()}`);
  const { keyUsages, extendedKeyUsages } = splitUsages(usages);
  const keyId = (authority.getExtension(SUBJECT_KEY_ID) as { keyId?: string } | null)?.keyId;
  const names = altNames(parsed);
  const signingKey = await importKey(createPrivateKey(key));
  const made = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: request.subjectName,
    issuer: authority.subjectName,
    notBefore: new Date(notBeforeMs),
    notAfter: new Date(notAfterMs),
    publicKey: request.publicKey,
    signingKey: signingKey.key,
    signingAlgorithm: signingKey.algorithm,
    extensions: [
      ...(keyUsages === 0 ? [] : [new x509.KeyUsagesExtension(keyUsages, true)]),
      ...(extendedKeyUsages.length === 0
        ? []
        : [new x509.ExtendedKeyUsageExtension(extendedKeyUsages, false)]),
      new x509.BasicConstraintsExtension(false, undefined, true),
      ...(keyId === undefined ? [] : [new x509.AuthorityKeyIdentifierExtension(keyId)]),
      ...(names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(names)]),
    ],
  });
  return `${made.toString('pem').trim()}\n`;
}

function altNames({
  dnsNames,
  emailAddresses,
  ipAddresses,
  uris,
}: ParsedRequest): { type: 'dns' | 'email' | 'ip' | 'url'; value: string }[] {
  const of = <T extends string>(type: T, values: readonly string[]): { type: T; value: string }[] =>
    values.map((value) => ({ type, value }));
  return [
    ...of('dns', dnsNames),
    ...of('email', emailAddresses),
    ...of('ip', ipAddresses),
    ...of('url', uris),
  ];
}

/** Positive, and not shorter than its sixteen bytes. */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0]! & 0x7f) | 0x40;
  return bytes.toString('hex');
}

const CURVES: Readonly<Record<string, { readonly namedCurve: string; readonly hash: string }>> = {
  prime256v1: { namedCurve: 'P-256', hash: 'SHA-256' },
  secp384r1: { namedCurve: 'P-384', hash: 'SHA-384' },
  secp521r1: { namedCurve: 'P-521', hash: 'SHA-512' },
};

async function importKey(key: KeyObject): Promise<{
  readonly key: webcrypto.CryptoKey;
  readonly algorithm: { readonly name: string; readonly hash: string };
}> {
  const curve =
    key.asymmetricKeyType === 'ec' ? CURVES[key.asymmetricKeyDetails?.namedCurve ?? ''] : undefined;
  if (key.asymmetricKeyType !== 'rsa' && !curve)
    throw new Error(
      `the signing key is of type ${key.asymmetricKeyType ?? 'unknown'}; it should be RSA or ECDSA on P-256, P-384 or P-521`,
    );
  const algorithm = curve ? { name: 'ECDSA', ...curve } : { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
  const der = key.export({ type: 'pkcs8', format: 'der' });
  return { key: await webcrypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign']), algorithm };
}

/** RFC 5280's bits and the OIDs of extended usages, by the API's words. */
const KEY_USAGES: Readonly<Record<string, number>> = {
  signing: 1,
  'digital signature': 1,
  'content commitment': 2,
  'key encipherment': 4,
  'data encipherment': 8,
  'key agreement': 16,
  'cert sign': 32,
  'crl sign': 64,
  'encipher only': 128,
  'decipher only': 256,
};
const PKIX = '1.3.6.1.5.5.7.3';
const EXTENDED_KEY_USAGES: Readonly<Record<string, string>> = {
  any: '2.5.29.37.0',
  'server auth': `${PKIX}.1`,
  'client auth': `${PKIX}.2`,
  'code signing': `${PKIX}.3`,
  'email protection': `${PKIX}.4`,
  's/mime': `${PKIX}.4`,
  'ipsec end system': `${PKIX}.5`,
  'ipsec tunnel': `${PKIX}.6`,
  'ipsec user': `${PKIX}.7`,
  timestamping: `${PKIX}.8`,
  'ocsp signing': `${PKIX}.9`,
  'microsoft sgc': '1.3.6.1.4.1.311.10.3.3',
  'netscape sgc': '2.16.840.1.113730.4.1',
};

function splitUsages(usages: readonly string[]): {
  readonly keyUsages: number;
  readonly extendedKeyUsages: string[];
} {
  const unknown = usages.filter((usage) => !(usage in KEY_USAGES) && !(usage in EXTENDED_KEY_USAGES));
  if (unknown.length > 0)
    throw new UnsignableError(
      `unrecognized usage values: [${unknown.map((usage) => JSON.stringify(usage)).join(' ')}]`,
    );
  const keyUsages = usages.reduce((bits, usage) => bits | (KEY_USAGES[usage] ?? 0), 0);
  return {
    keyUsages,
    extendedKeyUsages: [...new Set(usages.flatMap((usage) => EXTENDED_KEY_USAGES[usage] ?? []))].toSorted(),
  };
}
