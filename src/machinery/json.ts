/** Plain JSON data: parsing with Go's error messages, semantic equality, copies. Objects may have any key, including `__proto__`. */
import { statusErrors, type StatusError } from './errors.ts';
import { findJsonSyntaxProblem, parseStructure, type JsonStructure } from './json-syntax.ts';

export type JsonObject = Record<string, unknown>;

/** Maximum nesting: recursive walks must fit the stack. (Upstream allows 10,000 levels.) */
export const MAXIMUM_DEPTH = 1000;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function asObject(value: unknown): JsonObject | undefined {
  return isJsonObject(value) ? value : undefined;
}

export function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** Sets an own field even when its name is `__proto__`, unlike plain assignment. */
export function setOwn(object: JsonObject, key: string, value: unknown): void {
  if (key === '__proto__')
    Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
  else object[key] = value;
}

/** The own field, undefined when it is absent or only inherited. */
export function getOwn(object: JsonObject, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

/**
 * Maximum number of values in a body: the cost of an object depends on them rather than on its bytes, some microseconds each. The largest
 * CustomResourceDefinitions have some tens of thousands. (Upstream limits bytes only.)
 */
export const MAXIMUM_VALUES = 100_000;

export function tooManyValues(maximum = MAXIMUM_VALUES): StatusError {
  return statusErrors.requestEntityTooLarge(`it holds more than ${maximum} values`);
}

/** Throws StatusError 413. */
export function requireFewValues(value: unknown, maximum = MAXIMUM_VALUES): void {
  let left = maximum;
  const visit = (one: unknown): void => {
    if (--left < 0) throw tooManyValues(maximum);
    if (typeof one !== 'object' || one === null) return;
    for (const key in one) visit((one as JsonObject)[key]);
  };
  visit(value);
}

/** Parses a text; throws StatusError 400 with Go's message. */
export function parseJson(text: string): unknown {
  return parsed(text, parseStructure(text));
}

/** As parseJson for a body, with the number of fields in the text: more than in the value when there are duplicates. 413 beyond the maximum number of values. */
export function parseJsonCounted(
  text: string,
  maximum = MAXIMUM_VALUES,
): { readonly value: unknown; readonly fields: number } {
  const structure = parseStructure(text);
  if (structure.values > maximum) throw tooManyValues(maximum);
  return { value: parsed(text, structure), fields: structure.fields };
}

function parsed(text: string, { depth }: JsonStructure): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw statusErrors.badRequest(findJsonSyntaxProblem(text)?.message ?? String(error));
  }
  if (depth > MAXIMUM_DEPTH) throw tooDeep();
  return LONE_SURROGATE.test(text) ? wellFormed(value) : value;
}

/** An escape that may be an unpaired surrogate: Go's decoder replaces it by U+FFFD, and no other encoding could represent it. */
const LONE_SURROGATE = /\\u[dD][89a-fA-F]/;

function wellFormed(value: unknown): unknown {
  if (typeof value === 'string') return value.toWellFormed();
  if (Array.isArray(value)) return value.map(wellFormed);
  if (!isJsonObject(value)) return value;
  const copy: JsonObject = {};
  for (const key of Object.keys(value)) setOwn(copy, key.toWellFormed(), wellFormed(value[key]));
  return copy;
}

/** As parseJson, for bytes. As in Go's decoder, invalid UTF-8 becomes U+FFFD. */
export function parseJsonBytes(bytes: Buffer): unknown {
  return parseJson(bytes.toString('utf8'));
}

export function tooDeep(): StatusError {
  return statusErrors.badRequest('exceeded max depth');
}

/** A deep copy of JSON data. Fields whose value is undefined are left out. */
export function deepClone<T>(value: T): T {
  return cloneValue(value, 0) as T;
}

