/**
 * Strategic merge patch, driven by an ObjectSchema: lists merge by key, primitive lists as sets, with the directives $patch,
 * $deleteFromPrimitiveList/, $setElementOrder/ and $retainKeys. Semantics, order of results and messages follow upstream's
 * strategicpatch, and so do codes, except for 400 where upstream returns 500 for a client error.
 */
import { statusErrors, type StatusError } from '../errors.ts';
import {
  deepClone,
  deepEqual,
  getOwn,
  goValue,
  isJsonObject,
  MAXIMUM_DEPTH,
  setOwn,
  type JsonObject,
} from '../json.ts';
import type { ObjectSchema, ValueSchema } from '../schema.ts';
import { inapplicable, InapplicableError } from './json-patch.ts';

const DIRECTIVE = '$patch';
const RETAIN_KEYS = '$retainKeys';
const DELETE_FROM_LIST = '$deleteFromPrimitiveList';
const SET_ORDER = '$setElementOrder';

/** The merge strategy of a field and the schema of its contents. */
interface FieldMerge {
  readonly strategy: '' | 'merge' | 'replace';
  readonly mergeKey: string;
  readonly inner: ValueSchema | undefined;
}

/** Returns the patched object. Throws StatusError for an invalid patch. The original is not changed; executed directives are removed from the patch. */
export function applyStrategicMergePatch<T extends object>(
  schema: ObjectSchema,
  original: T,
  patch: JsonObject,
): T {
  const value: ValueSchema = { kind: 'object', type: () => schema };
  return mergeMap(deepClone(original) as JsonObject, patch, { schema: value, depth: 0 }) as T;
}

interface At {
  readonly schema: ValueSchema | undefined;
  readonly depth: number;
}

function badPatch(message: string): StatusError {
  return statusErrors.badRequest(message);
}

function missingMergeKey(item: unknown, key: string): StatusError {
  return badPatch(`map: ${goValue(item)} does not contain declared merge key: ${key}`);
}

function wrongType(expected: 'map' | 'list', actual: unknown): StatusError {
  const name = Array.isArray(actual)
    ? '[]interface {}'
    : isJsonObject(actual)
      ? 'map[string]interface {}'
      : actual === null
        ? '%!s(<nil>)'
        : typeof actual === 'number'
          ? 'int64'
          : typeof actual === 'boolean'
            ? 'bool'
            : 'string';
  return badPatch(
    `expected a ${expected === 'map' ? 'map[string]interface {}' : '[]interface {}'}, but received a ${name}`,
  );
}

function lookup(schema: ValueSchema | undefined, key: string): FieldMerge {
  const none: FieldMerge = { strategy: '', mergeKey: '', inner: undefined };
  if (schema?.kind === 'map') return { ...none, inner: schema.values };
  if (schema?.kind !== 'object') return none;
  const type = schema.type();
  const field = type.byName.get(key);
  if (!field) {
    if (type.open) return none;
    throw badPatch(
      `unable to find api field in struct ${type.name.slice(type.name.lastIndexOf('.') + 1)} for the json field ${JSON.stringify(key)}`,
    );
  }
  const strategy =
    field.patchStrategy?.find((each): each is 'merge' | 'replace' => each !== 'retainKeys') ?? '';
  return {
    strategy,
    mergeKey: field.patchMergeKey ?? '',
    inner: field.value.kind === 'list' ? field.value.items : field.value,
  };
}

/** Merges patch into original; both may be changed. */
function mergeMap(original: JsonObject, patch: JsonObject, at: At): JsonObject {
  if (at.depth > MAXIMUM_DEPTH) throw badPatch('exceeded max depth');
  const directive = getOwn(patch, DIRECTIVE);
  if (directive !== undefined) return handleDirective(directive, patch);
  applyRetainKeys(original, patch);
  applyElementOrders(original, patch, at);
  for (const key of Object.keys(patch)) mergeField(original, { key, value: getOwn(patch, key) }, at);
  return original;
}

