/**
 * Reads the specifications of the Kubernetes API that lie beside the repository (../shared/kubernetes-1.36). They are input only:
 * what the generator commits is compact tables of facts, without upstream's prose.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export const sourceRoot = join(import.meta.dirname, '../../../shared/kubernetes-1.36');

export function sourcePresent(): boolean {
  return existsSync(join(sourceRoot, 'swagger.json'));
}

function readJson<T>(path: string): T {
  return JSON.parse(readFileSync(join(sourceRoot, path), 'utf8')) as T;
}

/** [name, number, type, label]; type is a scalar, 'map<k,v>', a message of the same package, or '.package.Message'. */
export type ProtoField = readonly [name: string, number: number, type: string, label: string];
/** [name, client streams, request, server streams, response] */
export type ProtoMethod = readonly [name: string, clientStreams: boolean, request: string, serverStreams: boolean, response: string];

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

/** Every component schema of the OpenAPI v3 documents by definition name. Documents agree on shared definitions except on the kinds listed. */
export function readSpecSchemas(): Record<string, SpecSchema> {
  const schemas: Record<string, SpecSchema> = {};
  const folder = 'openapi-v3';
  for (const file of readdirSync(join(sourceRoot, folder)).toSorted()) {
    const document = readJson<{ components?: { schemas?: Record<string, SpecSchema> } }>(join(folder, file));
    Object.assign(schemas, document.components?.schemas);
  }
  return schemas;
}

export function readDiscovery<T>(file: string): T {
  return readJson(join('discovery', file));
}

export function discoveryFiles(): string[] {
  return readdirSync(join(sourceRoot, 'discovery')).toSorted();
}
