/**
 * Which schemas are structural, with upstream's errors: every field has a type outside of anyOf, oneOf, allOf and not, which only restrict values;
 * metadata is not specified; what validation, pruning and server-side apply do not support is refused by name.
 */
import { fieldErrors, type FieldError } from '#machinery/errors.ts';
import { isJsonObject, type JsonObject } from '#machinery/json.ts';
import { compilePattern } from './validation.ts';

const TYPES = ['array', 'boolean', 'integer', 'number', 'object', 'string'];
const UNSUPPORTED: Readonly<Record<string, string>> = {
  $ref: '$ref is not supported', $schema: '$schema is not supported', id: 'id is not supported', definitions: 'definitions is not supported', dependencies: 'dependencies is not supported',
  patternProperties: 'patternProperties is not supported', additionalItems: 'additionalItems is not supported',
};
export const BRANCHES = ['allOf', 'anyOf', 'oneOf'];
/** What only the structure may say. */
const STRUCTURE_ONLY: Readonly<Record<string, string>> = {
  type: 'must be empty to be structural', additionalProperties: 'must be undefined to be structural', default: 'must be undefined to be structural', nullable: 'must be false to be structural', title: 'must be empty to be structural',
  description: 'must be empty to be structural', 'x-kubernetes-preserve-unknown-fields': 'must be false to be structural', 'x-kubernetes-embedded-resource': 'must be false to be structural', 'x-kubernetes-int-or-string': 'must be false to be structural',
  'x-kubernetes-list-type': 'must be undefined to be structural', 'x-kubernetes-list-map-keys': 'must be empty to be structural', 'x-kubernetes-map-type': 'must be undefined to be structural', 'x-kubernetes-validations': 'must be empty to be structural',
};

/** path: where the schema stands in the definition. */
export function checkStructural(schema: JsonObject, path: string): FieldError[] {
  const errors: FieldError[] = [];
  checkNode(schema, { path, errors, level: 'root', embedded: true });
  return errors;
}

interface Place {
  readonly path: string;
  readonly errors: FieldError[];
  readonly level: 'root' | 'field' | 'item';
  /** A whole object, or an embedded one. */
  readonly embedded: boolean;
}

const PLACE_NAMES = { root: 'at the root', field: 'for specified object fields', item: 'for specified array items' };

function checkNode(schema: JsonObject, { path, errors, level, embedded }: Place): void {
  const type = schema['type'];
  const intOrString = schema['x-kubernetes-int-or-string'] === true, preserves = schema['x-kubernetes-preserve-unknown-fields'] === true, isEmbedded = schema['x-kubernetes-embedded-resource'] === true;
  if (!type) {
    if (level === 'root' || (!intOrString && !preserves)) errors.push(fieldErrors.required(`${path}.type`, `must not be empty ${PLACE_NAMES[level]}`));
  } else if (level === 'root' && type !== 'object') errors.push(fieldErrors.invalid(`${path}.type`, type, 'must be object at the root'));
  else if (!TYPES.includes(String(type))) errors.push(fieldErrors.notSupported(`${path}.type`, type, TYPES));
  if (intOrString && type) errors.push(fieldErrors.invalid(`${path}.type`, type, 'must be empty if x-kubernetes-int-or-string is true'));
  if (intOrString && preserves) errors.push(fieldErrors.invalid(`${path}.x-kubernetes-preserve-unknown-fields`, true, 'must be false if x-kubernetes-int-or-string is true'));
  if (schema['x-kubernetes-preserve-unknown-fields'] === false) errors.push(fieldErrors.invalid(`${path}.x-kubernetes-preserve-unknown-fields`, false, 'must be true or undefined'));
  if (isEmbedded) {
    if (type !== 'object') errors.push(type ? fieldErrors.invalid(`${path}.type`, type, 'must be object if x-kubernetes-embedded-resource is true') : fieldErrors.required(`${path}.type`, 'must be object if x-kubernetes-embedded-resource is true'));
    if (!preserves && !isJsonObject(schema['properties'])) errors.push(fieldErrors.required(`${path}.properties`, 'must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields'));
  }
  checkValues(schema, { path, errors });
  checkListType(schema, { path, errors });
  if (embedded || isEmbedded) checkMetadata(schema, { path, errors });
  const properties = isJsonObject(schema['properties']) ? schema['properties'] : undefined;
  if (properties && schema['additionalProperties'] !== undefined && schema['additionalProperties'] !== false) errors.push(fieldErrors.forbidden(`${path}.additionalProperties`, 'additionalProperties and properties are mutual exclusive'));
  for (const [name, inner] of Object.entries(properties ?? {})) checkNode(inner as JsonObject, { path: `${path}.properties[${name}]`, errors, level: 'field', embedded: false });
  if (isJsonObject(schema['additionalProperties'])) checkNode(schema['additionalProperties'], { path: `${path}.additionalProperties`, errors, level: 'field', embedded: false });
  if (Array.isArray(schema['items'])) errors.push(fieldErrors.forbidden(`${path}.items`, 'items must be a schema object and not an array'));
  else if (isJsonObject(schema['items'])) checkNode(schema['items'], { path: `${path}.items`, errors, level: 'item', embedded: false });
  else if (type === 'array' && !preserves) errors.push(fieldErrors.required(`${path}.items`, 'must be specified'));
  for (const { branch, at } of branchesOf(schema, path)) checkBranch(branch, { path: at, outer: schema, errors, intOrString });
}

