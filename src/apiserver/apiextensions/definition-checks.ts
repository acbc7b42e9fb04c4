/** What is checked of a definition by compiling it: its schemas, defaults, rules, and the paths that columns, scale and selectable fields name. */
import { fieldErrors, fieldErrorBody, type FieldError } from '#machinery/errors.ts';
import { decodeObject } from '#machinery/decode.ts';
import { deepClone, deepEqual, isJsonObject, type JsonObject } from '#machinery/json.ts';
import { schemaOf } from '#api/schemas.ts';
import type { CustomResourceDefinition, CustomResourceDefinitionVersion } from '#api/types.ts';
import { compileSchemaRules } from './rules-on-demand.ts';
import { applyDefaults } from './coerce.ts';
import { compileJsonPath, simplePath } from './json-path.ts';
import { BRANCHES, checkStructural } from './structural-checks.ts';
import { fieldOf, toStructural, type Structural } from './structural.ts';
import { compileValidator, validateListTypes } from './validation.ts';

const SCHEMA_TYPE = 'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps';

/** Reads the schemas that stand where others are alternatives (items, additionalProperties) as schemas too. Throws StatusError 400 for what is none. */
export function readInnerSchemas({ spec }: CustomResourceDefinition): void {
  for (const version of spec?.versions ?? []) {
    const schema = version.schema?.openAPIV3Schema;
    if (schema) readInner(schema as JsonObject);
  }
}

function readInner(schema: JsonObject): void {
  for (const name of ['items', 'additionalProperties', 'additionalItems']) {
    if (isJsonObject(schema[name])) schema[name] = decodeObject(schemaOf(SCHEMA_TYPE), schema[name], 'ignore').object;
  }
  for (const name of ['items', 'additionalProperties', 'not']) if (isJsonObject(schema[name])) readInner(schema[name]);
  for (const name of ['properties', 'patternProperties', 'definitions']) if (isJsonObject(schema[name])) for (const inner of Object.values(schema[name])) if (isJsonObject(inner)) readInner(inner);
  for (const name of BRANCHES) for (const inner of (schema[name] as JsonObject[] | undefined) ?? []) if (isJsonObject(inner)) readInner(inner);
}

/** What was there before stays allowed where nothing of it changed. */
export function checkDefinition(definition: CustomResourceDefinition, previous?: CustomResourceDefinition): FieldError[] {
  const versions = definition.spec?.versions ?? [];
  if (previous && deepEqual(versions, previous.spec?.versions) && definition.spec.preserveUnknownFields === previous.spec.preserveUnknownFields) return [];
  return schemasOf(versions).flatMap(({ schema, path, version, at }) => [...checkSchema(schema, path), ...checkPaths(version, { schema, at })]);
}

/** Storage migration takes versions off the list, but never the one that is written. */
export function checkStoredVersions({ spec, status }: CustomResourceDefinition): FieldError[] {
  const stored = status?.storedVersions ?? [], errors: FieldError[] = [];
  if (stored.length === 0) return [fieldErrors.invalid('status.storedVersions', stored, 'must have at least one stored version')];
  stored.forEach((version, i) => {
    if (!spec.versions.some(({ name }) => name === version)) errors.push(fieldErrors.invalid(`status.storedVersions[${i}]`, version, 'must appear in spec.versions'));
  });
  const storage = spec.versions.find((version) => version.storage)?.name;
  if (storage !== undefined && !stored.includes(storage)) errors.push(fieldErrors.invalid('status.storedVersions', stored, `must have the storage version ${storage}`));
  return errors;
}

/** Why a stored definition is not structural, as its condition says it. */
export function violationsOf(definition: CustomResourceDefinition): string[] {
  return schemasOf(definition.spec?.versions ?? []).flatMap(({ schema, path }) => checkStructural(schema, path)).map((error) => `${error.field}: ${fieldErrorBody(error)}`);
}

interface PlacedSchema { readonly schema: JsonObject; readonly path: string; readonly version: CustomResourceDefinitionVersion; readonly at: string }

/** Upstream names the schema all versions share by the place it once had. */
function schemasOf(versions: readonly CustomResourceDefinitionVersion[]): PlacedSchema[] {
  const schemas = versions.map((version) => version.schema?.openAPIV3Schema as JsonObject | undefined);
  const shared = schemas.every((schema) => deepEqual(schema, schemas[0]));
  return versions.flatMap((version, i) => {
    const schema = schemas[i];
    if (!schema || (shared && i > 0)) return [];
    return [{ schema, version, at: `spec.versions[${i}]`, path: shared ? 'spec.validation.openAPIV3Schema' : `spec.versions[${i}].schema.openAPIV3Schema` }];
  });
}

