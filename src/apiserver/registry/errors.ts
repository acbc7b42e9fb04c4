/** Refusals of the registry in upstream's words. */
import { StatusError, statusErrors } from '#machinery/errors.ts';
import type { ObjectMeta } from '#machinery/object.ts';
import { StoreError, type StoreErrorCode } from '#storage/store.ts';
import type { Endpoint } from './endpoints.ts';
import type { StoredEndpoint, Target } from './write-request.ts';

export function nameOf(
  endpoint: Endpoint,
  name: string,
): { readonly group: string; readonly resource: string; readonly name: string } {
  return { ...endpoint.groupResource, name };
}

export function isStoreConflict(error: unknown): error is StoreError {
  return error instanceof StoreError && error.code === 'conflict';
}

/** The write may have been done: the store did not answer. */
export function isOutcomeUnknown(error: unknown): boolean {
  return error instanceof StoreError && UNKNOWN_OUTCOMES.has(error.code);
}

const UNKNOWN_OUTCOMES: ReadonlySet<StoreErrorCode> = new Set(['unavailable', 'io', 'closed']);

/** Whether a retry makes sense: with a new generated name, or once the name is free. */
export function alreadyExists(
  endpoint: StoredEndpoint,
  { name = '', namespace = '', generateName: base }: ObjectMeta,
): StatusError {
  const { status } = statusErrors.alreadyExists(nameOf(endpoint, name));
  if (base) {
    status.message += ', the server was not able to generate a unique name for the object';
    status.details = { ...status.details, retryAfterSeconds: 1 };
  }
  const entry = endpoint.cache.entries.get(endpoint.cache.key({ namespace, name }));
  if (entry && endpoint.cache.parsed.of(entry).metadata?.deletionTimestamp !== undefined)
    status.message = `object is being deleted: ${status.message}`;
  return new StatusError(status);
}

/** An update that may create names a uid, and there is no such object. */
export function uidOfAbsent(
  endpoint: StoredEndpoint,
  {
    target,
    wanted,
    patches,
  }: { readonly target: Target; readonly wanted: string; readonly patches: boolean },
): Error {
  if (!patches) return uidPrecondition(endpoint, { target, wanted, found: '' });
  return statusErrors.conflict(
    nameOf(endpoint, target.name),
    `uid mismatch: the provided object specified uid ${wanted}, and no existing object was found`,
  );
}

/** The store's message, which upstream passes on. */
export function uidPrecondition(
  endpoint: StoredEndpoint,
  { target, wanted, found }: { readonly target: Target; readonly wanted: string; readonly found: string },
): Error {
  return statusErrors.conflict(
    nameOf(endpoint, target.name),
    `StorageError: invalid object, Code: 4, Key: ${endpoint.cache.key(target)}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: ${wanted}, UID in object meta: ${found}`,
  );
}

/** Upstream's store refuses a new object with a resourceVersion, so a dry run does not. */
export function resourceVersionOnCreate(): StatusError {
  return statusErrors.badRequest('resourceVersion should not be set on objects to be created');
}
