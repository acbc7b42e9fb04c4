/**
 * PKCS #10 certificate signing requests (RFC 2986): creates and parses them, and checks that a request is signed by its own key. Signers check subject,
 * names and usages.
 */
import { constants, createPrivateKey, createPublicKey, verify, type KeyObject } from 'node:crypto';
import { extension } from './certificate.ts';
import {
  DerError,
  explicit,
  integer,
  oid,
  readAll,
  readWhole,
  sequence,
  set,
  TAG,
  type DerValue,
} from './der.ts';
import { publicKeyDer, signed } from './keys.ts';
import { encodeAltNames, encodeName, NO_ALT_NAMES, readAltNames, readName } from './names.ts';
import type { AltNames, Subject } from './names.ts';
import { encodePem, pemBlocks } from './pem.ts';
import { readExtension } from './read.ts';

const LABEL = 'CERTIFICATE REQUEST';
const EXTENSION_REQUEST = oid('1.2.840.113549.1.9.14');
const SUBJECT_ALT_NAME = '2.5.29.17';
const ATTRIBUTES = explicit(0)[0]!;
/** One with a thousand names and an RSA key of 16,384 bits has less. */
const MAX_REQUEST_BYTES = 128 << 10;

/** PEM. Throws KeyError for a key that cannot sign. */
export function createRequest({
  keyPem,
  subject,
  altNames,
}: {
  readonly keyPem: string;
  readonly subject: Subject;
  readonly altNames?: AltNames | undefined;
}): string {
  const key = createPrivateKey(keyPem);
  const names = altNames && encodeAltNames(altNames);
  const attributes = names
    ? [sequence(EXTENSION_REQUEST, set(sequence(extension(SUBJECT_ALT_NAME, { value: names }))))]
    : [];
  const info = sequence(
    integer(Buffer.from([0])),
    encodeName(subject),
    publicKeyDer(createPublicKey(keyPem)),
    explicit(0, ...attributes),
  );
  return encodePem(LABEL, signed(info, key));
}

export interface CertificateRequest {
  /** A distinguished name, DER. */
  readonly subject: Buffer;
  readonly commonNames: readonly string[];
  readonly organizations: readonly string[];
  readonly altNames: Required<AltNames>;
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Buffer;
  readonly signed: Signed;
}

interface Signed {
  readonly info: Buffer;
  /** Object identifier, its content. */
  readonly algorithm: Buffer;
  readonly signature: Buffer;
}

/**
 * Parses PEM: the first block, which must be a request; other text is ignored. Does not check its signature: checkRequestSignature does. Throws an Error
 * with upstream's message, also for a request of more than 128 KiB or 1000 names.
 */
export function readRequest(pem: string): CertificateRequest {
  const [block] = pemBlocks(pem);
  if (block?.label !== LABEL) throw new Error(`PEM block type must be ${LABEL}`);
  if (block.der.length > MAX_REQUEST_BYTES)
    throw new Error(`the request has ${block.der.length} bytes; it should have ${MAX_REQUEST_BYTES} at most`);
  try {
    return readParts(block.der);
  } catch (error) {
    if (error instanceof DerError) throw new Error(`asn1: syntax error: ${error.message}`, { cause: error });
    throw error;
  }
}

function readParts(der: Buffer): CertificateRequest {
  const [info, algorithm, signature] = readAll(contentOf(readWhole(der), TAG.sequence));
  const [version, name, publicKey, attributes] = readAll(contentOf(info, TAG.sequence));
  const [algorithmId] = readAll(contentOf(algorithm, TAG.sequence));
  contentOf(version, TAG.integer);
  contentOf(publicKey, TAG.sequence);
  contentOf(name, TAG.sequence);
  // The first byte of a bit string counts the bits that are left over: none.
  const signatureBits = contentOf(signature, TAG.bitString);
  if (signatureBits[0] !== 0 || !name || !publicKey || !info) throw new StructureError();
  return {
    subject: name.whole,
    ...readName(name.whole),
    altNames: attributes?.tag === ATTRIBUTES ? readRequestedNames(attributes.content) : NO_ALT_NAMES,
    publicKey: publicKey.whole,
    signed: {
      info: info.whole,
      algorithm: contentOf(algorithmId, TAG.oid),
      signature: signatureBits.subarray(1),
    },
  };
}

