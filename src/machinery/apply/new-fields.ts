/**
 * The fields that the creator of an object owns, computed directly from the object: the same result as comparing it with nothing
 * (managed-fields.ts), without building sets. Every create needs it, so it is a single pass.
 */
import { decodeObject } from '../decode.ts';
import { getOwn, isJsonObject, jsonEqual, setOwn, type JsonObject } from '../json.ts';
import type { ObjectSchema, ValueSchema } from '../schema.ts';
import { isUnmanaged } from './unmanaged.ts';
import { itemElement, describeShape } from './typed.ts';

interface Plan {
  readonly name: string;
  readonly element: string;
  readonly value: ValueSchema;
  readonly atomic: boolean;
  /** Of a built-in type: null is a list or map that was not set. */
  readonly isTyped: boolean;
}

/** In the order of FieldsV1. */
const plans = new WeakMap<ObjectSchema, readonly Plan[]>();
/** Fields that an object of the type has before any is set: structs that are always present, zero values and empty lists that are always written. */
const blanks = new WeakMap<ObjectSchema, JsonObject>();

function plansOf(schema: ObjectSchema): readonly Plan[] {
  let known = plans.get(schema);
  if (!known) {
    known = schema.fields
      .map(({ name, value, atomic, number }) => ({
        name,
        element: `f:${name}`,
        value,
        atomic: atomic === true,
        isTyped: number !== undefined,
      }))
      .toSorted((left, right) => (left.element < right.element ? -1 : 1));
    plans.set(schema, known);
  }
  return known;
}

/** Shared: do not change it. */
export function blankValue(schema: ObjectSchema): JsonObject {
  let known = blanks.get(schema);
  if (!known) {
    known = schema.startsEmpty ? {} : (decodeObject(schema, {}, 'ignore').object as JsonObject);
    addRequiredLists(known, schema);
    blanks.set(schema, known);
  }
  return known;
}

/**
 * Lists and maps that a built-in type always has are written as null when empty: they exist before they are set. Defaulted fields do
 * not.
 */
function addRequiredLists(blank: JsonObject, schema: ObjectSchema): void {
  for (const { name, value, required, number, zero, default: fallback } of schema.fields) {
    const inner = blank[name];
    if (number === undefined || zero === 'omitted') continue;
    if (value.kind === 'object' && isJsonObject(inner)) addRequiredLists(inner, value.type());
    else if (inner === undefined && required && value.kind === 'list') blank[name] = [];
    else if (inner === undefined && required && value.kind === 'map') blank[name] = {};
    else if (value.kind === 'scalar' && fallback && inner === fallback) delete blank[name];
  }
}

/**
 * FieldsV1 of a new object. excluded: top-level fields that the endpoint does not write ('status').
 * Throws StatusError 400 for list items without their keys.
 */
export function fieldsOfNew(
  schema: ObjectSchema,
  object: object,
  excluded: readonly string[] = [],
): JsonObject {
  const given = object as JsonObject;
  const fields: JsonObject = {};
  const blank = blankValue(schema);
  for (const plan of plansOf(schema)) {
    const { name, element, value } = plan;
    const inner = given[name];
    if (inner === undefined || excluded.includes(name) || isUnmanaged(name)) continue;
    const found =
      name === 'metadata' && value.kind === 'object'
        ? metadataFields(inner as JsonObject, value.type(), blank[name])
        : compared(inner, blank[name], plan);
    if (found) fields[element] = found;
  }
  if (schema.open === true) addUnknown(given, { schema, fields, excluded });
  return fields;
}

function metadataFields(metadata: JsonObject, schema: ObjectSchema, blank: unknown): JsonObject | undefined {
  const fields: JsonObject = {};
  let any = false;
  for (const plan of plansOf(schema)) {
    const { name, element } = plan;
    const inner = metadata[name];
    if (inner === undefined || isUnmanaged('metadata', name)) continue;
    const found = compared(inner, isJsonObject(blank) ? blank[name] : undefined, plan);
    if (!found) continue;
    fields[element] = found;
    any = true;
  }
  return any ? fields : undefined;
}

