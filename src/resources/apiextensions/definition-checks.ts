/** Checks of a definition that need compilation: schemas, defaults, rules, and selectable fields. */
import { fieldErrors, fieldErrorBody, statusErrors, type FieldError } from '#machinery/errors.ts';
import { decodeObject } from '#machinery/decode.ts';
import { deepEqual, isJsonObject, type JsonObject } from '#machinery/json.ts';
import { schemaOf } from '#api/schemas.ts';
import { sharedParts } from './shared-parts.ts';
import type { CustomResourceDefinition, CustomResourceDefinitionVersion } from '#api/types.ts';
import { compileSchemaRules } from './rules-on-demand.ts';
import { fieldPathProblem } from './rule-field-path.ts';
import { STRING_FORMATS } from '#machinery/formats.ts';
import { checkSchemaKeywords } from './schema-checks.ts';
import { BRANCHES, checkStructural, unsupportedKeyword } from './structural-checks.ts';
import { fieldOf, toStructural, type Structural } from '#machinery/structural.ts';
import { compileValidator } from './schema-validation.ts';

const UNREADABLE = 'CustomResourceDefinition in version "v1" cannot be handled as a CustomResourceDefinition';
const SCHEMA_TYPE = 'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps';

/** Parses schemas in fields with alternatives (items, additionalProperties) too. Throws StatusError 400 for an invalid one. */
export function readInnerSchemas({ spec }: CustomResourceDefinition): void {
  for (const version of spec?.versions ?? []) {
    const schema = version.schema?.openAPIV3Schema;
    if (schema) readInner(schema as JsonObject);
  }
}

function readInner(schema: JsonObject): void {
  for (const name of ['additionalProperties', 'additionalItems']) {
    if (
      schema[name] !== undefined &&
      schema[name] !== null &&
      typeof schema[name] !== 'boolean' &&
      !isJsonObject(schema[name])
    )
      throw statusErrors.badRequest(`${UNREADABLE}: boolean or JSON schema expected`);
  }
  // Neither a schema nor a list of them: ignored.
  if (schema['items'] !== undefined && typeof schema['items'] !== 'object') delete schema['items'];
  if (Array.isArray(schema['items']) && !schema['items'].every(isJsonObject))
    throw statusErrors.badRequest(`${UNREADABLE}: items must be a schema`);
  for (const name of ['items', 'additionalProperties', 'additionalItems']) {
    if (isJsonObject(schema[name]))
      schema[name] = decodeObject(schemaOf(SCHEMA_TYPE), schema[name], 'ignore').object;
  }
  for (const name of ['items', 'additionalProperties', 'not'])
    if (isJsonObject(schema[name])) readInner(schema[name]);
  for (const name of ['properties', 'patternProperties', 'definitions'])
    if (isJsonObject(schema[name]))
      for (const inner of Object.values(schema[name])) if (isJsonObject(inner)) readInner(inner);
  for (const name of BRANCHES)
    for (const inner of (schema[name] as JsonObject[] | undefined) ?? [])
      if (isJsonObject(inner)) readInner(inner);
}

/** Values of the stored object are accepted if they are unchanged. */
export function checkDefinition(
  definition: CustomResourceDefinition,
  previous?: CustomResourceDefinition,
): FieldError[] {
  const versions = definition.spec?.versions ?? [];
  if (
    previous &&
    deepEqual(versions, previous.spec?.versions) &&
    definition.spec.preserveUnknownFields === previous.spec.preserveUnknownFields
  )
    return [];
  const schemas = collectSchemas(versions);
  const costly = tooCostly(schemas.map(({ schema }) => schema));
  if (costly) return [costly];
  return [...schemas.flatMap(checkSchema), ...checkSelectable(versions)];
}

/** Limit for one definition, over all versions: some 100 ms of processor time each. */
const MAX_PATTERN_BYTES = 100_000;
const MAX_RULES = 2_000;

