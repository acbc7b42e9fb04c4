/** What mutations of a MutatingAdmissionPolicy make of an object: a configuration merged as server-side apply merges, or a JSON patch. */
import { isJsonObject, type JsonObject } from '#machinery/json.ts';
import { mergeValues } from '#machinery/apply/typed.ts';
import { formatApiVersion, type GroupVersionKind, type KubeObject } from '#machinery/object.ts';
import { applyJsonPatch } from '#machinery/patch/json-patch.ts';
import type { ObjectSchema, ValueSchema } from '#machinery/schema.ts';

export interface Mutation {
  readonly patchType?: string;
  readonly applyConfiguration?: { readonly expression?: string };
  readonly jsonPatch?: { readonly expression?: string };
}

/** Merges the configuration over the object in the policy's version. Throws an Error with the reason. */
export function applyConfiguration(
  object: KubeObject,
  config: JsonObject,
  { gvk, schema }: { readonly gvk: GroupVersionKind; readonly schema: ObjectSchema },
): KubeObject {
  const type: ValueSchema = { kind: 'object', type: () => schema };
  const atomic = atomicPaths(config, type, '');
  if (atomic.length > 0)
    throw new Error(
      `error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: ${atomic.join(', ')}`,
    );
  return mergeValues(
    object,
    { ...config, apiVersion: formatApiVersion(gvk), kind: gvk.kind },
    type,
  ) as KubeObject;
}

/** Path of a list or an object that the configuration would replace as a whole. */
function atomicPaths(value: unknown, schema: ValueSchema | undefined, path: string): string[] {
  if (Array.isArray(value)) {
    if (schema?.kind !== 'list' || schema.listType === 'atomic') return [path];
    return value.flatMap((item, i) =>
      isJsonObject(item) ? atomicPaths(item, schema.items, `${path}[${i}]`) : [],
    );
  }
  if (!isJsonObject(value)) return [];
  if (schema?.kind === 'object' && schema.type().atomic) return [path];
  return Object.entries(value).flatMap(([name, inner]) => {
    const field = schema?.kind === 'object' ? schema.type().byName.get(name) : undefined,
      at = `${path}.${name}`;
    if (field?.atomic && typeof inner === 'object' && inner !== null) return [at];
    return atomicPaths(inner, schema?.kind === 'map' ? schema.values : field?.value, at);
  });
}

/** Operations with a value; one that is left out is null. */
const VALUED: ReadonlySet<unknown> = new Set(['add', 'replace', 'test']);

/** operations: results of the expressions. Throws an Error that names the operation that does not apply. */
export function patchObject(object: KubeObject, operations: readonly JsonObject[]): unknown {
  try {
    return applyJsonPatch(
      object,
      operations.map((operation) =>
        VALUED.has(operation['op']) ? { value: null, ...operation } : operation,
      ),
    );
  } catch (error) {
    throw new Error(`JSON Patch: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}
