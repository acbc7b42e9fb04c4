/**
 * Makes X.509 v3 certificates (RFC 5280) for one cluster: certificate authorities and the leaf certificates they sign. New keys are
 * ECDSA P-256; an existing CA may also be another EC curve or RSA. Pure except for randomness; files are pki.ts's concern.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  sign,
  X509Certificate,
  type KeyObject,
} from 'node:crypto';
import { isIP } from 'node:net';
import { assert } from '#stdx/assert.ts';
import {
  bitString,
  boolean,
  derNull,
  directoryString,
  explicit,
  implicit,
  integer,
  octetString,
  oid,
  readAll,
  readOne,
  sequence,
  set,
  time,
} from './der.ts';

/** A private key with its certificate, both PEM. */
export interface KeyPair {
  readonly certificatePem: string;
  readonly keyPem: string;
}

export interface Subject {
  readonly commonName: string;
  readonly organizations?: readonly string[];
}

export type ExtendedKeyUsage = 'serverAuth' | 'clientAuth';

export interface AltNames {
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly string[];
}

interface LeafOptions {
  readonly subject: Subject;
  readonly usages: readonly ExtendedKeyUsage[];
  readonly altNames?: AltNames;
  readonly nowMs: number;
  readonly lifetimeMs: number;
}

const OID = {
  commonName: '2.5.4.3',
  organization: '2.5.4.10',
  subjectKeyId: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyId: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  ecdsaSha256: '1.2.840.10045.4.3.2',
  ecdsaSha384: '1.2.840.10045.4.3.3',
  ecdsaSha512: '1.2.840.10045.4.3.4',
  rsaSha256: '1.2.840.113549.1.1.11',
} as const;

/** Clocks of machines differ: certificates are valid from a little before they are made. */
const BACKDATE_MS = 5 * 60_000;
const KEY_USAGE_DIGITAL_SIGNATURE = 0x80;
const KEY_USAGE_CERT_SIGN = 0x04;
const KEY_USAGE_CRL_SIGN = 0x02;

/** A fresh ECDSA P-256 key, PKCS#8 PEM. */
export function generateKeyPem(): string {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
    type: 'pkcs8',
    format: 'pem',
  }) as string;
}

export function publicKeyPem(keyPem: string): string {
  return createPublicKey(keyPem).export({ type: 'spki', format: 'pem' }) as string;
}

/** A self-signed certificate authority. keyPem: keep an existing key (a renewed CA certificate then still verifies old leaves). */
export function createAuthority(options: {
  readonly commonName: string;
  readonly nowMs: number;
  readonly lifetimeMs: number;
  readonly keyPem?: string;
}): KeyPair {
  const keyPem = options.keyPem ?? generateKeyPem();
  const key = createPrivateKey(keyPem);
  const publicKey = publicKeyDer(key);
  const name = encodeName({ commonName: options.commonName });
  const certificatePem = signCertificate({
    issuer: name,
    subject: name,
    publicKey,
    signingKey: key,
    nowMs: options.nowMs,
    notAfterMs: options.nowMs + options.lifetimeMs,
    extensions: [
      extension(
        OID.keyUsage,
        true,
        keyUsage(KEY_USAGE_DIGITAL_SIGNATURE | KEY_USAGE_CERT_SIGN | KEY_USAGE_CRL_SIGN),
      ),
      extension(OID.basicConstraints, true, sequence(boolean(true))),
      extension(OID.subjectKeyId, false, octetString(keyIdOf(publicKey))),
    ],
  });
  return { certificatePem, keyPem };
}

/** A leaf certificate signed by the authority. It never outlives the authority. */
export function issueCertificate(
  authority: KeyPair,
  options: LeafOptions & { readonly keyPem?: string },
): KeyPair {
  const keyPem = options.keyPem ?? generateKeyPem();
  return { keyPem, certificatePem: signLeaf(authority, { ...options, publicKey: createPublicKey(keyPem) }) };
}