/** DER, but of something else. */
class StructureError extends Error {
  constructor() {
    super('asn1: structure error: not a certification request: a part is missing');
  }
}

function contentOf(value: DerValue | undefined, tag: number): Buffer {
  if (value?.tag !== tag) throw new StructureError();
  return value.content;
}

function readRequestedNames(attributes: Buffer): Required<AltNames> {
  for (const { content } of readAll(attributes)) {
    const [type, values] = readAll(content);
    if (!values || !type?.whole.equals(EXTENSION_REQUEST)) continue;
    const names = readExtension(values.content, oid(SUBJECT_ALT_NAME));
    if (names) return readAltNames(names);
  }
  return NO_ALT_NAMES;
}

/** Signature algorithms by the hexadecimal of their object identifiers. PSS says its digest in parameters: those of the key's own size of digest are tried. */
const RSA = '2a864886f70d0101',
  ECDSA = '2a8648ce3d0403';
const ALGORITHMS: Readonly<
  Record<
    string,
    { readonly kind: 'rsa' | 'rsa-pss' | 'ec' | 'ed25519'; readonly digests: readonly (string | null)[] }
  >
> = {
  [`${RSA}05`]: { kind: 'rsa', digests: ['sha1'] },
  [`${RSA}0b`]: { kind: 'rsa', digests: ['sha256'] },
  [`${RSA}0c`]: { kind: 'rsa', digests: ['sha384'] },
  [`${RSA}0d`]: { kind: 'rsa', digests: ['sha512'] },
  [`${RSA}0a`]: { kind: 'rsa-pss', digests: ['sha256', 'sha384', 'sha512'] },
  '2a8648ce3d0401': { kind: 'ec', digests: ['sha1'] },
  [`${ECDSA}02`]: { kind: 'ec', digests: ['sha256'] },
  [`${ECDSA}03`]: { kind: 'ec', digests: ['sha384'] },
  [`${ECDSA}04`]: { kind: 'ec', digests: ['sha512'] },
  '2b6570': { kind: 'ed25519', digests: [null] },
};
const FAILURES = {
  rsa: 'crypto/rsa: verification error',
  'rsa-pss': 'crypto/rsa: verification error',
  ec: 'x509: ECDSA verification failure',
  ed25519: 'x509: Ed25519 verification failure',
} as const;

/** Nobody asks for a certificate of somebody else's key. Throws an Error with upstream's text. */
export function checkRequestSignature({
  signed: { info, algorithm, signature },
  publicKey,
}: CertificateRequest): void {
  const known = ALGORITHMS[algorithm.toString('hex')];
  if (!known) throw new Error('x509: cannot verify signature: algorithm unimplemented');
  const key = publicKeyOf(publicKey);
  const fits =
    key !== undefined &&
    (key.asymmetricKeyType === known.kind || (known.kind === 'rsa-pss' && key.asymmetricKeyType === 'rsa'));
  if (!fits) throw new Error('x509: signature algorithm specifies a public key of another type');
  const padding =
    known.kind === 'rsa-pss'
      ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO }
      : {};
  if (!known.digests.some((digest) => verify(digest, info, { key, ...padding }, signature)))
    throw new Error(FAILURES[known.kind]);
}

/** undefined for a kind that node:crypto does not know. */
function publicKeyOf(publicKey: Buffer): KeyObject | undefined {
  try {
    return createPublicKey({ key: publicKey, format: 'der', type: 'spki' });
  } catch {
    return undefined;
  }
}