function checkSchema(schema: JsonObject, path: string): FieldError[] {
  const errors = checkStructural(schema, path);
  // What is not structural cannot be compiled.
  if (errors.length > 0) return errors;
  const node = toStructural(schema);
  checkDefaults(node, { path, root: true, errors });
  errors.push(...compileSchemaRules(node, path).errors);
  return errors;
}

function checkDefaults(node: Structural, { path, root, errors }: { readonly path: string; readonly root: boolean; readonly errors: FieldError[] }): void {
  if (!node.hasDefaults) return;
  if (node.default !== undefined) {
    if (root) errors.push(fieldErrors.forbidden(`${path}.default`, 'must not be set at the root'));
    else checkDefault(node, { path: `${path}.default`, errors });
  }
  for (const [name, inner] of node.properties) checkDefaults(inner, { path: `${path}.properties[${name}]`, root: false, errors });
  if (typeof node.additional === 'object') checkDefaults(node.additional, { path: `${path}.additionalProperties`, root: false, errors });
  if (node.items) checkDefaults(node.items, { path: `${path}.items`, root: false, errors });
}

function checkDefault(node: Structural, { path, errors }: { readonly path: string; readonly errors: FieldError[] }): void {
  const value = deepClone(node.default);
  applyDefaults(value, node);
  const unknown = unknownField(value, node);
  if (unknown) errors.push(fieldErrors.invalid(path, node.default, `must not have unknown fields (${unknown})`));
  for (const error of [...compileValidator(node)(value, undefined), ...validateListTypes(value, node)]) {
    const at = error.field === '<nil>' || error.field === '' ? path : error.field.startsWith('[') ? path + error.field : `${path}.${error.field}`;
    errors.push({ ...error, field: at, detail: error.detail.replace(/^ in body/, `${path} in body`) });
  }
}

function unknownField(value: unknown, node: Structural | undefined): string | undefined {
  if (Array.isArray(value)) return value.map((item) => unknownField(item, node?.items)).find((found) => found !== undefined);
  if (!isJsonObject(value) || node?.preserves || node?.embedded || node?.additional === true) return undefined;
  for (const key of Object.keys(value)) {
    const inner = fieldOf(node, key);
    const found = inner ? unknownField(value[key], inner) : key;
    if (found !== undefined) return found;
  }
  return undefined;
}

function checkPaths(version: CustomResourceDefinitionVersion, { schema, at }: { readonly schema: JsonObject; readonly at: string }): FieldError[] {
  const errors: FieldError[] = [];
  version.additionalPrinterColumns?.forEach(({ jsonPath }, i) => {
    try {
      if (jsonPath?.startsWith('.')) compileJsonPath(jsonPath);
    } catch (error) {
      errors.push(fieldErrors.invalid(`${at}.additionalPrinterColumns[${i}].jsonPath`, jsonPath, error instanceof Error ? error.message : String(error)));
    }
  });
  const { scale } = version.subresources ?? {};
  for (const name of ['specReplicasPath', 'statusReplicasPath', 'labelSelectorPath'] as const) {
    const path = scale?.[name];
    if (path?.startsWith('.') && !simplePath(path)) errors.push(fieldErrors.invalid(`${at}.subresources.scale.${name}`, path, 'should be a json path without array notation'));
  }
  const root = toStructural(schema), seen = new Set<string>();
  version.selectableFields?.forEach(({ jsonPath }, i) => {
    const field = `${at}.selectableFields[${i}].jsonPath`;
    const steps = jsonPath ? simplePath(jsonPath) : undefined;
    if (!jsonPath?.startsWith('.')) return;
    if (!steps) errors.push(fieldErrors.invalid(field, jsonPath, 'is an invalid path: must be a simple path of fields'));
    else {
      let node: Structural | undefined = root;
      for (const step of steps) node = node?.properties.get(step);
      if (steps[0] === 'metadata') errors.push(fieldErrors.invalid(field, jsonPath, 'must not point to fields in metadata'));
      else if (!node) errors.push(fieldErrors.invalid(field, jsonPath, `is an invalid path: does not refer to a valid field`));
      else if (!['string', 'integer', 'boolean'].includes(node.type)) errors.push(fieldErrors.invalid(field, jsonPath, 'must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.'));
    }
    if (seen.has(jsonPath)) errors.push(fieldErrors.duplicate(field, jsonPath));
    seen.add(jsonPath);
  });
  return errors;
}