/** A leaf certificate for somebody else's public key (a certificate signing request). */
function signLeaf(authority: KeyPair, options: LeafOptions & { readonly publicKey: KeyObject }): string {
  const authorityCertificate = new X509Certificate(authority.certificatePem);
  const fields = readAuthority(authorityCertificate);
  const publicKey = options.publicKey.export({ type: 'spki', format: 'der' });
  const usages = options.usages.map((usage) => oid(OID[usage]));
  const { dnsNames = [], ipAddresses = [] } = options.altNames ?? {};
  const altNames = [
    ...dnsNames.map((name) => implicit(2, Buffer.from(name, 'latin1'))),
    ...ipAddresses.map((address) => implicit(7, ipBytes(address))),
  ];
  return signCertificate({
    issuer: fields.subject,
    subject: encodeName(options.subject),
    publicKey,
    signingKey: createPrivateKey(authority.keyPem),
    nowMs: options.nowMs,
    notAfterMs: Math.min(options.nowMs + options.lifetimeMs, Date.parse(authorityCertificate.validTo)),
    extensions: [
      extension(OID.keyUsage, true, keyUsage(KEY_USAGE_DIGITAL_SIGNATURE)),
      extension(OID.extendedKeyUsage, false, sequence(...usages)),
      extension(OID.basicConstraints, true, sequence()),
      extension(OID.authorityKeyId, false, sequence(implicit(0, fields.keyId))),
      ...(altNames.length > 0 ? [extension(OID.subjectAltName, false, sequence(...altNames))] : []),
    ],
  });
}

interface CertificateParts {
  readonly issuer: Buffer;
  readonly subject: Buffer;
  /** SubjectPublicKeyInfo. */
  readonly publicKey: Buffer;
  readonly signingKey: KeyObject;
  readonly nowMs: number;
  readonly notAfterMs: number;
  readonly extensions: readonly Buffer[];
}

function signCertificate(parts: CertificateParts): string {
  const algorithm = signatureAlgorithm(parts.signingKey);
  const serial = randomBytes(16);
  serial[0] = (serial[0]! & 0x7f) | 0x40;
  const body = sequence(
    explicit(0, integer(Buffer.from([2]))),
    integer(serial),
    algorithm.identifier,
    parts.issuer,
    sequence(time(parts.nowMs - BACKDATE_MS), time(parts.notAfterMs)),
    parts.subject,
    parts.publicKey,
    explicit(3, sequence(...parts.extensions)),
  );
  const certificate = sequence(
    body,
    algorithm.identifier,
    bitString(sign(algorithm.hash, body, parts.signingKey)),
  );
  return pem('CERTIFICATE', certificate);
}

function pem(label: string, der: Buffer): string {
  return `-----BEGIN ${label}-----\n${der.toString('base64').replace(/.{1,64}/g, '$&\n')}-----END ${label}-----\n`;
}

function signatureAlgorithm(key: KeyObject): { readonly hash: string; readonly identifier: Buffer } {
  if (key.asymmetricKeyType === 'rsa')
    return { hash: 'sha256', identifier: sequence(oid(OID.rsaSha256), derNull()) };
  assert(
    key.asymmetricKeyType === 'ec',
    `a certificate authority's key must be RSA or ECDSA, not ${key.asymmetricKeyType}`,
  );
  const curve = key.asymmetricKeyDetails?.namedCurve;
  if (curve === 'secp384r1') return { hash: 'sha384', identifier: sequence(oid(OID.ecdsaSha384)) };
  if (curve === 'secp521r1') return { hash: 'sha512', identifier: sequence(oid(OID.ecdsaSha512)) };
  return { hash: 'sha256', identifier: sequence(oid(OID.ecdsaSha256)) };
}

