/**
 * Field management: who set which field of an object, server-side apply and its conflicts, and what ordinary writes do to ownership.
 * Follows upstream's managedfields and structured-merge-diff for one version of a type: sets recorded under another version of the
 * same kind are taken as they are.
 */
import { StatusError, statusErrors } from '../errors.ts';
import { deepClone, jsonEqual, type JsonObject } from '../json.ts';
import type { KubeObject, ManagedFieldsEntry } from '../object.ts';
import type { ObjectSchema, ValueSchema } from '../schema.ts';
import { formatTime } from '../time.ts';
import { FieldSet, printPath, type Path } from './field-set.ts';
import { takenOver, withLastApplied } from './last-applied.ts';
import { blankOf, fieldsOfNew } from './new-fields.ts';
import { changesBetween, mergeValues, removeFields, toFieldSet, withNamedFields } from './typed.ts';
import { checkTypedPatch } from './typed-patch.ts';
import { UNMANAGED_PATHS } from './unmanaged.ts';

export interface WriteContext {
  readonly schema: ObjectSchema;
  readonly manager: string;
  /** 'apps/v1' */
  readonly apiVersion: string;
  /** 'status', 'scale', … */
  readonly subresource?: string;
  /** Fields this endpoint does not write ([['status']] for the main resource), which nobody comes to own through it. */
  readonly resetFields?: readonly (readonly string[])[];
  readonly nowMs: number;
}

export interface ApplyRequest extends WriteContext {
  /** undefined creates. */
  readonly live: KubeObject | undefined;
  /** As the client sent it, not defaulted and not pruned of empty values. */
  readonly config: KubeObject;
  readonly force: boolean;
}

interface Owner { readonly entry: ManagedFieldsEntry; readonly set: FieldSet }

/** Update managers beyond this are merged, the oldest first. */
const MAXIMUM_UPDATE_MANAGERS = 10;
const ANCIENT_MANAGER = 'ancient-changes';
const BEFORE_FIRST_APPLY = 'before-first-apply';

const UNMANAGED = FieldSet.of(...UNMANAGED_PATHS);

/**
 * The configuration applied to the live object: the new object, with its managedFields. The live object itself is returned when nothing
 * changes. Throws StatusError 409 with one cause a field when others own what it would change and force is not set.
 */
export function applyConfiguration(request: ApplyRequest): KubeObject {
  return withLastApplied(merged(request), request);
}

function merged(request: ApplyRequest): KubeObject {
  const { live, config, schema, force } = request;
  if (config.metadata?.managedFields !== undefined) throw statusErrors.badRequest('metadata.managedFields must be nil');
  checkTypedPatch(config, schema);
  const type: ValueSchema = { kind: 'object', type: () => schema };
  const before = withoutManagedFields(live ?? {});
  const owners = readOwners(live);
  if (live && owners.size === 0) addFirstOwner(owners, before, request);

  const me = identity({ ...entryOf(request, 'Apply') });
  const lastSet = owners.get(me)?.set;
  // While pruning, metadata.name counts as owned too, so that metadata is not taken for abandoned.
  const configuredAll = toFieldSet(config, type);
  const configured = managedPart(configuredAll, request.resetFields);
  owners.set(me, { entry: { ...entryOf(request, 'Apply'), time: formatTime(request.nowMs) }, set: configured });

  const merged = mergeValues(before, withoutManagedFields(config), type) as KubeObject;
  // Whoever applies all that it applied before has abandoned nothing: by far the most applies.
  const abandons = lastSet !== undefined && !lastSet.difference(configuredAll).isEmpty;
  const object = abandons ? pruneAbandoned(merged, { type, lastSet, owned: unionOf(owners).union(configuredAll) }) : merged;
  const { changed, removed } = changesBetween(before, object, type);
  const conflicts = [...owners].filter(([id]) => id !== me)
    .map(([id, owner]) => ({ id, owner, fields: owner.set.intersection(changed) })).filter(({ fields }) => !fields.isEmpty);
  if (conflicts.length > 0 && !force) refuseConflicts(conflicts, takenOver(before, { ...request, type }));
  for (const { id, owner, fields } of conflicts) owners.set(id, { ...owner, set: owner.set.difference(fields) });
  for (const [id, owner] of owners) if (id !== me) owners.set(id, { ...owner, set: owner.set.difference(removed) });

  const sameSet = lastSet !== undefined && lastSet.equals(configured);
  if (live && sameSet && changed.isEmpty && removed.isEmpty) return live;
  return withManagedFields(deepClone(object), writeOwners(owners));
}

