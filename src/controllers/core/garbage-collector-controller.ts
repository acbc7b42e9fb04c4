/**
 * Deletes objects whose owners do not exist any more, and executes foreground and orphan deletion. After upstream's
 * pkg/controller/garbagecollector: https://kubernetes.io/docs/concepts/architecture/garbage-collection/
 *
 *   an object's owners:  all absent ─► deleted        some absent ─► those references are removed
 *   owner deleted with foregroundDeletion ─► blocking dependents are deleted          ─► finalizer removed
 *   owner deleted with orphan             ─► references to it are removed             ─► finalizer removed
 *
 * The graph is built from caches of all deletable resources. A missing cache entry does not prove that an owner is absent:
 * its deletion must have been observed, or a live read confirms it. Keys are uids; '' refreshes the list of resources.
 */
import { errorMessage } from '#stdx/log.ts';
import { Lru } from '#stdx/lru.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject, OwnerReference } from '#machinery/object.ts';
import type { DeleteOptions, Informer } from '#client/client.ts';
import { customResourceDefinitions } from '#client/refs.ts';
import { defineController, watch, type ReconcileContext, type ReconcileResult } from '#runtime/controller.ts';
import { discoverResources, resourceOfKind, type ServedResource } from '#client/discovery.ts';
import { nameOf } from '../owners.ts';
import {
  FOREGROUND_FINALIZER,
  hasFinalizer,
  isReachable,
  isWaiting,
  ORPHAN_FINALIZER,
  OwnershipGraph,
  ownersOf,
  uidOf,
  type Owned,
} from './ownership-graph.ts';

const DISCOVERY_EVERY_MS = 30_000;
/** Timeout of the initial sync; owners that are missing afterwards are read live one by one. */
const SYNC_TIMEOUT_MS = 10_000;
const SYNC_RETRY_MS = 500;
/** A resource that cannot be listed for this long (a broken conversion webhook, say) does not block the others. */
const SYNC_PATIENCE_MS = 30_000;
const UNKNOWN_KIND_MS = 30_000;
const ABSENT_REMEMBERED = 10_000;

interface Source {
  readonly informer: Informer<KubeObject>;
  readonly sinceMs: number;
}

/** One for each run of the controller. */
interface Collector {
  readonly graph: OwnershipGraph;
  /** 'group/version/plural' of what is watched. */
  readonly sources: Map<string, Source>;
  /** Uids of objects that are known to be deleted. */
  readonly absent: Lru<string, true>;
  resources: readonly ServedResource[];
  /** Until then, no object is processed. */
  ready: boolean;
}

export const garbageCollectorController = defineController({
  name: 'garbage-collector-controller',
  serviceAccount: 'generic-garbage-collector',
  watches: [watch(customResourceDefinitions, { keys: () => [''] })],
  workers: 20,
  resyncEveryMs: DISCOVERY_EVERY_MS,
  reconcile: (context) => (context.key === '' ? discover(context) : reconcileObject(context)),
});

function collectorOf({ memory, clock }: ReconcileContext): Collector {
  const known = memory.get('') as Collector | undefined;
  if (known) return known;
  const made: Collector = {
    graph: new OwnershipGraph(),
    sources: new Map(),
    absent: new Lru({ maximum: ABSENT_REMEMBERED, clock }),
    resources: [],
    ready: false,
  };
  memory.set('', made);
  return made;
}

async function discover(context: ReconcileContext): Promise<void> {
  const { api, shared, signal, log } = context;
  const collector = collectorOf(context);
  const { resources, failed } = await discoverResources(api);
  if (failed.length > 0) log.warn('discovery is incomplete', { failed: failed.join(', ') });
  collector.resources = resources;
  for (const resource of resources) {
    const id = `${resource.group}/${resource.version}/${resource.plural}`;
    if (collector.sources.has(id) || !isCollectable(resource)) continue;
    const { group, version, plural, kind, namespaced } = resource;
    const informer = shared.informer({ group, version, plural, kind, namespaced });
    collector.sources.set(id, { informer, sinceMs: context.clock.monotonic() });
    const unsubscribe = subscribe(informer, { resource, collector, context });
    signal.addEventListener('abort', unsubscribe, { once: true });
  }
  if (!collector.ready) await waitUntilReady(context, collector);
}

/** Events have neither owners nor dependents, and there are many. */
function isCollectable({ group, plural, verbs }: ServedResource): boolean {
  if (plural === 'events' && (group === '' || group === 'events.k8s.io')) return false;
  return ['delete', 'list', 'watch'].every((verb) => verbs.includes(verb));
}