function handleDirective(directive: unknown, patch: JsonObject): JsonObject {
  if (directive === 'delete') return {};
  if (directive !== 'replace')
    throw badPatch(`unknown patch type: ${goValue(directive)} in map: ${goValue(patch)}`);
  delete patch[DIRECTIVE];
  return patch;
}

/** Removes fields that are not in the list; the patch may not set others. */
function applyRetainKeys(original: JsonObject, patch: JsonObject): void {
  const list = getOwn(patch, RETAIN_KEYS);
  if (list === undefined) return;
  delete patch[RETAIN_KEYS];
  if (!Array.isArray(list)) throw badPatch('invalid patch format of retainKeys');
  const retained = new Set<unknown>(list);
  for (const key of Object.keys(patch)) {
    if (getOwn(patch, key) === null || key.startsWith(DELETE_FROM_LIST) || key.startsWith(SET_ORDER))
      continue;
    if (!retained.has(key)) throw badPatch('invalid patch format of retainKeys');
  }
  for (const key of Object.keys(original)) if (!retained.has(key)) delete original[key];
}

function mergeField(
  original: JsonObject,
  entry: { readonly key: string; readonly value: unknown },
  at: At,
): void {
  const { value } = entry;
  const isDeletion = entry.key.startsWith(DELETE_FROM_LIST);
  const key = isDeletion ? parallelKey(entry.key, DELETE_FROM_LIST) : entry.key;
  if (value === null) {
    delete original[key];
    return;
  }
  const current = getOwn(original, key);
  const bothMaps = isJsonObject(current) && isJsonObject(value);
  const bothLists = Array.isArray(current) && Array.isArray(value);
  if (bothMaps) {
    const { strategy, inner } = lookup(at.schema, key);
    setOwn(
      original,
      key,
      strategy === 'replace' ? value : mergeMap(current, value, { schema: inner, depth: at.depth + 1 }),
    );
  } else if (bothLists) {
    const merge = lookup(at.schema, key);
    setOwn(
      original,
      key,
      merge.strategy === 'merge' || isDeletion
        ? mergeList({ original: current, patch: value, isDeletion }, merge, at)
        : value,
    );
  } else if (!isDeletion) {
    if (
      current === undefined ||
      typeof current !== typeof value ||
      Array.isArray(current) !== Array.isArray(value)
    )
      dropNulls(value);
    const kept = withoutDirectives(value);
    if (kept === REMOVED) delete original[key];
    else setOwn(original, key, kept);
  }
}

/** The field of a directive like '$setElementOrder/containers'. */
function parallelKey(key: string, prefix: string): string {
  if (!key.startsWith(`${prefix}/`))
    throw badPatch(
      prefix === SET_ORDER
        ? 'invalid patch format of setElementOrder list'
        : 'invalid patch format of primitive list',
    );
  return key.slice(prefix.length + 1);
}

function dropNulls(value: unknown): void {
  if (Array.isArray(value)) {
    for (const item of value) dropNulls(item);
  } else if (isJsonObject(value)) {
    for (const key of Object.keys(value)) {
      const field = getOwn(value, key);
      if (field === null) delete value[key];
      else dropNulls(field);
    }
  }
}

const REMOVED = Symbol('removed');

/** The rest of a new value after everything with a $patch directive is removed. */
function withoutDirectives(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutDirectives).filter((item) => item !== REMOVED);
  if (!isJsonObject(value)) return value;
  if (Object.hasOwn(value, DIRECTIVE)) return REMOVED;
  for (const key of Object.keys(value)) {
    const kept = withoutDirectives(getOwn(value, key));
    if (kept === REMOVED) delete value[key];
    else setOwn(value, key, kept);
  }
  return value;
}