export interface UpdateRequest extends WriteContext {
  readonly live: KubeObject | undefined;
  readonly next: KubeObject;
}

/**
 * The managedFields after an ordinary write (create, update, patch): the writer owns what it changed, the others lose it. A client that
 * sends an empty list, or one empty entry, forgets all owners.
 */
export function managedFieldsAfterUpdate(request: UpdateRequest): ManagedFieldsEntry[] {
  const { live, next, schema } = request;
  if (live && forgetsOwners(next)) return [];
  const type: ValueSchema = { kind: 'object', type: () => schema };
  // On create, structs that the type always has are there before anyone sets something in them.
  const before = live ? withoutManagedFields(live) : blankOf(schema);
  const changes = changesBetween(before, withoutManagedFields(next), type);
  const known = live?.metadata?.managedFields ?? [];
  const sent = next.metadata?.managedFields;
  const areOurs = live !== undefined && (sent === undefined || jsonEqual(sent, known));
  // The usual case: a small change, by someone the object knows, to sets that we wrote.
  return areOurs && known.length <= MAXIMUM_UPDATE_MANAGERS ? changedEntries(known, changes, request) : changedOwners(changes, request);
}

/** @internal As managedFieldsAfterUpdate, always by way of sets: what the quick way must come to. */
export function managedFieldsBySets(request: UpdateRequest): ManagedFieldsEntry[] {
  const { live, next, schema } = request;
  return changedOwners(changesBetween(withoutManagedFields(live ?? {}), withoutManagedFields(next), { kind: 'object', type: () => schema }), request);
}

interface Changes { readonly changed: FieldSet; readonly removed: FieldSet }

/** Entries that nothing happens to are answered as they are. */
function changedEntries(known: readonly ManagedFieldsEntry[], { changed, removed }: Changes, request: UpdateRequest): ManagedFieldsEntry[] {
  if (changed.isEmpty && removed.isEmpty) return known as ManagedFieldsEntry[];
  const entry = entryOf(request, 'Update');
  const me = identity(entry);
  const gone = changed.union(removed);
  const taken = managedPart(changed, request.resetFields);
  const entries: ManagedFieldsEntry[] = [];
  let mine: ManagedFieldsEntry | undefined;
  for (const owner of known) {
    const isMine = identity(owner) === me;
    if (isMine) mine = owner;
    else {
      const fields = (owner.fieldsV1 ?? {}) as JsonObject;
      const left = gone.takenFrom(fields);
      if (left && Object.keys(left).length > 0) entries.push(left === fields ? owner : { ...owner, fieldsV1: left });
    }
  }
  const fields = (mine?.fieldsV1 ?? {}) as JsonObject;
  const kept = removed.takenFrom(fields) ?? {};
  const owned = taken.addedTo(kept);
  if (Object.keys(owned).length > 0) entries.push(mine && owned === fields && taken.isEmpty ? mine : entryWith({ ...entry, time: formatTime(request.nowMs) }, owned));
  return sortedEntries(entries);
}

function changedOwners({ changed, removed }: Changes, request: UpdateRequest): ManagedFieldsEntry[] {
  const { live, next } = request;
  const owners = readOwners(next.metadata?.managedFields === undefined ? live : next);
  const gone = changed.union(removed);
  const entry = entryOf(request, 'Update');
  const me = identity(entry);
  for (const [id, owner] of owners) if (id !== me) owners.set(id, { ...owner, set: owner.set.difference(gone) });
  const mine = owners.get(me);
  const set = managedPart((mine?.set ?? FieldSet.empty()).difference(removed).union(changed), request.resetFields);
  const isSame = mine !== undefined && managedPart(changed, request.resetFields).isEmpty && mine.set.equals(set);
  owners.set(me, { entry: isSame ? mine.entry : { ...entry, time: formatTime(request.nowMs) }, set });
  return writeOwners(capped(owners));
}