function subscribe(
  informer: Informer<KubeObject>,
  {
    resource,
    collector,
    context,
  }: { readonly resource: ServedResource; readonly collector: Collector; readonly context: ReconcileContext },
): () => void {
  const { graph, absent } = collector;
  const look = (uids: readonly string[]): void => {
    if (collector.ready) for (const uid of uids) context.enqueue(uid);
  };
  return informer.subscribe({
    added: (object) => look(graph.set(object, resource)),
    updated(object, previous) {
      if (uidOf(previous) !== uidOf(object)) {
        absent.set(uidOf(previous), true);
        look(graph.remove(previous));
      }
      look(graph.set(object, resource));
    },
    deleted(object) {
      absent.set(uidOf(object), true);
      look(graph.remove(object));
    },
  });
}

async function waitUntilReady(context: ReconcileContext, collector: Collector): Promise<void> {
  const { clock, signal, enqueue } = context;
  const synced = Promise.allSettled(
    [...collector.sources.values()].map(({ informer }) => informer.synced(signal)),
  );
  const late = Promise.withResolvers<void>();
  const timer = clock.after(SYNC_TIMEOUT_MS, late.resolve);
  await Promise.race([synced, late.promise]);
  timer.cancel();
  collector.ready = true;
  for (const uid of collector.graph.uids()) if (collector.graph.needsAttention(uid)) enqueue(uid);
}

async function reconcileObject(context: ReconcileContext): Promise<ReconcileResult> {
  const collector = collectorOf(context);
  const item = collector.graph.get(context.key);
  if (!item) return;
  try {
    return await decide(item, collector, context);
  } catch (error) {
    // It was deleted meanwhile: the watch will report it.
    if (isStatusError(error, 'NotFound')) return;
    throw error;
  }
}

async function decide(
  item: Owned,
  collector: Collector,
  context: ReconcileContext,
): Promise<ReconcileResult> {
  const { object } = item;
  if (!object.metadata?.deletionTimestamp) return collect(item, collector, context);
  const orphans = hasFinalizer(object, ORPHAN_FINALIZER);
  if (!orphans && !hasFinalizer(object, FOREGROUND_FINALIZER)) return;
  // Objects that are not in the graph yet could be dependents.
  const patientUntilMs = context.clock.monotonic() - SYNC_PATIENCE_MS;
  if (
    [...collector.sources.values()].some(
      ({ informer, sinceMs }) => !informer.hasSynced && sinceMs > patientUntilMs,
    )
  )
    return { requeueAfterMs: SYNC_RETRY_MS };
  return orphans ? orphanDependents(item, collector, context) : awaitDependents(item, collector, context);
}

async function orphanDependents(item: Owned, { graph }: Collector, context: ReconcileContext): Promise<void> {
  const uid = uidOf(item.object);
  await all(
    graph.dependentsOf(uid).map((dependent) =>
      keepOwners(
        dependent,
        ownersOf(dependent.object).filter((owner) => owner.uid !== uid),
        context,
      ),
    ),
  );
  await removeFinalizer(item, ORPHAN_FINALIZER, context);
}

async function awaitDependents(item: Owned, { graph }: Collector, context: ReconcileContext): Promise<void> {
  const uid = uidOf(item.object);
  const blocking = graph
    .dependentsOf(uid)
    .filter(({ object }) =>
      ownersOf(object).some((owner) => owner.uid === uid && owner.blockOwnerDeletion === true),
    );
  if (blocking.length === 0) return removeFinalizer(item, FOREGROUND_FINALIZER, context);
  for (const { object } of blocking) if (!isWaiting(object)) context.enqueue(uidOf(object));
}