function branchesOf(schema: JsonObject, path: string): { readonly branch: JsonObject; readonly at: string }[] {
  const found = BRANCHES.flatMap((name) => ((schema[name] as JsonObject[] | undefined) ?? []).map((branch, i) => ({ branch, at: `${path}.${name}[${i}]` })));
  return isJsonObject(schema['not']) ? [...found, { branch: schema['not'], at: `${path}.not` }] : found;
}

/** Schemas inside anyOf and the like: what they name must be specified outside too. */
function checkBranch(branch: JsonObject, { path, outer, errors, intOrString }: { readonly path: string; readonly outer: JsonObject | undefined; readonly errors: FieldError[]; readonly intOrString: boolean }): void {
  for (const [name, detail] of Object.entries(STRUCTURE_ONLY)) {
    const value = branch[name];
    if (value === undefined || value === false || value === '') continue;
    // The alternatives of int-or-string are spelled out by habit.
    if (name === 'type' && intOrString && (value === 'integer' || value === 'string')) continue;
    errors.push(fieldErrors.forbidden(`${path}.${name}`, detail));
  }
  checkValues(branch, { path, errors });
  const outside = isJsonObject(outer?.['properties']) ? outer['properties'] : {};
  for (const [name, inner] of Object.entries((branch['properties'] ?? {}) as Record<string, JsonObject>)) {
    const same = outside[name] ?? (isJsonObject(outer?.['additionalProperties']) ? outer['additionalProperties'] : undefined);
    if (same === undefined && outer) errors.push(fieldErrors.required(`${path.replace(/\.(?:(?:allOf|anyOf|oneOf)\[\d+\]|not)$/, '')}.properties[${name}]`, `because it is defined in ${path}.properties[${name}]`));
    checkBranch(inner, { path: `${path}.properties[${name}]`, outer: same as JsonObject | undefined, errors, intOrString: (same as JsonObject | undefined)?.['x-kubernetes-int-or-string'] === true });
  }
  if (isJsonObject(branch['items'])) {
    const same = isJsonObject(outer?.['items']) ? outer['items'] : undefined;
    if (!same && outer) errors.push(fieldErrors.required(`${path.replace(/\.(?:(?:allOf|anyOf|oneOf)\[\d+\]|not)$/, '')}.items`, `because it is defined in ${path}.items`));
    checkBranch(branch['items'], { path: `${path}.items`, outer: same, errors, intOrString: same?.['x-kubernetes-int-or-string'] === true });
  }
  for (const { branch: inner, at } of branchesOf(branch, path)) checkBranch(inner, { path: at, outer, errors, intOrString });
}

function checkMetadata(schema: JsonObject, { path, errors }: { readonly path: string; readonly errors: FieldError[] }): void {
  const metadata = (schema['properties'] as Record<string, JsonObject> | undefined)?.['metadata'];
  if (!metadata) return;
  const { properties = {}, type, description: _, ...rest } = metadata as { properties?: JsonObject; type?: string; description?: string };
  const others = Object.keys(properties as JsonObject).filter((name) => name !== 'name' && name !== 'generateName');
  if (type !== undefined && type !== 'object') errors.push(fieldErrors.invalid(`${path}.properties[metadata].type`, type, 'must be object'));
  if (others.length > 0 || Object.keys(rest).length > 0) errors.push(fieldErrors.forbidden(`${path}.properties[metadata]`, 'must not specify anything other than name and generateName, but metadata is implicitly specified'));
}

/** Value validations, which stand inside branches too. */
function checkValues(schema: JsonObject, { path, errors }: { readonly path: string; readonly errors: FieldError[] }): void {
  for (const [name, detail] of Object.entries(UNSUPPORTED)) if (schema[name] !== undefined) errors.push(fieldErrors.forbidden(`${path}.${name}`, detail));
  if (schema['uniqueItems'] === true) errors.push(fieldErrors.forbidden(`${path}.uniqueItems`, 'uniqueItems cannot be set to true since the runtime complexity becomes quadratic'));
  if (schema['additionalProperties'] === false) errors.push(fieldErrors.forbidden(`${path}.additionalProperties`, 'additionalProperties cannot be set to false'));
  if (typeof schema['pattern'] === 'string') {
    try {
      compilePattern(schema['pattern']);
    } catch (error) {
      errors.push(fieldErrors.invalid(`${path}.pattern`, schema['pattern'], `must be a valid regular expression, but isn't: ${error instanceof Error ? error.message : String(error)}`));
    }
  }
  for (const name of ['maxLength', 'minLength', 'maxItems', 'minItems', 'maxProperties', 'minProperties']) {
    const value = schema[name];
    if (typeof value === 'number' && value < 0) errors.push(fieldErrors.invalid(`${path}.${name}`, value, 'must be greater than or equal to 0'));
  }
}

