/**
 * The plan of a delete: preconditions, grace period, finalizers and propagation, after upstream's BeforeDelete and
 * deletionFinalizersForGarbageCollection. Decides only; store.ts acts.
 */
import { statusErrors } from '#machinery/errors.ts';
import { deepClone } from '#machinery/json.ts';
import type { KubeObject, ObjectMeta } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import type { Endpoint } from './endpoints.ts';

/** DeleteOptions as sent by a client. */
export interface DeleteRequest {
  readonly gracePeriodSeconds?: number | undefined;
  readonly propagationPolicy?: 'Orphan' | 'Background' | 'Foreground' | undefined;
  readonly orphanDependents?: boolean | undefined;
  readonly preconditions?:
    | { readonly uid?: string | undefined; readonly resourceVersion?: string | undefined }
    | undefined;
}

const ORPHAN = 'orphan';
const FOREGROUND = 'foregroundDeletion';

/** mark-and-remove: an object with a grace period of zero is first stored with it. */
type DeletionPlan =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'remove' }
  | { readonly kind: 'mark' | 'mark-and-remove'; readonly next: KubeObject };

export function checkPreconditions(
  endpoint: Endpoint,
  { meta, request: { preconditions } }: { readonly meta: ObjectMeta; readonly request: DeleteRequest },
): void {
  if (!preconditions) return;
  // Upstream names the kind here.
  const of = { group: endpoint.gvk.group, resource: endpoint.gvk.kind, name: meta.name ?? '' };
  const { uid, resourceVersion } = preconditions;
  if (uid !== undefined && uid !== meta.uid) {
    throw statusErrors.conflict(
      of,
      `the UID in the precondition (${uid}) does not match the UID in record (${meta.uid ?? ''}). The object might have been deleted and then recreated`,
    );
  }
  if (resourceVersion !== undefined && resourceVersion !== meta.resourceVersion) {
    throw statusErrors.conflict(
      of,
      `the ResourceVersion in the precondition (${resourceVersion}) does not match the ResourceVersion in record (${meta.resourceVersion ?? ''}). The object might have been modified`,
    );
  }
}

interface PlanOptions {
  readonly previous: KubeObject;
  readonly request: DeleteRequest;
  readonly nowMs: number;
}

export function planDeletion(endpoint: Endpoint, { previous, request, nowMs }: PlanOptions): DeletionPlan {
  const next = deepClone(previous);
  const meta = next.metadata!;
  const { beginDeletion } = endpoint.resource.behaviour;
  if (beginDeletion && meta.deletionTimestamp === undefined) {
    meta.deletionTimestamp = formatTime(nowMs);
    beginDeletion(next, nowMs);
    return { kind: 'mark', next };
  }
  const grace = markGraceful(endpoint, { next, request, nowMs });
  if (grace === 'pending') return { kind: 'nothing' };
  const finalizers = deletionFinalizers(endpoint, previous.metadata!, request);
  const finalizersChange =
    finalizers.length !== (meta.finalizers ?? []).length ||
    finalizers.some((finalizer, i) => finalizer !== meta.finalizers![i]);
  if (finalizers.length > 0) meta.finalizers = finalizers;
  else delete meta.finalizers;
  const held = finalizers.length > 0 || holdsItself(endpoint, next);
  if (grace === 'marked' && (meta.deletionGracePeriodSeconds ?? 0) > 0) return { kind: 'mark', next };
  if (!held) return grace === 'marked' ? { kind: 'mark-and-remove', next } : { kind: 'remove' };
  const already = previous.metadata!.deletionTimestamp !== undefined;
  if (grace !== 'marked') markDeleting(endpoint, meta, nowMs);
  endpoint.resource.behaviour.markDeleting?.(next);
  return already &&
    !finalizersChange &&
    grace !== 'marked' &&
    meta.deletionGracePeriodSeconds === previous.metadata!.deletionGracePeriodSeconds
    ? { kind: 'nothing' }
    : { kind: 'mark', next };
}