function cloneValue(value: unknown, depth: number): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (depth > MAXIMUM_DEPTH) throw tooDeep();
  if (Array.isArray(value)) {
    const list = Array.from<unknown>({ length: value.length });
    for (let index = 0; index < value.length; index++) list[index] = cloneValue(value[index], depth + 1);
    return list;
  }
  const copy: JsonObject = {};
  for (const key in value) {
    const field = (value as JsonObject)[key];
    if (field === undefined) continue;
    if (key === '__proto__') setOwn(copy, key, cloneValue(field, depth + 1));
    else copy[key] = typeof field === 'object' && field !== null ? cloneValue(field, depth + 1) : field;
  }
  return copy;
}

/** Equal JSON: field order is ignored, an undefined field counts as absent; null and empty differ from absent. */
export function jsonEqual(left: unknown, right: unknown): boolean {
  if (left === right) return true;
  if (typeof left !== 'object' || typeof right !== 'object' || left === null || right === null) return false;
  if (Array.isArray(left) !== Array.isArray(right)) return false;
  if (Array.isArray(left)) {
    const other = right as unknown[];
    return left.length === other.length && left.every((item, index) => jsonEqual(item, other[index]));
  }
  return fieldsEqual(left as JsonObject, right as JsonObject, jsonEqual);
}

/**
 * Equality as apimachinery's Semantic.DeepEqual for typed objects: absent, null, an empty list and an empty map are equal.
 * (Scalar zero values are not: whether 0 means absent depends on the type.)
 */
export function deepEqual(left: unknown, right: unknown): boolean {
  if (left === right) return true;
  if (isEmptyValue(left)) return isEmptyValue(right);
  if (typeof left !== 'object' || typeof right !== 'object' || left === null || right === null) return false;
  if (Array.isArray(left) !== Array.isArray(right)) return false;
  if (Array.isArray(left)) {
    const other = right as unknown[];
    if (left.length !== other.length) return false;
    for (let index = 0; index < left.length; index++) if (!deepEqual(left[index], other[index])) return false;
    return true;
  }
  return fieldsEqual(left as JsonObject, right as JsonObject, deepEqual);
}

function isEmptyValue(value: unknown): boolean {
  if (value === undefined || value === null) return true;
  if (typeof value !== 'object') return false;
  if (Array.isArray(value)) return value.length === 0;
  for (const key in value) if ((value as JsonObject)[key] !== undefined) return false;
  return true;
}

function fieldsEqual(
  left: JsonObject,
  right: JsonObject,
  equal: (left: unknown, right: unknown) => boolean,
): boolean {
  for (const key in left) if (!equal(left[key], getOwn(right, key))) return false;
  for (const key in right) if (!Object.hasOwn(left, key) && !equal(undefined, right[key])) return false;
  return true;
}

/** Number of fields in all objects of the value. */
export function countFields(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  let fields = 0;
  if (Array.isArray(value)) for (const item of value) fields += countFields(item);
  else for (const key in value) fields += 1 + countFields((value as JsonObject)[key]);
  return fields;
}

/** Go's JSON name of a value's type: 'object', 'array', 'string', 'number', 'bool', 'null'. */
export function goTypeName(value: unknown): string {
  return value === null || value === undefined
    ? 'null'
    : Array.isArray(value)
      ? 'array'
      : typeof value === 'boolean'
        ? 'bool'
        : typeof value;
}

/** The Go type of an untyped JSON value, as formatted by %T. */
export function goType(value: unknown): string {
  if (value === null || value === undefined) return '<nil>';
  if (Array.isArray(value)) return '[]interface {}';
  switch (typeof value) {
    case 'object':
      return 'map[string]interface {}';
    case 'boolean':
      return 'bool';
    case 'number':
      return Number.isInteger(value) ? 'int64' : 'float64';
    default:
      return 'string';
  }
}

/** A value as formatted by Go's %v, for messages: map[a:1 b:[x y]]. */
export function goValue(value: unknown): string {
  if (value === undefined || value === null) return '<nil>';
  if (Array.isArray(value)) return `[${value.map(goValue).join(' ')}]`;
  if (typeof value === 'object')
    return `map[${Object.keys(value)
      .toSorted()
      .map((key) => `${key}:${goValue((value as JsonObject)[key])}`)
      .join(' ')}]`;
  return String(value);
}
