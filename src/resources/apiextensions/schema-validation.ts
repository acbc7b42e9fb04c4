/**
 * OpenAPI validation of custom resources with upstream's messages and field paths, compiled once per schema. On update, unchanged values
 * are not validated again (ratcheting): items of a list-map are matched by key, other lists are compared as a whole.
 */
import { RE2JS } from 're2js';
import { fieldErrors, type FieldError } from '#machinery/errors.ts';
import { deepEqual, getOwn, isJsonObject, type JsonObject } from '#machinery/json.ts';
import { validateObjectMeta } from '#machinery/metadata-validation.ts';
import type { ObjectMeta } from '#machinery/object.ts';
import { STRING_FORMATS } from '#machinery/formats.ts';
import { fieldOf, itemKey, type Structural } from '#machinery/structural.ts';

/** Maximum number of reported errors. */
const MAX_ERRORS = 1000;

interface Place {
  readonly value: unknown;
  /** The old value; undefined on create or when there was none. */
  readonly old: unknown;
  readonly path: string;
  readonly errors: FieldError[];
}

type Check = (place: Place) => void;

type Validator = (value: unknown, old: unknown, path?: string) => FieldError[];

/** The old object in the same version; undefined on create. */
export function compileValidator(node: Structural): Validator {
  const check = compile(node.schema, node);
  return (value, old, path = '') => {
    const errors: FieldError[] = [];
    check({ value, old, path, errors });
    return errors;
  };
}

/** Throws for an invalid pattern. Lookarounds and back references are invalid, because matching takes linear time. */
export function compilePattern(pattern: string): (text: string) => boolean {
  const compiled = RE2JS.compile(pattern);
  return (text) => compiled.matcher(text).find();
}

/** node: undefined inside anyOf, oneOf, allOf and not, whose schemas only restrict values. */
function compile(schema: JsonObject, node: Structural | undefined): Check {
  const checkType = compileType(schema);
  const checks = [
    ...compositions(schema, node),
    ...textChecks(schema),
    ...numberChecks(schema),
    ...listChecks(schema, node),
    ...enumCheck(schema),
    ...objectChecks(schema, node),
  ];
  const onlyEnum = enumCheck(schema);
  const nullable = schema['nullable'] === true;
  return (place) => {
    const { value, old, errors } = place;
    if (errors.length >= MAX_ERRORS || (old !== undefined && deepEqual(value, old))) return;
    if (value === null) {
      if (nullable) return;
      checkType?.(place);
      for (const check of onlyEnum) check(place);
      return;
    }
    checkType?.(place);
    for (const check of checks) check(place);
  };
}

function invalid({ path, errors }: Place, badValue: unknown, detail: string): void {
  errors.push(fieldErrors.invalid(path === '' ? '<nil>' : path, badValue, `${path} in body ${detail}`));
}

// ------------------------------------------------------------------------------------------------------------------ type

function compileType(schema: JsonObject): Check | undefined {
  const types =
    typeof schema['type'] === 'string' && schema['type'] !== ''
      ? [schema['type']]
      : schema['x-kubernetes-int-or-string'] === true
        ? ['integer', 'string']
        : [];
  if (types.length === 0) return undefined;
  const wanted = types.join(',');
  return ({ value, path, errors }) => {
    const found = typeOf(value);
    if (types.includes(found) || (found === 'integer' && types.includes('number'))) return;
    errors.push(
      fieldErrors.typeInvalid(
        path === '' ? '<nil>' : path,
        found,
        `${path} in body must be of type ${wanted}: ${JSON.stringify(found)}`,
      ),
    );
  };
}

function typeOf(value: unknown): string {
  if (value === null || value === undefined) return 'null';
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number';
  return typeof value;
}

// ---------------------------------------------------------------------------------------------------------- compositions

function compositions(schema: JsonObject, node: Structural | undefined): Check[] {
  const branches = (name: string): Check[] | undefined =>
    (schema[name] as JsonObject[] | undefined)?.map((inner) => compile(inner, node));
  const anyOf = branches('anyOf'),
    oneOf = branches('oneOf'),
    allOf = branches('allOf');
  const not = isJsonObject(schema['not']) ? compile(schema['not'], node) : undefined;
  const checks: Check[] = [];
  if (anyOf) checks.push((place) => checkAnyOf(place, anyOf));
  if (oneOf) checks.push((place) => checkOneOf(place, oneOf));
  if (allOf) checks.push((place) => checkAllOf(place, allOf));
  if (not)
    checks.push((place) => {
      if (errorsOf(place, not).length === 0) composite(place, 'must not validate the schema (not)');
    });
  return checks;
}