/** Those of an object that is new, of which nobody owned anything: one entry, or none where there is nothing to own. */
export function managedFieldsOfNew(request: WriteContext & { readonly object: KubeObject }): ManagedFieldsEntry[] {
  const excluded = (request.resetFields ?? []).map(([name = '']) => name);
  const fields = fieldsOfNew(request.schema, request.object, excluded);
  return Object.keys(fields).length === 0 ? [] : [entryWith({ ...entryOf(request, 'Update'), time: formatTime(request.nowMs) }, fields)];
}

function forgetsOwners(next: KubeObject): boolean {
  const entries = next.metadata?.managedFields;
  return entries !== undefined && (entries.length === 0 || (entries.length === 1 && Object.keys(entries[0]!).length === 0));
}

function managedPart(set: FieldSet, resetFields: WriteContext['resetFields']): FieldSet {
  const reset = FieldSet.of(...(resetFields ?? []).map((path) => path.map((name) => `f:${name}`)));
  return set.difference(UNMANAGED).without(reset);
}

/** Takes out what the manager applied before and no longer does, unless another manager owns it. */
function pruneAbandoned(merged: KubeObject, { type, lastSet, owned }: { readonly type: ValueSchema; readonly lastSet: FieldSet; readonly owned: FieldSet }): KubeObject {
  const named = (set: FieldSet): FieldSet => withNamedFields(set, type);
  const fieldsOf = (value: unknown): FieldSet => (value === undefined ? FieldSet.empty() : named(toFieldSet(value, type)));
  const last = named(lastSet);
  const all = fieldsOf(merged);
  const stripped = removeFields(merged, last, type);
  const withOwned = removeFields(merged, all.difference(fieldsOf(stripped)).difference(named(owned)), type);
  const pruned = removeFields(merged, all.difference(fieldsOf(withOwned)).intersection(last), type);
  return (pruned ?? {}) as KubeObject;
}

function withoutManagedFields(object: KubeObject): KubeObject {
  if (object.metadata?.managedFields === undefined) return object;
  const { managedFields: _, ...metadata } = object.metadata;
  return { ...object, metadata };
}

function withManagedFields(object: KubeObject, managedFields: ManagedFieldsEntry[]): KubeObject {
  (object.metadata ??= {}).managedFields = managedFields;
  return object;
}

function entryOf({ manager, apiVersion, subresource }: WriteContext, operation: 'Apply' | 'Update'): ManagedFieldsEntry {
  return { manager, operation, apiVersion, ...(subresource ? { subresource } : {}) };
}

/** An applier is the same whatever version it applies in. */
function identity({ manager = '', operation = '', apiVersion = '', subresource = '' }: ManagedFieldsEntry): string {
  return JSON.stringify([manager, operation, operation === 'Apply' ? '' : apiVersion, subresource]);
}

function readOwners(object: KubeObject | undefined): Map<string, Owner> {
  const owners = new Map<string, Owner>();
  for (const { fieldsV1, fieldsType: _, ...entry } of object?.metadata?.managedFields ?? []) owners.set(identity(entry), { entry, set: FieldSet.fromFieldsV1(fieldsV1) });
  return owners;
}

/** An object that nobody managed when it is applied to first: what is there has some owner, so that conflicts are seen. */
function addFirstOwner(owners: Map<string, Owner>, live: KubeObject, request: ApplyRequest): void {
  const entry: ManagedFieldsEntry = { manager: BEFORE_FIRST_APPLY, operation: 'Update', apiVersion: request.apiVersion, time: formatTime(request.nowMs) };
  const set = managedPart(toFieldSet(live, { kind: 'object', type: () => request.schema }), request.resetFields);
  if (!set.isEmpty) owners.set(identity(entry), { entry, set });
}

function unionOf(owners: ReadonlyMap<string, Owner>): FieldSet {
  return [...owners.values()].reduce((all, { set }) => all.union(set), FieldSet.empty());
}

