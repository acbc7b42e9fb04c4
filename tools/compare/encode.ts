/** Bodies of requests as bytes, and bodies of answers as values that can be compared, in every encoding of the API. */
import { gunzipSync } from 'node:zlib';
import { decodeFirst } from 'cborg';
import { schemaForKind } from '#api/schemas.ts';
import { decodeCbor, encodeCbor } from '#machinery/codec/cbor.ts';
import { decodeObject, decodeWatchEvent, encodeObject, isProtobuf } from '#machinery/codec/protobuf.ts';
import { parseApiVersion, type KubeObject } from '#machinery/object.ts';
import { parseYaml, stringifyYaml } from '#machinery/yaml.ts';
import type { Answer } from './connection.ts';
import type { Step } from './scenario.ts';

const CONTENT_TYPES = {
  json: 'application/json',
  yaml: 'application/yaml',
  cbor: 'application/cbor',
  protobuf: 'application/vnd.kubernetes.protobuf',
};

interface EncodedBody {
  readonly body: Buffer | undefined;
  readonly contentType: string | undefined;
}

export function encodeBody({ body, encode = 'json' }: Pick<Step, 'body' | 'encode'>): EncodedBody {
  if (body === undefined) return { body: undefined, contentType: undefined };
  if (Buffer.isBuffer(body)) return { body, contentType: CONTENT_TYPES[encode] };
  if (typeof body === 'string') return { body: Buffer.from(body), contentType: CONTENT_TYPES[encode] };
  return { body: encodeValue(body as KubeObject, encode), contentType: CONTENT_TYPES[encode] };
}

function encodeValue(object: KubeObject, encode: NonNullable<Step['encode']>): Buffer {
  if (encode === 'json') return Buffer.from(JSON.stringify(object));
  if (encode === 'yaml') return Buffer.from(stringifyYaml(object));
  const schema = schemaForKind({ ...parseApiVersion(object.apiVersion ?? ''), kind: object.kind ?? '' });
  if (encode === 'cbor') return encodeCbor(object, schema);
  if (!schema) throw new Error(`No wire form of ${object.apiVersion} ${object.kind}`);
  return encodeObject(object, schema);
}

/** The body's value: parsed where its content type says how (watch events as a list), else its text. Unreadable bodies come as text, which then differs visibly. */
export function decodeBody({ headers, body }: Answer): unknown {
  const type = headers['content-type']?.[0] ?? '';
  const bytes = headers['content-encoding']?.[0] === 'gzip' ? gunzipSync(body) : body;
  try {
    if (type.includes('cbor-seq')) return cborSequence(bytes);
    if (type.includes('protobuf') && bytes.length > 0 && !isProtobuf(bytes)) return protobufFrames(bytes);
    if (type.startsWith('application/cbor')) return decodeCbor(bytes);
    if (isProtobuf(bytes)) return decodeObject(bytes, { schemaFor: schemaForKind });
    if (type.includes('yaml')) return parseYaml(bytes.toString()).value;
    if (type.includes('json') || bytes[0] === 0x7b) return parseJson(bytes.toString());
  } catch {
    return bytes.toString('latin1');
  }
  return bytes.toString();
}

/** A watch: each event behind its length in four bytes. */
function protobufFrames(bytes: Buffer): unknown[] {
  const events: unknown[] = [];
  for (let at = 0; at < bytes.length;) {
    const end = at + 4 + bytes.readUInt32BE(at);
    const { type, object } = decodeWatchEvent(bytes.subarray(at + 4, end));
    events.push({ type, object: decodeObject(object, { schemaFor: schemaForKind }) });
    at = end;
  }
  return events;
}

/** A watch: items one after the other, whose ends only a decoder knows. */
function cborSequence(bytes: Buffer): unknown[] {
  const items: unknown[] = [];
  for (let rest: Uint8Array = bytes; rest.length > 0;) {
    const [, after] = decodeFirst(rest, {
      useMaps: true,
      tags: { 0: (content) => content(), 22: (content) => content(), 55_799: (content) => content() },
    }) as [unknown, Uint8Array];
    items.push(decodeCbor(rest.subarray(0, rest.length - after.length)));
    rest = after;
  }
  return items;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as unknown);
  }
}
