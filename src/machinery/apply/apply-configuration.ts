/**
 * Server-side apply: merges a configuration into the live object, removes fields that its manager no longer applies, and rejects conflicts with
 * other managers. After structured-merge-diff's Updater, including managers that wrote in other versions of the kind.
 */
import { Turn } from '#stdx/turn.ts';
import { statusErrors } from '../errors.ts';
import { deepClone, jsonEqual } from '../json.ts';
import type { KubeObject, ManagedFieldsEntry } from '../object.ts';
import type { ValueSchema } from '../schema.ts';
import { formatTime } from '../time.ts';
import { conflictError, type Conflict } from './conflicts.ts';
import { FieldSet } from './field-set.ts';
import { changesByVersion, typeOf, writtenChanges } from './kind-versions.ts';
import { takenOver, withLastApplied } from './last-applied.ts';
import {
  createEntry,
  ownablePart,
  ownersUnder,
  withoutManagedFields,
  type WriteContext,
} from './managed-fields.ts';
import { blankValue } from './new-fields.ts';
import { listEntries, identityOf, type Owner, type Owners } from './owners.ts';
import { changesBetween, mergeValues, removeFields, toFieldSet, withNamedFields } from './typed.ts';
import { checkTypedPatch } from './typed-patch.ts';
import { writtenPart } from './written-fields.ts';

interface ApplyRequest extends WriteContext {
  /** undefined: create. */
  readonly live: KubeObject | undefined;
  /** As sent by the client, without defaulting and pruning of empty values. */
  readonly config: KubeObject;
  readonly force: boolean;
}

const BEFORE_FIRST_APPLY = 'before-first-apply';

/**
 * Applies the configuration to the live object and returns the new object, with its managedFields, or the live object itself when nothing
 * changes. Rejects with StatusError 409 with one cause per field when others own a field that it would change and force is not set.
 */
export async function applyConfiguration(request: ApplyRequest): Promise<KubeObject> {
  return withLastApplied(await merged(request), request);
}

async function merged(request: ApplyRequest): Promise<KubeObject> {
  const { live, config, schema, written, force, apiVersion, versions } = request;
  if (config.metadata?.managedFields !== undefined)
    throw statusErrors.badRequest('metadata.managedFields must be nil');
  const turn = new Turn();
  checkTypedPatch(config, schema, request);
  if (turn.isLong) await turn.pause();
  const type = typeOf(schema);
  const before = withoutManagedFields(live ?? {});
  const owners = ownersUnder(live?.metadata?.managedFields ?? [], request);
  if (live && owners.size === 0) addFirstOwner(owners, before, request);

  const entry = createEntry(request, 'Apply');
  const me = identityOf(entry);
  const last = owners.get(me);
  // While pruning, metadata.name counts as owned too, so that metadata does not count as abandoned.
  const configured = writtenPart(toFieldSet(config, type), written);
  owners.set(me, { entry, set: configured });
  if (turn.isLong) await turn.pause();
  const object = await withoutAbandoned(
    mergeValues(before, withoutManagedFields(config), type) as KubeObject,
    { last, owners, request },
  );
  const isSame = live !== undefined && jsonEqual(before, object);
  if (turn.isLong) await turn.pause();

  const changes = writtenChanges({ before, after: object }, schema, written);
  const changesOf = changesByVersion(
    { before, after: object },
    { versions, written, known: new Map([[apiVersion, changes]]) },
  );
  if (turn.isLong) await turn.pause();
  const conflicts: Conflict[] = [];
  for (const [id, owner] of owners) {
    if (id === me) continue;
    const seen = await changesOf(owner.entry.apiVersion ?? '');
    if (!seen) {
      owners.delete(id);
      continue;
    }
    const fields = owner.set.intersection(seen.changed);
    if (!fields.isEmpty) conflicts.push({ entry: owner.entry, fields });
    owners.set(id, { ...owner, set: owner.set.difference(fields).difference(seen.removed) });
  }
  if (conflicts.length > 0 && !force) refuseConflicts(conflicts, takenOver(before, { ...request, type }));
  if (turn.isLong) await turn.pause();
  const time = isSame ? last?.entry.time : formatTime(request.nowMs);
  owners.set(me, { entry: { ...entry, ...(time ? { time } : {}) }, set: ownablePart(configured) });
  const managedFields = listEntries(owners);
  if (turn.isLong) await turn.pause();
  if (isSame && jsonEqual(managedFields, live.metadata?.managedFields ?? [])) return live;
  return withManagedFields(deepClone(object), managedFields);
}

