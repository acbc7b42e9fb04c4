/**
 * Creates X.509 v3 certificates (RFC 5280): authorities, self-signed or under a parent, and their leaves. Pure except for randomness; callers handle files.
 * New keys are ECDSA P-256 unless another algorithm is requested; an authority's key may be RSA, Ed25519 or any of the three curves.
 */
import { createPrivateKey, createPublicKey, randomBytes, X509Certificate, type KeyObject } from 'node:crypto';
import { bitString, boolean, explicit, implicit, integer, octetString, oid, sequence, time } from './der.ts';
import {
  generateKeyPem,
  computeKeyId,
  publicKeyDer,
  signatureAlgorithm,
  signed,
  type KeyAlgorithm,
} from './keys.ts';
import { encodeAltNames, encodeName, type AltNames, type Subject } from './names.ts';
import { encodePem, splitPem } from './pem.ts';
import { EXTENDED_KEY_USAGES, isSelfIssued, readKeyIdentifier, readSubjectDer } from './read.ts';
import type { ExtendedKeyUsage } from './read.ts';
import { signerFirst } from './signer.ts';

/** A private key with its certificate, both PEM. The certificate may be followed by those of the authorities above it. */
export interface KeyPair {
  readonly certificatePem: string;
  readonly keyPem: string;
}

const OID = {
  subjectKeyId: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyId: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
} as const;
/** RFC 5280, 4.2.1.3: bit n of the BIT STRING is 1 << n here. */
export const KEY_USAGE = {
  digitalSignature: 1,
  contentCommitment: 2,
  keyEncipherment: 4,
  dataEncipherment: 8,
  keyAgreement: 16,
  certSign: 32,
  crlSign: 64,
  encipherOnly: 128,
  decipherOnly: 256,
} as const;

/** Clocks of machines differ: certificates are valid from a little before they are made. */
export const BACKDATE_MS = 5 * 60_000;

interface AuthorityOptions {
  readonly commonName: string;
  readonly nowMs: number;
  /** Default: a little before now. */
  readonly notBeforeMs?: number | undefined;
  readonly lifetimeMs: number;
  /** An existing key: an authority renewed with its key still verifies what it has signed. */
  readonly keyPem?: string | undefined;
  /** For a new key. */
  readonly algorithm?: KeyAlgorithm | undefined;
  /** Signs it; absent: it signs itself. It does not outlive its parent. */
  readonly parent?: KeyPair | undefined;
}

/** A certificate authority. One under a parent is followed by the parent's own certificates but the root, so that its leaves verify against the root. */
export function createAuthority(options: AuthorityOptions): KeyPair {
  const { parent, nowMs } = options;
  const keyPem = options.keyPem ?? generateKeyPem(options.algorithm);
  const key = createPrivateKey(keyPem);
  const publicKey = publicKeyDer(key);
  const subject = encodeName({ commonName: options.commonName });
  const above = parent && readIssuer(parent);
  const certificatePem = signCertificate({
    issuer: above?.subject ?? subject,
    subject,
    publicKey,
    signingKey: above?.key ?? key,
    notBeforeMs: options.notBeforeMs ?? nowMs - BACKDATE_MS,
    notAfterMs: Math.min(nowMs + options.lifetimeMs, above?.notAfterMs ?? Infinity),
    extensions: [
      keyUsage(KEY_USAGE.digitalSignature | KEY_USAGE.certSign | KEY_USAGE.crlSign),
      extension(OID.basicConstraints, { critical: true, value: sequence(boolean(true)) }),
      extension(OID.subjectKeyId, { value: octetString(computeKeyId(publicKey)) }),
      ...(above ? [authorityKeyId(above.keyId)] : []),
    ],
  });
  return { certificatePem: certificatePem + (above?.intermediates ?? ''), keyPem };
}

interface LeafOptions {
  readonly subject: Subject;
  readonly usages: readonly ExtendedKeyUsage[];
  readonly altNames?: AltNames | undefined;
  readonly nowMs: number;
  readonly lifetimeMs: number;
  /** An existing key. */
  readonly keyPem?: string | undefined;
  /** For a new key. */
  readonly algorithm?: KeyAlgorithm | undefined;
}

/** A leaf certificate signed by the authority, followed by the authority's own chain where it is an intermediate. It never outlives the authority. */
export function issueCertificate(authority: KeyPair, options: LeafOptions): KeyPair {
  const { nowMs, lifetimeMs } = options;
  const keyPem = options.keyPem ?? generateKeyPem(options.algorithm);
  const certificatePem = signLeaf(authority, {
    subject: encodeName(options.subject),
    publicKey: createPublicKey(keyPem),
    // Only what RSA keys are used for in TLS 1.2.
    keyUsages:
      KEY_USAGE.digitalSignature |
      (createPrivateKey(keyPem).asymmetricKeyType === 'rsa' ? KEY_USAGE.keyEncipherment : 0),
    extendedKeyUsages: options.usages.map((usage) => EXTENDED_KEY_USAGES[usage]),
    altNames: options.altNames,
    notBeforeMs: nowMs - BACKDATE_MS,
    notAfterMs: nowMs + lifetimeMs,
  });
  return { keyPem, certificatePem: certificatePem + readIssuer(authority).intermediates };
}

