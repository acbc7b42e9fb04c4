/**
 * Checks whether schemas are structural, with upstream's errors: every field has a type outside of anyOf, oneOf, allOf and not, which only restrict values;
 * metadata is not specified; every field in such a restriction is also specified outside of it. schema-checks.ts does the other checks.
 */
import { fieldErrorBody, fieldErrors, type FieldError } from '#machinery/errors.ts';
import { deepEqual, isJsonObject, type JsonObject } from '#machinery/json.ts';
import { compilePattern } from './schema-validation.ts';

export const BRANCHES = ['allOf', 'anyOf', 'oneOf'];
/** Keywords that are only allowed in the structural part. */
const STRUCTURE_ONLY: Readonly<Record<string, string>> = {
  type: 'must be empty to be structural',
  additionalProperties: 'must be undefined to be structural',
  default: 'must be undefined to be structural',
  title: 'must be empty to be structural',
  description: 'must be empty to be structural',
  nullable: 'must be false to be structural',
  'x-kubernetes-preserve-unknown-fields': 'must be false to be structural',
  'x-kubernetes-embedded-resource': 'must be false to be structural',
  'x-kubernetes-int-or-string': 'must be false to be structural',
  'x-kubernetes-list-map-keys': 'must be empty to be structural',
  'x-kubernetes-list-type': 'must be undefined to be structural',
  'x-kubernetes-map-type': 'must be undefined to be structural',
  'x-kubernetes-validations': 'must be empty to be structural',
};
/** The conventional alternatives of int-or-string. */
const INT_OR_STRING = [{ type: 'integer' }, { type: 'string' }];

/** path: that of the schema in the definition. Sorted by text. */
export function checkStructural(schema: JsonObject, path: string): FieldError[] {
  const errors: FieldError[] = [];
  checkNode(schema, { path, errors, level: 'root' });
  checkComplete(schema, { schema, at: path, path, errors });
  return errors
    .map((error) => ({ error, text: `${error.field}: ${fieldErrorBody(error)}` }))
    .toSorted((left, right) => (left.text < right.text ? -1 : 1))
    .map(({ error }) => error);
}

/** The first keyword that is not allowed in structural schemas, upstream's message; undefined when there is none. */
export function unsupportedKeyword(schema: JsonObject): string | undefined {
  const given = (name: string): boolean => isJsonObject(schema[name]) && Object.keys(schema[name]).length > 0;
  if (schema['id']) return unsupported('id');
  if (schema['$schema']) return unsupported('schema');
  if (schema['$ref']) return unsupported('$ref');
  if (given('patternProperties')) return unsupported('patternProperties');
  if (given('dependencies')) return unsupported('dependencies');
  if (schema['additionalItems'] !== undefined && schema['additionalItems'] !== null)
    return unsupported('additionalItems');
  if (given('definitions')) return unsupported('definitions');
  if (Array.isArray(schema['items']) && schema['items'].length > 0)
    return "OpenAPIV3Schema 'items' must be a schema, but is an array";
  for (const inner of innerSchemas(schema)) {
    const found = unsupportedKeyword(inner);
    if (found !== undefined) return found;
  }
  return undefined;
}

function unsupported(keyword: string): string {
  return `OpenAPIV3Schema '${keyword}' is not supported`;
}

function innerSchemas(schema: JsonObject): JsonObject[] {
  return [
    ...branchesOf(schema, '').map(({ branch }) => branch),
    ...[schema['items'], schema['additionalProperties']].filter(isJsonObject),
    ...Object.values(propertiesOf(schema)),
  ];
}

export function propertiesOf(schema: JsonObject | undefined): Record<string, JsonObject> {
  return isJsonObject(schema?.['properties']) ? (schema['properties'] as Record<string, JsonObject>) : {};
}

interface Place {
  readonly path: string;
  readonly errors: FieldError[];
  readonly level: 'root' | 'field' | 'item';
}

const PLACE_NAMES = {
  root: 'at the root',
  field: 'for specified object fields',
  item: 'for specified array items',
};

