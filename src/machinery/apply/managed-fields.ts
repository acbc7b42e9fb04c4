/**
 * Updates the ownership of fields (metadata.managedFields) for ordinary writes: the writer owns what it changed, other managers lose it. Each
 * manager's fields are compared in the version that it wrote in. Follows upstream's managedfields and structured-merge-diff; server-side apply
 * is apply-configuration.ts.
 */
import { jsonEqual, type JsonObject } from '../json.ts';
import type { KubeObject, ManagedFieldsEntry } from '../object.ts';
import type { ObjectSchema } from '../schema.ts';
import { formatTime } from '../time.ts';
import { FieldSet } from './field-set.ts';
import {
  changesByVersion,
  writtenChanges,
  type Changes,
  type Difference,
  type KindVersions,
} from './kind-versions.ts';
import { fieldsOfNew } from './new-fields.ts';
import {
  capped,
  listEntries,
  entryWith,
  identityOf,
  MAXIMUM_UPDATE_MANAGERS,
  ownersOf,
  parseOwners,
  sortedEntries,
  type Owners,
} from './owners.ts';
import { reconciledFields } from './reconcile.ts';
import { UNMANAGED_PATHS } from './unmanaged.ts';
import { unwrittenNames, type WrittenFields } from './written-fields.ts';

export interface WriteContext {
  /** The converter for apiVersion, the version of all objects in the request. */
  readonly schema: ObjectSchema;
  readonly manager: string;
  /** 'apps/v1' */
  readonly apiVersion: string;
  /** 'status', 'scale', … */
  readonly subresource?: string;
  /** Default: all. */
  readonly written?: WrittenFields | undefined;
  /** The kind's other versions. Undefined: it has none. */
  readonly versions?: KindVersions | undefined;
  readonly nowMs: number;
  /** Whether messages must not contain values of its objects. */
  readonly confidential?: boolean;
}

export interface UpdateRequest extends WriteContext {
  /** undefined: the object is created. */
  readonly live: KubeObject | undefined;
  /** As sent by the client, with defaults: changes by the server itself have no owner. */
  readonly next: KubeObject;
  /** The type's schema may differ from the one under which the entries were written. */
  readonly schemaChanges?: boolean;
}

const UNMANAGED = FieldSet.of(...UNMANAGED_PATHS);

export function createEntry(
  { manager, apiVersion, subresource }: WriteContext,
  operation: 'Apply' | 'Update',
): ManagedFieldsEntry {
  return { manager, operation, apiVersion, ...(subresource ? { subresource } : {}) };
}

/** The subset of a set that can be owned. */
export function ownablePart(set: FieldSet): FieldSet {
  return set.difference(UNMANAGED);
}

/**
 * The managedFields after a create, update or patch. A client that sends an empty list, or one empty entry, clears all owners; an
 * object without owners stays so until it is applied. A promise when managers wrote in other versions.
 */
export function managedFieldsAfterUpdate(
  request: UpdateRequest,
): ManagedFieldsEntry[] | Promise<ManagedFieldsEntry[]> {
  const { live, schema, written } = request;
  const base = baseOf(request);
  if (live && (base === 'none' || base.entries.length === 0)) return [];
  const difference = {
    before: live && withoutManagedFields(live),
    after: withoutManagedFields(request.next),
  };
  const changes = writtenChanges(difference, schema, written);
  if (base !== 'none' && base.isOurs && isSimple(base.entries, request))
    return changedEntries(base.entries, changes, request);
  return changedOwners(base === 'none' ? new Map() : ownersUnder(base.entries, request), {
    difference,
    changes,
    request,
  });
}

/** @internal As managedFieldsAfterUpdate, always by way of sets: the reference for the fast path. */
export async function managedFieldsBySets(request: UpdateRequest): Promise<ManagedFieldsEntry[]> {
  const { live, next, schema, written } = request;
  const difference = { before: live && withoutManagedFields(live), after: withoutManagedFields(next) };
  return changedOwners(ownersOf(live?.metadata?.managedFields), {
    difference,
    changes: writtenChanges(difference, schema, written),
    request,
  });
}

/** isOurs: as this server wrote them. */
interface Base {
  readonly entries: readonly ManagedFieldsEntry[];
  readonly isOurs: boolean;
}

/** The initial managers of the write: those in the client's object, or the stored ones when these are invalid. A subresource cannot change them. */
function baseOf({ live, next, subresource }: UpdateRequest): Base | 'none' {
  const known = { entries: live?.metadata?.managedFields ?? [], isOurs: true };
  const sent = subresource ? undefined : next.metadata?.managedFields;
  if (sent === undefined || (live && jsonEqual(sent, known.entries))) return known;
  if (forgetsOwners(sent)) return 'none';
  return parseOwners(sent) ? { entries: sent, isOurs: false } : known;
}

