/**
 * Compiled schemas of every built-in type of Kubernetes 1.36, materialised on first use from the generated tables.
 * Versions that 1.36 no longer serves are known too (schemas-unserved.json, read on first use): their wire form only.
 */
import { readFileSync } from 'node:fs';
import type { GroupVersionKind } from '#machinery/object.ts';
import type { FieldSchema, ObjectSchema, ScalarType, ValueSchema } from '#machinery/schema.ts';
import {
  nameOfDefinition,
  packageOfDefinition,
  type FieldEntry,
  type FieldExtras,
  type SchemaTable,
  type TypeEntry,
} from './schema-table.ts';

const metaPackage = 'io.k8s.apimachinery.pkg.apis.meta.v1';
/** Registered in every group and version. */
const kindsOfEveryGroup = new Set([
  'CreateOptions',
  'DeleteOptions',
  'GetOptions',
  'ListOptions',
  'PatchOptions',
  'UpdateOptions',
  'WatchEvent',
  'Status',
  'APIGroup',
  'APIGroupList',
  'APIResourceList',
  'APIVersions',
]);

const load = (file: string): SchemaTable =>
  JSON.parse(readFileSync(new URL(`./generated/${file}`, import.meta.url), 'utf8')) as SchemaTable;

const served = load('schemas.json');
let unserved: SchemaTable | undefined;
let definitionsByKind: ReadonlyMap<string, string> | undefined;
const compiled = new Map<string, ObjectSchema>();

/** The raw tables of what 1.36 serves, for the OpenAPI builders. */
export function servedSchemaTable(): SchemaTable {
  return served;
}

export function findTypeEntry(definition: string): TypeEntry | undefined {
  const packageName = packageOfDefinition(definition);
  const name = nameOfDefinition(definition);
  return served[packageName]?.[name] ?? (unserved ??= load('schemas-unserved.json'))[packageName]?.[name];
}

/** Throws for a name that no type has, and for types that are one JSON value (Quantity, Time, …). */
export function schemaOf(definition: string): ObjectSchema {
  const known = compiled.get(definition);
  if (known) return known;
  const entry = findTypeEntry(definition);
  if (!entry?.f)
    throw new Error(
      entry ? `Type ${definition} is a ${entry.v}, not an object` : `No schema of type ${definition}`,
    );
  const schema = compile(definition, entry);
  compiled.set(definition, schema);
  return schema;
}

/** Also finds the kinds that exist in every group (ListOptions, Status, …). */
export function schemaForKind({ group, version, kind }: GroupVersionKind): ObjectSchema | undefined {
  const definition = definitionForKind({ group, version, kind });
  return definition === undefined ? undefined : schemaOf(definition);
}

/** The definition name of a kind: { group: 'apps', version: 'v1', kind: 'Deployment' } → 'io.k8s.api.apps.v1.Deployment'. */
export function definitionForKind({ group, version, kind }: GroupVersionKind): string | undefined {
  definitionsByKind ??= indexKinds(served);
  const found = definitionsByKind.get(`${group}/${version}/${kind}`);
  if (found !== undefined) return found;
  if (kindsOfEveryGroup.has(kind)) return `${metaPackage}.${kind}`;
  const old = `io.k8s.api.${packageSegment(group)}.${version}.${kind}`;
  return findTypeEntry(old)?.f ? old : undefined;
}

function indexKinds(table: SchemaTable): Map<string, string> {
  const index = new Map<string, string>();
  for (const [packageName, types] of Object.entries(table)) {
    for (const [name, entry] of Object.entries(types)) {
      for (const kind of entry.g ?? []) index.set(kind, `${packageName}.${name}`);
      if (entry.x && isKind(entry))
        index.set(
          `${groupOfPackage(packageName)}/${packageName.slice(packageName.lastIndexOf('.') + 1)}/${name}`,
          `${packageName}.${name}`,
        );
    }
  }
  return index;
}

function isKind(entry: TypeEntry): boolean {
  return entry.f?.[0]?.[0] === 'apiVersion' || entry.f?.[0]?.[0] === 'kind';
}

const groupsBySegment: Readonly<Record<string, string>> = {
  core: '',
  apps: 'apps',
  autoscaling: 'autoscaling',
  batch: 'batch',
  extensions: 'extensions',
  policy: 'policy',
  rbac: 'rbac.authorization.k8s.io',
  flowcontrol: 'flowcontrol.apiserver.k8s.io',
  apiserverinternal: 'internal.apiserver.k8s.io',
};