function checkNode(schema: JsonObject, place: Place): void {
  const { path, errors, level } = place;
  const { items, additionalProperties: additional } = schema;
  const properties = propertiesOf(schema);
  if (schema['type'] === 'array' && !isJsonObject(items))
    errors.push(fieldErrors.required(`${path}.items`, 'must be specified'));
  if (isJsonObject(items)) checkNode(items, { path: `${path}.items`, errors, level: 'item' });
  for (const [name, inner] of Object.entries(properties))
    checkNode(inner, { path: `${path}.properties[${name}]`, errors, level: 'field' });
  if (additional !== undefined && additional !== null) {
    if (level === 'root')
      errors.push(fieldErrors.forbidden(`${path}.additionalProperties`, 'must not be used at the root'));
    if (isJsonObject(additional))
      checkNode(additional, { path: `${path}.additionalProperties`, errors, level: 'field' });
  }
  checkExtensions(schema, place);
  checkBranches(schema, place, {
    skipAnyOf: deepEqual(schema['anyOf'], INT_OR_STRING),
    skipFirstAllOf: deepEqual((schema['allOf'] as JsonObject[] | undefined)?.[0]?.['anyOf'], INT_OR_STRING),
  });
  checkType(schema, place);
  checkMetadata(properties, place, level === 'root' || schema['x-kubernetes-embedded-resource'] === true);
}

function checkExtensions(schema: JsonObject, { path, errors }: Place): void {
  if (schema['x-kubernetes-int-or-string'] !== true) return;
  for (const name of ['x-kubernetes-preserve-unknown-fields', 'x-kubernetes-embedded-resource']) {
    if (schema[name] === true)
      errors.push(
        fieldErrors.invalid(`${path}.${name}`, true, 'must be false if x-kubernetes-int-or-string is true'),
      );
  }
}

function checkType(schema: JsonObject, { path, errors, level }: Place): void {
  const type = schema['type'],
    preserves = schema['x-kubernetes-preserve-unknown-fields'] === true,
    embedded = schema['x-kubernetes-embedded-resource'] === true;
  if (embedded && type !== 'object') {
    const detail = 'must be object if x-kubernetes-embedded-resource is true';
    errors.push(
      type ? fieldErrors.invalid(`${path}.type`, type, detail) : fieldErrors.required(`${path}.type`, detail),
    );
  } else if (!type && schema['x-kubernetes-int-or-string'] !== true && !preserves)
    errors.push(fieldErrors.required(`${path}.type`, `must not be empty ${PLACE_NAMES[level]}`));
  if (level === 'root' && type && type !== 'object')
    errors.push(fieldErrors.invalid(`${path}.type`, type, 'must be object at the root'));
  if (!embedded) return;
  if (schema['additionalProperties'] !== undefined)
    errors.push(
      fieldErrors.forbidden(
        `${path}.additionalProperties`,
        'must not be used if x-kubernetes-embedded-resource is set',
      ),
    );
  if (!preserves && Object.keys(propertiesOf(schema)).length === 0)
    errors.push(
      fieldErrors.required(
        `${path}.properties`,
        'must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields',
      ),
    );
}

/** isObject: the node is a whole object, with apiVersion, kind and metadata. */
function checkMetadata(
  properties: Record<string, JsonObject>,
  { path, errors, level }: Place,
  isObject: boolean,
): void {
  const typed = (name: string, type: string): void => {
    const found = properties[name]?.['type'] ?? '';
    if (properties[name] && found !== type)
      errors.push(fieldErrors.invalid(`${path}.properties[${name}].type`, found, `must be ${type}`));
  };
  if (isObject) {
    typed('kind', 'string');
    typed('apiVersion', 'string');
    typed('metadata', 'object');
  }
  if (level !== 'root' || !properties['metadata']) return;
  const { properties: inner = {}, type: _type, default: _default, ...rest } = properties['metadata'];
  const others = Object.keys(inner as JsonObject).filter(
    (name) => name !== 'name' && name !== 'generateName',
  );
  if (others.length > 0 || Object.values(rest).some(isSet))
    errors.push(
      fieldErrors.forbidden(
        `${path}.properties[metadata]`,
        'must not specify anything other than name and generateName, but metadata is implicitly specified',
      ),
    );
}