function forgetsOwners(entries: readonly ManagedFieldsEntry[]): boolean {
  return entries.length === 0 || (entries.length === 1 && Object.keys(entries[0]!).length === 0);
}

/** The common case: no manager wrote in another version or under another schema, and there is room for one more. */
function isSimple(
  entries: readonly ManagedFieldsEntry[],
  { live, apiVersion, schema, schemaChanges }: UpdateRequest,
): boolean {
  return (
    live !== undefined &&
    entries.length < MAXIMUM_UPDATE_MANAGERS &&
    entries.every(
      (entry) =>
        entry.apiVersion === apiVersion &&
        (!schemaChanges || reconciledFields((entry.fieldsV1 as JsonObject) ?? {}, schema) === entry.fieldsV1),
    )
  );
}

/** Unchanged entries are returned as they are. */
function changedEntries(
  known: readonly ManagedFieldsEntry[],
  { changed, removed }: Changes,
  request: UpdateRequest,
): ManagedFieldsEntry[] {
  if (changed.isEmpty && removed.isEmpty) return known as ManagedFieldsEntry[];
  const entry = createEntry(request, 'Update');
  const me = identityOf(entry);
  const gone = changed.union(removed);
  const taken = ownablePart(changed);
  const entries: ManagedFieldsEntry[] = [];
  let mine: JsonObject = {};
  for (const owner of known) {
    const fields = (owner.fieldsV1 ?? {}) as JsonObject;
    const left = gone.takenFrom(fields) ?? {};
    if (!taken.isEmpty && identityOf(owner) === me) mine = left;
    else if (Object.keys(left).length > 0)
      entries.push(left === fields ? owner : { ...owner, fieldsV1: left });
  }
  if (!taken.isEmpty)
    entries.push(entryWith({ ...entry, time: formatTime(request.nowMs) }, taken.addedTo(mine)));
  return sortedEntries(entries);
}

interface SlowUpdate {
  readonly difference: Difference;
  readonly changes: Changes;
  readonly request: UpdateRequest;
}

async function changedOwners(
  owners: Owners,
  { difference, changes, request }: SlowUpdate,
): Promise<ManagedFieldsEntry[]> {
  const { apiVersion, versions, written } = request;
  const changesOf = changesByVersion(difference, {
    versions,
    written,
    known: new Map([[apiVersion, changes]]),
  });
  const left: Owners = new Map();
  for (const [id, owner] of owners) {
    const seen = await changesOf(owner.entry.apiVersion ?? '');
    if (seen) left.set(id, { ...owner, set: owner.set.difference(seen.changed).difference(seen.removed) });
  }
  const taken = ownablePart(changes.changed);
  if (!taken.isEmpty) {
    const entry = createEntry(request, 'Update');
    const me = identityOf(entry);
    left.set(me, {
      entry: { ...entry, time: formatTime(request.nowMs) },
      set: (left.get(me)?.set ?? FieldSet.empty()).union(taken),
    });
  }
  return listEntries(capped(left));
}

/** The managers in the entries, with their fields under the current schemas. Managers of removed versions are dropped. */
export function ownersUnder(
  entries: readonly ManagedFieldsEntry[],
  { apiVersion, schema, versions }: Pick<WriteContext, 'apiVersion' | 'schema' | 'versions'>,
): Owners {
  const owners = parseOwners(entries) ?? ownersOf(entries);
  for (const [id, owner] of owners) {
    const theirs =
      owner.entry.apiVersion === apiVersion ? schema : versions?.schemaOf(owner.entry.apiVersion ?? '');
    if (!theirs) {
      owners.delete(id);
      continue;
    }
    const fields = owner.set.toFieldsV1();
    const today = reconciledFields(fields, theirs);
    if (today !== fields) owners.set(id, { ...owner, set: FieldSet.fromFieldsV1(today) });
  }
  return owners;
}

/** The managers of a new object: one entry, or none when there is nothing to own. */
export function managedFieldsOfNew(
  request: WriteContext & { readonly object: KubeObject },
): ManagedFieldsEntry[] {
  const fields = fieldsOfNew(request.schema, request.object, unwrittenNames(request.written));
  return Object.keys(fields).length === 0
    ? []
    : [entryWith({ ...createEntry(request, 'Update'), time: formatTime(request.nowMs) }, fields)];
}

export function withoutManagedFields(object: KubeObject): KubeObject {
  if (object.metadata?.managedFields === undefined) return object;
  const { managedFields: _, ...metadata } = object.metadata;
  return { ...object, metadata };
}

/** Whether two objects differ at most in the times of managers. */
export function sameButForTimes(left: KubeObject, right: KubeObject): boolean {
  return (
    jsonEqual(timeless(left), timeless(right)) &&
    jsonEqual(withoutManagedFields(left), withoutManagedFields(right))
  );
}

function timeless({ metadata }: KubeObject): unknown {
  return (metadata?.managedFields ?? []).map(({ time: _, ...entry }) => entry);
}