function errorsOf(place: Place, check: Check): FieldError[] {
  const errors: FieldError[] = [];
  check({ ...place, errors });
  return errors;
}

/** Upstream's composite errors have their path only in the text. */
function composite({ path, errors }: Place, detail: string): void {
  errors.push(fieldErrors.invalid('<nil>', '', `${JSON.stringify(path)} ${detail}`));
}

function checkAnyOf(place: Place, branches: readonly Check[]): void {
  let best: FieldError[] | undefined;
  for (const branch of branches) {
    const errors = errorsOf(place, branch);
    if (errors.length === 0) return;
    if (best === undefined || errors.length < best.length) best = errors;
  }
  composite(place, 'must validate at least one schema (anyOf)');
  for (const error of best ?? []) place.errors.push(error);
}

function checkOneOf(place: Place, branches: readonly Check[]): void {
  const results = branches.map((branch) => errorsOf(place, branch));
  const valid = results.filter((errors) => errors.length === 0).length;
  if (valid === 1) return;
  composite(
    place,
    `must validate one and only one schema (oneOf). ${valid === 0 ? 'Found none valid' : `Found ${valid} valid alternatives`}`,
  );
  if (valid === 0)
    place.errors.push(...(results.toSorted((left, right) => left.length - right.length)[0] ?? []));
}

function checkAllOf(place: Place, branches: readonly Check[]): void {
  const results = branches.map((branch) => errorsOf(place, branch));
  for (const errors of results) for (const error of errors) place.errors.push(error);
  const valid = results.filter((errors) => errors.length === 0).length;
  if (valid < branches.length)
    composite(place, `must validate all the schemas (allOf)${valid === 0 ? '. None validated' : ''}`);
}

// ----------------------------------------------------------------------------------------------------- texts and numbers

function textChecks(schema: JsonObject): Check[] {
  const checks: Check[] = [];
  const { maxLength, minLength, pattern, format } = schema as {
    maxLength?: number;
    minLength?: number;
    pattern?: string;
    format?: string;
  };
  const onText = (check: (text: string, place: Place) => void): void =>
    void checks.push((place) => {
      if (typeof place.value === 'string') check(place.value, place);
    });
  if (maxLength !== undefined)
    onText((text, { path, errors }) => {
      if (characters(text, maxLength) > maxLength) errors.push(fieldErrors.tooLong(path, maxLength));
    });
  if (minLength !== undefined)
    onText((text, place) => {
      if (characters(text, minLength) < minLength)
        invalid(place, text, `should be at least ${minLength} chars long`);
    });
  if (pattern) {
    const matches = compilePattern(pattern);
    onText((text, place) => {
      if (!matches(text)) invalid(place, text, `should match '${pattern}'`);
    });
  }
  const hasFormat =
    format === undefined ||
    (!Object.hasOwn(STRING_FORMATS, format.replaceAll('-', '')) && !Object.hasOwn(STRING_FORMATS, format))
      ? undefined
      : (STRING_FORMATS[format] ?? STRING_FORMATS[format.replaceAll('-', '')]);
  if (hasFormat)
    onText((text, { path, errors }) => {
      if (!hasFormat(text))
        errors.push(
          fieldErrors.typeInvalid(
            path,
            text,
            `${path} in body must be of type ${format}: ${JSON.stringify(text)}`,
          ),
        );
    });
  return checks;
}

/** Unicode characters; strings that cannot reach the limit are not counted. */
function characters(text: string, limit: number): number {
  if (text.length <= limit) return text.length < limit ? text.length : Array.from(text).length;
  return Array.from(text).length;
}

const INTEGER_RANGES: Readonly<Record<string, { readonly low: number; readonly high: number }>> = {
  int32: { low: -(2 ** 31), high: 2 ** 31 - 1 },
  int64: { low: -(2 ** 63), high: 2 ** 63 },
  uint32: { low: 0, high: 2 ** 32 - 1 },
  uint64: { low: 0, high: 2 ** 64 },
};