/** Merges lists that have a $setElementOrder, and sorts them by it. */
function applyElementOrders(original: JsonObject, patch: JsonObject, at: At): void {
  for (const orderKey of Object.keys(patch)) {
    if (!orderKey.startsWith(SET_ORDER)) continue;
    const order = getOwn(patch, orderKey);
    delete patch[orderKey];
    if (!Array.isArray(order)) throw wrongType('list', order);
    const key = parallelKey(orderKey, SET_ORDER);
    const before = listField(original, key);
    const changes = listField(patch, key);
    const merge = lookup(at.schema, key);
    checkPatchAgainstOrder(changes ?? [], order, merge.mergeKey);
    if (!before && !changes) continue;
    const serverOrder = [...(before ?? [])];
    const kind = elementKind(before ?? [], changes ?? []);
    const merged = !changes
      ? before!
      : !before
        ? (withoutDirectives(changes) as unknown[])
        : merge.strategy === 'merge'
          ? mergeList({ original: before, patch: changes, isDeletion: false }, merge, at)
          : changes;
    const { listed, others } = partition(merged, order, merge.mergeKey);
    setOwn(original, key, inOrder({ listed, others, order, serverOrder }, merge.mergeKey, kind));
    delete patch[key];
  }
}

function listField(object: JsonObject, key: string): unknown[] | undefined {
  const value = getOwn(object, key);
  if (value === undefined) return undefined;
  if (!Array.isArray(value)) throw wrongType('list', value);
  return value;
}

/** Items of the patch must be in the order of the $setElementOrder list, and all be in it. */
function checkPatchAgainstOrder(
  patch: readonly unknown[],
  order: readonly unknown[],
  mergeKey: string,
): void {
  if (patch.length === 0 || order.length === 0) return;
  const items = mergeKey === '' ? patch : patch.filter((item) => directiveOf(item) !== 'delete');
  let orderIndex = 0;
  let itemIndex = 0;
  while (itemIndex < items.length && orderIndex < order.length) {
    const item = items[itemIndex];
    if (directiveOf(item) !== undefined) {
      itemIndex++;
      continue;
    }
    if (identity(item, mergeKey) === identity(order[orderIndex], mergeKey)) itemIndex++;
    orderIndex++;
  }
  if (itemIndex < items.length && items.slice(itemIndex).some((item) => directiveOf(item) === undefined)) {
    throw badPatch(
      `The order in patch list:\n${goValue(patch)}\n doesn't match ${SET_ORDER} list:\n${goValue(order)}\n`,
    );
  }
}

function directiveOf(item: unknown): unknown {
  return isJsonObject(item) ? getOwn(item, DIRECTIVE) : undefined;
}

/** The identity of an item: the value of its merge key, or the primitive value. */
function identity(item: unknown, mergeKey: string): unknown {
  if (mergeKey === '') return item;
  if (!isJsonObject(item)) throw wrongType('map', item);
  const value = getOwn(item, mergeKey);
  if (value === undefined) throw missingMergeKey(item, mergeKey);
  return value;
}

interface ListMerge {
  readonly original: unknown[];
  readonly patch: unknown[];
  readonly isDeletion: boolean;
}

function mergeList(
  { original, patch, isDeletion }: ListMerge,
  { mergeKey, inner }: FieldMerge,
  at: At,
): unknown[] {
  if (original.length === 0 && patch.length === 0) return original;
  const kind = elementKind(original, patch);
  if (kind === 'primitive') {
    if (isDeletion) {
      const gone = new Set(patch);
      return original.filter((item) => !gone.has(item));
    }
    const { listed, others } = partition([...new Set([...original, ...patch])], patch, '');
    return inOrder({ listed, others, order: patch, serverOrder: original }, '', kind);
  }
  if (mergeKey === '')
    throw badPatch(
      `cannot merge lists without merge key for ${inner?.kind === 'object' ? inner.type().name : 'list'}`,
    );
  const prepared = applyItemDirectives(original, patch, mergeKey);
  const serverOrder = [...prepared.original];
  const merged = mergeItems(prepared, mergeKey, { schema: inner, depth: at.depth + 1 });
  const { listed, others } = partition(merged, prepared.patch, mergeKey);
  return inOrder({ listed, others, order: prepared.patch, serverOrder }, mergeKey, kind);
}

