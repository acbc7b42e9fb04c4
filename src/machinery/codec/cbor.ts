/**
 * CBOR (RFC 8949) as in upstream's API machinery (KEP-4222): JSON data, with fields of type bytes as byte strings that expect base64
 * (tag 22), behind the self-described CBOR prefix. Rejects everything that JSON cannot represent: NaN, undefined, indefinite lengths.
 */
import { decode, encode, Tagged } from 'cborg';
import { isJsonObject, setOwn, type JsonObject } from '../json.ts';
import type { ObjectSchema, ValueSchema } from '../schema.ts';

const SELF_DESCRIBED = Buffer.from([0xd9, 0xd9, 0xf7]);
const BASE64_EXPECTED = 22;

/** The input is not CBOR, or not supported. */
export class CborError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'CborError';
  }
}

/** schema: says which fields are bytes; without one all strings are text. */
export function encodeCbor(value: unknown, schema: ObjectSchema | undefined): Buffer {
  return Buffer.concat([SELF_DESCRIBED, encodeCborItem(value, schema)]);
}

/** Without the prefix: for an item of a sequence. */
export function encodeCborItem(value: unknown, schema: ObjectSchema | undefined): Buffer {
  const typed = schema && isJsonObject(value) ? withBytes(value, schema) : value;
  return Buffer.from(encode(typed, { float64: true, ignoreUndefinedProperties: true }));
}

function withBytes(object: JsonObject, schema: ObjectSchema): JsonObject {
  let copy: Record<string, unknown> | undefined;
  for (const [name, value] of Object.entries(object)) {
    const field = schema.byName.get(name)?.value;
    const typed = field ? typedValue(value, field) : value;
    if (typed !== value) (copy ??= { ...object })[name] = typed;
  }
  return (copy ?? object) as JsonObject;
}

/** The value itself when it contains no bytes. */
function typedValue(value: unknown, schema: ValueSchema): unknown {
  switch (schema.kind) {
    case 'scalar':
      return schema.type === 'bytes' && typeof value === 'string'
        ? new Tagged(BASE64_EXPECTED, Buffer.from(value, 'base64'))
        : value;
    case 'object':
      return isJsonObject(value) ? withBytes(value, schema.type()) : value;
    case 'map': {
      if (!isJsonObject(value)) return value;
      const entries = Object.entries(value).map(
        ([key, item]) => [key, typedValue(item, schema.values)] as const,
      );
      return entries.some(([key, item]) => item !== value[key]) ? Object.fromEntries(entries) : value;
    }
    case 'list': {
      if (!Array.isArray(value)) return value;
      const items = value.map((item) => typedValue(item, schema.items));
      return items.some((item, i) => item !== value[i]) ? items : value;
    }
  }
}

/** JSON data. Throws CborError. */
export function decodeCbor(bytes: Uint8Array): unknown {
  try {
    return plain(
      decode(bytes, {
        allowIndefinite: false,
        allowUndefined: false,
        allowNaN: false,
        allowInfinity: false,
        allowBigInt: false,
        rejectDuplicateMapKeys: true,
        useMaps: true,
        tags: {
          0: (content) => content(),
          55_799: (content) => content(),
          21: (content) => encodedBytes(content(), 'base64url'),
          22: (content) => encodedBytes(content(), 'base64'),
          23: (content) => encodedBytes(content(), 'hex'),
        },
      }),
      0,
    );
  } catch (error) {
    if (error instanceof CborError) throw error;
    throw new CborError(
      error instanceof RangeError
        ? 'exceeded max nested level'
        : error instanceof Error
          ? error.message
          : String(error),
      error,
    );
  }
}

function encodedBytes(content: unknown, encoding: BufferEncoding): string {
  if (!(content instanceof Uint8Array)) throw new CborError('an expected encoding goes with a byte string');
  return Buffer.from(content).toString(encoding);
}

/** Upstream's nesting limit. */
const MAX_DEPTH = 64;
const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Byte strings without an expected encoding are text, because upstream writes all its text that way. Keys are text. */
function plain(value: unknown, depth: number): unknown {
  if (depth > MAX_DEPTH) throw new CborError(`exceeded max nested level ${MAX_DEPTH}`);
  if (value instanceof Uint8Array) return textOf(value);
  if (Array.isArray(value)) return value.map((item) => plain(item, depth + 1));
  if (!(value instanceof Map)) return value;
  const object: Record<string, unknown> = {};
  for (const [key, item] of value as Map<unknown, unknown>) {
    const name = key instanceof Uint8Array ? textOf(key) : key;
    if (typeof name !== 'string') throw new CborError('keys of a map should be texts');
    if (Object.hasOwn(object, name)) throw new CborError(`found repeat map key ${JSON.stringify(name)}`);
    setOwn(object, name, plain(item, depth + 1));
  }
  return object;
}

function textOf(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw new CborError('a text is not UTF-8');
  }
}
