/**
 * Validates an openAPIV3Schema, node by node, with upstream's errors: types, list types and keys, where defaults are allowed, and the outer form of
 * validation rules. structural-checks.ts checks whether it is structural; ../cel/rules.ts compiles rules.
 */
import { fieldErrors, type FieldError } from '#machinery/errors.ts';
import { isGivenEmpty } from '#machinery/given-empty.ts';
import { isJsonObject, type JsonObject } from '#machinery/json.ts';
import { fieldPathProblem } from './rule-field-path.ts';
import { BRANCHES, propertiesOf } from './structural-checks.ts';

const TYPES = ['array', 'boolean', 'integer', 'number', 'object', 'string'];
const REASONS = ['FieldValueDuplicate', 'FieldValueForbidden', 'FieldValueInvalid', 'FieldValueRequired'];
const OF_METADATA = new Set(['metadata', 'kind', 'apiVersion']);

interface Place {
  readonly path: string;
  readonly errors: FieldError[];
  readonly isRoot: boolean;
  /** Inside apiVersion, kind or metadata of an object. */
  readonly inMetadata: boolean;
  /** Why a default is not allowed here. */
  readonly noDefault: string | undefined;
}

export function checkSchemaKeywords(schema: JsonObject, path: string): FieldError[] {
  const errors: FieldError[] = [];
  check(schema, { path, errors, isRoot: true, inMetadata: false, noDefault: undefined });
  return errors;
}

function check(schema: JsonObject, place: Place): void {
  const { path, errors } = place;
  checkSupported(schema, place);
  if (schema['uniqueItems'] === true)
    errors.push(
      fieldErrors.forbidden(
        `${path}.uniqueItems`,
        'uniqueItems cannot be set to true since the runtime complexity becomes quadratic',
      ),
    );
  checkInner(schema, { ...place, isRoot: false }, place.isRoot);
  if (schema['x-kubernetes-preserve-unknown-fields'] === false)
    errors.push(
      fieldErrors.invalid(`${path}.x-kubernetes-preserve-unknown-fields`, false, 'must be true or undefined'),
    );
  checkMapType(schema, place);
  checkListType(schema, place);
  checkItemKeys(schema, place);
  ((schema['x-kubernetes-validations'] as RuleSource[] | undefined) ?? []).forEach((rule, i) =>
    checkRule(rule, schema, { ...place, path: `${path}.x-kubernetes-validations[${i}]` }),
  );
}

function checkSupported(schema: JsonObject, { path, errors, inMetadata, noDefault }: Place): void {
  const { type, items } = schema;
  const refuse = (name: string): unknown =>
    errors.push(fieldErrors.forbidden(`${path}.${name}`, `${name} is not supported`));
  if (type && !TYPES.includes(String(type)))
    errors.push(fieldErrors.notSupported(`${path}.type`, type, TYPES));
  if (schema['default'] !== undefined && noDefault !== undefined)
    errors.push(fieldErrors.forbidden(`${path}.default`, `must not be set ${noDefault}`));
  if (schema['id']) refuse('id');
  if (isGiven(schema['additionalItems'])) refuse('additionalItems');
  for (const name of ['patternProperties', 'definitions'])
    if (isJsonObject(schema[name]) && Object.keys(schema[name]).length > 0) refuse(name);
  if (isGiven(schema['dependencies']) || isGivenEmpty(schema, 'dependencies')) refuse('dependencies');
  if (isGiven(schema['$ref'])) refuse('$ref');
  if (type === 'null')
    errors.push(
      fieldErrors.forbidden(`${path}.type`, 'type cannot be set to null, use nullable as an alternative'),
    );
  if (Array.isArray(items) && items.length > 0)
    errors.push(fieldErrors.forbidden(`${path}.items`, 'items must be a schema object and not an array'));
  if (inMetadata && schema['x-kubernetes-embedded-resource'] === true)
    errors.push(
      fieldErrors.forbidden(
        `${path}.x-kubernetes-embedded-resource`,
        'must not be used inside of resource meta',
      ),
    );
}

function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null;
}

