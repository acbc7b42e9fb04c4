/**
 * The default behaviour of resources, after upstream's registry strategies: the status is set by the server on
 * create and kept on update, metadata.generation counts spec changes. Hooks run on the storage version.
 */
import type { KubeObject, ObjectMeta } from '#machinery/object.ts';

export function metaOf(object: KubeObject): ObjectMeta {
  return (object.metadata ??= {});
}

/**
 * Upstream's semantic equality: an absent field, null and an empty list are equal. An empty object differs from an absent one: the decoder
 * drops empty maps, and keeps empty optional structs.
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

/** The generation of a new object of a kind that has one. */
export function startGeneration(object: KubeObject): void {
  metaOf(object).generation = 1;
}

/** Increments the generation when any of the fields changed. */
export function bumpGeneration(
  next: KubeObject,
  previous: KubeObject,
  fields: readonly string[] = ['spec'],
): void {
  const before = previous.metadata?.generation ?? 0;
  const changed = fields.some((field) => !semanticEqual(next[field], previous[field]));
  if (changed || before > 0) metaOf(next).generation = changed ? before + 1 : before;
}

/** Drops fields of disabled features, unless the stored object has them already. */
export function dropUnused<T extends object>(
  part: T | undefined,
  stored: T | undefined,
  fields: readonly (keyof T)[],
): void {
  for (const field of fields)
    if (part?.[field] !== undefined && stored?.[field] === undefined) delete part[field];
}

/** Restores the stored value of a top-level field. */
export function keepField(next: KubeObject, previous: KubeObject, field: string): void {
  if (previous[field] === undefined) delete next[field];
  else next[field] = previous[field];
}

/** Writes through /status change only the status and finalizer-neutral metadata: spec, labels and the rest are kept. */
export function keepAllButStatus(next: KubeObject, previous: KubeObject): void {
  for (const field of Object.keys({ ...previous, ...next })) {
    if (field !== 'status' && field !== 'metadata' && field !== 'apiVersion' && field !== 'kind')
      keepField(next, previous, field);
  }
}

/** Metadata that some subresources keep unchanged. */
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
