/**
 * Kubernetes' protobuf encoding (application/vnd.kubernetes.protobuf): four magic bytes, then runtime.Unknown with the apiVersion, the kind
 * and the object's message. Runs on ObjectSchema; byte-exact with upstream for every type that has a wire form.
 *
 * A watch stream (…;stream=watch) is a sequence of frames, each a 4-byte big-endian length and a metav1.WatchEvent WITHOUT the magic bytes,
 * whose object is an encoded object WITH them.
 */
import type { GroupVersionKind, KubeObject } from '../object.ts';
import { formatApiVersion, parseApiVersion } from '../object.ts';
import type { ObjectSchema } from '../schema.ts';
import { readMessage } from './protobuf-decode.ts';
import { writeMessage } from './protobuf-encode.ts';
import { ProtobufError } from './protobuf-errors.ts';
import { createPlan } from './protobuf-plan.ts';
import { Reader } from './protobuf-reader.ts';
import { ReverseWriter } from './protobuf-writer.ts';

export { ProtobufError, type ProtobufErrorCode } from './protobuf-errors.ts';

const magic = Buffer.from([0x6b, 0x38, 0x73, 0x00]);
const writer = new ReverseWriter();
/** apiVersion and kind. */
const IN_ENVELOPE = 2;

interface Envelope {
  readonly apiVersion: string;
  readonly kind: string;
  /** The object's message; a view of the input. */
  readonly message: Buffer;
}

export function isProtobuf(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && bytes[0] === 0x6b && bytes[1] === 0x38 && bytes[2] === 0x73 && bytes[3] === 0;
}

/** An object with magic bytes, envelope and message. apiVersion and kind are those of the object. Throws ProtobufError 'wrong-value'. */
export function encodeObject(object: KubeObject, schema: ObjectSchema): Buffer {
  return withWriter(() => writeObject(object, schema));
}

/** Likewise; isFaithful: decodeObject returns an equal object. False also where it was not worth finding out. */
export function encodeObjectFaithfully(
  object: KubeObject,
  schema: ObjectSchema,
): { readonly bytes: Buffer; readonly isFaithful: boolean } {
  let isFaithful = false;
  const bytes = withWriter(() => {
    writeObject(object, schema);
    isFaithful = writer.isFaithful;
  });
  return { bytes, isFaithful };
}

function writeObject(object: KubeObject, schema: ObjectSchema): void {
  const apiVersion = object.apiVersion ?? '';
  const kind = object.kind ?? '';
  writer.raw(envelopeTail);
  writeMessage(writer, createPlan(schema), object, IN_ENVELOPE);
  if (apiVersion === '' || kind === '') writer.isFaithful = false;
  writeEnvelopeHead({ apiVersion, kind });
}

/** Only the message, as inside the envelope and in lists. */
export function encodeMessage(object: Readonly<Record<string, unknown>>, schema: ObjectSchema): Buffer {
  return withWriter(() => writeMessage(writer, createPlan(schema), object));
}

/** Wraps a message in the envelope. */
export function encodeEnvelope({
  apiVersion,
  kind,
  message,
}: {
  apiVersion: string;
  kind: string;
  message: Uint8Array;
}): Buffer {
  return withWriter(() => {
    writer.raw(envelopeTail);
    writer.raw(message);
    writeEnvelopeHead({ apiVersion, kind });
  });
}

/**
 * Builds a whole list from encoded messages, without decoding them. For kinds whose list has metadata as field 1 and items as field 2,
 * as all of upstream's do; metadata is the encoded ListMeta.
 */
export function encodeList({
  apiVersion,
  kind,
  metadata,
  items,
}: {
  apiVersion: string;
  kind: string;
  metadata: Uint8Array;
  items: readonly Uint8Array[];
}): Buffer {
  return withWriter(() => {
    writer.raw(envelopeTail);
    for (let index = items.length - 1; index >= 0; index--) {
      writer.bytes(items[index]!);
      writer.varint(0x12);
    }
    writer.bytes(metadata);
    writer.varint(0x0a);
    writeEnvelopeHead({ apiVersion, kind });
  });
}

/** The encoded field of a list item. */
export function encodeListItem(message: Uint8Array): Buffer {
  return withWriter(() => {
    writer.bytes(message);
    writer.varint(0x12);
  });
}

/** The message of an item that encodeListItem made; a view of its bytes. */
export function messageOfListItem(item: Buffer): Buffer {
  const reader = new Reader(item, 1);
  return reader.bytes(item.length);
}

/** The bytes before and after items that encodeListItem made. */
export function encodeListAround({
  apiVersion,
  kind,
  metadata,
  itemBytes,
}: {
  apiVersion: string;
  kind: string;
  metadata: Uint8Array;
  itemBytes: number;
}): { readonly head: Buffer; readonly tail: Buffer } {
  const head = withWriter(() => {
    writer.bytes(metadata);
    writer.varint(0x0a);
    writeEnvelopeHead({ apiVersion, kind, messageBytes: writer.mark() + itemBytes });
  });
  return { head, tail: envelopeTail };
}

