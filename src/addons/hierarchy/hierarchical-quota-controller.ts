/**
 * HierarchicalResourceQuotas: what a namespace and its descendants use together. Admission charges what is created; this controller counts, as upstream HNC does, by a
 * ResourceQuota in each namespace of the tree, whose own controller counts there.
 *
 *   limits of ancestors ─► ResourceQuota hrq.hnc.x-k8s.io in each namespace ─► its status.used ─► sums upwards ─► status of the quotas of trees
 *
 * A sum must not take back what admission has just charged. So before one is written the quota is read first, then all usage, and the write is refused where the quota was
 * charged since: usage of a namespace is charged before that of its tree.
 */
import type { CustomResourceDefinition, ResourceQuota } from '#api/types.ts';
import type { ResourceRef } from '#client/client.ts';
import { customResourceDefinitions, namespaces, resourceQuotas } from '#client/refs.ts';
import { isConditionTrue } from '#component-helpers/conditions.ts';
import type { Forest } from '#component-helpers/hierarchy/forest.ts';
import {
  MANAGER,
  SELECTORS,
  TREE_QUOTA,
  TREE_QUOTA_LABEL,
  type HierarchicalResourceQuota,
} from '#component-helpers/hierarchy/names.ts';
import {
  quotaStatus,
  strictestLimits,
  subtreeUsage,
  textOf,
  type NamespaceUsage,
} from '#component-helpers/hierarchy/tree-quotas.ts';
import {
  parseResourceList,
  sameResourceList,
  type ResourceAmounts,
} from '#component-helpers/pod-resources.ts';
import { isStatusError } from '#machinery/errors.ts';
import { deepEqual } from '#machinery/json.ts';
import type { Stored } from '#machinery/object.ts';
import { defineController, watch, type ReconcileContext, type ReconcileResult } from '#runtime/controller.ts';
import { errorMessage } from '#stdx/log.ts';
import {
  hierarchicalResourceQuotas,
  hierarchyConfigurations,
  isOurs,
  selectDefinition,
  subnamespaceAnchors,
} from './api.ts';
import { follow } from './follow.ts';
import { readForest, type Woods } from './read-forest.ts';
import { isStale, runTasks, type Task } from './run-tasks.ts';

const TREES = selectDefinition(hierarchyConfigurations);
const QUOTAS = selectDefinition(hierarchicalResourceQuotas);
const FOLLOWED: readonly ResourceRef[] = [namespaces, hierarchyConfigurations, subnamespaceAnchors];
/** A key: only usage has changed. Every other is about limits too. */
const USED = 'used';
const SWEEP_MS = 60_000;
const RETRY_MS = 1_000;
/** Changes in quick succession are one pass over the forest. */
const BATCH_MS = 100;
const MAXIMUM_REST_MS = 2_000;
const SHADOWS = { labelSelector: `${TREE_QUOTA_LABEL}=true` };

export const hierarchicalQuotaController = defineController({
  name: 'hierarchical-quota-controller',
  serviceAccount: 'hierarchical-namespaces',
  eventSource: MANAGER,
  watches: [TREES, QUOTAS].map((select) => watch(customResourceDefinitions, { select, keys: () => [''] })),
  workers: 1,
  resyncEveryMs: SWEEP_MS,
  async reconcile(context): Promise<ReconcileResult> {
    const [trees, quotas] = [TREES, QUOTAS].map((select) => definition(context, select));
    if (quotas && !isOurs(quotas)) return;
    if (!isServed(trees) || !isServed(quotas)) return quotas ? undefined : takeBack(context);
    if (quotas!.metadata.deletionTimestamp) return takeBack(context);
    context.memory.delete(TAKEN_BACK);
    await followTrees(context);
    const tooEarlyMs = untilNextPassMs(context);
    if (tooEarlyMs > 0) return { requeueAfterMs: tooEarlyMs };
    const beganMs = context.clock.monotonic();
    const all = Map.groupBy(
      context.shared.informer(hierarchicalResourceQuotas).list(),
      ({ metadata }) => metadata.namespace ?? '',
    );
    const shadows = shadowsIn(context.shared.informer(resourceQuotas).list());
    if (all.size === 0 && shadows.size === 0) return;
    const quotaTree = new QuotaTree(readForest(context.shared), all);
    let failed = 0;
    if (context.key !== USED) failed += await runTasks(context, limitTasks(context, { quotaTree, shadows }));
    failed += await countTrees(context, { quotaTree, shadows });
    const endedMs = context.clock.monotonic();
    context.memory.set(LAST_PASS, { endedMs, tookMs: endedMs - beganMs } satisfies Pass);
    if (failed > 0) return { requeueAfterMs: RETRY_MS };
  },
});