/** Organizations before the common name, each its own RDN: as Go's pkix.Name writes a subject. */
function encodeName(subject: Subject): Buffer {
  const organizations = (subject.organizations ?? []).map((name) =>
    set(sequence(oid(OID.organization), directoryString(name))),
  );
  return sequence(...organizations, set(sequence(oid(OID.commonName), directoryString(subject.commonName))));
}

function extension(id: string, critical: boolean, value: Buffer): Buffer {
  return sequence(oid(id), ...(critical ? [boolean(true)] : []), octetString(value));
}

function keyUsage(bits: number): Buffer {
  return bitString(Buffer.from([bits]), 31 - Math.clz32(bits & -bits));
}

function publicKeyDer(key: KeyObject): Buffer {
  return createPublicKey(key as unknown as string).export({ type: 'spki', format: 'der' });
}

/** RFC 5280, 4.2.1.2 method 1: SHA-1 of the public key's bits. */
function keyIdOf(spki: Buffer): Buffer {
  const bits = readAll(readOne(spki).content)[1];
  assert(bits !== undefined, 'a SubjectPublicKeyInfo has an algorithm and a key');
  return createHash('sha1').update(bits.content.subarray(1)).digest();
}

/** The authority's subject, byte for byte (a leaf must repeat it), and its key id. */
function readAuthority(certificate: X509Certificate): { readonly subject: Buffer; readonly keyId: Buffer } {
  const fields = readAll(readOne(readOne(certificate.raw).content).content);
  const offset = fields[0]?.tag === 0xa0 ? 1 : 0;
  const subject = fields[offset + 4];
  const publicKey = fields[offset + 5];
  assert(subject !== undefined && publicKey !== undefined, 'a certificate has a subject and a key');
  const extensions = fields.find((field) => field.tag === 0xa3);
  const wanted = oid(OID.subjectKeyId);
  for (const item of extensions ? readAll(readOne(extensions.content).content) : []) {
    const parts = readAll(item.content);
    if (parts[0]?.whole.equals(wanted))
      return { subject: subject.whole, keyId: readOne(parts.at(-1)!.content).content };
  }
  return { subject: subject.whole, keyId: keyIdOf(publicKey.whole) };
}

function ipBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number));
  assert(isIP(address) === 6, `${JSON.stringify(address)} is no IP address`);
  const [head = '', tail] = address.replace(/%.*$/, '').split('::');
  const left = ipv6Groups(head);
  const right = tail === undefined ? [] : ipv6Groups(tail);
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => 0);
  return Buffer.from([...left, ...zeros, ...right].flatMap((group) => [group >> 8, group & 0xff]));
}

function ipv6Groups(text: string): number[] {
  return text
    .split(':')
    .filter(Boolean)
    .flatMap((group) => {
      if (!group.includes('.')) return [Number.parseInt(group, 16)];
      const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number);
      return [(a << 8) | b, (c << 8) | d];
    });
}

/** The names a certificate is for, IP addresses in one canonical spelling. */
export function altNamesOf(certificate: X509Certificate): AltNames {
  const dnsNames: string[] = [];
  const ipAddresses: string[] = [];
  for (const entry of (certificate.subjectAltName ?? '').split(', ')) {
    if (entry.startsWith('DNS:')) dnsNames.push(entry.slice(4));
    if (entry.startsWith('IP Address:')) ipAddresses.push(canonicalIp(entry.slice(11)));
  }
  return { dnsNames, ipAddresses };
}

export function canonicalIp(address: string): string {
  return isIP(address) === 0 ? address : ipBytes(address).toString('hex');
}

/** 'CN=…\nO=…' lines of node:crypto as a Subject. */
export function subjectOf(certificate: X509Certificate): Subject {
  const lines = certificate.subject.split('\n');
  const values = (key: string): string[] =>
    lines.filter((line) => line.startsWith(`${key}=`)).map((line) => line.slice(key.length + 1));
  return { commonName: values('CN')[0] ?? '', organizations: values('O') };
}