/** On the first apply to an object without managers, existing fields get an owner, so that conflicts are detected. */
function addFirstOwner(owners: Owners, live: KubeObject, request: ApplyRequest): void {
  const entry: ManagedFieldsEntry = {
    ...createEntry({ ...request, manager: BEFORE_FIRST_APPLY }, 'Update'),
    time: formatTime(request.nowMs),
  };
  const set = ownablePart(
    writtenPart(
      changesBetween(blankValue(request.schema), live, typeOf(request.schema)).changed,
      request.written,
    ),
  );
  if (!set.isEmpty) owners.set(identityOf(entry), { entry, set });
}

interface Pruning {
  readonly last: Owner | undefined;
  readonly owners: Owners;
  readonly request: ApplyRequest;
}

/**
 * Removes fields that the manager applied before and no longer applies, unless another manager owns them. Each manager's fields are compared in the
 * version in which it wrote last.
 */
async function withoutAbandoned(object: KubeObject, { last, owners, request }: Pruning): Promise<KubeObject> {
  const { apiVersion, versions } = request;
  if (!last || last.set.isEmpty) return object;
  const lastVersion = last.entry.apiVersion ?? '';
  // A manager that applies all of its earlier fields has abandoned nothing: the most common case.
  if (lastVersion === apiVersion && last.set.difference(owners.get(identityOf(last.entry))!.set).isEmpty)
    return object;
  const convert = async (from: KubeObject, to: string): Promise<KubeObject> =>
    from.apiVersion === to || !versions ? from : versions.convert(from, to);
  const typeIn = (version: string): ValueSchema =>
    typeOf(version === apiVersion ? request.schema : versions!.schemaOf(version)!);
  const kept = new Map<string, FieldSet>([[lastVersion, FieldSet.empty()]]);
  for (const {
    entry: { apiVersion: version = '' },
    set,
  } of owners.values())
    kept.set(version, (kept.get(version) ?? FieldSet.empty()).union(set));

  const merged = await convert(object, lastVersion);
  const type = typeIn(lastVersion);
  let pruned = removed(merged, withNamedFields(last.set, type), type);
  // In the last version first, to restore fields that conversions need.
  for (const [version, owned] of kept)
    pruned = withOwned(await convert(merged, version), await convert(pruned, version), {
      owned,
      type: typeIn(version),
    });
  pruned = withDangling(merged, await convert(pruned, lastVersion), { last: last.set, type });
  return convert(pruned, apiVersion);
}

/** Restores removed fields that are owned. */
function withOwned(
  merged: KubeObject,
  pruned: KubeObject,
  { owned, type }: { readonly owned: FieldSet; readonly type: ValueSchema },
): KubeObject {
  return removed(
    merged,
    fieldsOf(merged, type).difference(fieldsOf(pruned, type)).difference(withNamedFields(owned, type)),
    type,
  );
}

/** Removes only fields that the manager itself applied. */
function withDangling(
  merged: KubeObject,
  pruned: KubeObject,
  { last, type }: { readonly last: FieldSet; readonly type: ValueSchema },
): KubeObject {
  return removed(
    merged,
    fieldsOf(merged, type).difference(fieldsOf(pruned, type)).intersection(withNamedFields(last, type)),
    type,
  );
}

function fieldsOf(object: KubeObject, type: ValueSchema): FieldSet {
  return withNamedFields(toFieldSet(object, type), type);
}

function removed(object: KubeObject, set: FieldSet, type: ValueSchema): KubeObject {
  return removeFields(object, set, type) as KubeObject;
}

function withManagedFields(object: KubeObject, managedFields: ManagedFieldsEntry[]): KubeObject {
  const metadata = (object.metadata ??= {});
  if (managedFields.length > 0) metadata.managedFields = managedFields;
  else delete metadata.managedFields;
  return object;
}

/** Unless force is set. */
function refuseConflicts(conflicts: readonly Conflict[], mayTake: FieldSet): void {
  const disputed = conflicts
    .map(({ entry, fields }) => ({ entry, fields: fields.difference(mayTake) }))
    .filter(({ fields }) => !fields.isEmpty);
  if (disputed.length > 0) throw conflictError(disputed);
}
