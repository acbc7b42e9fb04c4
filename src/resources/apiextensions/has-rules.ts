/** Whether a schema has validation rules. */
import { isJsonObject, type JsonObject } from '#machinery/json.ts';

/** At this node or below, including those of allOf. */
export function hasRules(schema: JsonObject): boolean {
  const own = schema['x-kubernetes-validations'] as readonly unknown[] | undefined;
  const inner = [
    schema['items'],
    schema['additionalProperties'],
    ...Object.values((schema['properties'] ?? {}) as JsonObject),
    ...((schema['allOf'] as JsonObject[] | undefined) ?? []),
  ];
  return (own?.length ?? 0) > 0 || inner.some((below) => isJsonObject(below) && hasRules(below));
}
