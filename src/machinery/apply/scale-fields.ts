/**
 * Converts the managedFields of an object to those of its Scale and back, for writes to /scale. After upstream's
 * scale handler: other fields keep their managers; a manager of replicas that the Scale no longer lists loses it.
 */
import type { KubeObject, ManagedFieldsEntry } from '../object.ts';
import { FieldSet } from './field-set.ts';
import { listEntries, ownersOf, type Owner, type Owners } from './owners.ts';

const SCALE_API_VERSION = 'autoscaling/v1';
const REPLICAS_IN_SCALE = ['f:spec', 'f:replicas'];

/** The path of replicas in each version of the kind: ['spec', 'replicas']. undefined: the version was removed; none: it has no scale. */
export type ReplicasPaths = (apiVersion: string) => readonly string[] | 'none' | undefined;

function pathIn(entry: ManagedFieldsEntry, paths: ReplicasPaths): readonly string[] | 'none' | undefined {
  const path = paths(entry.apiVersion ?? '');
  return path === undefined || path === 'none' ? path : path.map((name) => `f:${name}`);
}

function owns({ set }: Owner, path: readonly string[] | 'none' | undefined): path is readonly string[] {
  return path !== undefined && path !== 'none' && set.has(path);
}

/** The managedFields of the object's Scale: those of managers that own replicas. */
export function scaleManagedFields(object: KubeObject, paths: ReplicasPaths): ManagedFieldsEntry[] {
  const owners: Owners = new Map();
  for (const [id, owner] of ownersOf(object.metadata?.managedFields)) {
    if (owns(owner, pathIn(owner.entry, paths)))
      owners.set(id, {
        entry: { ...owner.entry, apiVersion: SCALE_API_VERSION },
        set: FieldSet.of(REPLICAS_IN_SCALE),
      });
  }
  return listEntries(owners);
}

/**
 * The object's managedFields after a write of its Scale. apiVersion: that of the request, used for new managers, without a time.
 * As in upstream, an updater that wrote in the object's version differs from the one in the Scale: it gets a second entry.
 */
export function managedFieldsWithScale(
  object: KubeObject,
  scaleEntries: readonly ManagedFieldsEntry[],
  { paths, apiVersion }: { readonly paths: ReplicasPaths; readonly apiVersion: string },
): ManagedFieldsEntry[] {
  const inScale = ownersOf(scaleEntries);
  const owners: Owners = new Map();
  for (const [id, owner] of ownersOf(object.metadata?.managedFields)) {
    const path = pathIn(owner.entry, paths);
    if (path === undefined) continue;
    const lost = owns(owner, path) && !inScale.delete(id);
    owners.set(id, lost ? { ...owner, set: owner.set.difference(FieldSet.of(path)) } : owner);
  }
  const path = pathIn({ apiVersion }, paths);
  if (path === undefined || path === 'none') return listEntries(owners);
  for (const [id, owner] of inScale) {
    const { time: _, ...entry } = owner.entry;
    if (owns(owner, REPLICAS_IN_SCALE))
      owners.set(id, { entry: { ...entry, apiVersion }, set: FieldSet.of(path) });
  }
  return listEntries(owners);
}
