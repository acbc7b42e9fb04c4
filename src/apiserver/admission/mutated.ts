/** Replaces an object by the result of a mutating step. */
import { statusErrors } from '#machinery/errors.ts';
import { setOwn, type JsonObject } from '#machinery/json.ts';
import {
  parseApiVersion,
  type GroupVersionKind,
  type KubeObject,
  type ObjectMeta,
} from '#machinery/object.ts';
import type { AdmissionKinds } from './kinds.ts';
import type { AdmissionAttributes } from './plugin.ts';

interface Mutated {
  readonly attributes: AdmissionAttributes;
  readonly kinds: AdmissionKinds;
  /** What mutated is in. */
  readonly gvk: GroupVersionKind;
}

/** Replaces the attributes' object by `mutated`, in its own version, with defaults. Takes ownership of `mutated`: it may become part of the object. */
export async function putMutated(mutated: KubeObject, { attributes, kinds, gvk }: Mutated): Promise<void> {
  const object = attributes.object!;
  const next = await kinds.convert(mutated, attributes.gvr, {
    ...gvk,
    ...(object.apiVersion ? parseApiVersion(object.apiVersion) : {}),
  });
  if (attributes.operation === 'CREATE') keepIdentity(next, { attributes, before: object });
  kinds.applyDefaults(next, attributes.gvr);
  replace(object, next);
}

/** Preserves the metadata that the server set on a new object. */
function keepIdentity(
  next: KubeObject,
  { attributes, before }: { readonly attributes: AdmissionAttributes; readonly before: KubeObject },
): void {
  const given = before.metadata;
  if (!given) return;
  const meta: ObjectMeta = (next.metadata ??= {});
  if ((meta.namespace ?? '') !== (given.namespace ?? ''))
    throw statusErrors.badRequest(
      'the namespace of the provided object does not match the namespace sent on the request',
    );
  if (attributes.subresource !== '' && (meta.name ?? '') !== (given.name ?? ''))
    throw statusErrors.badRequest(
      `the name of the object (${meta.name ?? ''}) does not match the name on the URL (${attributes.name})`,
    );
  for (const field of [
    'uid',
    'creationTimestamp',
    'resourceVersion',
    'generation',
    'deletionTimestamp',
    'deletionGracePeriodSeconds',
    'selfLink',
  ] as const) {
    if (given[field] === undefined) delete meta[field];
    else (meta as Record<string, unknown>)[field] = given[field];
  }
}

/** In place: others hold the object, and its metadata. */
function replace(object: KubeObject, next: KubeObject): void {
  const { metadata } = object;
  if (metadata && next.metadata) {
    replaceFields(metadata as JsonObject, next.metadata as JsonObject);
    next.metadata = metadata;
  }
  replaceFields(object, next);
}

function replaceFields(object: JsonObject, next: JsonObject): void {
  for (const field of Object.keys(object)) if (!Object.hasOwn(next, field)) delete object[field];
  for (const [field, value] of Object.entries(next)) setOwn(object, field, value);
}