interface SignOptions {
  /** A distinguished name, DER: of a request, byte for byte. */
  readonly subject: Buffer;
  readonly publicKey: KeyObject;
  /** KEY_USAGE bits; 0: no such extension. */
  readonly keyUsages: number;
  /** Object identifiers, dotted. */
  readonly extendedKeyUsages: readonly string[];
  readonly altNames?: AltNames | undefined;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** PEM of a leaf for somebody else's key. It never outlives the authority. Throws KeyError for an authority's key that signs nothing here. */
export function signLeaf(authority: KeyPair, options: SignOptions): string {
  const issuer = readIssuer(authority);
  const { keyUsages, extendedKeyUsages } = options;
  const altNames = options.altNames && encodeAltNames(options.altNames);
  return signCertificate({
    issuer: issuer.subject,
    subject: options.subject,
    publicKey: publicKeyDer(options.publicKey),
    signingKey: issuer.key,
    notBeforeMs: options.notBeforeMs,
    notAfterMs: Math.min(options.notAfterMs, issuer.notAfterMs),
    extensions: [
      ...(keyUsages === 0 ? [] : [keyUsage(keyUsages)]),
      ...(extendedKeyUsages.length === 0
        ? []
        : [extension(OID.extendedKeyUsage, { value: sequence(...extendedKeyUsages.map(oid)) })]),
      extension(OID.basicConstraints, { critical: true, value: sequence() }),
      authorityKeyId(issuer.keyId),
      ...(altNames ? [extension(OID.subjectAltName, { value: altNames })] : []),
    ],
  });
}

interface Issuer {
  readonly subject: Buffer;
  readonly key: KeyObject;
  readonly keyId: Buffer;
  readonly notAfterMs: number;
  /** PEM of the certificates that a verifier with only the root needs beside the leaf; '' for a root. */
  readonly intermediates: string;
}

function readIssuer({ certificatePem, keyPem }: KeyPair): Issuer {
  const key = createPrivateKey(keyPem);
  const certificate = new X509Certificate(signerFirst(certificatePem, key));
  return {
    subject: readSubjectDer(certificate),
    key,
    keyId: readKeyIdentifier(certificate),
    notAfterMs: certificate.validToDate.getTime(),
    intermediates: isSelfIssued(certificate) ? '' : withoutRoots(certificatePem),
  };
}

function withoutRoots(bundle: string): string {
  return splitPem(bundle, 'CERTIFICATE')
    .filter((text) => !isSelfIssued(new X509Certificate(text)))
    .join('');
}

interface CertificateParts {
  readonly issuer: Buffer;
  readonly subject: Buffer;
  /** SubjectPublicKeyInfo. */
  readonly publicKey: Buffer;
  readonly signingKey: KeyObject;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly extensions: readonly Buffer[];
}

function signCertificate(parts: CertificateParts): string {
  const body = sequence(
    explicit(0, integer(Buffer.from([2]))),
    integer(serialNumber()),
    signatureAlgorithm(parts.signingKey).identifier,
    parts.issuer,
    sequence(time(parts.notBeforeMs), time(parts.notAfterMs)),
    parts.subject,
    parts.publicKey,
    explicit(3, sequence(...parts.extensions)),
  );
  return encodePem('CERTIFICATE', signed(body, parts.signingKey));
}

/** Positive, and not shorter than its sixteen bytes. */
function serialNumber(): Buffer {
  const serial = randomBytes(16);
  serial[0] = (serial[0]! & 0x7f) | 0x40;
  return serial;
}

export function extension(
  id: string,
  { critical = false, value }: { readonly critical?: boolean; readonly value: Buffer },
): Buffer {
  return sequence(oid(id), ...(critical ? [boolean(true)] : []), octetString(value));
}

/** The first bit is the highest of the first byte. */
function keyUsage(usages: number): Buffer {
  const highest = 31 - Math.clz32(usages);
  const bytes = Buffer.alloc((highest >> 3) + 1);
  for (let bit = 0; bit <= highest; bit++)
    if ((usages & (1 << bit)) !== 0) bytes[bit >> 3]! |= 0x80 >> (bit & 7);
  return extension(OID.keyUsage, { critical: true, value: bitString(bytes, 7 - (highest & 7)) });
}

function authorityKeyId(keyId: Buffer): Buffer {
  return extension(OID.authorityKeyId, { value: sequence(implicit(0, keyId)) });
}
