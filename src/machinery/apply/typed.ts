/**
 * Operations of server-side apply on typed values: the set of their fields, comparison, merge and
 * removal of fields. After structured-merge-diff. Arguments are not changed; results share parts with them.
 */
import { statusErrors } from '../errors.ts';
import { getOwn, isJsonObject, jsonEqual, setOwn, type JsonObject } from '../json.ts';
import type { ValueSchema } from '../schema.ts';
import { FieldSet, type Path } from './field-set.ts';

interface Comparison {
  readonly added: FieldSet;
  readonly modified: FieldSet;
  readonly removed: FieldSet;
}

/** How a value is merged: atomically, by its fields, by its map keys, or by its list items. */
type Shape =
  | { readonly kind: 'leaf' }
  | { readonly kind: 'fields'; readonly schema: ValueSchema | undefined }
  | { readonly kind: 'items'; readonly schema: ValueSchema & { readonly kind: 'list' } };

const LEAF: Shape = { kind: 'leaf' };

export function describeShape(value: unknown, schema: ValueSchema | undefined): Shape {
  if (Array.isArray(value))
    return schema?.kind === 'list' && schema.listType !== 'atomic' ? { kind: 'items', schema } : LEAF;
  if (!isJsonObject(value) || (schema?.kind === 'scalar' && !schema.deduced)) return LEAF;
  if (schema?.kind === 'object' && schema.type().atomic) return LEAF;
  return { kind: 'fields', schema };
}

/** Values of the type are atomic everywhere. */
export function isWhole(schema: ValueSchema): boolean {
  return (
    (schema.kind === 'list' && schema.listType === 'atomic') ||
    (schema.kind === 'object' && schema.type().atomic === true)
  );
}

interface FieldPlace {
  readonly schema: ValueSchema | undefined;
  readonly isNamed: boolean;
  readonly atomic: boolean;
  /** A list or map of a built-in type: null and absent are equal. */
  readonly isNullable?: boolean;
}

function fieldOf(schema: ValueSchema | undefined, name: string): FieldPlace {
  if (schema?.kind === 'map') return { schema: schema.values, isNamed: false, atomic: false };
  const field = schema?.kind === 'object' ? schema.type().byName.get(name) : undefined;
  const isNullable =
    field?.number !== undefined && (field.value.kind === 'list' || field.value.kind === 'map');
  return { schema: field?.value, isNamed: field !== undefined, atomic: field?.atomic === true, isNullable };
}

function childShape(value: unknown, place: FieldPlace): Shape {
  return place.atomic ? LEAF : describeShape(value, place.schema);
}

/** The identity of an item of a set or list-map. */
export function itemElement(item: unknown, list: ValueSchema & { readonly kind: 'list' }): string {
  if (list.listType === 'set') return `v:${JSON.stringify(item)}`;
  if (!isJsonObject(item))
    throw statusErrors.badRequest('associative list with keys may not have non-map elements');
  const keys: JsonObject = {};
  for (const key of sortedKeys(list)) {
    const value = getOwn(item, key) ?? keyDefault(list, key);
    if (value !== undefined) keys[key] = value;
  }
  if (Object.keys(keys).length === 0)
    throw statusErrors.badRequest(
      `associative list with keys has an element that omits all key fields ${JSON.stringify(list.mapKeys ?? [])} (and doesn't have default values for any key fields)`,
    );
  return `k:${JSON.stringify(keys)}`;
}

const sortedKeyLists = new WeakMap<readonly string[], readonly string[]>();

/** Map keys in the order of their path elements. */
function sortedKeys({ mapKeys = [] }: ValueSchema & { readonly kind: 'list' }): readonly string[] {
  let sorted = sortedKeyLists.get(mapKeys);
  if (!sorted) sortedKeyLists.set(mapKeys, (sorted = mapKeys.toSorted()));
  return sorted;
}

function keyDefault(list: ValueSchema & { readonly kind: 'list' }, key: string): unknown {
  const field = list.items.kind === 'object' ? list.items.type().byName.get(key) : undefined;
  return field?.default;
}

interface Item {
  readonly element: string;
  readonly value: unknown;
}

function itemsOf(list: readonly unknown[], schema: ValueSchema & { readonly kind: 'list' }): Item[] {
  return list.map((value) => ({ element: itemElement(value, schema), value }));
}

/** The fields that a configuration sets: all its leaves, items, map keys and empty maps. */
export function toFieldSet(value: unknown, schema: ValueSchema): FieldSet {
  const set = FieldSet.empty();
  collectFields({ value, shape: describeShape(value, schema), path: [] }, set);
  return set;
}

