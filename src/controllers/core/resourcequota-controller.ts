/**
 * Computes status.used of each ResourceQuota. Admission charges created objects at once; this controller subtracts deleted and finished
 * objects, and counts those from before the quota. After upstream's pkg/controller/resourcequota.
 *
 * A resource is watched once a quota limits it. Admission charges before the object is stored, so a recount could drop
 * a recent charge: the recount waits until there was no charge for a moment, and is repeated when an object appears in the cache.
 */
import type { Stored } from '#machinery/object.ts';
import type { ResourceQuota } from '#api/types.ts';
import { sameResourceList, type ResourceAmounts } from '#component-helpers/pod-resources.ts';
import { DEVICES_SUFFIX, inScope, computeUsage, type QuotaTarget } from '#component-helpers/quota-usage.ts';
import { objectKey, type KubeObject } from '#machinery/object.ts';
import { Quantity } from '#machinery/quantity.ts';
import type { Informer } from '#client/client.ts';
import { resourceQuotas } from '#client/refs.ts';
import { defineController, watch, type ReconcileContext, type ReconcileResult } from '#runtime/controller.ts';
import { discoverResources, type ServedResource } from '#client/discovery.ts';

const RECOUNT_EVERY_MS = 300_000;
/** Retry interval for a resource that is not served. */
const UNSERVED_MS = 30_000;
/** Delay in which changes are batched. */
const FREED_DELAY_MS = 20;
const ADDED_DELAY_MS = 500;

/** Quiet time without charges before a recount, and its maximum. */
const SETTLED_MS = 100;
const SETTLED_AT_LAST_MS = 1_000;

const CLAIM_NAMES = /^(persistentvolumeclaims|requests\.storage)$|\.storageclass\.storage\.k8s\.io\//;
const SERVICE_NAMES: ReadonlySet<string> = new Set([
  'services',
  'services.nodeports',
  'services.loadbalancers',
]);
/** Cannot be the prefix of a quota key. */
const CHANGED_KEY = 'changed ';
const PLAIN_NAMES: ReadonlySet<string> = new Set([
  'configmaps',
  'secrets',
  'replicationcontrollers',
  'resourcequotas',
]);
const POD_NAMES = /^(pods|cpu|memory|ephemeral-storage|hugepages-.*|requests\..*|limits\..*)$/;

export const resourceQuotaController = defineController({
  name: 'resourcequota-controller',
  // Most changes of a quota are charges, which need no recount.
  watches: [watch(resourceQuotas, { keys: (quota) => [`${CHANGED_KEY}${objectKey(quota)}`] })],
  reconcile: (context) => (context.key.startsWith(CHANGED_KEY) ? quotaChanged(context) : recount(context)),
});

/** The resource that a name in spec.hard counts; undefined for an unknown name. */
export function quotaTarget(name: string): QuotaTarget | undefined {
  if (name.startsWith('count/')) {
    const [resource = '', ...group] = name.slice('count/'.length).split('.');
    return { group: group.join('.'), resource };
  }
  if (name.endsWith(DEVICES_SUFFIX)) return { group: 'resource.k8s.io', resource: 'resourceclaims' };
  if (CLAIM_NAMES.test(name)) return { group: '', resource: 'persistentvolumeclaims' };
  if (SERVICE_NAMES.has(name)) return { group: '', resource: 'services' };
  if (PLAIN_NAMES.has(name)) return { group: '', resource: name };
  return POD_NAMES.test(name) ? { group: '', resource: 'pods' } : undefined;
}

/** The recount state of a quota. */
interface Seen {
  readonly uid: string | undefined;
  changedMs: number;
  waitingSinceMs: number | undefined;
}

async function quotaChanged({ key, informer, memory, clock, enqueue }: ReconcileContext): Promise<void> {
  const quotaKey = key.slice(CHANGED_KEY.length);
  const quota = informer(resourceQuotas).get(quotaKey);
  if (!quota) return void memory.delete(key);
  const known = memory.get(key) as Seen | undefined;
  const isNew = known?.uid !== quota.metadata?.uid;
  const seen: Seen =
    !known || isNew ? { uid: quota.metadata?.uid, changedMs: -Infinity, waitingSinceMs: undefined } : known;
  memory.set(key, seen);
  if (!isNew) seen.changedMs = clock.monotonic();
  if (isNew || !quota.status?.hard || !sameResourceList(quota.status.hard, quota.spec?.hard ?? {}))
    enqueue(quotaKey);
}

/** How long to wait before a charge may be subtracted. */
function unsettledMs({ key, memory, clock }: ReconcileContext): number {
  const seen = memory.get(`${CHANGED_KEY}${key}`) as Seen | undefined;
  if (!seen) return 0;
  const nowMs = clock.monotonic();
  seen.waitingSinceMs ??= nowMs;
  const leftMs = Math.min(seen.changedMs + SETTLED_MS, seen.waitingSinceMs + SETTLED_AT_LAST_MS) - nowMs;
  if (leftMs <= 0) seen.waitingSinceMs = undefined;
  return Math.max(0, leftMs);
}