function numberChecks(schema: JsonObject): Check[] {
  const checks: Check[] = [];
  const { maximum, minimum, multipleOf, exclusiveMaximum, exclusiveMinimum, format, type } = schema as {
    maximum?: number;
    minimum?: number;
    multipleOf?: number;
    exclusiveMaximum?: boolean;
    exclusiveMinimum?: boolean;
    format?: string;
    type?: string;
  };
  const onNumber = (fails: (value: number) => boolean, detail: string): void =>
    void checks.push((place) => {
      if (typeof place.value === 'number' && fails(place.value)) invalid(place, place.value, detail);
    });
  if (multipleOf !== undefined)
    onNumber((value) => !isMultiple(value, multipleOf), `should be a multiple of ${multipleOf}`);
  if (maximum !== undefined)
    onNumber(
      exclusiveMaximum ? (value) => value >= maximum : (value) => value > maximum,
      `should be less than ${exclusiveMaximum ? '' : 'or equal to '}${maximum}`,
    );
  if (minimum !== undefined)
    onNumber(
      exclusiveMinimum ? (value) => value <= minimum : (value) => value < minimum,
      `should be greater than ${exclusiveMinimum ? '' : 'or equal to '}${minimum}`,
    );
  const { low, high } = INTEGER_RANGES[format ?? ''] ?? INTEGER_RANGES['int64']!;
  if (type === 'integer')
    checks.push(({ value, path, errors }) => {
      if (typeof value === 'number' && !(Number.isInteger(value) && value >= low && value <= high))
        errors.push(
          fieldErrors.invalid(
            '<nil>',
            '',
            `Checked value must be of type ${type} ${format ? `with format ${format}` : '(default format)'} in ${path}`,
          ),
        );
    });
  return checks;
}

function isMultiple(value: number, factor: number): boolean {
  const times = value / factor;
  return Number.isInteger(times) || Math.abs(times - Math.round(times)) < 1e-9;
}

function enumCheck(schema: JsonObject): Check[] {
  const values = schema['enum'] as unknown[] | undefined;
  if (!values) return [];
  const names = values.map((value) => (typeof value === 'string' ? value : JSON.stringify(value)));
  return [
    ({ value, path, errors }) => {
      if (!values.some((allowed) => deepEqual(allowed, value)))
        errors.push(fieldErrors.notSupported(path, value, names));
    },
  ];
}

// ----------------------------------------------------------------------------------------------------- lists and objects

function listChecks(schema: JsonObject, node: Structural | undefined): Check[] {
  const checks: Check[] = [];
  const { maxItems, minItems } = schema as { maxItems?: number; minItems?: number };
  const onList = (check: (list: readonly unknown[], place: Place) => void): void =>
    void checks.push((place) => {
      if (Array.isArray(place.value)) check(place.value, place);
    });
  if (isJsonObject(schema['items'])) {
    const check = compile(schema['items'], node?.items);
    onList((list, { old, path, errors }) => {
      const before = oldItems(node, old);
      for (let i = 0; i < list.length; i++)
        check({ value: list[i], old: before?.get(itemKey(node!, list[i])), path: `${path}[${i}]`, errors });
    });
  }
  if (minItems !== undefined)
    onList((list, place) => {
      if (list.length < minItems) invalid(place, list.length, `should have at least ${minItems} items`);
    });
  if (maxItems !== undefined)
    onList((list, { path, errors }) => {
      if (list.length > maxItems) errors.push(fieldErrors.tooMany(path, list.length, maxItems));
    });
  if (schema['uniqueItems'] === true)
    onList((list, place) => {
      if (new Set(list.map((item) => canonical(item))).size < list.length)
        invalid(place, list, "shouldn't contain duplicates");
    });
  return checks;
}

/** By key, for items with keys. */
export function oldItems(node: Structural | undefined, old: unknown): Map<string, unknown> | undefined {
  if (node?.listType !== 'map' || !Array.isArray(old)) return undefined;
  return new Map(old.map((item) => [itemKey(node, item), item as unknown]));
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    isJsonObject(inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([left], [right]) => (left < right ? -1 : 1)))
      : inner,
  );
}

function objectChecks(schema: JsonObject, node: Structural | undefined): Check[] {
  const properties = Object.entries((schema['properties'] ?? {}) as Record<string, JsonObject>).map(
    ([name, inner]) => ({ name, check: compile(inner, fieldOf(node, name)) }),
  );
  const named = new Set(properties.map(({ name }) => name));
  const required = (schema['required'] as string[] | undefined) ?? [];
  const more = schema['additionalProperties'];
  const additional = isJsonObject(more)
    ? compile(more, typeof node?.additional === 'object' ? node.additional : undefined)
    : undefined;
  const { minProperties, maxProperties } = schema as { minProperties?: number; maxProperties?: number };
  if (
    properties.length === 0 &&
    required.length === 0 &&
    !additional &&
    more !== false &&
    minProperties === undefined &&
    maxProperties === undefined
  )
    return [];
  return [
    (place) => {
      const { value, old, path, errors } = place;
      if (!isJsonObject(value)) return;
      const before = isJsonObject(old) ? old : undefined;
      const at = (name: string): string => (path === '' ? name : `${path}.${name}`);
      const count = Object.keys(value).length;
      if (minProperties !== undefined && count < minProperties)
        invalid(place, count, `should have at least ${minProperties} properties`);
      if (maxProperties !== undefined && count > maxProperties)
        errors.push(fieldErrors.tooMany(path, count, maxProperties));
      for (const name of required)
        if (getOwn(value, name) === undefined) errors.push(fieldErrors.required(at(name)));
      for (const { name, check } of properties) {
        const inner = getOwn(value, name);
        if (inner !== undefined)
          check({ value: inner, old: before && getOwn(before, name), path: at(name), errors });
      }
      if (!additional && more !== false) return;
      for (const name of Object.keys(value)) {
        if (named.has(name)) continue;
        if (additional)
          additional({ value: value[name], old: before && getOwn(before, name), path: at(name), errors });
        else errors.push(fieldErrors.invalid(at(name), '', `${at(name)} in body is a forbidden property`));
      }
    },
  ];
}