function collectFields(
  { value, shape, path }: { readonly value: unknown; readonly shape: Shape; readonly path: Path },
  set: FieldSet,
): void {
  if (shape.kind === 'leaf') {
    set.insert(path);
  } else if (shape.kind === 'items') {
    for (const item of itemsOf(value as unknown[], shape.schema)) {
      const itemPath = [...path, item.element];
      collectFields(
        { value: item.value, shape: describeShape(item.value, shape.schema.items), path: itemPath },
        set,
      );
      set.insert(itemPath);
    }
  } else {
    for (const [name, inner] of Object.entries(value as JsonObject)) {
      if (inner === undefined) continue;
      const place = fieldOf(shape.schema, name);
      const innerPath = [...path, `f:${name}`];
      collectFields({ value: inner, shape: childShape(inner, place), path: innerPath }, set);
      if (!place.isNamed || (isJsonObject(inner) && Object.keys(inner).length === 0)) set.insert(innerPath);
    }
  }
}

export function compareValues(before: unknown, after: unknown, schema: ValueSchema): Comparison {
  const comparison = { added: FieldSet.empty(), modified: FieldSet.empty(), removed: FieldSet.empty() };
  compareInto({ before, after, place: { schema, isNamed: true, atomic: false }, path: [] }, comparison);
  return comparison;
}

/** Added or modified fields in one set, and removed ones. */
export function changesBetween(
  before: unknown,
  after: unknown,
  schema: ValueSchema,
): { readonly changed: FieldSet; readonly removed: FieldSet } {
  const changed = FieldSet.empty();
  const removed = FieldSet.empty();
  compareInto(
    { before, after, place: { schema, isNamed: true, atomic: false }, path: [] },
    { added: changed, modified: changed, removed },
  );
  return { changed, removed };
}

/** path: of the current pair; changed while its parts are visited, and restored afterwards. */
interface Pair {
  readonly before: unknown;
  readonly after: unknown;
  readonly place: FieldPlace;
  readonly path: string[];
}

function compareInto({ before, after, place, path }: Pair, comparison: Comparison): void {
  if (before === undefined && after === undefined) return;
  if (place.isNullable && isNothing(before) && isNothing(after)) return;
  // null has the type of the other value.
  const left = isNothing(before) ? undefined : childShape(before, place);
  const right = isNothing(after) ? undefined : childShape(after, place);
  const shape = left ?? right ?? LEAF;
  const changesShape = left !== undefined && right !== undefined && left.kind !== right.kind;
  const isLeaf = shape.kind === 'leaf' || changesShape || (isBare(before) && isBare(after));
  if (before === undefined) comparison.added.insert(path);
  else if (after === undefined) comparison.removed.insert(path);
  else if (isLeaf && !jsonEqual(before, after)) comparison.modified.insert(path);
  if (isLeaf) return;
  if (shape.kind === 'items')
    compareItems(
      { before: (before as unknown[]) ?? [], after: (after as unknown[]) ?? [], schema: shape.schema, path },
      comparison,
    );
  else
    compareFields(
      {
        before: (before ?? {}) as JsonObject,
        after: (after ?? {}) as JsonObject,
        schema: shape.schema,
        path,
      },
      comparison,
    );
}

interface ListPair {
  readonly before: readonly unknown[];
  readonly after: readonly unknown[];
  readonly schema: ValueSchema & { readonly kind: 'list' };
  readonly path: string[];
}

function compareItems({ before, after, schema, path }: ListPair, comparison: Comparison): void {
  // Most lists are unchanged, which is detected without computing item identities.
  if (before.length === after.length && before.every((item, index) => jsonEqual(item, after[index]))) return;
  const others = new Map(itemsOf(after, schema).map((item) => [item.element, item.value]));
  const place = { schema: schema.items, isNamed: false, atomic: false };
  const visit = (element: string, pair: { readonly before: unknown; readonly after: unknown }): void => {
    path.push(element);
    compareInto({ ...pair, place, path }, comparison);
    path.pop();
  };
  const seen = new Set<string>();
  for (const { element, value } of itemsOf(before, schema)) {
    seen.add(element);
    visit(element, { before: value, after: others.get(element) });
  }
  for (const [element, value] of others)
    if (!seen.has(element)) visit(element, { before: undefined, after: value });
}

interface FieldsPair {
  readonly before: JsonObject;
  readonly after: JsonObject;
  readonly schema: ValueSchema | undefined;
  readonly path: string[];
}

function compareFields({ before, after, schema, path }: FieldsPair, comparison: Comparison): void {
  const visit = (name: string, next: unknown): void => {
    const previous = getOwn(before, name);
    if (previous === next && previous !== undefined) return;
    path.push(`f:${name}`);
    compareInto({ before: previous, after: next, place: fieldOf(schema, name), path }, comparison);
    path.pop();
  };
  for (const name of Object.keys(after)) visit(name, after[name]);
  for (const name of Object.keys(before)) if (!Object.hasOwn(after, name)) visit(name, undefined);
}

function isNothing(value: unknown): value is undefined | null {
  return value === undefined || value === null;
}

function isBare(value: unknown): boolean {
  return (
    value === undefined ||
    value === null ||
    (Array.isArray(value) ? value.length === 0 : typeof value === 'object' && Object.keys(value).length === 0)
  );
}