/** A definition with more patterns or validation rules than can be compiled in one turn is rejected before compilation. */
function tooCostly(schemas: readonly JsonObject[]): FieldError | undefined {
  let patternBytes = 0,
    rules = 0;
  const pending: unknown[] = [...schemas];
  while (pending.length > 0) {
    const value = pending.pop();
    if (typeof value !== 'object' || value === null) continue;
    if (Array.isArray(value)) {
      for (const item of value) pending.push(item);
      continue;
    }
    for (const [key, inner] of Object.entries(value)) {
      if (key === 'pattern' && typeof inner === 'string') patternBytes += inner.length;
      else if (key === 'x-kubernetes-validations' && Array.isArray(inner)) rules += inner.length;
      else pending.push(inner);
    }
  }
  if (patternBytes > MAX_PATTERN_BYTES) return fieldErrors.tooLong('spec.versions', MAX_PATTERN_BYTES);
  return rules > MAX_RULES ? fieldErrors.tooMany('spec.versions', rules, MAX_RULES) : undefined;
}

/** Formats without validation, in the order of the schemas. */
export function unrecognizedFormats({ spec }: CustomResourceDefinition): string[] {
  return collectSchemas(spec?.versions ?? []).flatMap(({ schema }) => formatsIn(schema));
}

const NUMBER_FORMATS: Readonly<Record<string, readonly string[]>> = {
  integer: ['int32', 'int64'],
  number: ['float', 'double'],
};
const KNOWN_FORMATS = new Set(Object.keys(STRING_FORMATS).map((name) => name.replaceAll('-', '')));

function formatsIn(schema: JsonObject): string[] {
  const {
    type = '',
    format,
    items,
    additionalProperties,
    not,
  } = schema as {
    readonly type?: string;
    readonly format?: string;
    readonly items?: unknown;
    readonly additionalProperties?: unknown;
    readonly not?: unknown;
  };
  const isKnown =
    !format ||
    (type === '' || type === 'string'
      ? KNOWN_FORMATS.has(format.replaceAll('-', ''))
      : NUMBER_FORMATS[type]?.includes(format) === true);
  const branches = BRANCHES.flatMap((name) => (schema[name] as JsonObject[] | undefined) ?? []),
    properties = Object.values((schema['properties'] ?? {}) as Record<string, JsonObject>);
  return [
    ...(isKnown ? [] : [format]),
    ...[items, ...branches, not, ...properties, additionalProperties].filter(isJsonObject).flatMap(formatsIn),
  ];
}

/** Why a stored definition is not structural: the message of its condition. */
export function listViolations(definition: CustomResourceDefinition): string[] {
  return collectSchemas(definition.spec?.versions ?? [])
    .flatMap(({ schema, path }) => checkStructural(schema, path))
    .map((error) => `${error.field}: ${fieldErrorBody(error)}`);
}

interface PlacedSchema {
  readonly schema: JsonObject;
  readonly path: string;
  /** Whether the version has a status subresource. */ readonly hasStatus: boolean;
}

/** As upstream, errors of a schema that all versions share have its former path. */
function collectSchemas(versions: readonly CustomResourceDefinitionVersion[]): PlacedSchema[] {
  const shared = sharedParts(versions).schema,
    hasStatus = (version: CustomResourceDefinitionVersion): boolean =>
      version.subresources?.status !== undefined;
  return (shared ? versions.slice(0, 1) : versions).flatMap((version, i) => {
    const schema = version.schema?.openAPIV3Schema as JsonObject | undefined;
    return schema
      ? [
          {
            schema,
            path: `${shared ? 'spec.validation' : `spec.versions[${i}].schema`}.openAPIV3Schema`,
            hasStatus: shared ? versions.some(hasStatus) : hasStatus(version),
          },
        ]
      : [];
  });
}