/** A WatchEvent's message; object is an encoded object, including the magic bytes. The caller adds the frame's length. */
export function encodeWatchEvent({ type, object }: { type: string; object: Uint8Array }): Buffer {
  return withWriter(() => {
    const end = writer.mark();
    writer.bytes(object);
    writer.varint(0x0a);
    writer.varint(writer.mark() - end);
    writer.varint(0x12);
    writer.string(type);
    writer.varint(0x0a);
  });
}

/** The object in it is a view of the input, including the magic bytes. */
export function decodeWatchEvent(bytes: Uint8Array): { type: string; object: Buffer } {
  const reader = new Reader(bytes);
  let type = '';
  let object = Buffer.alloc(0);
  while (reader.position < reader.length) {
    const tag = reader.varint();
    if (tag === 0x0a) type = reader.string(reader.length);
    else if (tag === 0x12) object = Buffer.from(firstBytes(reader.bytes(reader.length)));
    else reader.skip(tag % 8, reader.length);
  }
  return { type, object };
}

function firstBytes(message: Buffer): Buffer {
  const reader = new Reader(message);
  let found = Buffer.alloc(0) as Buffer;
  while (reader.position < reader.length) {
    const tag = reader.varint();
    if (tag === 0x0a) found = reader.bytes(reader.length);
    else reader.skip(tag % 8, reader.length);
  }
  return found;
}

/** Throws ProtobufError 'not-protobuf' without the magic bytes, and for content encodings, which are unused. */
export function decodeEnvelope(bytes: Uint8Array): Envelope {
  if (!isProtobuf(bytes))
    throw new ProtobufError(
      'not-protobuf',
      'provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]',
    );
  const reader = new Reader(bytes, magic.length);
  const end = reader.length;
  const envelope = { apiVersion: '', kind: '', message: Buffer.alloc(0) as Buffer };
  while (reader.position < end) {
    const tag = reader.varint();
    if (tag === 0x0a) readTypeMeta(reader, envelope);
    else if (tag === 0x12) envelope.message = reader.bytes(end);
    else if (tag === 0x1a) refuseEncoding(reader.string(end));
    else reader.skip(tag % 8, end);
  }
  return envelope;
}

function readTypeMeta(reader: Reader, envelope: { apiVersion: string; kind: string }): void {
  const end = reader.end(reader.length);
  while (reader.position < end) {
    const tag = reader.varint();
    if (tag === 0x0a) envelope.apiVersion = reader.string(end);
    else if (tag === 0x12) envelope.kind = reader.string(end);
    else reader.skip(tag % 8, end);
  }
}

function refuseEncoding(encoding: string): void {
  if (encoding !== '') throw new ProtobufError('malformed', `content encoding ${encoding} is not supported`);
}

interface DecodeOptions {
  /** The schema of the kind in the envelope; undefined for an unknown kind. */
  readonly schemaFor: (kind: GroupVersionKind) => ObjectSchema | undefined;
  /** For bodies whose envelope has no kind. */
  readonly defaultKind?: GroupVersionKind;
}

/** Decodes a received object. Throws ProtobufError. */
export function decodeObject(bytes: Uint8Array, { schemaFor, defaultKind }: DecodeOptions): KubeObject {
  const { apiVersion, kind, message } = decodeEnvelope(bytes);
  const named = { ...parseApiVersion(apiVersion), kind };
  const wanted: GroupVersionKind = defaultKind && kind === '' ? defaultKind : named;
  const schema = schemaFor(wanted);
  if (!schema)
    throw new ProtobufError(
      'unknown-kind',
      `no kind "${wanted.kind}" is registered for version "${formatApiVersion(wanted)}"`,
    );
  const object: KubeObject = {};
  if (schema.byName.has('kind') && wanted.kind !== '') {
    object.apiVersion = formatApiVersion(wanted);
    object.kind = wanted.kind;
  }
  return readMessage(new Reader(message), createPlan(schema), {
    object: object as Record<string, unknown>,
    end: message.length,
    depth: 0,
  }) as KubeObject;
}

export function decodeMessage(bytes: Uint8Array, schema: ObjectSchema): Record<string, unknown> {
  return readMessage(new Reader(bytes), createPlan(schema), { object: {}, end: bytes.length, depth: 0 });
}

/** Everything before the message; the writer contains the message and envelopeTail, or its length is passed. */
function writeEnvelopeHead({
  apiVersion,
  kind,
  messageBytes = writer.mark() - envelopeTail.length,
}: {
  apiVersion: string;
  kind: string;
  messageBytes?: number;
}): void {
  writer.varint(messageBytes);
  writer.varint(0x12);
  const end = writer.mark();
  writer.string(kind);
  writer.varint(0x12);
  writer.string(apiVersion);
  writer.varint(0x0a);
  writer.varint(writer.mark() - end);
  writer.varint(0x0a);
  writer.raw(magic);
}

/** The tail of the envelope (contentEncoding and contentType, both empty) follows the message, so it is written first. */
const envelopeTail = Buffer.from([0x1a, 0x00, 0x22, 0x00]);

/** One writer serves all calls, because they are synchronous. */
function withWriter(write: () => void): Buffer {
  try {
    write();
    return writer.finish();
  } catch (error) {
    writer.reset();
    throw error;
  }
}