/** undefined: nothing besides what existed before. */
function compared(after: unknown, before: unknown, { value, atomic, isTyped }: Plan): JsonObject | undefined {
  if (after === null && isTyped && (value.kind === 'list' || value.kind === 'map')) return undefined;
  if (before === undefined) return newFields(after, value, atomic);
  const isStruct =
    !atomic &&
    value.kind === 'object' &&
    isJsonObject(before) &&
    isJsonObject(after) &&
    value.type().atomic !== true;
  if (!isStruct) {
    if (value.kind === 'list' || value.kind === 'map') {
      // It was null: setting an empty one owns it.
      if (after === null) return undefined;
      if (jsonEqual(before, after)) return LEAF;
    } else if (jsonEqual(before, after)) return undefined;
    const found = newFields(after, value, atomic);
    // The list or map itself existed, empty.
    if (found !== LEAF) delete found['.'];
    return found;
  }
  const fields: JsonObject = {};
  let any = false;
  for (const plan of plansOf(value.type())) {
    const inner = after[plan.name];
    if (inner === undefined) continue;
    const found = compared(inner, before[plan.name], plan);
    if (!found) continue;
    fields[plan.element] = found;
    any = true;
  }
  return any ? fields : undefined;
}

/** A field without parts: a shared object, because objects are immutable. */
const LEAF: JsonObject = Object.freeze({});

/** A new value: itself, and everything below it. */
function newFields(value: unknown, schema: ValueSchema | undefined, atomic: boolean): JsonObject {
  if (typeof value !== 'object' || value === null || atomic) return LEAF;
  const shape = describeShape(value, schema);
  if (shape.kind === 'leaf') return LEAF;
  const fields: JsonObject = { '.': LEAF };
  if (shape.kind === 'items') {
    const { items } = shape.schema;
    const list = value as unknown[];
    if (list.length === 0) return LEAF;
    const found = list.map((item) => ({ element: itemElement(item, shape.schema), item }));
    if (found.length > 1) found.sort(byElement);
    for (const { element, item } of found) setOwn(fields, element, newFields(item, items, false));
    return fields;
  }
  let any = false;
  if (schema?.kind === 'object' && schema.type().open !== true) {
    for (const plan of plansOf(schema.type())) {
      const inner = (value as JsonObject)[plan.name];
      if (inner === undefined) continue;
      fields[plan.element] = newFields(inner, plan.value, plan.atomic);
      any = true;
    }
    return any ? fields : LEAF;
  }
  for (const name of Object.keys(value).sort()) {
    const inner = (value as JsonObject)[name];
    if (inner === undefined) continue;
    any = true;
    const place =
      schema?.kind === 'map'
        ? { value: schema.values, atomic: false }
        : schema?.kind === 'object'
          ? schema.type().byName.get(name)
          : undefined;
    setOwn(fields, `f:${name}`, newFields(inner, place?.value, place?.atomic === true));
  }
  return any ? fields : LEAF;
}

function byElement(left: { readonly element: string }, right: { readonly element: string }): number {
  return left.element < right.element ? -1 : left.element > right.element ? 1 : 0;
}

/** Unknown top-level fields that the type keeps. */
function addUnknown(
  given: JsonObject,
  {
    schema,
    fields,
    excluded,
  }: { readonly schema: ObjectSchema; readonly fields: JsonObject; readonly excluded: readonly string[] },
): void {
  for (const name of Object.keys(given)) {
    const inner = getOwn(given, name);
    if (inner === undefined || schema.byName.has(name) || excluded.includes(name) || isUnmanaged(name))
      continue;
    setOwn(fields, `f:${name}`, newFields(inner, undefined, false));
  }
  const sorted = Object.keys(fields).sort();
  for (const element of sorted) {
    const value = fields[element];
    delete fields[element];
    setOwn(fields, element, value);
  }
}