async function recount(context: ReconcileContext): Promise<ReconcileResult> {
  const quota = context.informer(resourceQuotas).get(context.key);
  if (!quota || quota.metadata?.deletionTimestamp) return;
  const hard = quota.spec?.hard ?? {};
  const waitMs = unsettledMs(context);
  if (waitMs > 0) return { requeueAfterMs: waitMs };
  const { usage, counted, complete } = await count(quota, context);
  const used: Record<string, string> = {};
  for (const name of Object.keys(hard)) {
    const target = quotaTarget(name);
    if (target && counted.has(idOf(target))) used[name] = (usage.get(name) ?? Quantity.zero).toString();
  }
  if (
    !quota.status?.hard ||
    !sameResourceList(quota.status.hard, hard) ||
    !quota.status.used ||
    !sameResourceList(quota.status.used, used)
  ) {
    await context.api.updateStatus(resourceQuotas, { ...quota, status: { hard, used } });
  }
  return { requeueAfterMs: complete ? RECOUNT_EVERY_MS : UNSERVED_MS };
}

interface Count {
  readonly usage: ResourceAmounts;
  /** Resources whose objects are all included in the usage. */
  readonly counted: ReadonlySet<string>;
  readonly complete: boolean;
}

async function count(quota: Stored<ResourceQuota>, context: ReconcileContext): Promise<Count> {
  const names = Object.keys(quota.spec?.hard ?? {});
  const targets = new Map(
    names
      .map(quotaTarget)
      .filter((target) => target !== undefined)
      .map((target) => [idOf(target), target]),
  );
  const nowMs = context.clock.now();
  const counted = new Set<string>();
  const usage = new Map<string, Quantity>();
  for (const [id, target] of targets) {
    const informer = await sourceOf(target, context);
    if (!informer) continue;
    await informer.synced(context.signal);
    counted.add(id);
    for (const object of informer.listNamespace(quota.metadata.namespace!)) {
      if (inScope(object, { target, quota })) addTo(usage, computeUsage(object, { ...target, nowMs }));
    }
  }
  return { usage, counted, complete: counted.size === targets.size };
}

/** In place, because the sum is over all objects of a namespace. */
function addTo(sum: Map<string, Quantity>, more: ResourceAmounts): void {
  for (const [name, amount] of more) sum.set(name, sum.get(name)?.add(amount) ?? amount);
}

function idOf({ group, resource }: QuotaTarget): string {
  return `${group}/${resource}`;
}

/** The cache of a resource, started on first use; undefined while the resource is not served. */
async function sourceOf(
  target: QuotaTarget,
  context: ReconcileContext,
): Promise<Informer<KubeObject> | undefined> {
  const { memory, shared, signal } = context;
  const id = idOf(target);
  const known = memory.get(id) as Informer<KubeObject> | undefined;
  if (known) return known;
  const served = (await discoverResources(shared)).resources.find(
    ({ group, plural }) => group === target.group && plural === target.resource,
  );
  if (!served || !isCountable(served)) return undefined;
  // Another quota may have started it meanwhile.
  const other = memory.get(id) as Informer<KubeObject> | undefined;
  if (other) return other;
  const { group, version, plural, kind, namespaced } = served;
  const informer = shared.informer({ group, version, plural, kind, namespaced });
  memory.set(id, informer);
  const unsubscribe = subscribe(informer, target, context);
  signal.addEventListener('abort', unsubscribe, { once: true });
  return informer;
}

function isCountable({ namespaced, verbs }: ServedResource): boolean {
  return namespaced && verbs.includes('list') && verbs.includes('watch');
}

function subscribe(
  informer: Informer<KubeObject>,
  target: QuotaTarget,
  context: ReconcileContext,
): () => void {
  const quotas = context.informer(resourceQuotas);
  const again = ({ metadata }: Stored<KubeObject>, delayMs: number): void => {
    for (const quota of quotas.listNamespace(metadata?.namespace ?? ''))
      context.enqueue(`${metadata.namespace!}/${quota.metadata.name}`, delayMs);
  };
  return informer.subscribe({
    added(object) {
      if (informer.hasSynced) again(object, ADDED_DELAY_MS);
    },
    updated(object, previous) {
      const concerned = quotas.listNamespace(object.metadata?.namespace ?? '');
      if (concerned.length === 0) return;
      // Its deadline or class moves it between quota scopes.
      const moves = concerned.some(
        (quota) => inScope(object, { target, quota }) !== inScope(previous, { target, quota }),
      );
      if (moves || !equalAmounts(computeUsage(object, target), computeUsage(previous, target)))
        again(object, FREED_DELAY_MS);
    },
    deleted(object) {
      again(object, FREED_DELAY_MS);
    },
  });
}

function equalAmounts(a: ResourceAmounts, b: ResourceAmounts): boolean {
  return a.size === b.size && [...a].every(([name, amount]) => b.get(name)?.equals(amount) === true);
}