function capped(owners: Map<string, Owner>): Map<string, Owner> {
  const updaters = [...owners].filter(([, { entry, set }]) => entry.operation === 'Update' && !entry.subresource && !set.isEmpty)
    .toSorted(([, left], [, right]) => compareTexts(left.entry.time ?? '', right.entry.time ?? ''));
  const surplus = updaters.slice(0, Math.max(0, updaters.length - MAXIMUM_UPDATE_MANAGERS));
  if (surplus.length === 0) return owners;
  // One more goes, since the merged ones need a place too.
  const merging = updaters.slice(0, surplus.length + 1);
  for (const [id, { entry, set }] of merging) {
    owners.delete(id);
    const ancient: ManagedFieldsEntry = { ...entry, manager: ANCIENT_MANAGER };
    const known = owners.get(identity(ancient));
    owners.set(identity(ancient), { entry: ancient, set: known ? known.set.union(set) : set });
  }
  return owners;
}

function writeOwners(owners: ReadonlyMap<string, Owner>): ManagedFieldsEntry[] {
  return sortedEntries([...owners.values()].filter(({ set }) => !set.isEmpty).map(({ entry, set }) => entryWith(entry, set.toFieldsV1())));
}

function entryWith({ time, subresource, fieldsType: _, fieldsV1: __, ...rest }: ManagedFieldsEntry, fieldsV1: JsonObject): ManagedFieldsEntry {
  return { ...rest, ...(time ? { time } : {}), fieldsType: 'FieldsV1', fieldsV1, ...(subresource ? { subresource } : {}) };
}

function sortedEntries(entries: ManagedFieldsEntry[]): ManagedFieldsEntry[] {
  if (entries.length < 2) return entries;
  return entries.sort((left, right) => compareTexts(left.operation ?? '', right.operation ?? '') || compareTexts(left.time ?? '', right.time ?? '')
    || compareTexts(left.manager ?? '', right.manager ?? '') || compareTexts(left.apiVersion ?? '', right.apiVersion ?? '') || compareTexts(left.subresource ?? '', right.subresource ?? ''));
}

function compareTexts(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}

/** Unless all of them may be taken. */
function refuseConflicts(conflicts: readonly { readonly owner: Owner; readonly fields: FieldSet }[], mayTake: FieldSet): void {
  const disputed = conflicts.map(({ owner, fields }) => ({ entry: owner.entry, paths: fields.difference(mayTake).paths() })).filter(({ paths }) => paths.length > 0);
  if (disputed.length > 0) throw conflictError(disputed);
}

interface Conflict { readonly entry: ManagedFieldsEntry; readonly paths: readonly Path[] }

function conflictError(conflicts: readonly Conflict[]): StatusError {
  const sorted = conflicts.toSorted((left, right) => compareTexts(identity(left.entry), identity(right.entry)));
  const causes = sorted.flatMap(({ entry, paths }) => paths.map((path) => ({ reason: 'FieldManagerConflict', message: `conflict with ${printManager(entry)}`, field: printPath(path) })));
  const message = causes.length === 1
    ? `Apply failed with 1 conflict: ${causes[0]!.message}: ${causes[0]!.field}`
    : `Apply failed with ${causes.length} conflicts: ${sorted.map(({ entry, paths }) => `conflicts with ${printManager(entry)}:\n${paths.map((path) => `- ${printPath(path)}`).join('\n')}`).join('\n')}`;
  return new StatusError({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason: 'Conflict', details: { causes }, code: 409 });
}

function printManager({ manager = '', operation, apiVersion = '', subresource }: ManagedFieldsEntry): string {
  const name = JSON.stringify(manager) + (subresource ? ` with subresource ${JSON.stringify(subresource)}` : '');
  return operation === 'Update' ? `${name} using ${apiVersion}` : name;
}

/** True when two objects differ at most in who owns what and when. */
export function sameButForManagedFields(left: KubeObject, right: KubeObject): boolean {
  return jsonEqual(withoutManagedFields(left), withoutManagedFields(right));
}
