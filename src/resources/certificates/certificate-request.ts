/** Reads the subject of a PKCS#10 certificate signing request (RFC 2986), which is all the API server asks of one. Signature and extensions are the signer's concern. */

export interface RequestSubject { readonly commonNames: readonly string[]; readonly organizations: readonly string[] }

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
  const [, label, body = ''] = /-----BEGIN ([A-Z0-9 ]+)-----\r?\n([A-Za-z0-9+/=\s]*)-----END \1-----/.exec(Buffer.from(base64, 'base64').toString('latin1')) ?? [];
  if (label !== 'CERTIFICATE REQUEST') throw new Error('PEM block type must be CERTIFICATE REQUEST');
  try {
    const [info, algorithm, signature] = children(whole(Buffer.from(body, 'base64')).content);
    const [version, name, publicKey] = children(info!.content);
    if (!algorithm || signature?.tag !== BIT_STRING || version?.tag !== INTEGER || publicKey?.tag !== SEQUENCE) throw new RangeError('a part is missing');
    return readName(name!.content);
  } catch (error) {
    throw new Error(`asn1: structure error: not a certification request: ${error instanceof RangeError ? error.message : 'a part is missing'}`, { cause: error });
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
  if (value.end !== bytes.length) throw new RangeError('trailing data');
  return value;
}

/** RDNSequence of SETs of attribute-value pairs. */
function readName(name: Buffer): RequestSubject {
  const commonNames: string[] = [];
  const organizations: string[] = [];
  for (const pair of children(name).flatMap(({ content }) => children(content))) {
    const [type, value] = children(pair.content);
    if (!type || !value) throw new RangeError('a name attribute has a type and a value');
    const text = value.tag === BMP_STRING ? Buffer.from(value.content).swap16().toString('utf16le') : value.content.toString('utf8');
    if (type.content.equals(COMMON_NAME)) commonNames.push(text);
    if (type.content.equals(ORGANIZATION)) organizations.push(text);
  }
  return { commonNames, organizations };
}

interface Value { readonly tag: number; readonly content: Buffer; readonly end: number }

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
  if (tag === undefined || first === undefined) throw new RangeError('truncated DER');
  const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
  if (lengthBytes > 4) throw new RangeError('DER length too large');
  const start = 2 + lengthBytes;
  const end = start + (lengthBytes === 0 ? first : bytes.readUIntBE(2, lengthBytes));
  if (end > bytes.length) throw new RangeError('truncated DER');
  return { tag, content: bytes.subarray(start, end), end };
}
