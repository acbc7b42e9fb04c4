/** OpenAPI of custom resources: the author's schema, completed with what every object has, and the paths of the resource. */
import type { GroupVersionKind } from '#machinery/object.ts';
import { commonFields } from './description-table.ts';
import { describeType } from './descriptions.ts';
import { resourcePaths, type Paths } from './paths.ts';
import { componentSchemas, schemaReference, type JsonSchema, type SchemaStyle } from './schemas.ts';
import { buildDocument, definitionOfKind, definitionsIn, type OpenapiV3Document } from './v3.ts';
import type { ResourceFacts } from '#api/resources.ts';

export interface CustomResource {
  readonly facts: ResourceFacts;
  /** The kind of lists. Default: kind + 'List'. */
  readonly listKind?: string;
  /** The version's openAPIV3Schema; absent: any object. Not changed. */
  readonly schema?: JsonSchema;
  /** 'spec.color': a selectable field beside metadata. */
  readonly selectableFields?: readonly string[];
}

const metaV1 = 'io.k8s.apimachinery.pkg.apis.meta.v1';

/** 'stable.example.com', 'v1', 'CronTab' → 'com.example.stable.v1.CronTab', as upstream names the definitions of custom resources. */
export function customDefinitionName({ group, version, kind }: GroupVersionKind): string {
  return `${group.split('.').toReversed().join('.')}.${version}.${kind}`;
}

/** The document of one group and version, all of whose resources are custom. */
export function customResourceDocument(resources: readonly CustomResource[]): OpenapiV3Document {
  const definitionOf = definitionFinder(resources);
  const paths = Object.assign(
    {},
    ...resources.map(({ facts, listKind }) =>
      resourcePaths(facts, { definitionOf, encodings: 'custom', ...(listKind && { listKind }) }),
    ),
  ) as Paths;
  const {
    components: { schemas },
    ...document
  } = buildDocument(paths, customSchemas(resources, { paths, style: { openapi: 3 } }));
  return {
    ...document,
    info: { title: 'Kubernetes CRD Swagger', version: 'v0.1.0' },
    components: { ...(schemas && { schemas }) },
  };
}

/** The definitions of custom resources and of the built-in types that their paths refer to. For OpenAPI v2, add them to the others. */
export function customSchemas(
  resources: readonly CustomResource[],
  { paths, style }: { paths: Paths; style: SchemaStyle },
): Record<string, JsonSchema> {
  const own = Object.assign({}, ...resources.map((resource) => resourceSchemas(resource, style))) as Record<
    string,
    JsonSchema
  >;
  const builtin = new Set(
    [...definitionsIn(paths), `${metaV1}.ObjectMeta`, `${metaV1}.ListMeta`].filter(
      (name) => own[name] === undefined,
    ),
  );
  const all = { ...componentSchemas(builtin, style), ...own };
  return Object.fromEntries(Object.entries(all).toSorted(([left], [right]) => (left < right ? -1 : 1)));
}

function definitionFinder(resources: readonly CustomResource[]): (kind: GroupVersionKind) => string {
  const custom = new Set(
    resources.flatMap(({ facts: { group, version, kind }, listKind }) => [
      `${group}/${version}/${kind}`,
      `${group}/${version}/${listKind ?? `${kind}List`}`,
    ]),
  );
  return (kind) =>
    custom.has(`${kind.group}/${kind.version}/${kind.kind}`)
      ? customDefinitionName(kind)
      : definitionOfKind(kind);
}

function resourceSchemas(
  { facts, listKind, schema, selectableFields = [] }: CustomResource,
  style: SchemaStyle,
): Record<string, JsonSchema> {
  const { group, version, kind } = facts;
  const listName = listKind ?? `${kind}List`;
  const name = customDefinitionName({ group, version, kind });
  const selectable =
    selectableFields.length === 0
      ? {}
      : { 'x-kubernetes-selectable-fields': selectableFields.map((fieldPath) => ({ fieldPath })) };
  const typeFields = {
    apiVersion: { type: 'string', description: commonFields['apiVersion'] },
    kind: { type: 'string', description: commonFields['kind'] },
  };
  const reference = (definition: string, description: string | undefined): JsonSchema => {
    const ref = schemaReference(definition, style);
    return style.openapi === 3 ? { description, allOf: [ref] } : { description, ...ref };
  };
  // Version 2 lists no fields of an object with additional properties: clients would refuse all others.
  const isOpen =
    schema === undefined || (style.openapi === 2 && schema['x-kubernetes-preserve-unknown-fields'] === true);
  const properties = isOpen
    ? undefined
    : {
        ...(schema['properties'] as JsonSchema | undefined),
        ...typeFields,
        metadata: reference(`${metaV1}.ObjectMeta`, commonFields['metadata']),
      };
  return {
    [name]: {
      ...(isOpen ? { type: 'object' } : schema),
      ...(properties && { properties }),
      'x-kubernetes-group-version-kind': [{ group, kind, version }],
      ...selectable,
    },
    [customDefinitionName({ group, version, kind: listName })]: {
      description: describeType(listName),
      type: 'object',
      required: ['items'],
      properties: {
        ...typeFields,
        items: { type: 'array', description: commonFields['items'], items: schemaReference(name, style) },
        metadata: reference(`${metaV1}.ListMeta`, describeType('ListMeta')),
      },
      'x-kubernetes-group-version-kind': [{ group, kind: listName, version }],
      ...selectable,
    },
  };
}
