/**
 * The subset of DER (X.690) needed to write certificates and requests, and to find their fields. Not a general ASN.1 library; node:crypto handles keys,
 * signatures and certificates that are only read.
 */

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  printableString: 0x13,
  utcTime: 0x17,
  generalizedTime: 0x18,
  bmpString: 0x1e,
  sequence: 0x30,
  set: 0x31,
} as const;

/** One value: tag, length, content. */
function tlv(tag: number, ...content: readonly Buffer[]): Buffer {
  const length = content.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([Buffer.from([tag]), encodeLength(length), ...content]);
}

function encodeLength(length: number): Buffer {
  if (length < 0x80) return Buffer.from([length]);
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return Buffer.from([0x80 | bytes.length, ...bytes]);
}

export const sequence = (...content: readonly Buffer[]): Buffer => tlv(TAG.sequence, ...content);
export const set = (...content: readonly Buffer[]): Buffer => tlv(TAG.set, ...content);
export const octetString = (content: Buffer): Buffer => tlv(TAG.octetString, content);
export const derNull = (): Buffer => tlv(TAG.null);
export const boolean = (value: boolean): Buffer => tlv(TAG.boolean, Buffer.from([value ? 0xff : 0]));
/** Context-specific, constructed: `[n] EXPLICIT`. */
export const explicit = (number: number, ...content: readonly Buffer[]): Buffer =>
  tlv(0xa0 | number, ...content);
/** Context-specific, primitive: `[n] IMPLICIT`. */
export const implicit = (number: number, content: Buffer): Buffer => tlv(0x80 | number, content);

/** A non-negative INTEGER from big-endian bytes. */
export function integer(bytes: Buffer): Buffer {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start++;
  const trimmed = bytes.subarray(start);
  return tlv(TAG.integer, ((trimmed[0] ?? 0) & 0x80) !== 0 ? Buffer.from([0]) : Buffer.alloc(0), trimmed);
}

/** A BIT STRING; unusedBits counts the low bits of the last byte that do not belong to it. */
export function bitString(content: Buffer, unusedBits = 0): Buffer {
  return tlv(TAG.bitString, Buffer.from([unusedBits]), content);
}

/** An OBJECT IDENTIFIER from its dotted form. */
export function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  return tlv(TAG.oid, Buffer.from([first * 40 + second, ...rest.flatMap(base128)]));
}

function base128(value: number): number[] {
  const bytes = [value & 0x7f];
  for (let rest = value >>> 7; rest > 0; rest >>>= 7) bytes.unshift((rest & 0x7f) | 0x80);
  return bytes;
}

/** PrintableString where the text allows it, else UTF8String: as Go's encoding/asn1 chooses. */
export function directoryString(text: string): Buffer {
  return /^[A-Za-z0-9 '()+,\-./:=?]*$/.test(text)
    ? tlv(TAG.printableString, Buffer.from(text, 'latin1'))
    : tlv(TAG.utf8String, Buffer.from(text, 'utf8'));
}

/** UTCTime until 2049, GeneralizedTime from 2050 on (RFC 5280, 4.1.2.5). Whole seconds. */
export function time(epochMs: number): Buffer {
  const date = new Date(epochMs);
  const year = date.getUTCFullYear();
  const rest = [
    date.getUTCMonth() + 1,
    date.getUTCDate(),
    date.getUTCHours(),
    date.getUTCMinutes(),
    date.getUTCSeconds(),
  ].map((number) => String(number).padStart(2, '0'));
  return year < 2050
    ? tlv(TAG.utcTime, Buffer.from(`${String(year).slice(2)}${rest.join('')}Z`))
    : tlv(TAG.generalizedTime, Buffer.from(`${year}${rest.join('')}Z`));
}

/** Bytes that are no DER. */
export class DerError extends RangeError {
  constructor(message: string) {
    super(message);
    this.name = 'DerError';
  }
}

export interface DerValue {
  readonly tag: number;
  readonly content: Buffer;
  /** The value with its tag and length. */
  readonly whole: Buffer;
}

/** No certificate or request has more values in one SEQUENCE. */
const MAX_VALUES = 4096;
const MAX_LENGTH_BYTES = 4;
/** In the low bits of a tag: the number follows in further bytes. X.509 has none. */
const HIGH_TAG_NUMBER = 0x1f;

/** The consecutive values of these bytes, not their contents. Throws DerError. */
export function readAll(bytes: Buffer): DerValue[] {
  const values: DerValue[] = [];
  for (let offset = 0; offset < bytes.length;) {
    if (values.length === MAX_VALUES) throw new DerError(`more than ${MAX_VALUES} values in a row`);
    const value = readAt(bytes, offset);
    values.push(value);
    offset += value.whole.length;
  }
  return values;
}

/** The first value in these bytes. Throws DerError. */
export function readOne(bytes: Buffer): DerValue {
  return readAt(bytes, 0);
}

/** The only value in these bytes. Throws DerError. */
export function readWhole(bytes: Buffer): DerValue {
  const value = readAt(bytes, 0);
  if (value.whole.length !== bytes.length) throw new DerError('trailing data');
  return value;
}

function readAt(bytes: Buffer, offset: number): DerValue {
  const tag = bytes[offset];
  const first = bytes[offset + 1];
  if (tag === undefined || first === undefined) throw new DerError('data truncated');
  if ((tag & HIGH_TAG_NUMBER) === HIGH_TAG_NUMBER) throw new DerError('tag number too large');
  if (first === 0x80) throw new DerError('indefinite length found (not DER)');
  const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
  if (lengthBytes > MAX_LENGTH_BYTES) throw new DerError('length too large');
  const start = offset + 2 + lengthBytes;
  if (start > bytes.length) throw new DerError('data truncated');
  const length = lengthBytes === 0 ? first : bytes.readUIntBE(offset + 2, lengthBytes);
  if (start + length > bytes.length) throw new DerError('data truncated');
  return {
    tag,
    content: bytes.subarray(start, start + length),
    whole: bytes.subarray(offset, start + length),
  };
}