function definition(
  { shared }: ReconcileContext,
  select: typeof TREES,
): Stored<CustomResourceDefinition> | undefined {
  return shared.informer(customResourceDefinitions, select).list()[0];
}

function isServed(definition: CustomResourceDefinition | undefined): boolean {
  return isOurs(definition) && isConditionTrue(definition?.status?.conditions, 'Established');
}

const LAST_PASS = 'last pass';

interface Pass {
  readonly endedMs: number;
  readonly tookMs: number;
}

/** While a large tree is being counted every namespace's count is news: passes over all of it take half of the time at most. */
function untilNextPassMs({ memory, clock }: ReconcileContext): number {
  const last = memory.get(LAST_PASS) as Pass | undefined;
  return last ? last.endedMs + Math.min(last.tookMs, MAXIMUM_REST_MS) - clock.monotonic() : 0;
}

async function followTrees(context: ReconcileContext): Promise<void> {
  for (const ref of FOLLOWED) await follow(context, ref, { delayMs: BATCH_MS });
  await follow<HierarchicalResourceQuota>(context, hierarchicalResourceQuotas, {
    // Most changes are charges, which need no recount.
    keyOf: ({ spec }, previous) => (previous && deepEqual(spec, previous.spec) ? undefined : ''),
    delayMs: BATCH_MS,
  });
  await follow<ResourceQuota>(context, resourceQuotas, { keyOf: shadowKey, delayMs: BATCH_MS });
}

function shadowKey(
  { metadata, spec, status }: Stored<ResourceQuota>,
  previous: Stored<ResourceQuota> | undefined,
): string | undefined {
  if (metadata.name !== TREE_QUOTA) return undefined;
  if (!previous || !deepEqual(spec, previous.spec)) return '';
  return deepEqual(status?.used, previous.status?.used) ? undefined : USED;
}

type Shadows = ReadonlyMap<string, Stored<ResourceQuota>>;

/** By namespace. */
function shadowsIn(quotas: readonly Stored<ResourceQuota>[]): Shadows {
  return new Map(
    quotas
      .filter(({ metadata }) => metadata.name === TREE_QUOTA)
      .map((one) => [one.metadata.namespace ?? '', one]),
  );
}

/** The forest with its quotas. */
class QuotaTree {
  readonly forest: Forest;
  readonly quotas: readonly Stored<HierarchicalResourceQuota>[];
  readonly #woods: Woods;
  readonly #byNamespace: ReadonlyMap<string, readonly Stored<HierarchicalResourceQuota>[]>;
  readonly #limits = new Map<string, ResourceAmounts>();

  constructor(woods: Woods, quotas: ReadonlyMap<string, readonly Stored<HierarchicalResourceQuota>[]>) {
    this.forest = woods.forest;
    this.quotas = [...quotas.values()].flat();
    this.#woods = woods;
    this.#byNamespace = quotas;
  }

  /** Of the namespace and its ancestors. */
  quotasOver(namespace: string): readonly Stored<HierarchicalResourceQuota>[] {
    if (!this.forest.get(namespace)) return [];
    return [...this.forest.ancestorsOf(namespace), namespace].flatMap(
      (one) => this.#byNamespace.get(one) ?? [],
    );
  }

