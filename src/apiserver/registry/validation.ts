/** Validation in the order upstream's generic registry has: metadata, the resource's own checks, finalizers. */
import type { FieldError } from '#machinery/errors.ts';
import {
  validateObjectMeta,
  validateObjectMetaUpdate,
  validateStandardFinalizers,
} from '#machinery/metadata-validation.ts';
import type { KubeObject, ObjectMeta } from '#machinery/object.ts';
import type { HookContext } from '#resources/define.ts';
import type { Endpoint } from './endpoints.ts';
import type { Change } from './write-request.ts';

export function validateNew(endpoint: Endpoint, object: KubeObject, hooks: HookContext): FieldError[] {
  const { resource } = endpoint;
  if (!resource.behaviour.metadataLast)
    return [...validateMeta(endpoint, object), ...resource.validate(object, hooks)];
  const own = resource.validate(object, hooks);
  return own.length > 0 ? own : validateMeta(endpoint, object);
}

export function validateMeta(endpoint: Endpoint, object: KubeObject): FieldError[] {
  const { namespaced, behaviour } = endpoint.resource;
  const errors = validateObjectMeta(object.metadata!, { namespaced, nameRule: behaviour.nameRule });
  return [...errors, ...finalizerErrors(endpoint, object.metadata!)];
}

/** Groups whose kinds take any qualified name as a finalizer. */
const ANY_FINALIZER = new Set([
  'coordination.k8s.io',
  'node.k8s.io',
  'policy',
  'admissionregistration.k8s.io',
  'apiextensions.k8s.io',
  'apiregistration.k8s.io',
]);

/** The other built-in ones take, of names without a domain, only those that the server knows. */
function finalizerErrors({ isBuiltin, gvk, resource }: Endpoint, { finalizers }: ObjectMeta): FieldError[] {
  return !finalizers || !isBuiltin || resource.behaviour.metadataLast || ANY_FINALIZER.has(gvk.group)
    ? []
    : validateStandardFinalizers(finalizers, 'metadata.finalizers');
}

export function prepareAndValidate(
  endpoint: Endpoint,
  {
    next,
    previous,
    hooks,
    change: { prepare, validate },
  }: {
    readonly next: KubeObject;
    readonly previous: KubeObject;
    readonly hooks: HookContext;
    readonly change: Change;
  },
): FieldError[] {
  const { resource } = endpoint;
  const isStatus = hooks.subresource === 'status';
  if (prepare) prepare(next, previous, hooks);
  else if (isStatus) resource.prepareForStatusUpdate(next, previous, hooks);
  else resource.prepareForUpdate(next, previous, hooks);
  const errors = [
    ...validateObjectMetaUpdate(next.metadata!, previous.metadata!),
    ...finalizerErrors(endpoint, next.metadata!),
  ];
  if (validate === false) return errors;
  const own = isStatus
    ? resource.validateStatusUpdate(next, previous, hooks)
    : resource.validateUpdate(next, previous, hooks);
  return own.length === 0 ? errors : [...errors, ...own];
}
