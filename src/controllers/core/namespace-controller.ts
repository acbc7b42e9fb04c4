/**
 * Deletes the contents of a terminating namespace and then removes the finalizer "kubernetes". After upstream's
 * pkg/controller/namespace.
 *
 *   Terminating ─► discovery ─► delete pods ─gone─► delete the other collections in parallel ─► anything left? ─yes─► conditions, retry later
 *                                    └─left─► conditions, retry later                                └─no─► conditions, finalize
 */
import { isDeepStrictEqual } from 'node:util';
import type { Namespace, NamespaceCondition, Pod } from '#api/types.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeList, KubeObject } from '#machinery/object.ts';
import { formatTime, timeMs } from '#machinery/time.ts';
import { errorMessage } from '#stdx/log.ts';
import type { Client } from '#client/client.ts';
import { namespaces, pods } from '#client/refs.ts';
import { defineController, watch, type ReconcileContext, type ReconcileResult } from '#runtime/controller.ts';
import { findCondition, withoutCondition } from '#component-helpers/conditions.ts';
import { discoverResources, type ServedResource } from '#client/discovery.ts';

const FINALIZER = 'kubernetes';
/** Retry interval for a namespace with remaining content, doubling. */
const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 15_000;
/** Maximum number of concurrent requests for one namespace. */
const PARALLEL = 8;

interface Outcome {
  /** Remaining objects by resource ('pods' or 'deployments.apps'). */
  readonly remaining: Map<string, number>;
  readonly finalizers: Map<string, number>;
  readonly failures: string[];
}

export const namespaceController = defineController({
  name: 'namespace-controller',
  watches: [watch(namespaces)],
  workers: 10,
  reconcile,
});

async function reconcile(context: ReconcileContext): Promise<ReconcileResult> {
  const { key, api, informer, memory } = context;
  if (!informer(namespaces).get(key)?.metadata?.deletionTimestamp) return void memory.delete(retryKey(key));
  // Read live: finalizers may have been removed meanwhile.
  const namespace = await getNamespace(api, key);
  if (!namespace?.metadata?.deletionTimestamp) return void memory.delete(retryKey(key));
  if (!namespace.spec?.finalizers?.includes(FINALIZER)) return;
  const { resources, failed, error } = await discovery(context);
  const outcome: Outcome = { remaining: new Map(), finalizers: new Map(), failures: [] };
  const graceMs = await deleteContent(context, { resources, outcome });
  const conditions = conditionsOf(namespace, {
    outcome,
    discoveryFailure:
      error ??
      (failed.length > 0
        ? `unable to retrieve the complete list of server APIs: ${failed.join(', ')}`
        : undefined),
    nowMs: context.clock.now(),
  });
  const updated = await writeConditions(context, namespace, conditions);
  if (error !== undefined) throw new Error(error);
  if (outcome.remaining.size === 0 && outcome.failures.length === 0 && failed.length === 0)
    return finalize(context, updated);
  return { requeueAfterMs: retryMs(context, graceMs) };
}

async function getNamespace(api: Client, name: string): Promise<Namespace | undefined> {
  try {
    return await api.get(namespaces, { name });
  } catch (error) {
    if (isStatusError(error, 'NotFound')) return undefined;
    throw error;
  }
}

interface Discovery {
  readonly resources: readonly ServedResource[];
  readonly failed: readonly string[];
  readonly error?: string;
}

/** Uncached: a cached discovery could lack a custom resource, and its objects would outlive the namespace. */
async function discovery({ api }: ReconcileContext): Promise<Discovery> {
  try {
    const { resources, failed } = await discoverResources(api);
    return {
      resources: resources.filter(({ namespaced, verbs }) => namespaced && verbs.includes('delete')),
      failed,
    };
  } catch (error) {
    return { resources: [], failed: [], error: errorMessage(error) };
  }
}

function waveOf({ plural, group }: ServedResource): number {
  if (plural === 'events') return group === '' ? 2 : NaN;
  return plural === pods.plural && group === '' ? 0 : 1;
}

/**
 * Returns the remaining grace period of pods. Pods are deleted first, and nothing else before they are gone: objects that they depend on (network
 * policies, secrets) must exist as long as they run. Events are deleted last, because the other deletions create more of them.
 */
