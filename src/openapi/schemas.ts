/**
 * OpenAPI component schemas of the built-in types, derived from the generated tables, with our own descriptions (descriptions.ts).
 * One builder for both versions of OpenAPI: they differ in references, defaults and the two types that are 'one of'.
 */
import { describeField, describeType } from './descriptions.ts';
import { packageOfDefinition, nameOfDefinition, type FieldEntry, type TypeEntry } from '#api/schema-table.ts';
import { findTypeEntry } from '#api/schemas.ts';

export type JsonSchema = Record<string, unknown>;

export interface SchemaStyle {
  readonly openapi: 2 | 3;
  /** Which kinds to list of the types that every group has (DeleteOptions, WatchEvent). Default: all. */
  readonly listsKind?: (group: string, version: string) => boolean;
}

const metaV1 = 'io.k8s.apimachinery.pkg.apis.meta.v1';
const apiextensionsV1 = 'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1';

/** Types of one JSON value, by the scalar that the tables call them. */
const definitionOfScalar: Readonly<Record<string, string>> = {
  quantity: 'io.k8s.apimachinery.pkg.api.resource.Quantity',
  'int-or-string': 'io.k8s.apimachinery.pkg.util.intstr.IntOrString',
  time: `${metaV1}.Time`,
  'micro-time': `${metaV1}.MicroTime`,
  duration: `${metaV1}.Duration`,
  'fields-v1': `${metaV1}.FieldsV1`,
  'raw-extension': 'io.k8s.apimachinery.pkg.runtime.RawExtension',
  json: `${apiextensionsV1}.JSON`,
  'json:schema-or-array': `${apiextensionsV1}.JSONSchemaPropsOrArray`,
  'json:schema-or-bool': `${apiextensionsV1}.JSONSchemaPropsOrBool`,
  'json:schema-or-strings': `${apiextensionsV1}.JSONSchemaPropsOrStringArray`,
};

const scalarSchemas: Readonly<Record<string, JsonSchema>> = {
  string: { type: 'string' },
  bool: { type: 'boolean' },
  double: { type: 'number', format: 'double' },
  bytes: { type: 'string', format: 'byte' },
  int32: { type: 'integer', format: 'int32' },
  int64: { type: 'integer', format: 'int64' },
};

export function schemaReference(definition: string, { openapi }: SchemaStyle): JsonSchema {
  return { $ref: `#/${openapi === 3 ? 'components/schemas' : 'definitions'}/${definition}` };
}

/** The definitions named and all that they refer to, sorted by name. */
export function componentSchemas(
  definitions: Iterable<string>,
  style: SchemaStyle,
): Record<string, JsonSchema> {
  const found = new Map<string, TypeEntry>();
  const pending = [...definitions];
  for (let definition = pending.pop(); definition !== undefined; definition = pending.pop()) {
    if (found.has(definition)) continue;
    const entry = findTypeEntry(definition);
    if (!entry) throw new Error(`No schema of type ${definition}`);
    found.set(definition, entry);
    for (const [, type] of entry.f ?? [])
      pending.push(...referencedDefinition(type, packageOfDefinition(definition)));
  }
  return Object.fromEntries(
    [...found]
      .toSorted(([left], [right]) => (left < right ? -1 : 1))
      .map(([name, entry]) => [name, componentSchema(name, { entry, style })]),
  );
}

function referencedDefinition(type: string, packageName: string): string[] {
  const element = type.replace(/^(?:list:|map:)+/, '');
  const scalar = definitionOfScalar[element];
  if (scalar !== undefined) return [scalar];
  if (element.includes('.')) return [element];
  return /^[A-Z]/.test(element) ? [`${packageName}.${element}`] : [];
}