// ------------------------------------------------------------------------------------------------------ embedded objects

/** Embedded objects have an apiVersion, a kind, and valid metadata. */
export function validateEmbedded(value: unknown, node: Structural | undefined, path = ''): FieldError[] {
  const errors: FieldError[] = [];
  if (node && hasEmbedded(node)) visitEmbedded(value, node, { path, errors });
  return errors;
}

function hasEmbedded(node: Structural): boolean {
  return (
    node.embedded ||
    (node.items !== undefined && hasEmbedded(node.items)) ||
    (typeof node.additional === 'object' && hasEmbedded(node.additional)) ||
    Array.from(node.properties.values()).some(hasEmbedded)
  );
}

function visitEmbedded(
  value: unknown,
  node: Structural | undefined,
  { path, errors }: { readonly path: string; readonly errors: FieldError[] },
): void {
  if (!node) return;
  if (Array.isArray(value))
    value.forEach((item, i) => visitEmbedded(item, node.items, { path: `${path}[${i}]`, errors }));
  else if (isJsonObject(value)) {
    if (node.embedded) checkEmbedded(value, { path, errors });
    for (const key of Object.keys(value))
      visitEmbedded(value[key], fieldOf(node, key), {
        path: node.properties.has(key) ? (path === '' ? key : `${path}.${key}`) : `${path}[${key}]`,
        errors,
      });
  }
}

function checkEmbedded(
  value: JsonObject,
  { path, errors }: { readonly path: string; readonly errors: FieldError[] },
): void {
  for (const name of ['apiVersion', 'kind'])
    if (typeof value[name] !== 'string' || value[name] === '')
      errors.push(fieldErrors.required(`${path}.${name}`, value[name] === '' ? 'must not be empty' : ''));
  const metadata = value['metadata'] as ObjectMeta | undefined;
  if (!isJsonObject(metadata)) return;
  const { name = 'name', ...rest } = metadata as ObjectMeta;
  errors.push(
    ...validateObjectMeta({ ...rest, name } as ObjectMeta, {
      namespaced: !!(metadata as ObjectMeta).namespace,
      nameRule: 'path-segment',
      field: `${path}.metadata`,
    }),
  );
}

// ------------------------------------------------------------------------------------------------------------ list types

/** Duplicate items of sets and maps. */
export function validateListTypes(value: unknown, node: Structural | undefined, path = ''): FieldError[] {
  const errors: FieldError[] = [];
  visitLists(value, node, { path, errors });
  return errors;
}

function visitLists(
  value: unknown,
  node: Structural | undefined,
  { path, errors }: { readonly path: string; readonly errors: FieldError[] },
): void {
  if (!node) return;
  if (Array.isArray(value)) {
    if (node.listType !== 'atomic') reportDuplicates(value, node, { path, errors });
    value.forEach((item, i) => visitLists(item, node.items, { path: `${path}[${i}]`, errors }));
  } else if (isJsonObject(value)) {
    for (const key of Object.keys(value)) {
      const inner = node.properties.get(key);
      visitLists(value[key], inner ?? fieldOf(node, key), {
        path: inner ? (path === '' ? key : `${path}.${key}`) : `${path}[${key}]`,
        errors,
      });
    }
  }
}

function reportDuplicates(
  list: readonly unknown[],
  node: Structural,
  { path, errors }: { readonly path: string; readonly errors: FieldError[] },
): void {
  const seen = new Set<string>();
  list.forEach((item, i) => {
    const key = node.listType === 'map' ? itemKey(node, item) : canonical(item);
    if (seen.has(key))
      errors.push(
        fieldErrors.duplicate(
          `${path}[${i}]`,
          node.listType === 'map' && isJsonObject(item)
            ? Object.fromEntries(
                node.mapKeys.filter((name) => item[name] !== undefined).map((name) => [name, item[name]]),
              )
            : item,
        ),
      );
    seen.add(key);
  });
}