  limitsIn(namespace: string): ResourceAmounts {
    let limits = this.#limits.get(namespace);
    if (!limits)
      this.#limits.set(
        namespace,
        (limits = strictestLimits(this.quotasOver(namespace).map(({ spec }) => spec?.hard))),
      );
    return limits;
  }

  /** It takes no new objects, or is not there. */
  isClosed(namespace: string): boolean {
    const found = this.#woods.namespaces.get(namespace);
    return !found || found.metadata.deletionTimestamp !== undefined;
  }

  /** Of each namespace with its descendants, of what their ResourceQuotas have counted. */
  usage(shadows: Shadows): ReadonlyMap<string, NamespaceUsage> {
    return subtreeUsage(
      this.forest,
      new Map(this.forest.names.map((name) => [name, this.#ownUsage(name, shadows.get(name))])),
    );
  }

  #ownUsage(namespace: string, shadow: ResourceQuota | undefined): NamespaceUsage {
    const used = parseResourceList(shadow?.status?.used);
    const uncounted = this.isClosed(namespace)
      ? []
      : [...this.limitsIn(namespace).keys()].filter((resource) => !used.has(resource));
    return { used, uncounted: new Set(uncounted) };
  }
}

interface Counted {
  readonly quotaTree: QuotaTree;
  readonly shadows: Shadows;
}

function limitTasks(context: ReconcileContext, { quotaTree, shadows }: Counted): Task[] {
  return [...new Set([...quotaTree.forest.names, ...shadows.keys()])]
    .map((namespace) => limitTask(context, { quotaTree, namespace, shadow: shadows.get(namespace) }))
    .filter((task) => task !== undefined);
}

interface Limited {
  readonly quotaTree: QuotaTree;
  readonly namespace: string;
  readonly shadow: Stored<ResourceQuota> | undefined;
}

function limitTask(context: ReconcileContext, limited: Limited): Task | undefined {
  const { quotaTree, namespace, shadow } = limited;
  if (quotaTree.isClosed(namespace)) return undefined;
  const hard = textOf(quotaTree.limitsIn(namespace));
  if (Object.keys(hard).length === 0) return shadow && (() => removeShadow(context, shadow));
  if (shadow && sameResourceList(shadow.spec?.hard, hard)) return undefined;
  return () => writeShadow(context, { ...limited, hard });
}

async function writeShadow(
  { api, events }: ReconcileContext,
  { quotaTree, namespace, shadow, hard }: Limited & { readonly hard: Record<string, string> },
): Promise<void> {
  const metadata = {
    name: TREE_QUOTA,
    namespace,
    labels: { [TREE_QUOTA_LABEL]: 'true' },
    annotations: { [SELECTORS.none]: 'true' },
  };
  try {
    if (shadow) await api.update(resourceQuotas, { ...shadow, spec: { ...shadow.spec, hard } });
    else await api.create(resourceQuotas, { metadata, spec: { hard } });
  } catch (error) {
    if (!isStale(error))
      for (const quota of quotaTree.quotasOver(namespace))
        events.event(quota, {
          type: 'Warning',
          reason: 'CannotWriteResourceQuota',
          message: `could not create/update lower-level ResourceQuota in namespace "${namespace}": ${errorMessage(error)}`,
        });
    throw error;
  }
}

async function removeShadow({ api }: ReconcileContext, { metadata }: Stored<ResourceQuota>): Promise<void> {
  const { name, namespace, uid } = metadata;
  await api
    .delete(resourceQuotas, { name, namespace }, { preconditions: { uid } })
    .catch((error: unknown) => {
      if (!isStatusError(error, 'NotFound')) throw error;
    });
}

/** How many writes failed. */
async function countTrees(context: ReconcileContext, { quotaTree, shadows }: Counted): Promise<number> {
  const { api } = context;
  const usage = quotaTree.usage(shadows);
  const stale = quotaTree.quotas.filter((quota) => newStatus(quota, usage) !== undefined);
  if (stale.length === 0) return 0;
  const fresh: Stored<HierarchicalResourceQuota>[] = [];
  const failed = await runTasks(
    context,
    stale.map(({ metadata: { name, namespace } }) => async () => {
      fresh.push(await api.get(hierarchicalResourceQuotas, { name, namespace }));
    }),
  );
  const counted = quotaTree.usage(shadowsIn((await api.list(resourceQuotas, SHADOWS)).items));
  const tasks = fresh.flatMap((quota): Task[] => {
    const status = newStatus(quota, counted);
    if (!status) return [];
    return [() => api.updateStatus(hierarchicalResourceQuotas, { ...quota, status }).then(() => {})];
  });
  return failed + (await runTasks(context, tasks));
}

/** Undefined: it is so already. */
function newStatus(
  quota: Stored<HierarchicalResourceQuota>,
  usage: ReadonlyMap<string, NamespaceUsage>,
): HierarchicalResourceQuota['status'] {
  const status = quotaStatus(quota, usage.get(quota.metadata.namespace ?? ''));
  return deepEqual(status, quota.status) ? undefined : status;
}

const TAKEN_BACK = 'taken back';

/** Nobody defines quotas of trees any more: what was made of them would limit for ever. */
async function takeBack(context: ReconcileContext): Promise<ReconcileResult> {
  const { memory, shared, signal } = context;
  if (memory.has(TAKEN_BACK)) return;
  const informer = shared.informer(resourceQuotas);
  await informer.synced(signal);
  const tasks = [...shadowsIn(informer.list()).values()].map((shadow) => () => removeShadow(context, shadow));
  if ((await runTasks(context, tasks)) > 0) return { requeueAfterMs: RETRY_MS };
  memory.set(TAKEN_BACK, true);
}