/** Executes `$patch: delete` and `$patch: replace` items. */
function applyItemDirectives(
  original: readonly unknown[],
  patch: readonly unknown[],
  mergeKey: string,
): { original: unknown[]; patch: unknown[] } {
  const plain: unknown[] = [];
  let kept = [...original];
  let replaceAll = false;
  for (const item of patch) {
    const directive = directiveOf(item);
    if (directive === undefined) {
      plain.push(item);
    } else if (directive === 'delete') {
      const gone = identity(item, mergeKey);
      kept = kept.filter((other) => !isJsonObject(other) || getOwn(other, mergeKey) !== gone);
    } else if (directive === 'replace') {
      replaceAll = true;
    } else if (directive === 'merge') {
      throw badPatch('merging lists cannot yet be specified in the patch');
    } else {
      throw badPatch(`unknown patch type: ${goValue(directive)} in map: ${goValue(item)}`);
    }
  }
  return replaceAll ? { original: plain, patch: [] } : { original: kept, patch: plain };
}

function mergeItems(
  { original, patch }: { readonly original: readonly unknown[]; readonly patch: readonly unknown[] },
  mergeKey: string,
  at: At,
): unknown[] {
  const merged = [...original];
  const positions = new Map<unknown, number>();
  for (const [index, item] of merged.entries()) {
    const key = isJsonObject(item) ? getOwn(item, mergeKey) : undefined;
    if (key !== undefined && !positions.has(key)) positions.set(key, index);
  }
  for (const item of patch) {
    const key = identity(item, mergeKey);
    const position = positions.get(key);
    if (position === undefined) {
      positions.set(key, merged.length);
      merged.push(item);
    } else {
      merged[position] = mergeMap(merged[position] as JsonObject, item as JsonObject, at);
    }
  }
  return merged;
}

function partition(
  list: readonly unknown[],
  by: readonly unknown[],
  mergeKey: string,
): { listed: unknown[]; others: unknown[] } {
  const identities = new Set(
    by.map((item) => (mergeKey === '' ? item : isJsonObject(item) ? getOwn(item, mergeKey) : undefined)),
  );
  const listed: unknown[] = [];
  const others: unknown[] = [];
  for (const item of list) (identities.has(identity(item, mergeKey)) ? listed : others).push(item);
  return { listed, others };
}

type ElementKind = 'map' | 'primitive';

/** All items must be of one type; lists of lists cannot be merged. */
function elementKind(...lists: (readonly unknown[])[]): ElementKind {
  let found: string | undefined;
  for (const item of lists.flat(1)) {
    const type = Array.isArray(item) ? 'list' : item === null ? 'null' : typeof item;
    if (type === 'list' && found === undefined)
      throw inapplicable(new InapplicableError('lists of lists are not supported'));
    if (type === 'null' || (found !== undefined && found !== type))
      throw badPatch(`list element types are not identical: ${goValue(lists)}`);
    found = type;
  }
  if (found === undefined) throw badPatch('no elements in any of the given slices');
  return found === 'object' ? 'map' : 'primitive';
}

interface Ordering {
  readonly listed: unknown[];
  readonly others: unknown[];
  readonly order: readonly unknown[];
  readonly serverOrder: readonly unknown[];
}