/** The API group of a Go package: 'io.k8s.api.rbac.v1' → 'rbac.authorization.k8s.io'. */
function groupOfPackage(packageName: string): string {
  const segment = packageName.split('.').at(-2)!;
  return groupsBySegment[segment] ?? `${segment}.k8s.io`;
}

function packageSegment(group: string): string {
  const segment = Object.entries(groupsBySegment).find(([, name]) => name === group)?.[0];
  return segment ?? group.replace(/\.k8s\.io$/, '');
}

function compile(definition: string, entry: TypeEntry): ObjectSchema {
  const packageName = packageOfDefinition(definition);
  const fields = entry.f!.map((field) => compileField(field, packageName));
  return {
    name: definition,
    fields,
    byName: new Map(fields.map((field) => [field.name, field])),
    ...(entry.m === 'atomic' && { atomic: true }),
  };
}

function compileField(
  [name, type, number, flags, extras = {}]: FieldEntry,
  packageName: string,
): FieldSchema {
  const numbers = typeof number === 'number' ? (number === 0 ? [] : [number]) : number;
  const value = compileValue(type, { packageName, extras, wrapped: flags.includes('w') });
  const zeroDefault = flags.includes('z');
  return {
    name,
    value,
    required: flags.includes('r'),
    ...((zeroDefault || extras.d !== undefined) && { default: zeroDefault ? zeroOf(value) : extras.d }),
    ...(extras.s !== undefined && {
      patchStrategy: extras.s.split(',') as NonNullable<FieldSchema['patchStrategy']>,
    }),
    ...(extras.p !== undefined && { patchMergeKey: extras.p }),
    ...((extras.m === 'atomic' || (extras.m === undefined && refersToAtomic(type, packageName))) && {
      atomic: true,
    }),
    ...(numbers.length > 0 && { number: numbers.at(-1)! }),
    ...(numbers.length > 1 && { embeddedIn: numbers.slice(0, -1) }),
    ...(extras.n !== undefined && { goType: extras.n }),
    ...(extras.b && { within: extras.b }),
    zero: flags.includes('p') ? 'distinct' : flags.includes('o') ? 'omitted' : 'written',
  };
}

function compileValue(
  type: string,
  context: { packageName: string; extras: FieldExtras; wrapped: boolean },
): ValueSchema {
  const { packageName, extras } = context;
  const inner = { packageName, extras: {}, wrapped: false };
  if (type.startsWith('list:')) {
    const items = compileValue(type.slice(5), { ...inner, extras: extras.e ? { e: extras.e } : {} });
    return {
      kind: 'list',
      items,
      listType: extras.l ?? 'atomic',
      ...(extras.k && { mapKeys: extras.k }),
      ...(context.wrapped && { wrapped: true }),
    };
  }
  if (type.startsWith('map:list:'))
    return { kind: 'map', values: compileValue(type.slice(4), { ...inner, wrapped: true }) };
  if (type.startsWith('map:')) return { kind: 'map', values: compileValue(type.slice(4), inner) };
  if (type.includes('.') || /^[A-Z]/.test(type)) {
    const definition = type.includes('.') ? type : `${packageName}.${type}`;
    return {
      kind: 'object',
      type: extras.m === 'granular' ? () => granular(schemaOf(definition)) : () => schemaOf(definition),
    };
  }
  const [scalar, wire] = type.split(':');
  return {
    kind: 'scalar',
    type: scalar as ScalarType,
    ...(extras.e && { enum: extras.e }),
    ...(wire !== undefined && { wire: wire as 'schema-or-array' }),
  };
}

const granularTypes = new WeakMap<ObjectSchema, ObjectSchema>();

/** A type that elsewhere is replaced as a whole. */
function granular(schema: ObjectSchema): ObjectSchema {
  if (schema.atomic !== true) return schema;
  let known = granularTypes.get(schema);
  if (!known)
    granularTypes.set(
      schema,
      (known = {
        name: schema.name,
        fields: schema.fields,
        byName: schema.byName,
        ...(schema.open && { open: true }),
      }),
    );
  return known;
}

function refersToAtomic(type: string, packageName: string): boolean {
  if (!/^[A-Z]|^io\./.test(type)) return false;
  return findTypeEntry(type.includes('.') ? type : `${packageName}.${type}`)?.m === 'atomic';
}

const emptyObject: object = Object.freeze({});

/** Objects are shared and frozen: copy before use. */
function zeroOf(value: ValueSchema): unknown {
  if (value.kind !== 'scalar') return emptyObject;
  if (value.type === 'bool') return false;
  return /^u?int|^double$/.test(value.type) ? 0 : value.type === 'int-or-string' ? 0 : '';
}