/** Unlike Go's zero values. */
function isSet(value: unknown): boolean {
  return (
    value !== undefined &&
    value !== null &&
    value !== false &&
    value !== '' &&
    !(Array.isArray(value) && value.length === 0)
  );
}

interface Branch {
  readonly branch: JsonObject;
  readonly at: string;
}

function branchesOf(schema: JsonObject, path: string): Branch[] {
  const found = BRANCHES.flatMap((name) =>
    ((schema[name] as JsonObject[] | undefined) ?? []).map((branch, i) => ({
      branch,
      at: `${path}.${name}[${i}]`,
    })),
  );
  return isJsonObject(schema['not']) ? [...found, { branch: schema['not'], at: `${path}.not` }] : found;
}

/** Value validations, which may be nested. */
function checkBranches(
  schema: JsonObject,
  { path, errors, level }: Place,
  { skipAnyOf, skipFirstAllOf }: { readonly skipAnyOf: boolean; readonly skipFirstAllOf: boolean },
): void {
  for (const { branch, at } of branchesOf(schema, path)) {
    if (skipAnyOf && at.startsWith(`${path}.anyOf[`)) continue;
    checkBranch(branch, { path: at, errors, level }, skipFirstAllOf && at === `${path}.allOf[0]`);
  }
  const pattern = schema['pattern'];
  if (typeof pattern !== 'string' || pattern === '') return;
  try {
    compilePattern(pattern);
  } catch (error) {
    errors.push(
      fieldErrors.invalid(
        `${path}.pattern`,
        pattern,
        `must be a valid regular expression, but isn't: ${error instanceof Error ? error.message : String(error)}`,
      ),
    );
  }
}

function checkBranch(branch: JsonObject, place: Place, skipAnyOf = false): void {
  const { path, errors } = place;
  checkBranches(branch, place, { skipAnyOf, skipFirstAllOf: false });
  if (isJsonObject(branch['items'])) checkBranch(branch['items'], { ...place, path: `${path}.items` });
  for (const [name, inner] of Object.entries(propertiesOf(branch))) {
    checkBranch(inner, { path: `${path}.properties[${name}]`, errors, level: 'field' });
    if (name === 'metadata')
      errors.push(
        fieldErrors.forbidden(`${path}.properties[metadata]`, 'must not be specified in a nested context'),
      );
  }
  for (const [name, detail] of Object.entries(STRUCTURE_ONLY))
    if (isSet(branch[name])) errors.push(fieldErrors.forbidden(`${path}.${name}`, detail));
}

interface Pair {
  /** The specification at this place; undefined: nothing. */
  readonly schema: JsonObject | undefined;
  readonly at: string;
  /** Of the restriction. */
  readonly path: string;
  readonly errors: FieldError[];
}

/** Fields in value validations must be specified outside of them too. */
function checkComplete(restriction: JsonObject, { schema, at, path, errors }: Pair): void {
  for (const { branch, at: inner } of branchesOf(restriction, path))
    checkNamed(branch, { schema, at, path: inner, errors });
}

function checkNamed(restriction: JsonObject, { schema, at, path, errors }: Pair): void {
  if (!schema) {
    errors.push(fieldErrors.required(at, `because it is defined in ${path}`));
    return;
  }
  checkComplete(restriction, { schema, at, path, errors });
  if (isJsonObject(restriction['items']))
    checkNamed(restriction['items'], {
      schema: isJsonObject(schema['items']) ? schema['items'] : undefined,
      at: `${at}.items`,
      path: `${path}.items`,
      errors,
    });
  const specified = propertiesOf(schema);
  for (const [name, inner] of Object.entries(propertiesOf(restriction))) {
    checkNamed(inner, {
      schema: Object.hasOwn(specified, name) ? specified[name] : undefined,
      at: `${at}.properties[${name}]`,
      path: `${path}.properties[${name}]`,
      errors,
    });
  }
}