function checkInner(schema: JsonObject, place: Place, isRoot: boolean): void {
  const { path, errors } = place;
  const additional = schema['additionalProperties'],
    properties = propertiesOf(schema),
    { items } = schema;
  if (isGiven(additional) && additional !== true && Object.keys(properties).length > 0)
    errors.push(
      fieldErrors.forbidden(
        `${path}.additionalProperties`,
        'additionalProperties and properties are mutual exclusive',
      ),
    );
  if (isJsonObject(additional))
    check(additional, {
      ...place,
      path: `${path}.additionalProperties`,
      ...(place.inMetadata ? { noDefault: 'inside additionalProperties applying to object metadata' } : {}),
    });
  for (const [name, inner] of Object.entries(properties)) {
    const ofMetadata = OF_METADATA.has(name) && (isRoot || schema['x-kubernetes-embedded-resource'] === true);
    check(inner, {
      ...place,
      path: `${path}.properties[${name}]`,
      inMetadata: place.inMetadata || ofMetadata,
      noDefault: ofMetadata && isRoot ? `in top-level ${name}` : place.noDefault,
    });
  }
  if (isJsonObject(schema['not'])) check(schema['not'], { ...place, path: `${path}.not` });
  for (const name of BRANCHES)
    ((schema[name] as JsonObject[] | undefined) ?? []).forEach((inner, i) =>
      check(inner, { ...place, path: `${path}.${name}[${i}]` }),
    );
  for (const name of ['definitions', 'dependencies']) {
    for (const [key, inner] of Object.entries((schema[name] ?? {}) as JsonObject))
      if (isJsonObject(inner)) check(inner, { ...place, path: `${path}.${name}[${key}]` });
  }
  if (isJsonObject(items)) check(items, { ...place, path: `${path}.items` });
  else if (Array.isArray(items))
    items.forEach((inner, i) => {
      if (isJsonObject(inner)) check(inner, { ...place, path: `${path}.items[${i}]` });
    });
}

function needsType(
  schema: JsonObject,
  { path, errors }: Place,
  { type, keyword }: { readonly type: string; readonly keyword: string },
): void {
  const detail = `must be ${type} if ${keyword} is specified`;
  if (schema['type'] !== type)
    errors.push(
      schema['type']
        ? fieldErrors.invalid(`${path}.type`, schema['type'], detail)
        : fieldErrors.required(`${path}.type`, detail),
    );
}

function checkMapType(schema: JsonObject, place: Place): void {
  const keyword = 'x-kubernetes-map-type',
    mapType = schema[keyword];
  if (mapType === undefined) return;
  needsType(schema, place, { type: 'object', keyword });
  if (mapType !== 'atomic' && mapType !== 'granular')
    place.errors.push(fieldErrors.notSupported(`${place.path}.${keyword}`, mapType, ['atomic', 'granular']));
}

const LIST_TYPE = 'x-kubernetes-list-type',
  MAP_KEYS = 'x-kubernetes-list-map-keys';

function checkListType(schema: JsonObject, place: Place): void {
  const { path, errors } = place;
  const listType = schema[LIST_TYPE],
    keys = (schema[MAP_KEYS] as string[] | undefined) ?? [];
  if (listType !== undefined) {
    needsType(schema, place, { type: 'array', keyword: LIST_TYPE });
    if (schema['type'] === 'array' && listType === 'set' && isJsonObject(schema['items']))
      checkSetItems(schema['items'], { ...place, path: `${path}.items` });
    if (listType !== 'atomic' && listType !== 'set' && listType !== 'map')
      errors.push(fieldErrors.notSupported(`${path}.${LIST_TYPE}`, listType, ['atomic', 'set', 'map']));
  }
  if (keys.length > 0 && listType !== 'map') {
    const detail = 'must be map if x-kubernetes-list-map-keys is non-empty';
    errors.push(
      listType === undefined
        ? fieldErrors.required(`${path}.${LIST_TYPE}`, detail)
        : fieldErrors.invalid(`${path}.${LIST_TYPE}`, listType, detail),
    );
  }
  if (listType === 'map') checkMapKeys(keys, schema, place);
}

function checkSetItems(items: JsonObject, { path, errors }: Place): void {
  const keyword =
    items['type'] === 'array' ? LIST_TYPE : items['type'] === 'object' ? 'x-kubernetes-map-type' : undefined;
  if (keyword === undefined) return;
  const found = items[keyword],
    byDefault = keyword === LIST_TYPE;
  // Upstream shows the list type in both.
  if (found === undefined ? !byDefault : found !== 'atomic')
    errors.push(
      fieldErrors.invalid(
        `${path}.${keyword}`,
        items[LIST_TYPE] ?? null,
        'must be atomic as item of a list with x-kubernetes-list-type=set',
      ),
    );
}