/**
 * Merges the configuration into the live value: leaves replace, maps and keyed lists merge. null is a value whose meaning depends on the type;
 * for a map or keyed list it is the empty one, which adds nothing.
 */
export function mergeValues(live: unknown, config: unknown, schema: ValueSchema): unknown {
  return merge(live, config, { schema, isNamed: true, atomic: false });
}

function merge(live: unknown, config: unknown, place: FieldPlace): unknown {
  if (config === undefined || (config === null && !isBare(live) && childShape(live, place).kind !== 'leaf'))
    return live;
  const shape = childShape(config, place);
  if (isNothing(live) || shape.kind === 'leaf' || childShape(live, place).kind !== shape.kind) return config;
  if (shape.kind === 'items')
    return mergeItems(
      itemsOf(live as unknown[], shape.schema),
      itemsOf(config as unknown[], shape.schema),
      shape.schema.items,
    );
  const merged: JsonObject = {};
  const left = live as JsonObject;
  const right = config as JsonObject;
  for (const name of new Set([...Object.keys(left), ...Object.keys(right)])) {
    const value = merge(getOwn(left, name), getOwn(right, name), fieldOf(shape.schema, name));
    if (value !== undefined) setOwn(merged, name, value);
  }
  return merged;
}

/**
 * The configuration's items keep their order; items that only the live list has keep their position relative to the shared ones.
 * When the two orders conflict, the configuration's wins.
 */
function mergeItems(live: readonly Item[], config: readonly Item[], schema: ValueSchema): unknown[] {
  const liveByElement = new Map(live.map((item) => [item.element, item.value]));
  const wanted = new Map(config.map((item) => [item.element, item.value]));
  const shared = config.map((item) => item.element).filter((element) => liveByElement.has(element));
  const place: FieldPlace = { schema, isNamed: false, atomic: false };
  const merged: unknown[] = [];
  const done = new Set<string>();
  let nextShared = 0;
  let liveIndex = 0;
  let configIndex = 0;
  const takeConfig = (): void => {
    const { element, value } = config[configIndex++]!;
    if (!done.has(element)) merged.push(merge(liveByElement.get(element), value, place));
    done.add(element);
    if (shared[nextShared] === element) nextShared++;
  };
  while (liveIndex < live.length || configIndex < config.length) {
    const atLive = live[liveIndex];
    if (atLive && !wanted.has(atLive.element)) {
      merged.push(atLive.value);
      liveIndex++;
    } else if (
      atLive &&
      (done.has(atLive.element) || (configIndex < config.length && shared[nextShared] !== atLive.element))
    ) {
      // It is placed by the configuration's order.
      liveIndex++;
    } else if (configIndex < config.length) {
      if (atLive && config[configIndex]!.element === atLive.element) liveIndex++;
      takeConfig();
    } else {
      liveIndex++;
    }
  }
  return merged;
}

/** The value without the fields of the set. A value that has lost all its parts stays, empty. */
export function removeFields(value: unknown, set: FieldSet, schema: ValueSchema): unknown {
  return remove(value, set, { schema, isNamed: true, atomic: false });
}

function remove(value: unknown, set: FieldSet, place: FieldPlace): unknown {
  const shape = childShape(value, place);
  if (shape.kind === 'leaf') return value;
  if (shape.kind === 'items') {
    const inner = { schema: shape.schema.items, isNamed: false, atomic: false };
    const kept = itemsOf(value as unknown[], shape.schema).flatMap(({ element, value: item }) => {
      if (set.has([element])) return [];
      const below = set.below(element);
      return [below.isEmpty ? item : remove(item, below, inner)];
    });
    return kept;
  }
  const kept: JsonObject = {};
  for (const [name, inner] of Object.entries(value as JsonObject)) {
    const element = `f:${name}`;
    if (set.has([element])) continue;
    const below = set.below(element);
    setOwn(kept, name, below.isEmpty ? inner : remove(inner, below, fieldOf(shape.schema, name)));
  }
  return kept;
}

/** Adds struct fields that have members below them: owning a part of a struct includes its existence. */
export function withNamedFields(set: FieldSet, schema: ValueSchema): FieldSet {
  const named = FieldSet.empty();
  addNamed(set, { schema, path: [] }, named);
  return set.union(named);
}

function addNamed(
  set: FieldSet,
  { schema, path }: { readonly schema: ValueSchema | undefined; readonly path: Path },
  result: FieldSet,
): void {
  for (const element of set.elements()) {
    const below = set.below(element);
    const hasChildren = below.elements().length > 0;
    if (!hasChildren) continue;
    const inner = [...path, element];
    if (!element.startsWith('f:')) {
      addNamed(below, { schema: schema?.kind === 'list' ? schema.items : undefined, path: inner }, result);
      continue;
    }
    const place = fieldOf(schema, element.slice(2));
    if (place.isNamed) result.insert(inner);
    addNamed(below, { schema: place.schema, path: inner }, result);
  }
}