/** Sets the end of the grace period on resources that have one. 'pending' = it is running and nothing shortens it. */
function markGraceful(
  endpoint: Endpoint,
  {
    next,
    request,
    nowMs,
  }: { readonly next: KubeObject; readonly request: DeleteRequest; readonly nowMs: number },
): 'none' | 'marked' | 'pending' {
  const gracePeriodOf = endpoint.resource.behaviour.gracefulDelete;
  if (!gracePeriodOf) return 'none';
  const meta = next.metadata!;
  const { gracePeriodSeconds } = request;
  if (meta.deletionTimestamp !== undefined) {
    const current = meta.deletionGracePeriodSeconds ?? 0;
    if (current === 0) return 'none';
    if (gracePeriodSeconds === undefined || Math.max(gracePeriodSeconds, 0) >= current) return 'pending';
    meta.deletionTimestamp = formatTime(
      Date.parse(meta.deletionTimestamp) + (gracePeriodSeconds - current) * 1000,
    );
    meta.deletionGracePeriodSeconds = gracePeriodSeconds;
    return 'marked';
  }
  const seconds = gracePeriodOf(next, gracePeriodSeconds);
  meta.deletionTimestamp = formatTime(nowMs + seconds * 1000);
  meta.deletionGracePeriodSeconds = seconds;
  if ((meta.generation ?? 0) > 0) meta.generation = meta.generation! + 1;
  return 'marked';
}

function markDeleting(endpoint: Endpoint, meta: ObjectMeta, nowMs: number): void {
  if (meta.deletionTimestamp === undefined && (meta.generation ?? 0) > 0)
    meta.generation = meta.generation! + 1;
  meta.deletionTimestamp ??= formatTime(nowMs);
  // A kind that marks its objects itself has no such period: upstream's namespaces.
  if (!endpoint.resource.behaviour.markDeleting) meta.deletionGracePeriodSeconds = 0;
}

function deletionFinalizers(
  endpoint: Endpoint,
  { finalizers = [] }: ObjectMeta,
  request: DeleteRequest,
): string[] {
  const wanted = propagation(endpoint, finalizers, request);
  const kept = finalizers.filter((finalizer) => finalizer !== ORPHAN && finalizer !== FOREGROUND);
  return wanted === 'Orphan' ? [...kept, ORPHAN] : wanted === 'Foreground' ? [...kept, FOREGROUND] : kept;
}

function propagation(
  endpoint: Endpoint,
  finalizers: readonly string[],
  { propagationPolicy, orphanDependents }: DeleteRequest,
): string {
  const { defaultPropagation } = endpoint.resource.behaviour;
  if (defaultPropagation === 'unsupported') return 'Background';
  if (orphanDependents !== undefined) return orphanDependents ? 'Orphan' : 'Background';
  if (propagationPolicy !== undefined) return propagationPolicy;
  if (finalizers.includes(ORPHAN)) return 'Orphan';
  if (finalizers.includes(FOREGROUND)) return 'Foreground';
  return defaultPropagation === 'orphan' ? 'Orphan' : 'Background';
}

/** An object without finalizers can be held by its kind: a namespace by spec.finalizers. */
function holdsItself(endpoint: Endpoint, object: KubeObject): boolean {
  return endpoint.resource.behaviour.holdsDeletion?.(object) ?? false;
}

/** True where this update removes the last finalizer of an object under deletion: the object is deleted too. */
export function deletesDuringUpdate(
  endpoint: Endpoint,
  { next, previous }: { readonly next: KubeObject; readonly previous: KubeObject },
): boolean {
  const { deletionTimestamp, deletionGracePeriodSeconds } = previous.metadata!;
  if (
    deletionTimestamp === undefined ||
    (deletionGracePeriodSeconds ?? 0) !== 0 ||
    (next.metadata?.deletionGracePeriodSeconds ?? 0) !== 0
  )
    return false;
  return (next.metadata?.finalizers?.length ?? 0) === 0 && !holdsItself(endpoint, next);
}