function checkListType(schema: JsonObject, { path, errors }: { readonly path: string; readonly errors: FieldError[] }): void {
  const listType = schema['x-kubernetes-list-type'], keys = schema['x-kubernetes-list-map-keys'] as string[] | undefined, mapType = schema['x-kubernetes-map-type'];
  const items = isJsonObject(schema['items']) ? schema['items'] : undefined;
  if (mapType !== undefined) {
    if (mapType !== 'atomic' && mapType !== 'granular') errors.push(fieldErrors.notSupported(`${path}.x-kubernetes-map-type`, mapType, ['atomic', 'granular']));
    if (schema['type'] !== 'object') errors.push(fieldErrors.invalid(`${path}.type`, schema['type'] ?? '', 'must be object if x-kubernetes-map-type is specified'));
  }
  if (listType === undefined) {
    if (keys && keys.length > 0) errors.push(fieldErrors.required(`${path}.x-kubernetes-list-type`, 'must be map if x-kubernetes-list-map-keys is non-empty'));
    return;
  }
  if (schema['type'] !== 'array') errors.push(fieldErrors.invalid(`${path}.type`, schema['type'] ?? '', 'must be array if x-kubernetes-list-type is specified'));
  if (listType !== 'atomic' && listType !== 'set' && listType !== 'map') errors.push(fieldErrors.notSupported(`${path}.x-kubernetes-list-type`, listType, ['atomic', 'map', 'set']));
  if (listType === 'map') checkMapKeys(keys ?? [], { items, path, errors });
  else if (keys && keys.length > 0) errors.push(fieldErrors.invalid(`${path}.x-kubernetes-list-type`, listType, 'must be map if x-kubernetes-list-map-keys is non-empty'));
  if (listType === 'set' && items) checkSetItems(items, { path: `${path}.items`, errors });
}

function checkMapKeys(keys: readonly string[], { items, path, errors }: { readonly items: JsonObject | undefined; readonly path: string; readonly errors: FieldError[] }): void {
  if (keys.length === 0) errors.push(fieldErrors.required(`${path}.x-kubernetes-list-map-keys`, 'must not be empty if x-kubernetes-list-type is map'));
  if (items?.['type'] !== 'object') errors.push(fieldErrors.invalid(`${path}.items.type`, items?.['type'] ?? '', 'must be object if parent array\'s x-kubernetes-list-type is map'));
  const seen = new Set<string>();
  keys.forEach((key, i) => {
    if (seen.has(key)) errors.push(fieldErrors.duplicate(`${path}.x-kubernetes-list-map-keys[${i}]`, key));
    seen.add(key);
    const property = (items?.['properties'] as Record<string, JsonObject> | undefined)?.[key];
    if (!property) errors.push(fieldErrors.invalid(`${path}.x-kubernetes-list-map-keys[${i}]`, key, 'entries must all be names of item properties'));
    else if (property['type'] === 'object' || property['type'] === 'array') errors.push(fieldErrors.invalid(`${path}.items.properties[${key}].type`, property['type'], 'must be a scalar type if parent array\'s x-kubernetes-list-type is map'));
    else if (property['default'] === undefined && !(items?.['required'] as string[] | undefined)?.includes(key)) {
      errors.push(fieldErrors.required(`${path}.items.properties[${key}].default`, 'this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property'));
    }
  });
}

function checkSetItems(items: JsonObject, { path, errors }: { readonly path: string; readonly errors: FieldError[] }): void {
  if (items['nullable'] === true) errors.push(fieldErrors.forbidden(`${path}.nullable`, 'cannot be nullable when x-kubernetes-list-type is set'));
  if (items['type'] === 'object' && items['x-kubernetes-map-type'] !== 'atomic') errors.push(fieldErrors.invalid(`${path}.x-kubernetes-map-type`, items['x-kubernetes-map-type'] ?? '', 'must be atomic as item of a list with x-kubernetes-list-type=set'));
  if (items['type'] === 'array' && items['x-kubernetes-list-type'] !== undefined && items['x-kubernetes-list-type'] !== 'atomic') errors.push(fieldErrors.invalid(`${path}.x-kubernetes-list-type`, items['x-kubernetes-list-type'], 'must be atomic as item of a list with x-kubernetes-list-type=set'));
}

