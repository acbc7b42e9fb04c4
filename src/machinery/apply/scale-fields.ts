/**
 * Who owns an object's replica count, as managedFields of its Scale and back: what a server-side apply to /scale is worked out with.
 * After upstream's scale handler: other fields keep their owners, an owner of the count that the Scale no longer names loses it.
 */
import type { KubeObject, ManagedFieldsEntry } from '../object.ts';
import { formatTime } from '../time.ts';
import { FieldSet } from './field-set.ts';

const SCALE_API_VERSION = 'autoscaling/v1';
const REPLICAS_IN_SCALE = ['f:spec', 'f:replicas'];

/** The names of fields down to the replica count: ['spec', 'replicas']. */
export type ReplicasPath = readonly string[];

function setPath(path: ReplicasPath): string[] {
  return path.map((name) => `f:${name}`);
}

/** The same owner, in whatever version it wrote. */
function ownerKey({ manager = '', operation = '', subresource = '' }: ManagedFieldsEntry): string {
  return JSON.stringify([manager, operation, subresource]);
}

function ownsReplicas({ fieldsV1 }: ManagedFieldsEntry, path: string[]): boolean {
  return FieldSet.fromFieldsV1(fieldsV1).has(path);
}

/** The managedFields that the object's Scale has: of those who own the replica count. */
export function scaleManagedFields(object: KubeObject, path: ReplicasPath): ManagedFieldsEntry[] {
  const fieldsV1 = FieldSet.of(REPLICAS_IN_SCALE).toFieldsV1();
  return (object.metadata?.managedFields ?? []).filter((entry) => ownsReplicas(entry, setPath(path))).map((entry) => ({ ...entry, apiVersion: SCALE_API_VERSION, fieldsV1 }));
}

/** The object's managedFields once its Scale has these. apiVersion: the object's, under which new owners are written down. */
export function managedFieldsWithScale(object: KubeObject, scaleEntries: readonly ManagedFieldsEntry[], { path, apiVersion, nowMs }: { readonly path: ReplicasPath; readonly apiVersion: string; readonly nowMs: number }): ManagedFieldsEntry[] {
  const replicas = setPath(path);
  const owners = new Map(scaleEntries.filter((entry) => ownsReplicas(entry, REPLICAS_IN_SCALE)).map((entry) => [ownerKey(entry), entry] as const));
  const entries: ManagedFieldsEntry[] = [];
  for (const entry of object.metadata?.managedFields ?? []) {
    const key = ownerKey(entry);
    if (!ownsReplicas(entry, replicas)) entries.push(entry);
    else if (owners.delete(key)) entries.push(entry);
    else {
      const rest = FieldSet.fromFieldsV1(entry.fieldsV1).difference(FieldSet.of(replicas));
      if (!rest.isEmpty) entries.push({ ...entry, fieldsV1: rest.toFieldsV1() });
    }
  }
  for (const { fieldsV1: _, ...owner } of owners.values()) entries.push({ ...owner, apiVersion, time: owner.time ?? formatTime(nowMs), fieldsV1: FieldSet.of(replicas).toFieldsV1() });
  return entries;
}