async function collect(
  item: Owned,
  collector: Collector,
  context: ReconcileContext,
): Promise<ReconcileResult> {
  const owners = ownersOf(item.object);
  if (owners.length === 0) return;
  const states = await Promise.all(owners.map((owner) => ownerState(owner, item, { collector, context })));
  if (states.includes('unknown kind')) return { requeueAfterMs: UNKNOWN_KIND_MS };
  if (states.includes('impossible')) return;
  const present = owners.filter((_, index) => states[index] === 'present');
  if (present.length === owners.length) return;
  if (present.length > 0) return keepOwners(item, present, context);
  const uid = uidOf(item.object);
  if (states.includes('waiting') && collector.graph.hasDependents(uid)) {
    // Objects that block each other in a cycle would never be deleted.
    if (
      collector.graph.dependentsOf(uid).some(({ object }) => isWaiting(object)) &&
      owners.some(({ blockOwnerDeletion }) => blockOwnerDeletion)
    ) {
      // It is processed again when the cache has observed that.
      return keepOwners(
        item,
        owners.map((owner) => ({ ...owner, blockOwnerDeletion: false })),
        context,
      );
    }
    return remove(item, 'Foreground', context);
  }
  const policy = hasFinalizer(item.object, ORPHAN_FINALIZER)
    ? 'Orphan'
    : hasFinalizer(item.object, FOREGROUND_FINALIZER)
      ? 'Foreground'
      : 'Background';
  return remove(item, policy, context);
}

type OwnerState = 'present' | 'absent' | 'waiting' | 'unknown kind' | 'impossible';

async function ownerState(
  owner: OwnerReference,
  item: Owned,
  { collector, context }: { readonly collector: Collector; readonly context: ReconcileContext },
): Promise<OwnerState> {
  if (collector.absent.get(owner.uid)) return 'absent';
  const known = collector.graph.get(owner.uid)?.object;
  if (known && isReachable(known, item.object)) return isWaiting(known) ? 'waiting' : 'present';
  const resource = resourceOfKind(collector.resources, owner);
  if (!resource) {
    context.log.warn('owner reference to a kind that is not served', {
      owner: `${owner.apiVersion} ${owner.kind} ${owner.name}`,
      of: `${item.resource.kind} ${item.object.metadata.name}`,
    });
    return 'unknown kind';
  }
  const { namespace = '' } = item.object.metadata ?? {};
  if (resource.namespaced && !namespace) {
    const message = `ownerRef [${owner.apiVersion}/${owner.kind}, namespace: , name: ${owner.name}, uid: ${owner.uid}] does not exist in namespace ""`;
    context.events.event(item.object, { type: 'Warning', reason: 'OwnerRefInvalidNamespace', message });
    return 'impossible';
  }
  try {
    const live = await context.api.get(resource, {
      name: owner.name,
      ...(resource.namespaced ? { namespace } : {}),
    });
    if (uidOf(live) === owner.uid) return isWaiting(live) ? 'waiting' : 'present';
  } catch (error) {
    if (!isStatusError(error, 'NotFound')) throw error;
  }
  // A reference to an object of another namespace counts as absent.
  if (!known) collector.absent.set(owner.uid, true);
  return 'absent';
}

/** With resourceVersion as precondition: its owners must not have changed since the decision. */
async function remove(
  { resource, object }: Owned,
  propagationPolicy: NonNullable<DeleteOptions['propagationPolicy']>,
  { api, log }: ReconcileContext,
): Promise<void> {
  const { uid, resourceVersion } = object.metadata;
  log.debug('deleting', {
    kind: resource.kind,
    namespace: object.metadata.namespace,
    name: object.metadata.name,
    propagationPolicy,
  });
  await api.delete(resource, nameOf(object), {
    propagationPolicy,
    preconditions: { uid: uid, resourceVersion: resourceVersion },
  });
}

async function keepOwners(
  { resource, object }: Owned,
  owners: readonly OwnerReference[],
  { api }: ReconcileContext,
): Promise<void> {
  const { uid, resourceVersion } = object.metadata;
  const ownerReferences = owners.length > 0 ? owners : null;
  await api.patch(resource, nameOf(object), {
    type: 'merge',
    patch: { metadata: { uid, resourceVersion, ownerReferences } },
  });
}

async function removeFinalizer(
  { resource, object }: Owned,
  finalizer: string,
  { api }: ReconcileContext,
): Promise<void> {
  const { uid, resourceVersion, finalizers = [] } = object.metadata;
  const left = finalizers.filter((other) => other !== finalizer);
  await api.patch(resource, nameOf(object), {
    type: 'merge',
    patch: { metadata: { uid, resourceVersion, finalizers: left.length > 0 ? left : null } },
  });
}

/** All are attempted; the first error is thrown. Objects that do not exist are no error. */
async function all(work: readonly Promise<void>[]): Promise<void> {
  for (const outcome of await Promise.allSettled(work)) {
    if (outcome.status === 'rejected' && !isStatusError(outcome.reason, 'NotFound'))
      throw outcome.reason instanceof Error ? outcome.reason : new Error(errorMessage(outcome.reason));
  }
}
