/**
 * A version's openAPIV3Schema in the form that decoding, defaulting, validation and server-side apply run on: one node per place in the
 * object. Follows upstream's structural schemas; structural-checks.ts says which schemas are structural.
 */
import { isJsonObject, type JsonObject } from '#machinery/json.ts';

export interface Structural {
  /** '' where x-kubernetes-int-or-string or x-kubernetes-preserve-unknown-fields stand for a type. */
  readonly type: string;
  readonly nullable: boolean;
  readonly intOrString: boolean;
  /** Unknown fields at this place are kept. */
  readonly preserves: boolean;
  /** The value is a whole object with apiVersion, kind and metadata. */
  readonly embedded: boolean;
  readonly properties: ReadonlyMap<string, Structural>;
  /** The schema of fields that are not named; true = any value, false = none. */
  readonly additional: Structural | boolean;
  readonly items: Structural | undefined;
  readonly listType: 'atomic' | 'set' | 'map';
  readonly mapKeys: readonly string[];
  /** Server-side apply replaces the object as a whole. */
  readonly atomicMap: boolean;
  /** undefined = none. Shared: copy before use. */
  readonly default: unknown;
  /** A default here or below. */
  readonly hasDefaults: boolean;
  /** As the author wrote it: value validations are read from here. */
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

/** The schema of a field by its name; undefined where it is not specified. */
export function fieldOf(node: Structural | undefined, name: string): Structural | undefined {
  if (!node) return undefined;
  return node.properties.get(name) ?? (typeof node.additional === 'object' ? node.additional : undefined);
}

/** What identifies an item of a list of type map: its keys, with their defaults. */
export function itemKey(node: Structural, item: unknown): string {
  const keys = isJsonObject(item)
    ? node.mapKeys.map((key) => item[key] ?? node.items?.properties.get(key)?.default ?? null)
    : [item];
  return JSON.stringify(keys);
}
