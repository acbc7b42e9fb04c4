/**
 * Reads a PKCS#10 certificate signing request (RFC 2986): its subject, and that its signature is by the key it names, so that nobody asks for a
 * certificate of somebody else's key. Extensions are the signer's concern.
 */
import { constants, createPublicKey, verify, type KeyObject } from 'node:crypto';

interface RequestSubject {
  readonly commonNames: readonly string[];
  readonly organizations: readonly string[];
}

const COMMON_NAME = Buffer.from([0x55, 0x04, 0x03]);
const ORGANIZATION = Buffer.from([0x55, 0x04, 0x0a]);
const BMP_STRING = 0x1e;
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const SEQUENCE = 0x30;

/**
 * From the API's base64 of PEM: the first block, which must be a request, whatever stands around it. Throws an Error whose message is what
 * the API answers.
 */
export function parseCertificateRequest(base64: string): RequestSubject {
  const { subject, info, algorithm, signature, publicKey } = readRequest(base64);
  checkSignature({ info, algorithm, signature, publicKey });
  return subject;
}

interface Signed {
  readonly info: Buffer;
  readonly algorithm: Buffer;
  readonly signature: Buffer;
  readonly publicKey: Buffer;
}

function readRequest(base64: string): Signed & { readonly subject: RequestSubject } {
  const [, label, body = ''] =
    /-----BEGIN ([A-Z0-9 ]+)-----\r?\n([A-Za-z0-9+/=\s]*)-----END \1-----/.exec(
      Buffer.from(base64, 'base64').toString('latin1'),
    ) ?? [];
  if (label !== 'CERTIFICATE REQUEST') throw new Error('PEM block type must be CERTIFICATE REQUEST');
  try {
    const [info, algorithm, signature] = children(whole(Buffer.from(body, 'base64')).content);
    const [version, name, publicKey] = children(info!.content);
    const [oid] = children(algorithm!.content);
    if (signature?.tag !== BIT_STRING || version?.tag !== INTEGER || publicKey?.tag !== SEQUENCE || !oid)
      throw new RangeError('a part is missing');
    // The first byte of a bit string counts the bits that are left over: none.
    return {
      subject: readName(name!.content),
      info: info!.bytes,
      algorithm: oid.content,
      signature: signature.content.subarray(1),
      publicKey: publicKey.bytes,
    };
  } catch (error) {
    throw new Error(
      `asn1: ${error instanceof DerError ? `syntax error: ${error.message}` : `structure error: not a certification request: ${error instanceof RangeError ? error.message : 'a part is missing'}`}`,
      { cause: error },
    );
  }
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

/** Throws an Error with upstream's text. */
function checkSignature({ info, algorithm, signature, publicKey }: Signed): void {
  const known = ALGORITHMS[algorithm.toString('hex')];
  if (!known) throw new Error('x509: cannot verify signature: algorithm unimplemented');
  const key = keyOf(publicKey);
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

function keyOf(publicKey: Buffer): KeyObject | undefined {
  try {
    return createPublicKey({ key: publicKey, format: 'der', type: 'spki' });
  } catch {
    return undefined;
  }
}

/** The same; undefined when it cannot be read. */
export function readCertificateRequest(base64: string): RequestSubject | undefined {
  try {
    return parseCertificateRequest(base64);
  } catch {
    return undefined;
  }
}

function whole(bytes: Buffer): Value {
  const value = one(bytes);
  if (value.end !== bytes.length) throw new DerError('trailing data');
  return value;
}

/** RDNSequence of SETs of attribute-value pairs. */
function readName(name: Buffer): RequestSubject {
  const commonNames: string[] = [];
  const organizations: string[] = [];
  for (const pair of children(name).flatMap(({ content }) => children(content))) {
    const [type, value] = children(pair.content);
    if (!type || !value) throw new RangeError('a name attribute has a type and a value');
    const text =
      value.tag === BMP_STRING
        ? Buffer.from(value.content).swap16().toString('utf16le')
        : value.content.toString('utf8');
    if (type.content.equals(COMMON_NAME)) commonNames.push(text);
    if (type.content.equals(ORGANIZATION)) organizations.push(text);
  }
  return { commonNames, organizations };
}

/** Bytes that are no DER at all. */
class DerError extends RangeError {}

interface Value {
  readonly tag: number;
  readonly content: Buffer;
  /** With tag and length. */ readonly bytes: Buffer;
  readonly end: number;
}

function children(bytes: Buffer): Value[] {
  const values: Value[] = [];
  for (let rest = bytes; rest.length > 0;) {
    const value = one(rest);
    values.push(value);
    rest = rest.subarray(value.end);
  }
  return values;
}

function one(bytes: Buffer): Value {
  const [tag, first] = bytes;
  if (tag === undefined || first === undefined) throw new DerError('data truncated');
  const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
  if (lengthBytes > 4) throw new DerError('length too large');
  const start = 2 + lengthBytes;
  const end = start + (lengthBytes === 0 ? first : bytes.readUIntBE(2, lengthBytes));
  if (end > bytes.length) throw new DerError('data truncated');
  return { tag, content: bytes.subarray(start, end), bytes: bytes.subarray(0, end), end };
}
