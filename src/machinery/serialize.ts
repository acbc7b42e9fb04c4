/**
 * The bytes of an object as they are stored and sent: {"kind":…,"apiVersion":…,"metadata":{…},…} without the resourceVersion, which
 * is spliced in when its revision is known. So an object is serialised once, before the store gives it a revision.
 */
import { assert } from '#stdx/assert.ts';
import type { KubeObject } from './object.ts';

const METADATA = Buffer.from('"metadata":{');
const CLOSING_BRACE = 0x7d;

/** kind, apiVersion and metadata come first, in this order, always; metadata loses its resourceVersion. The object is not changed. */
export function serializeObject(object: KubeObject): Buffer {
  return Buffer.from(serializeObjectText(object));
}

/** What the bytes of every object of a kind begin with, up to their metadata. */
export function serializedHead({ kind, apiVersion }: { readonly kind: string; readonly apiVersion: string }): Buffer {
  return Buffer.from(`{"kind":${JSON.stringify(kind)},"apiVersion":${JSON.stringify(apiVersion)},`);
}

export function serializeObjectText(object: KubeObject): string {
  const { kind, apiVersion, metadata, ...rest } = object;
  const { resourceVersion: _, ...meta } = metadata ?? {};
  const head = `{"kind":${JSON.stringify(kind ?? '')},"apiVersion":${JSON.stringify(apiVersion ?? '')},"metadata":${JSON.stringify(meta)}`;
  const tail = JSON.stringify(rest);
  return tail === '{}' ? `${head}}` : `${head},${tail.slice(1)}`;
}

/**
 * The same object with its resourceVersion, as the first field of its metadata. Takes only what serializeObject made. kept: the bytes will live
 * long, and are given memory of their own: a part of Node's pool would keep all around it.
 */
export function withResourceVersion(serialized: Buffer, revision: number | bigint | string, { kept = false }: { readonly kept?: boolean } = {}): Buffer {
  const at = metadataStart(serialized);
  const isEmpty = serialized[at] === CLOSING_BRACE;
  const insert = `"resourceVersion":"${revision}"${isEmpty ? '' : ','}`;
  const length = serialized.length + insert.length;
  const result = kept ? Buffer.allocUnsafeSlow(length) : Buffer.allocUnsafe(length);
  serialized.copy(result, 0, 0, at);
  result.write(insert, at, 'latin1');
  serialized.copy(result, at + insert.length, at);
  return result;
}

/** The pieces of withResourceVersion without copying the object, for a response made of many. */
export function resourceVersionPieces(serialized: Buffer, revision: number | bigint | string): Buffer[] {
  const at = metadataStart(serialized);
  const isEmpty = serialized[at] === CLOSING_BRACE;
  return [serialized.subarray(0, at), Buffer.from(`"resourceVersion":"${revision}"${isEmpty ? '' : ','}`), serialized.subarray(at)];
}

/** Offset of the first byte inside metadata's braces. kind and apiVersion can't contain the searched bytes: their quotes are escaped. */
function metadataStart(serialized: Buffer): number {
  const found = serialized.indexOf(METADATA);
  assert(found > 0, 'bytes of an object have metadata at the front');
  return found + METADATA.length;
}

/** An object from its stored bytes; with a revision, its metadata carries it. */
export function parseSerialized(serialized: Buffer, revision?: number | bigint | string): KubeObject {
  const object = JSON.parse(serialized.toString('utf8')) as KubeObject;
  if (revision === undefined) return object;
  (object.metadata ??= {}).resourceVersion = String(revision);
  return object;
}