function componentSchema(
  definition: string,
  { entry, style }: { entry: TypeEntry; style: SchemaStyle },
): JsonSchema {
  const description = describeType(nameOfDefinition(definition));
  if (entry.v !== undefined) return { description, ...scalarTypeSchema(entry.v, style) };
  const context = {
    packageName: packageOfDefinition(definition),
    typeName: nameOfDefinition(definition),
    style,
  };
  const fields = entry.f ?? [];
  const required = fields.filter(([, , , flags]) => flags.includes('r')).map(([name]) => name);
  const allKinds = (entry.g ?? []).map(parseKind);
  const kinds =
    allKinds.length > 1
      ? allKinds.filter(({ group, version }) => style.listsKind?.(group, version) ?? true)
      : allKinds;
  return {
    description,
    type: 'object',
    ...(required.length > 0 && { required }),
    ...(fields.length > 0 && {
      properties: Object.fromEntries(fields.map((field) => [field[0], fieldSchema(field, context)])),
    }),
    ...(kinds.length > 0 && { 'x-kubernetes-group-version-kind': kinds }),
    ...(entry.m !== undefined && { 'x-kubernetes-map-type': entry.m }),
    ...(entry.u && { 'x-kubernetes-unions': entry.u }),
  };
}

function parseKind(text: string): { group: string; kind: string; version: string } {
  const [group, version, kind] = text.split('/') as [string, string, string];
  return { group, kind, version };
}

function scalarTypeSchema(scalar: string, { openapi }: SchemaStyle): JsonSchema {
  switch (scalar) {
    case 'quantity':
      return openapi === 3 ? { oneOf: [{ type: 'string' }, { type: 'number' }] } : { type: 'string' };
    case 'int-or-string':
      return openapi === 3
        ? { format: 'int-or-string', oneOf: [{ type: 'integer' }, { type: 'string' }] }
        : { type: 'string', format: 'int-or-string' };
    case 'time':
    case 'micro-time':
      return { type: 'string', format: 'date-time' };
    case 'duration':
      return { type: 'string' };
    case 'fields-v1':
    case 'raw-extension':
      return { type: 'object' };
    default:
      return {};
  }
}

interface FieldContext {
  readonly packageName: string;
  readonly typeName: string;
  readonly style: SchemaStyle;
}

function fieldSchema([name, type, , flags, extras = {}]: FieldEntry, context: FieldContext): JsonSchema {
  const description = describeField(context.typeName, name, type);
  if (flags.includes('d')) return valueSchema(type, context);
  const value = valueSchema(type, context);
  const isReference = value['$ref'] !== undefined;
  const defaultValue = flags.includes('z') ? zeroOf(type) : extras.d;
  return {
    description,
    ...(isReference && context.style.openapi === 3 ? { allOf: [value] } : value),
    ...(defaultValue !== undefined && context.style.openapi === 3 && { default: defaultValue }),
    ...(extras.e && enumerated(value, extras.e)),
    ...(extras.l !== undefined && { 'x-kubernetes-list-type': extras.l }),
    ...(extras.k && { 'x-kubernetes-list-map-keys': extras.k }),
    ...(extras.m !== undefined && { 'x-kubernetes-map-type': extras.m }),
    ...(extras.p !== undefined && { 'x-kubernetes-patch-merge-key': extras.p }),
    ...(extras.s !== undefined && { 'x-kubernetes-patch-strategy': extras.s }),
  };
}

/** Enum values belong to the strings: a list's items, a map's values, else the field itself. */
function enumerated(value: JsonSchema, values: readonly string[]): JsonSchema {
  const inner = ['items', 'additionalProperties'].find((key) => value[key] !== undefined);
  return inner === undefined
    ? { enum: values }
    : { [inner]: { ...(value[inner] as JsonSchema), enum: values } };
}

function zeroOf(type: string): unknown {
  if (type === 'bool') return false;
  if (type === 'string') return '';
  return /^u?int|^double$/.test(type) ? 0 : {};
}

function valueSchema(type: string, context: FieldContext): JsonSchema {
  if (type.startsWith('list:')) return { type: 'array', items: valueSchema(type.slice(5), context) };
  if (type.startsWith('map:'))
    return { type: 'object', additionalProperties: valueSchema(type.slice(4), context) };
  const scalar = scalarSchemas[type];
  if (scalar) return scalar;
  return schemaReference(
    definitionOfScalar[type] ?? (type.includes('.') ? type : `${context.packageName}.${type}`),
    context.style,
  );
}
