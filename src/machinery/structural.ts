/**
 * Compiles a version's openAPIV3Schema for decoding, defaulting, validation and server-side apply: one node per place in the
 * object. Follows upstream's structural schemas; structural-checks.ts checks whether a schema is structural.
 */
import { isJsonObject, type JsonObject } from '#machinery/json.ts';

export interface Structural {
  /** '' when x-kubernetes-int-or-string or x-kubernetes-preserve-unknown-fields replace the type. */
  readonly type: string;
  readonly nullable: boolean;
  readonly intOrString: boolean;
  /** Unknown fields are kept here. */
  readonly preserves: boolean;
  /** An embedded object with apiVersion, kind and metadata. */
  readonly embedded: boolean;
  readonly properties: ReadonlyMap<string, Structural>;
  /** The schema of fields that are not declared; true = any value, false = none. */
  readonly additional: Structural | boolean;
  readonly items: Structural | undefined;
  readonly listType: 'atomic' | 'set' | 'map';
  readonly mapKeys: readonly string[];
  /** Server-side apply treats the object as atomic. */
  readonly atomicMap: boolean;
  /** undefined = none. Shared: copy before use. */
  readonly default: unknown;
  /** Whether a default exists here or below. */
  readonly hasDefaults: boolean;
  /** The original schema, for value validations. */
  readonly schema: JsonObject;
}

const NO_PROPERTIES: ReadonlyMap<string, Structural> = new Map();

export function toStructural(schema: JsonObject): Structural {
  const properties = isJsonObject(schema['properties'])
    ? new Map(
        Object.entries(schema['properties']).map(([name, inner]) => [
          name,
          toStructural(inner as JsonObject),
        ]),
      )
    : NO_PROPERTIES;
  const items = isJsonObject(schema['items']) ? toStructural(schema['items']) : undefined;
  const more = schema['additionalProperties'];
  const additional = isJsonObject(more) ? toStructural(more) : more === true;
  const listType = schema['x-kubernetes-list-type'];
  return {
    type: typeof schema['type'] === 'string' ? schema['type'] : '',
    nullable: schema['nullable'] === true,
    intOrString: schema['x-kubernetes-int-or-string'] === true,
    preserves: schema['x-kubernetes-preserve-unknown-fields'] === true,
    embedded: schema['x-kubernetes-embedded-resource'] === true,
    properties,
    additional,
    items,
    listType: listType === 'set' || listType === 'map' ? listType : 'atomic',
    mapKeys: (schema['x-kubernetes-list-map-keys'] as string[] | undefined) ?? [],
    atomicMap: schema['x-kubernetes-map-type'] === 'atomic',
    default: schema['default'],
    hasDefaults:
      schema['default'] !== undefined ||
      items?.hasDefaults === true ||
      (typeof additional === 'object' && additional.hasDefaults) ||
      Array.from(properties.values()).some((inner) => inner.hasDefaults),
    schema,
  };
}

/** The schema of a field by name; undefined when it is not specified. */
export function fieldOf(node: Structural | undefined, name: string): Structural | undefined {
  if (!node) return undefined;
  return node.properties.get(name) ?? (typeof node.additional === 'object' ? node.additional : undefined);
}

/** The identity of an item of a list-map: its keys, with their defaults. */
export function itemKey(node: Structural, item: unknown): string {
  const keys = isJsonObject(item)
    ? node.mapKeys.map((key) => item[key] ?? node.items?.properties.get(key)?.default ?? null)
    : [item];
  return JSON.stringify(keys);
}
