/**
 * What every resource does unless its record says otherwise, after upstream's registry strategies: the status is the server's on
 * create and kept on update, metadata.generation counts changes of the desired state. Hooks run on the storage version.
 */
import type { KubeObject, ObjectMeta } from '#machinery/object.ts';

export function metaOf(object: KubeObject): ObjectMeta {
  return (object.metadata ??= {});
}

/**
 * Equal as upstream's semantic equality: an absent field, null and an empty list are the same. An empty object is one that was given: the decoder
 * leaves out empty maps, and keeps what may be absent and is not.
 */
export function semanticEqual(left: unknown, right: unknown): boolean {
  if (left === right) return true;
  const leftEmpty = isEmpty(left),
    rightEmpty = isEmpty(right);
  if (leftEmpty || rightEmpty) return leftEmpty && rightEmpty;
  if (typeof left !== 'object' || typeof right !== 'object' || Array.isArray(left) !== Array.isArray(right))
    return false;
  if (Array.isArray(left)) return equalLists(left, right as unknown[]);
  return equalMaps(left as Record<string, unknown>, right as Record<string, unknown>);
}

function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null) return true;
  return Array.isArray(value) && value.length === 0;
}

function equalLists(left: readonly unknown[], right: readonly unknown[]): boolean {
  if (left.length !== right.length) return false;
  for (let i = 0; i < left.length; i++) if (!semanticEqual(left[i], right[i])) return false;
  return true;
}

function equalMaps(left: Record<string, unknown>, right: Record<string, unknown>): boolean {
  for (const key in left) if (!semanticEqual(left[key], right[key])) return false;
  for (const key in right) if (!(key in left) && !isEmpty(right[key])) return false;
  return true;
}

/** Generation of a new object of a kind that has one. */
export function startGeneration(object: KubeObject): void {
  metaOf(object).generation = 1;
}

/** Counts up when any of the fields differs between the two versions of the object. */
export function bumpGeneration(
  next: KubeObject,
  previous: KubeObject,
  fields: readonly string[] = ['spec'],
): void {
  const before = previous.metadata?.generation ?? 0;
  const changed = fields.some((field) => !semanticEqual(next[field], previous[field]));
  if (changed || before > 0) metaOf(next).generation = changed ? before + 1 : before;
}

/** Fields whose feature is off go, unless the stored object has them already. */
export function dropUnused<T extends object>(
  part: T | undefined,
  stored: T | undefined,
  fields: readonly (keyof T)[],
): void {
  for (const field of fields)
    if (part?.[field] !== undefined && stored?.[field] === undefined) delete part[field];
}

/** Puts the stored value of a top-level field back. */
export function keepField(next: KubeObject, previous: KubeObject, field: string): void {
  if (previous[field] === undefined) delete next[field];
  else next[field] = previous[field];
}

/** Writes through /status change the status and the finalizer-neutral metadata only: spec, labels and the rest stay as stored. */
export function keepAllButStatus(next: KubeObject, previous: KubeObject): void {
  for (const field of Object.keys({ ...previous, ...next })) {
    if (field !== 'status' && field !== 'metadata' && field !== 'apiVersion' && field !== 'kind')
      keepField(next, previous, field);
  }
}

/** Of metadata that clients may write otherwise: some subresources leave it as stored. */
export function keepMetadata(next: KubeObject, previous: KubeObject): void {
  const meta = metaOf(next),
    stored = metaOf(previous);
  for (const field of ['labels', 'annotations', 'finalizers', 'ownerReferences'] as const) {
    if (stored[field] === undefined) delete meta[field];
    else Object.assign(meta, { [field]: stored[field] });
  }
}

export function keepAllButStatusAndMetadata(next: KubeObject, previous: KubeObject): void {
  keepAllButStatus(next, previous);
  keepMetadata(next, previous);
}
