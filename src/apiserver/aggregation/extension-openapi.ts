/** Merges OpenAPI documents of extension servers into this server's: v2 reduced to one group and version; v3 converted from v2 where missing. Pure. */
import { deepEqual, isJsonObject, type JsonObject } from '#machinery/json.ts';

export interface V2Part {
  readonly paths: Readonly<Record<string, JsonObject>>;
  readonly definitions: Readonly<Record<string, JsonObject>>;
}

const V2_PREFIX = '#/definitions/';
const V3_PREFIX = '#/components/schemas/';

/** The paths under a prefix, and the definitions they reference. Throws for an invalid document. */
export function partOfV2(document: JsonObject, prefix: string): V2Part {
  if (document['swagger'] !== '2.0' || !isJsonObject(document['paths']))
    throw new Error('its OpenAPI v2 document is no Swagger 2.0');
  const all = isJsonObject(document['definitions']) ? document['definitions'] : {};
  const paths = Object.fromEntries(
    Object.entries(document['paths']).filter(
      (entry): entry is [string, JsonObject] => entry[0].startsWith(prefix) && isJsonObject(entry[1]),
    ),
  );
  const definitions: Record<string, JsonObject> = {};
  const add = (part: unknown): void => {
    for (const name of referencesIn(part)) {
      const definition = all[name];
      if (Object.hasOwn(definitions, name) || !isJsonObject(definition)) continue;
      definitions[name] = definition;
      add(definition);
    }
  };
  add(paths);
  // Kinds that no path names: types of subresources, and what validators look up by kind.
  for (const [name, definition] of Object.entries(all)) {
    const kinds = isJsonObject(definition) ? definition['x-kubernetes-group-version-kind'] : undefined;
    const [, , group, version] = prefix.split('/');
    if (
      Array.isArray(kinds) &&
      kinds.some((kind) => isJsonObject(kind) && kind['group'] === group && kind['version'] === version) &&
      !Object.hasOwn(definitions, name)
    ) {
      definitions[name] = definition as JsonObject;
      add(definition);
    }
  }
  return { paths, definitions };
}

/** Adds parts to a document; a definition that differs from one of the same name is renamed. The input is not mutated. */
export function mergeV2<
  T extends {
    readonly paths: Readonly<Record<string, object>>;
    readonly definitions: Readonly<Record<string, object>>;
  },
>(document: T, parts: readonly V2Part[]): T {
  const paths: Record<string, object> = { ...document.paths };
  const definitions: Record<string, object> = { ...document.definitions };
  for (const part of parts) {
    const renamed = new Map<string, string>();
    for (const [name, definition] of Object.entries(part.definitions)) {
      if (!Object.hasOwn(definitions, name) || deepEqual(definitions[name], definition)) continue;
      // Types shared by every server are considered equal, whatever their descriptions.
      if (name.startsWith('io.k8s.apimachinery.')) continue;
      let number = 2;
      while (Object.hasOwn(definitions, `${name}_v${number}`)) number++;
      renamed.set(name, `${name}_v${number}`);
    }
    const inNewNames = (value: unknown): unknown =>
      mapReferences(value, (reference) =>
        reference.startsWith(V2_PREFIX)
          ? V2_PREFIX + (renamed.get(reference.slice(V2_PREFIX.length)) ?? reference.slice(V2_PREFIX.length))
          : reference,
      );
    for (const [name, definition] of Object.entries(part.definitions)) {
      const chosen = renamed.get(name) ?? name;
      if (!Object.hasOwn(definitions, chosen)) definitions[chosen] = inNewNames(definition) as object;
    }
    for (const [path, item] of Object.entries(part.paths))
      if (!Object.hasOwn(paths, path)) paths[path] = inNewNames(item) as object;
  }
  return { ...document, paths: sorted(paths), definitions: sorted(definitions) };
}

function sorted<T>(record: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(record).toSorted(([left], [right]) => (left < right ? -1 : 1)));
}

const METHODS = new Set(['get', 'put', 'post', 'delete', 'options', 'head', 'patch']);

/** For servers with v2 only: older ones. */
export function openapiV3FromV2({ paths, definitions }: V2Part): JsonObject {
  const inV3 = (value: unknown): unknown =>
    mapReferences(value, (reference) => reference.replace(V2_PREFIX, V3_PREFIX));
  return {
    openapi: '3.0.0',
    info: { title: 'Kubernetes', version: 'unversioned' },
    paths: Object.fromEntries(
      Object.entries(paths).map(([path, item]) => [path, pathItem(inV3(item) as JsonObject)]),
    ),
    components: { schemas: inV3(definitions) as JsonObject },
  };
}

function pathItem(item: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(item).map(([key, value]) =>
      key === 'parameters'
        ? [key, parameters(value)]
        : METHODS.has(key) && isJsonObject(value)
          ? [key, operation(value)]
          : [key, value],
    ),
  );
}

function operation({
  consumes,
  produces,
  schemes: _,
  parameters: given,
  responses,
  ...rest
}: JsonObject): JsonObject {
  const types = (value: unknown, otherwise: string): string[] =>
    Array.isArray(value) && value.length > 0 ? value.map(String) : [otherwise];
  const content = (media: readonly string[], schema: unknown): JsonObject =>
    Object.fromEntries(media.map((type) => [type, { schema }])) as JsonObject;
  const all = Array.isArray(given) ? given.filter(isJsonObject) : [];
  const body = all.find((parameter) => parameter['in'] === 'body');
  return {
    ...rest,
    ...(all.length > 0 ? { parameters: parameters(all) } : {}),
    ...(body
      ? {
          requestBody: {
            content: content(types(consumes, '*/*'), body['schema']),
            ...(body['required'] === true ? { required: true } : {}),
          },
        }
      : {}),
    responses: Object.fromEntries(
      Object.entries(isJsonObject(responses) ? responses : {}).map(([code, response]) => {
        const { schema, ...described } = isJsonObject(response) ? response : {};
        return [
          code,
          {
            ...described,
            ...(schema === undefined
              ? {}
              : { content: content(types(produces, 'application/json'), schema) }),
          },
        ];
      }),
    ),
  } as JsonObject;
}

function parameters(value: unknown): JsonObject[] {
  if (!Array.isArray(value)) return [];
  return value
    .filter(isJsonObject)
    .filter((parameter) => parameter['in'] !== 'body' && parameter['in'] !== 'formData')
    .map(
      ({ type, format, items, uniqueItems, ...rest }) =>
        ({
          ...rest,
          ...(rest['schema'] === undefined && type !== undefined
            ? {
                schema: {
                  type,
                  ...(format === undefined ? {} : { format }),
                  ...(items === undefined ? {} : { items }),
                  ...(uniqueItems === undefined ? {} : { uniqueItems }),
                },
              }
            : {}),
        }) as JsonObject,
    );
}

function referencesIn(value: unknown): Set<string> {
  const found = new Set<string>();
  mapReferences(value, (reference) => {
    if (reference.startsWith(V2_PREFIX)) found.add(reference.slice(V2_PREFIX.length));
    return reference;
  });
  return found;
}

function mapReferences(value: unknown, change: (reference: string) => string): unknown {
  if (Array.isArray(value)) return value.map((item) => mapReferences(item, change));
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      key,
      key === '$ref' && typeof inner === 'string' ? change(inner) : mapReferences(inner, change),
    ]),
  );
}