/** Listed items follow the patch's order, the others the server's; the two are interleaved by the server's order where it has both. */
function inOrder(
  { listed, others, order, serverOrder }: Ordering,
  mergeKey: string,
  kind: ElementKind,
): unknown[] {
  const keyOf = (item: unknown): unknown => (kind === 'map' ? identity(item, mergeKey) : item);
  const patchRank = ranks(order, keyOf);
  const serverRank = ranks(serverOrder, keyOf);
  const left = others.toSorted((a, b) => (serverRank.get(keyOf(a)) ?? -1) - (serverRank.get(keyOf(b)) ?? -1));
  const right = listed.toSorted((a, b) => (patchRank.get(keyOf(a)) ?? -1) - (patchRank.get(keyOf(b)) ?? -1));
  const result: unknown[] = [];
  let leftIndex = 0;
  let rightIndex = 0;
  while (leftIndex < left.length && rightIndex < right.length) {
    const leftRank = serverRank.get(keyOf(left[leftIndex]));
    const rightRank = serverRank.get(keyOf(right[rightIndex]));
    const takeLeft = leftRank !== undefined && rightRank !== undefined && leftRank < rightRank;
    result.push(takeLeft ? left[leftIndex++] : right[rightIndex++]);
  }
  return [...result, ...left.slice(leftIndex), ...right.slice(rightIndex)];
}

function ranks(list: readonly unknown[], keyOf: (item: unknown) => unknown): Map<unknown, number> {
  const found = new Map<unknown, number>();
  for (const [index, item] of list.entries()) {
    const key = keyOf(item);
    if (!found.has(key)) found.set(key, index);
  }
  return found;
}

/**
 * The patch that converts one object to another, as clients make it: merge lists by key with deletions and their
 * new order, everything else by difference.
 */
export function createStrategicMergePatch(schema: ObjectSchema, from: object, to: object): JsonObject {
  return diffMaps(from as JsonObject, to as JsonObject, { kind: 'object', type: () => schema });
}

function diffMaps(from: JsonObject, to: JsonObject, schema: ValueSchema | undefined): JsonObject {
  const patch: JsonObject = {};
  for (const key of Object.keys(from)) if (getOwn(to, key) === undefined) setOwn(patch, key, null);
  for (const key of Object.keys(to)) {
    const before = getOwn(from, key);
    const after = getOwn(to, key);
    if (after === undefined || deepEqual(before, after)) continue;
    const { strategy, mergeKey, inner } = lookup(schema, key);
    if (isJsonObject(before) && isJsonObject(after) && strategy !== 'replace') {
      setOwn(patch, key, diffMaps(before, after, inner));
    } else if (
      Array.isArray(before) &&
      Array.isArray(after) &&
      strategy === 'merge' &&
      before.length + after.length > 0
    ) {
      diffLists(patch, { key, before, after, mergeKey, inner });
    } else {
      setOwn(patch, key, deepClone(after));
    }
  }
  return patch;
}

interface ListDiff {
  readonly key: string;
  readonly before: readonly unknown[];
  readonly after: readonly unknown[];
  readonly mergeKey: string;
  readonly inner: ValueSchema | undefined;
}

function diffLists(patch: JsonObject, { key, before, after, mergeKey, inner }: ListDiff): void {
  if (mergeKey === '') {
    const added = after.filter((item) => !before.includes(item));
    const gone = before.filter((item) => !after.includes(item));
    if (added.length > 0) setOwn(patch, key, added);
    if (gone.length > 0) patch[`${DELETE_FROM_LIST}/${key}`] = gone;
    patch[`${SET_ORDER}/${key}`] = [...after];
    return;
  }
  const old = new Map(before.map((item) => [identity(item, mergeKey), item as JsonObject]));
  const fresh = new Set(after.map((item) => identity(item, mergeKey)));
  const changes: JsonObject[] = [];
  for (const item of after as JsonObject[]) {
    const previous = old.get(getOwn(item, mergeKey));
    const change = previous ? diffMaps(previous, item, inner) : deepClone(item);
    if (previous && Object.keys(change).length === 0) continue;
    changes.push({ ...change, [mergeKey]: getOwn(item, mergeKey) });
  }
  for (const gone of old.keys())
    if (!fresh.has(gone)) changes.push({ [DIRECTIVE]: 'delete', [mergeKey]: gone });
  if (changes.length > 0) setOwn(patch, key, changes);
  patch[`${SET_ORDER}/${key}`] = after.map((item) => ({ [mergeKey]: getOwn(item as JsonObject, mergeKey) }));
}
