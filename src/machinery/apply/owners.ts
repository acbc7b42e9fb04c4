/**
 * Converts managedFields entries to sets and back: identity of managers, their maximum number and
 * order. After upstream's managedfields package.
 */
import type { JsonObject } from '../json.ts';
import type { ManagedFieldsEntry } from '../object.ts';
import { FieldSet } from './field-set.ts';

export interface Owner {
  readonly entry: ManagedFieldsEntry;
  readonly set: FieldSet;
}

/** By identity. */
export type Owners = Map<string, Owner>;

/** Beyond this number, the oldest update managers are merged. */
export const MAXIMUM_UPDATE_MANAGERS = 10;
const ANCIENT_MANAGER = 'ancient-changes';

/** The identity of an applier does not include its version. */
export function identityOf({
  manager = '',
  operation = '',
  apiVersion = '',
  subresource = '',
}: ManagedFieldsEntry): string {
  return JSON.stringify([manager, operation, operation === 'Apply' ? '' : apiVersion, subresource]);
}

/** For entries that this server wrote. */
export function ownersOf(entries: readonly ManagedFieldsEntry[] | undefined): Owners {
  const owners: Owners = new Map();
  for (const { fieldsV1, fieldsType: _, ...entry } of entries ?? [])
    owners.set(identityOf(entry), { entry, set: FieldSet.fromFieldsV1(fieldsV1) });
  return owners;
}

/** For entries that a client sent: undefined when any of them is invalid. */
export function parseOwners(entries: readonly ManagedFieldsEntry[]): Owners | undefined {
  const owners: Owners = new Map();
  for (const { fieldsV1, fieldsType, ...entry } of entries) {
    const set = FieldSet.parse(fieldsV1 ?? {});
    if (
      !set ||
      (entry.operation !== 'Apply' && entry.operation !== 'Update') ||
      !entry.apiVersion ||
      fieldsType !== 'FieldsV1'
    )
      return undefined;
    owners.set(identityOf(entry), { entry, set });
  }
  return owners;
}

export function listEntries(owners: Owners): ManagedFieldsEntry[] {
  return sortedEntries(
    [...owners.values()]
      .filter(({ set }) => !set.isEmpty)
      .map(({ entry, set }) => entryWith(entry, set.toFieldsV1())),
  );
}

export function entryWith(
  { time, subresource, fieldsType: _, fieldsV1: __, ...rest }: ManagedFieldsEntry,
  fieldsV1: JsonObject,
): ManagedFieldsEntry {
  return {
    ...rest,
    ...(time ? { time } : {}),
    fieldsType: 'FieldsV1',
    fieldsV1,
    ...(subresource ? { subresource } : {}),
  };
}

/** In place. */
export function sortedEntries(entries: ManagedFieldsEntry[]): ManagedFieldsEntry[] {
  if (entries.length < 2) return entries;
  return entries.sort(
    (left, right) =>
      compareTexts(left.operation ?? '', right.operation ?? '') ||
      compareTexts(left.time ?? '', right.time ?? '') ||
      compareTexts(left.manager ?? '', right.manager ?? '') ||
      compareTexts(left.apiVersion ?? '', right.apiVersion ?? '') ||
      compareTexts(left.subresource ?? '', right.subresource ?? ''),
  );
}

export function compareTexts(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}

/** Removes managers without fields, and limits updaters: the oldest of one version are merged, with the newest time of them. */
export function capped(owners: Owners): Owners {
  for (const [id, { set }] of owners) if (set.isEmpty) owners.delete(id);
  const updaters = [...owners]
    .filter(([, { entry }]) => entry.operation === 'Update')
    .toSorted(
      ([leftId, left], [rightId, right]) =>
        compareTexts(left.entry.time ?? '', right.entry.time ?? '') || compareTexts(leftId, rightId),
    );
  let surplus = updaters.length - MAXIMUM_UPDATE_MANAGERS;
  const oldestByVersion = new Map<string, string>();
  for (const [id, { entry, set }] of updaters) {
    if (surplus <= 0) break;
    const { apiVersion = '', time } = entry;
    const oldest = oldestByVersion.get(apiVersion);
    if (oldest === undefined) {
      oldestByVersion.set(apiVersion, id);
      continue;
    }
    const bucket: ManagedFieldsEntry = {
      manager: ANCIENT_MANAGER,
      operation: 'Update',
      apiVersion,
      ...(time ? { time } : {}),
    };
    const bucketId = identityOf(bucket);
    const known = owners.get(bucketId) ?? owners.get(oldest)!;
    if (!owners.has(bucketId)) owners.delete(oldest);
    owners.delete(id);
    owners.set(bucketId, { entry: bucket, set: set.union(known.set) });
    surplus--;
  }
  return owners;
}