function checkSchema({ schema, path, hasStatus }: PlacedSchema): FieldError[] {
  const errors = checkRoot(schema, { path, hasStatus });
  const unsupported = unsupportedKeyword(schema),
    keywords = checkSchemaKeywords(schema, path);
  const node = toStructural(schema);
  let structural: readonly FieldError[] = [];
  if (unsupported === undefined) {
    structural = checkStructural(schema, path);
    if (structural.length === 0) structural = checkDefaults(node, path);
  }
  errors.push(...structural, ...keywords);
  if (unsupported !== undefined && errors.length === 0) return [fieldErrors.invalid(path, '', unsupported)];
  // Rules are compiled with types, which an invalid schema does not have.
  if (unsupported === undefined && structural.length === 0 && keywords.length === 0)
    errors.push(...compileSchemaRules(node, path).errors);
  return errors;
}

/** Go's names of the types, as in upstream's message. */
const AT_ROOT: Readonly<Record<string, string>> = {
  description: 'Description',
  type: 'Type',
  format: 'Format',
  title: 'Title',
  maximum: 'Maximum',
  exclusiveMaximum: 'ExclusiveMaximum',
  minimum: 'Minimum',
  exclusiveMinimum: 'ExclusiveMinimum',
  maxLength: 'MaxLength',
  minLength: 'MinLength',
  pattern: 'Pattern',
  maxItems: 'MaxItems',
  minItems: 'MinItems',
  uniqueItems: 'UniqueItems',
  multipleOf: 'MultipleOf',
  required: 'Required',
  items: 'Items',
  properties: 'Properties',
  externalDocs: 'ExternalDocs',
  example: 'Example',
  'x-kubernetes-preserve-unknown-fields': 'XPreserveUnknownFields',
  'x-kubernetes-validations': 'XValidations',
};

/** When the status is validated by a part of the schema, the whole must not restrict more than its parts. */
function checkRoot(
  schema: JsonObject,
  { path, hasStatus }: { readonly path: string; readonly hasStatus: boolean },
): FieldError[] {
  const errors: FieldError[] = [];
  if (hasStatus && schema['type'] && schema['type'] !== 'object')
    errors.push(
      fieldErrors.invalid(
        `${path}.type`,
        schema['type'],
        'only "object" is allowed as the type at the root of the schema if the status subresource is enabled',
      ),
    );
  else if (
    hasStatus &&
    Object.entries(schema).some(
      ([name, value]) => !Object.hasOwn(AT_ROOT, name) && value !== false && value !== '',
    )
  ) {
    errors.push(
      fieldErrors.invalid(
        path,
        schema,
        `only [${Object.values(AT_ROOT).join(' ')}] fields are allowed at the root of the schema if the status subresource is enabled`,
      ),
    );
  }
  if (schema['nullable'] === true)
    errors.push(fieldErrors.forbidden(`${path}.nullable`, 'nullable cannot be true at the root'));
  return errors;
}

function checkDefaults(node: Structural, path: string): FieldError[] {
  const errors: FieldError[] = [];
  collectDefaultErrors(node, { path, isRoot: true, errors });
  return errors;
}

/** As in upstream, those of additionalProperties are ignored. */
function collectDefaultErrors(
  node: Structural,
  {
    path,
    isRoot,
    errors,
  }: { readonly path: string; readonly isRoot: boolean; readonly errors: FieldError[] },
): void {
  if (!node.hasDefaults) return;
  if (node.default !== undefined)
    errors.push(...checkDefault(node, { path: `${path}.default`, isObject: isRoot || node.embedded }));
  if (node.items) collectDefaultErrors(node.items, { path: `${path}.items`, isRoot: false, errors });
  for (const [name, inner] of node.properties)
    collectDefaultErrors(inner, { path: `${path}.properties[${name}]`, isRoot: false, errors });
}

