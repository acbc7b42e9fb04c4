/**
 * Reads the specifications of the Kubernetes API that lie beside the repository (../shared/kubernetes-1.36). They are input only:
 * what the generator commits is compact tables of facts, without upstream's prose.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const sourceRoot = join(import.meta.dirname, '../../../shared/kubernetes-1.36');

export function sourcePresent(): boolean {
  return existsSync(join(sourceRoot, 'swagger.json'));
}

function readJson<T>(path: string): T {
  return JSON.parse(readFileSync(join(sourceRoot, path), 'utf8')) as T;
}

/** [name, number, type, label]; type is a scalar, 'map<k,v>', a message of the same package, or '.package.Message'. */
export type ProtoField = readonly [name: string, number: number, type: string, label: string];
/** [name, client streams, request, server streams, response] */
type ProtoMethod = readonly [
  name: string,
  clientStreams: boolean,
  request: string,
  serverStreams: boolean,
  response: string,
];

export interface ProtoPackage {
  readonly messages: Readonly<Record<string, readonly ProtoField[]>>;
  readonly enums: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly services?: Readonly<Record<string, readonly ProtoMethod[]>>;
}

export function readProtoPackages(): Record<string, ProtoPackage> {
  return readJson('protobuf-fields.json');
}

export interface SpecSchema {
  readonly type?: string;
  readonly format?: string;
  readonly $ref?: string;
  readonly allOf?: readonly SpecSchema[];
  readonly oneOf?: readonly SpecSchema[];
  readonly items?: SpecSchema;
  readonly additionalProperties?: SpecSchema;
  readonly properties?: Readonly<Record<string, SpecSchema>>;
  readonly required?: readonly string[];
  readonly default?: unknown;
  readonly enum?: readonly string[];
  readonly 'x-kubernetes-list-type'?: string;
  readonly 'x-kubernetes-list-map-keys'?: readonly string[];
  readonly 'x-kubernetes-map-type'?: string;
  readonly 'x-kubernetes-patch-strategy'?: string;
  readonly 'x-kubernetes-patch-merge-key'?: string;
  readonly 'x-kubernetes-group-version-kind'?: readonly { group: string; version: string; kind: string }[];
  readonly 'x-kubernetes-unions'?: readonly unknown[];
}

interface SpecDocument {
  readonly paths: Readonly<
    Record<
      string,
      {
        readonly delete?: {
          readonly 'x-kubernetes-action'?: string;
          readonly responses: Readonly<
            Record<string, { readonly content?: Record<string, { schema: SpecSchema }> }>
          >;
        };
      }
    >
  >;
  readonly components?: { readonly schemas?: Readonly<Record<string, SpecSchema>> };
}

function specDocuments(): SpecDocument[] {
  return readdirSync(join(sourceRoot, 'openapi-v3'))
    .toSorted()
    .map((file) => readJson<SpecDocument>(join('openapi-v3', file)));
}

/** Every component schema of the OpenAPI v3 documents by definition name; the kinds a type is registered as come from OpenAPI v2, which lists all. */
export function readSpecSchemas(): Record<string, SpecSchema> {
  const schemas: Record<string, SpecSchema> = {};
  for (const document of specDocuments()) Object.assign(schemas, document.components?.schemas);
  const kindsKey = 'x-kubernetes-group-version-kind';
  for (const [name, definition] of Object.entries(
    readJson<{ definitions: Record<string, SpecSchema> }>('swagger.json').definitions,
  )) {
    if (definition[kindsKey] && schemas[name])
      schemas[name] = { ...schemas[name], [kindsKey]: definition[kindsKey] };
  }
  return schemas;
}

/** Paths of single objects whose DELETE answers with the object rather than a Status. */
export function readPathsReturningDeleted(): Set<string> {
  const answersStatus = (schema: SpecSchema | undefined): boolean =>
    schema?.$ref?.endsWith('.Status') ?? true;
  return new Set(
    specDocuments().flatMap((document) =>
      Object.entries(document.paths)
        .filter(
          ([, { delete: operation }]) =>
            operation?.['x-kubernetes-action'] === 'delete' &&
            !answersStatus(operation.responses['200']?.content?.['application/json']?.schema),
        )
        .map(([path]) => path),
    ),
  );
}

export function readDiscovery<T>(file: string): T {
  return readJson(join('discovery', file));
}