async function deleteContent(
  context: ReconcileContext,
  { resources, outcome }: { readonly resources: readonly ServedResource[]; readonly outcome: Outcome },
): Promise<number> {
  let graceMs = 0;
  for (const wave of [0, 1, 2]) {
    if (wave === 1 && (outcome.remaining.size > 0 || outcome.failures.length > 0)) break;
    const waiting = resources.filter((resource) => waveOf(resource) === wave);
    await Promise.all(
      Array.from({ length: PARALLEL }, async () => {
        for (
          let resource = waiting.shift();
          resource && !context.signal.aborted;
          resource = waiting.shift()
        ) {
          try {
            graceMs = Math.max(graceMs, await deleteAllOf(context, { resource, outcome }));
          } catch (error) {
            outcome.failures.push(errorMessage(error));
          }
        }
      }),
    );
  }
  return graceMs;
}

async function deleteAllOf(
  context: ReconcileContext,
  { resource, outcome }: { readonly resource: ServedResource; readonly outcome: Outcome },
): Promise<number> {
  const { api, key: namespace } = context;
  if (!resource.verbs.includes('list')) return 0;
  // Most resources have no objects in most namespaces, and a list costs less than a deletecollection.
  const first = await listOf(api, { resource, namespace, limit: 1 });
  if (first.items.length === 0) return 0;
  if (resource.verbs.includes('deletecollection')) {
    await api.deleteCollection(resource, { namespace, propagationPolicy: 'Background' });
  } else {
    for (const { metadata } of (await listOf(api, { resource, namespace })).items)
      await deleteOne(api, { resource, namespace, name: metadata!.name! });
  }
  const left = (await listOf(api, { resource, namespace })).items;
  if (left.length === 0) return 0;
  outcome.remaining.set(
    resource.group === '' ? `${resource.plural}.` : `${resource.plural}.${resource.group}`,
    left.length,
  );
  for (const { metadata } of left)
    for (const finalizer of metadata?.finalizers ?? [])
      outcome.finalizers.set(finalizer, (outcome.finalizers.get(finalizer) ?? 0) + 1);
  return resource.plural === pods.plural && resource.group === ''
    ? longestGraceMs(left as Pod[], context.clock.now())
    : 0;
}

async function deleteOne(
  api: Client,
  {
    resource,
    namespace,
    name,
  }: { readonly resource: ServedResource; readonly namespace: string; readonly name: string },
): Promise<void> {
  try {
    await api.delete(resource, { namespace, name }, { propagationPolicy: 'Background' });
  } catch (error) {
    if (!isStatusError(error, 'NotFound')) throw error;
  }
}

async function listOf(
  api: Client,
  {
    resource,
    namespace,
    limit,
  }: { readonly resource: ServedResource; readonly namespace: string; readonly limit?: number },
): Promise<KubeList<KubeObject>> {
  try {
    return await api.list(resource, { namespace, limit });
  } catch (error) {
    // It was removed since discovery (its CustomResourceDefinition was deleted), or cannot be listed.
    if (isStatusError(error, 'NotFound') || isStatusError(error, 'MethodNotAllowed')) return { items: [] };
    throw error;
  }
}

function longestGraceMs(left: readonly Pod[], nowMs: number): number {
  return Math.max(0, ...left.map(({ metadata }) => (timeMs(metadata?.deletionTimestamp) ?? nowMs) - nowMs));
}

function retryKey(key: string): string {
  return `retry/${key}`;
}

function retryMs({ key, memory }: ReconcileContext, graceMs: number): number {
  const last = memory.get(retryKey(key)) as number | undefined;
  const next = last === undefined ? RETRY_MIN_MS : Math.min(last * 2, RETRY_MAX_MS);
  memory.set(retryKey(key), next);
  // Little changes before the pods' grace period is over, but they may end earlier.
  return graceMs > 0 ? Math.max(Math.min(next, graceMs), RETRY_MIN_MS) : next;
}

interface ConditionsInput {
  readonly outcome: Outcome;
  readonly discoveryFailure: string | undefined;
  readonly nowMs: number;
}