/** isObject: with apiVersion and kind. */
function checkDefault(
  node: Structural,
  { path, isObject }: { readonly path: string; readonly isObject: boolean },
): FieldError[] {
  const value = node.default,
    errors: FieldError[] = [];
  if (hasUnknown(value, node, isObject))
    errors.push(fieldErrors.invalid(path, value, 'must not have unknown fields'));
  const missing =
    isObject && isJsonObject(value)
      ? ['apiVersion', 'kind']
          .filter((name) => !value[name])
          .map((name) => fieldErrors.required(`${path}.${name}`))
      : [];
  if (missing.length > 0) return [...errors, ...missing];
  const found = compileValidator(node)(value, undefined);
  const problems =
    found.length > 0 ? found : (compileSchemaRules(node, '').evaluate?.(value, undefined) ?? []);
  return [
    ...errors,
    ...problems.map((error) => ({
      ...error,
      field:
        error.field === '<nil>' || error.field === ''
          ? path
          : error.field.startsWith('[')
            ? path + error.field
            : `${path}.${error.field}`,
    })),
  ];
}

const OF_OBJECTS = new Set(['apiVersion', 'kind', 'metadata']);

function hasUnknown(
  value: unknown,
  node: Structural | undefined,
  isObject = node?.embedded ?? false,
): boolean {
  if (Array.isArray(value)) return value.some((item) => hasUnknown(item, node?.items));
  if (!isJsonObject(value) || node?.preserves || node?.additional === true) return false;
  return Object.keys(value).some((key) => {
    if (isObject && OF_OBJECTS.has(key)) return false;
    const inner = fieldOf(node, key);
    return inner ? hasUnknown(value[key], inner) : true;
  });
}

const SELECTABLE_MAX = 8;

function checkSelectable(versions: readonly CustomResourceDefinitionVersion[]): FieldError[] {
  const shared = sharedParts(versions),
    errors: FieldError[] = [];
  (shared.selectableFields ? versions.slice(0, 1) : versions).forEach(
    ({ selectableFields = [], schema }, i) => {
      if (selectableFields.length === 0) return;
      const at = shared.selectableFields ? 'spec.selectableFields' : `spec.versions[${i}].selectableFields`;
      // Top-level and per-version fields are mutually exclusive.
      if (shared.schema !== shared.selectableFields || !schema?.openAPIV3Schema) {
        errors.push(
          fieldErrors.invalid(
            at,
            '',
            shared.selectableFields
              ? 'may only be set when validations.schema is included'
              : 'may only be set when `version.schema.openAPIV3Schema` is not included',
          ),
        );
      } else
        errors.push(...checkSelectableFields(selectableFields, schema.openAPIV3Schema as JsonObject, at));
    },
  );
  return errors;
}

function checkSelectableFields(
  fields: readonly { readonly jsonPath?: string }[],
  root: JsonObject,
  at: string,
): FieldError[] {
  const errors: FieldError[] = [],
    seen = new Set<string>();
  fields.forEach(({ jsonPath = '' }, i) => {
    const field = `${at}[${i}].jsonPath`;
    if (jsonPath === '') {
      errors.push(fieldErrors.required(field));
      return;
    }
    const { steps, schema, problem } = fieldPathProblem(jsonPath, root, { named: true });
    if (problem !== undefined) {
      errors.push(fieldErrors.invalid(field, jsonPath, `is an invalid path: ${problem}`));
      return;
    }
    if (steps[0] === 'metadata')
      errors.push(fieldErrors.invalid(field, jsonPath, 'must not point to fields in metadata'));
    if (!['string', 'boolean', 'integer'].includes(String(schema?.['type'])))
      errors.push(
        fieldErrors.invalid(
          field,
          jsonPath,
          'must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.',
        ),
      );
    const id = JSON.stringify(steps);
    if (seen.has(id)) errors.push(fieldErrors.duplicate(field, jsonPath));
    seen.add(id);
  });
  if (seen.size > SELECTABLE_MAX) errors.push(fieldErrors.tooMany(at, seen.size, SELECTABLE_MAX));
  return errors;
}
