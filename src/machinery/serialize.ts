/**
 * Serialises objects for storage and responses: {"kind":…,"apiVersion":…,"metadata":{…},…} without the resourceVersion, which
 * is spliced in when its revision is known. So an object is serialised once, before the store assigns a revision.
 */
import { assert } from '#stdx/assert.ts';
import type { KubeObject, ObjectMeta } from './object.ts';

const METADATA = Buffer.from('"metadata":{');
const UID = Buffer.from('"uid":"');
const OPENING_BRACE = 0x7b,
  CLOSING_BRACE = 0x7d,
  QUOTE = 0x22,
  BACKSLASH = 0x5c,
  COMMA = 0x2c;

/** kind, apiVersion and metadata come first, in this order; metadata has no resourceVersion, and its fields are in upstream's order. The object is not changed. */
export function serializeObject(object: KubeObject): Buffer {
  return Buffer.from(serializeObjectText(object));
}

/** The leading bytes of every object of a kind, up to its metadata. */
export function serializedHead({
  kind,
  apiVersion,
}: {
  readonly kind: string;
  readonly apiVersion: string;
}): Buffer {
  return Buffer.from(`{"kind":${JSON.stringify(kind)},"apiVersion":${JSON.stringify(apiVersion)},`);
}

function serializeObjectText(object: KubeObject): string {
  const { kind, apiVersion, metadata, ...rest } = object;
  const head = `{"kind":${JSON.stringify(kind ?? '')},"apiVersion":${JSON.stringify(apiVersion ?? '')},"metadata":${JSON.stringify(metadata ? inOrder(metadata) : {})}`;
  const tail = JSON.stringify(rest);
  return tail === '{}' ? `${head}}` : `${head},${tail.slice(1)}`;
}

/** Absent fields are undefined, which JSON omits: one hidden class for all. */
function inOrder({
  name,
  generateName,
  namespace,
  selfLink,
  uid,
  resourceVersion: _,
  generation,
  creationTimestamp,
  deletionTimestamp,
  deletionGracePeriodSeconds,
  labels,
  annotations,
  ownerReferences,
  finalizers,
  managedFields,
  ...others
}: ObjectMeta): object {
  return {
    name,
    generateName,
    namespace,
    selfLink,
    uid,
    generation,
    creationTimestamp,
    deletionTimestamp,
    deletionGracePeriodSeconds,
    labels,
    annotations,
    ownerReferences,
    finalizers,
    managedFields,
    ...others,
  };
}

/**
 * The same object with its resourceVersion, after the uid in its metadata. Accepts only results of serializeObject. kept: the bytes are
 * long-lived and get memory of their own: a slice of Node's pool would keep the whole pool alive.
 */
export function withResourceVersion(
  serialized: Buffer,
  revision: number | bigint | string,
  { kept = false }: { readonly kept?: boolean } = {},
): Buffer {
  const start = metadataStart(serialized),
    at = behindUid(serialized, start);
  const insert =
    at > start
      ? `,"resourceVersion":"${revision}"`
      : `"resourceVersion":"${revision}"${serialized[at] === CLOSING_BRACE ? '' : ','}`;
  const length = serialized.length + insert.length;
  const result = kept ? Buffer.allocUnsafeSlow(length) : Buffer.allocUnsafe(length);
  serialized.copy(result, 0, 0, at);
  result.write(insert, at, 'latin1');
  serialized.copy(result, at + insert.length, at);
  return result;
}

const RESOURCE_VERSION = Buffer.from('"resourceVersion":"');

/** Undoes withResourceVersion. Only strings precede it, in which its quotes would be escaped. */
export function withoutResourceVersion(bytes: Buffer): Buffer {
  let start = bytes.indexOf(RESOURCE_VERSION, metadataStart(bytes));
  assert(start > 0, 'bytes with a revision carry it in their metadata');
  let end = bytes.indexOf(QUOTE, start + RESOURCE_VERSION.length) + 1;
  if (bytes[start - 1] === COMMA) start--;
  else if (bytes[end] === COMMA) end++;
  return Buffer.concat([bytes.subarray(0, start), bytes.subarray(end)]);
}

/** Offset of the first byte inside metadata's braces. kind and apiVersion cannot contain the searched bytes: their quotes are escaped. */
function metadataStart(serialized: Buffer): number {
  const found = serialized.indexOf(METADATA);
  assert(found > 0, 'bytes of an object have metadata at the front');
  return found + METADATA.length;
}

/** Or metadata's start, when no uid is among its first strings: objects may have been stored before that order, and other objects have uids too. */
function behindUid(serialized: Buffer, start: number): number {
  const found = serialized.indexOf(UID, start),
    brace = serialized.indexOf(OPENING_BRACE, start);
  if (found < 0 || (brace >= 0 && brace < found)) return start;
  const end = serialized.indexOf(QUOTE, found + UID.length);
  return serialized[end - 1] === BACKSLASH ? start : end + 1;
}

/** Parses stored bytes; with a revision, it is set as metadata.resourceVersion. */
export function parseSerialized(serialized: Buffer, revision?: number | bigint | string): KubeObject {
  const object = JSON.parse(serialized.toString('utf8')) as KubeObject;
  if (revision === undefined) return object;
  (object.metadata ??= {}).resourceVersion = String(revision);
  return object;
}