function checkMapKeys(keys: readonly string[], { items }: JsonObject, { path, errors }: Place): void {
  if (keys.length === 0)
    errors.push(
      fieldErrors.required(`${path}.${MAP_KEYS}`, 'must not be empty if x-kubernetes-list-type is map'),
    );
  if (!isGiven(items)) {
    errors.push(fieldErrors.required(`${path}.items`, 'must have a schema if x-kubernetes-list-type is map'));
    return;
  }
  if (!isJsonObject(items)) {
    errors.push(
      fieldErrors.invalid(
        `${path}.items`,
        items,
        'must only have a single schema if x-kubernetes-list-type is map',
      ),
    );
    return;
  }
  if (items['type'] !== 'object') {
    errors.push(
      fieldErrors.invalid(
        `${path}.items.type`,
        items['type'] ?? '',
        "must be object if parent array's x-kubernetes-list-type is map",
      ),
    );
    return;
  }
  const properties = propertiesOf(items),
    seen = new Set<string>();
  for (const key of keys) {
    const property = Object.hasOwn(properties, key) ? properties[key] : undefined;
    if (!property)
      errors.push(
        fieldErrors.invalid(`${path}.${MAP_KEYS}`, keys, 'entries must all be names of item properties'),
      );
    else if (property['type'] === 'array' || property['type'] === 'object')
      errors.push(
        fieldErrors.invalid(
          `${path}.items.properties[${key}].type`,
          items['type'],
          "must be a scalar type if parent array's x-kubernetes-list-type is map",
        ),
      );
    if (seen.has(key))
      errors.push(fieldErrors.invalid(`${path}.${MAP_KEYS}`, keys, 'must not contain duplicate entries'));
    seen.add(key);
  }
}

/** Items of a set or list-map cannot be nullable, nor can the keys of a list-map. */
function checkItemKeys(schema: JsonObject, { path, errors }: Place): void {
  const listType = schema[LIST_TYPE],
    { items } = schema;
  if (!isJsonObject(items) || (listType !== 'set' && listType !== 'map')) return;
  if (items['nullable'] === true)
    errors.push(
      fieldErrors.forbidden(
        `${path}.items.nullable`,
        `cannot be nullable when x-kubernetes-list-type is ${listType}`,
      ),
    );
  if (listType !== 'map') return;
  const properties = propertiesOf(items),
    required = (items['required'] as string[] | undefined) ?? [];
  for (const key of (schema[MAP_KEYS] as string[] | undefined) ?? []) {
    const property = Object.hasOwn(properties, key) ? properties[key] : undefined,
      at = `${path}.items.properties[${key}]`;
    if (!property) continue;
    if (property['default'] === undefined && !required.includes(key))
      errors.push(
        fieldErrors.required(
          `${at}.default`,
          'this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property',
        ),
      );
    if (property['nullable'] === true)
      errors.push(
        fieldErrors.forbidden(
          `${at}.nullable`,
          'this property is in x-kubernetes-list-map-keys, so it cannot be nullable',
        ),
      );
  }
}

interface RuleSource {
  readonly rule?: string;
  readonly message?: string;
  readonly messageExpression?: string;
  readonly reason?: string;
  readonly fieldPath?: string;
}

const BREAKS = /[\n\r]/;

function checkRule(
  { rule = '', message = '', messageExpression = '', reason, fieldPath = '' }: RuleSource,
  schema: JsonObject,
  { path, errors }: Place,
): void {
  const text = message.trim();
  if (rule.trim() === '') errors.push(fieldErrors.required(`${path}.rule`, 'rule is not specified'));
  else if (message !== '' && text === '')
    errors.push(fieldErrors.invalid(`${path}.message`, message, 'must be non-empty if specified'));
  else if (BREAKS.test(text))
    errors.push(fieldErrors.invalid(`${path}.message`, message, 'must not contain line breaks'));
  else if (BREAKS.test(rule.trim()) && text === '')
    errors.push(
      fieldErrors.required(`${path}.message`, 'message must be specified if rule contains line breaks'),
    );
  if (messageExpression !== '' && messageExpression.trim() === '')
    errors.push(
      fieldErrors.required(`${path}.messageExpression`, 'messageExpression must be non-empty if specified'),
    );
  if (reason !== undefined && !REASONS.includes(reason))
    errors.push(fieldErrors.notSupported(`${path}.reason`, reason, REASONS));
  if (fieldPath === '') return;
  const invalid = (detail: string): unknown =>
    errors.push(fieldErrors.invalid(`${path}.fieldPath`, fieldPath, detail));
  if (fieldPath.trim() === '') invalid('must be non-empty if specified');
  if (BREAKS.test(fieldPath)) invalid('must not contain line breaks');
  if (fieldPathProblem(fieldPath, schema).problem !== undefined) invalid('must be a valid path');
}
