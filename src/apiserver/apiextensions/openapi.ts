/** OpenAPI of the served custom resources, beside that of the built-in API. Built on request, cached until the served resources change. */
import { createHash } from 'node:crypto';
import { isJsonObject, type JsonObject } from '#machinery/json.ts';
import { customResourceDocument, customSchemas, type CustomResource } from '#openapi/custom-resources.ts';
import { groupVersionPath, type Paths } from '#openapi/paths.ts';
import { componentSchemas } from '#openapi/schemas.ts';
import { buildV2Document, type OpenapiV2Document } from '#openapi/v2.ts';
import { definitionsIn, openapiV3Document, openapiV3Paths, type Serves } from '#openapi/v3.ts';
import { findListKind, type ServedEndpoints, type Endpoint } from '../registry/endpoints.ts';

interface CustomDocument {
  readonly bytes: Buffer;
  readonly hash: string;
}

export class CustomOpenapi {
  readonly #servedEndpoints: ServedEndpoints;
  #revision = -1;
  #byPath = new Map<string, readonly Endpoint[]>();
  readonly #made = new Map<string, CustomDocument>();

  constructor(servedEndpoints: ServedEndpoints) {
    this.#servedEndpoints = servedEndpoints;
  }

  /** What documents are made from changed when this does. */
  get revision(): number {
    return this.#servedEndpoints.revision;
  }

  /** 'apis/stable.example.com/v1' */
  paths(): string[] {
    this.#refresh();
    return [...this.#byPath.keys()];
  }

  document(path: string): CustomDocument | undefined {
    this.#refresh();
    const endpoints = this.#byPath.get(path);
    if (!endpoints) return undefined;
    let document = this.#made.get(path);
    if (!document) {
      const bytes = Buffer.from(
        JSON.stringify(customResourceDocument(endpoints.map((endpoint) => customResourceOf(endpoint, 3)))),
      );
      document = { bytes, hash: createHash('sha512').update(bytes).digest('hex').toUpperCase() };
      this.#made.set(path, document);
    }
    return document;
  }

  /** The whole API, custom resources included. */
  v2(serves: Serves): OpenapiV2Document {
    this.#refresh();
    const builtin = openapiV3Paths(serves).map((name) => openapiV3Document(name)!.paths);
    const custom = [...this.#byPath.values()].map(
      (endpoints) => customResourceDocument(endpoints.map((endpoint) => customResourceOf(endpoint, 2))).paths,
    );
    const ownPaths = Object.assign({}, ...custom) as Paths;
    const paths = Object.assign({}, ...builtin, ownPaths) as Paths;
    const resources = [...this.#byPath.values()].flat().map((endpoint) => customResourceOf(endpoint, 2));
    const own = customSchemas(resources, { paths: ownPaths, style: { openapi: 2 } });
    const names = definitionsIn(builtin);
    return buildV2Document(paths, { ...componentSchemas(names, { openapi: 2 }), ...own });
  }

  #refresh(): void {
    if (this.#revision === this.#servedEndpoints.revision) return;
    this.#revision = this.#servedEndpoints.revision;
    this.#made.clear();
    this.#byPath = new Map();
    for (const endpoint of this.#servedEndpoints.endpoints) {
      if (endpoint.isBuiltin) continue;
      const path = groupVersionPath(endpoint.gvk);
      this.#byPath.set(path, [...(this.#byPath.get(path) ?? []), endpoint]);
    }
  }
}

function customResourceOf(endpoint: Endpoint, openapi: 2 | 3): CustomResource {
  const { resource, served, gvk, publishedSchema } = endpoint,
    selectableFields = [...endpoint.selectableFields].filter((field) => !field.startsWith('metadata.'));
  return {
    facts: {
      group: gvk.group,
      version: gvk.version,
      plural: resource.plural,
      singular: resource.singular,
      kind: gvk.kind,
      namespaced: resource.namespaced,
      verbs: served.verbs,
      shortNames: resource.shortNames,
      categories: resource.categories,
      subresources: [...served.subresources.values()],
      ...(served.storageVersionHash && { storageVersionHash: served.storageVersionHash }),
    },
    listKind: findListKind(endpoint),
    ...(selectableFields.length > 0 && { selectableFields }),
    ...(publishedSchema && {
      schema: openapi === 3 ? withFullObjects(publishedSchema) : forV2(publishedSchema),
    }),
  };
}

const EMBEDDED_META = 'io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta';

/** Embedded objects have what every object has. */
function withFullObjects(schema: JsonObject): JsonObject {
  return mapSchemas(schema, (inner) =>
    inner['x-kubernetes-embedded-resource'] !== true
      ? inner
      : {
          ...inner,
          properties: {
            ...(inner['properties'] as JsonObject | undefined),
            apiVersion: { type: 'string' },
            kind: { type: 'string' },
            metadata: { allOf: [{ $ref: `#/components/schemas/${EMBEDDED_META}` }] },
          },
          required: [
            ...new Set([...((inner['required'] as string[] | undefined) ?? []), 'kind', 'apiVersion']),
          ],
        },
  );
}

/** Swagger has neither nullable values nor alternatives: their constraints are omitted, so that no valid object is refused. */
function forV2(schema: JsonObject): JsonObject {
  return mapSchemas(schema, (inner) => {
    const { nullable, anyOf: _a, oneOf: _o, allOf: _l, not: _n, default: _d, ...kept } = inner;
    if (inner['x-kubernetes-preserve-unknown-fields'] === true) {
      for (const name of ['type', 'properties', 'items', 'required']) delete kept[name];
    }
    if (nullable === true || inner['x-kubernetes-int-or-string'] === true) {
      delete kept['type'];
      if (nullable === true) for (const name of ['items', 'properties', 'required']) delete kept[name];
    }
    return kept;
  });
}

function mapSchemas(schema: JsonObject, change: (schema: JsonObject) => JsonObject): JsonObject {
  const inner: JsonObject = { ...schema };
  if (isJsonObject(schema['properties']))
    inner['properties'] = Object.fromEntries(
      Object.entries(schema['properties']).map(([name, value]) => [
        name,
        mapSchemas(value as JsonObject, change),
      ]),
    );
  for (const name of ['items', 'additionalProperties'])
    if (isJsonObject(schema[name])) inner[name] = mapSchemas(schema[name], change);
  return change(inner);
}