const GOOD: Readonly<Record<string, { readonly reason: string; readonly message: string }>> = {
  NamespaceDeletionDiscoveryFailure: {
    reason: 'ResourcesDiscovered',
    message: 'All resources successfully discovered',
  },
  NamespaceDeletionGroupVersionParsingFailure: {
    reason: 'ParsedGroupVersions',
    message: 'All legacy kube types successfully parsed',
  },
  NamespaceDeletionContentFailure: {
    reason: 'ContentDeleted',
    message: 'All content successfully deleted, may be waiting on finalization',
  },
  NamespaceContentRemaining: { reason: 'ContentRemoved', message: 'All content successfully removed' },
  NamespaceFinalizersRemaining: {
    reason: 'ContentHasNoFinalizers',
    message: 'All content-preserving finalizers finished',
  },
};

function conditionsOf(
  namespace: Namespace,
  { outcome, discoveryFailure, nowMs }: ConditionsInput,
): NamespaceCondition[] {
  const bad: Record<string, { reason: string; message: string }> = {};
  if (discoveryFailure !== undefined)
    bad['NamespaceDeletionDiscoveryFailure'] = {
      reason: 'DiscoveryFailed',
      message: `Discovery failed for some groups, ${discoveryFailure}`,
    };
  if (outcome.failures.length > 0)
    bad['NamespaceDeletionContentFailure'] = {
      reason: 'ContentDeletionFailed',
      message: `Failed to delete all resource types, ${outcome.failures.length} remaining: ${outcome.failures.sort().join(', ')}`,
    };
  if (outcome.remaining.size > 0)
    bad['NamespaceContentRemaining'] = {
      reason: 'SomeResourcesRemain',
      message: `Some resources are remaining: ${texts(outcome.remaining, (name, count) => `${name} has ${count} resource instances`)}`,
    };
  if (outcome.finalizers.size > 0)
    bad['NamespaceFinalizersRemaining'] = {
      reason: 'SomeFinalizersRemain',
      message: `Some content in the namespace has finalizers remaining: ${texts(outcome.finalizers, (name, count) => `${name} in ${count} resource instances`)}`,
    };
  let conditions = namespace.status?.conditions ?? [];
  for (const [type, good] of Object.entries(GOOD)) {
    const status = bad[type] ? 'True' : 'False';
    const { reason, message } = bad[type] ?? good;
    const current = findCondition(conditions, type);
    if (current?.status === status && current.reason === reason && current.message === message) continue;
    const lastTransitionTime =
      current?.status === status && current.lastTransitionTime
        ? current.lastTransitionTime
        : formatTime(nowMs);
    conditions = [
      ...withoutCondition(conditions, type),
      { type, status, lastTransitionTime, reason, message },
    ];
  }
  return conditions;
}

function texts(counts: ReadonlyMap<string, number>, text: (name: string, count: number) => string): string {
  return [...counts]
    .map(([name, count]) => text(name, count))
    .sort()
    .join(', ');
}

/** A namespace that is empty after the first attempt gets no conditions: the next request removes it. */
async function writeConditions(
  { api }: ReconcileContext,
  namespace: Namespace,
  conditions: NamespaceCondition[],
): Promise<Namespace> {
  const good = conditions.every(({ status }) => status === 'False') && !namespace.status?.conditions;
  if (good || isDeepStrictEqual(conditions, namespace.status?.conditions)) return namespace;
  return api.updateStatus(namespaces, { ...namespace, status: { ...namespace.status, conditions } });
}

async function finalize({ api, key, memory }: ReconcileContext, namespace: Namespace): Promise<void> {
  const finalizers = namespace.spec?.finalizers?.filter((finalizer) => finalizer !== FINALIZER) ?? [];
  const body = JSON.stringify({
    ...namespace,
    apiVersion: 'v1',
    kind: 'Namespace',
    spec: { ...namespace.spec, finalizers },
  });
  const response = await api.transport.request({
    method: 'PUT',
    path: `/api/v1/namespaces/${encodeURIComponent(key)}/finalize`,
    body,
    headers: { 'content-type': 'application/json', accept: 'application/json' },
  });
  memory.delete(retryKey(key));
  if (response.status === 200 || response.status === 404) return;
  const text = (await response.bytes()).toString('utf8');
  throw new Error(
    `namespace ${key} could not be finalized: the server answered ${response.status}: ${text.slice(0, 500)}`,
  );
}
