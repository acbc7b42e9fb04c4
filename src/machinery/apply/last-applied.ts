/**
 * The last-applied annotation of client-side apply, and its effect on kubectl's server-side apply: kubectl may take over fields that
 * still have its last-applied values, and the annotation is kept up to date, so that an older kubectl can continue from it. Other
 * managers do not use it. After upstream's lastAppliedManager and lastAppliedUpdater.
 */
import { isStatusError } from '../errors.ts';
import { deepClone, isJsonObject, parseJson } from '../json.ts';
import { TOTAL_ANNOTATION_SIZE_LIMIT_BYTES } from '../metadata-validation.ts';
import type { KubeObject } from '../object.ts';
import type { ValueSchema } from '../schema.ts';
import { FieldSet } from './field-set.ts';
import { compareValues, toFieldSet } from './typed.ts';

const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration';
const KUBECTL = 'kubectl';

/** Fields that kubectl may take over without force: applied on the client side, and unchanged since. */
export function takenOver(
  live: KubeObject,
  {
    manager,
    apiVersion,
    type,
  }: { readonly manager: string; readonly apiVersion: string; readonly type: ValueSchema },
): FieldSet {
  const text = live.metadata?.annotations?.[LAST_APPLIED];
  if (manager !== KUBECTL || !text) return FieldSet.empty();
  try {
    const applied = parseJson(text);
    if (!isJsonObject(applied) || applied['apiVersion'] !== apiVersion) return FieldSet.empty();
    const { added, modified, removed } = compareValues(applied, live, type);
    return toFieldSet(applied, type).difference(added).difference(modified).difference(removed);
  } catch (error) {
    // The annotation is not a configuration of this kind.
    if (error instanceof SyntaxError || isStatusError(error)) return FieldSet.empty();
    throw error;
  }
}

/** Updates the applied object's annotation, if it has one. Returns the object itself when that changes nothing. */
export function withLastApplied(
  object: KubeObject,
  { manager, config }: { readonly manager: string; readonly config: KubeObject },
): KubeObject {
  const { metadata } = object,
    known = metadata?.annotations?.[LAST_APPLIED];
  if (manager !== KUBECTL || !metadata || !known) return object;
  const annotations: Record<string, string> = {
    ...metadata.annotations,
    [LAST_APPLIED]: textOf(config),
  };
  if (annotations[LAST_APPLIED] === known) return object;
  if (sizeOf(annotations) > TOTAL_ANNOTATION_SIZE_LIMIT_BYTES) delete annotations[LAST_APPLIED];
  return { ...deepClone(object), metadata: { ...deepClone(metadata), annotations } };
}

function textOf(config: KubeObject): string {
  const copy = deepClone(config);
  delete copy.metadata?.annotations?.[LAST_APPLIED];
  return `${JSON.stringify(sorted(copy)).replaceAll(/[<>&\u2028\u2029]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)}\n`;
}

/** As Go serialises maps. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .toSorted(([left], [right]) => (left < right ? -1 : 1))
      .map(([key, item]) => [key, sorted(item)]),
  );
}

function sizeOf(annotations: Readonly<Record<string, string>>): number {
  return Object.entries(annotations).reduce(
    (sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(value),
    0,
  );
}
