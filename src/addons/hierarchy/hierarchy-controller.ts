/**
 * Hierarchical namespaces: trees of namespaces, subnamespaces of anchors, and copies of objects in all descendants. Does nothing until `capstan tree enable` has
 * installed the definitions: the API is HNC's, and where HNC itself runs its definitions have another owner.
 *
 *   caches ─► forest ─► labels and HierarchyConfigurations ─► anchors ─► copies of each kind ─► HNCConfiguration
 *
 * One key for all: a change near a root concerns everything below it, and a plan of the whole forest is cheap beside the writes that follow from it.
 */
import { customResourceDefinitions, namespaces } from '#client/refs.ts';
import { discoverResources } from '#client/discovery.ts';
import type { ResourceRef } from '#client/client.ts';
import { isConditionTrue } from '#component-helpers/conditions.ts';
import { isStatusError } from '#machinery/errors.ts';
import { deepEqual } from '#machinery/json.ts';
import type { KubeObject } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import { defineController, watch, type ReconcileContext, type ReconcileResult } from '#runtime/controller.ts';
import {
  hierarchyConfigurations,
  hncConfigurations,
  subnamespaceAnchors,
  isOurs,
  selectDefinition,
} from './api.ts';
import {
  ANCHOR_FINALIZER,
  CONFIG,
  HIERARCHY_FINALIZER,
  MANAGER,
  type HNCConfiguration,
  type ResourceStatus,
} from '#component-helpers/hierarchy/names.ts';
import { follow } from './follow.ts';
import { planPropagation } from './propagation.ts';
import { readForest, type Woods } from './read-forest.ts';
import { runTasks, type Task } from './run-tasks.ts';
import { anchorTasks, isGoing } from './sync-anchors.ts';
import { copyTasks } from './sync-copies.ts';
import { keepTimes, namespaceTasks } from './sync-namespaces.ts';
import { resolveTypes, type PropagatedType } from './types.ts';

const DEFINITION = `${hierarchyConfigurations.plural}.${hierarchyConfigurations.group}`;
const SELECT = selectDefinition(hierarchyConfigurations);
const FOLLOWED: readonly ResourceRef[] = [
  namespaces,
  hierarchyConfigurations,
  subnamespaceAnchors,
  hncConfigurations,
];
const SWEEP_MS = 60_000;
const RETRY_MS = 1_000;
/** A kind that is not served may be soon. */
const DISCOVERY_MS = 10_000;
/** Of namespaces that a condition names. */
const MAXIMUM_NAMED = 3;

export const hierarchyController = defineController({
  name: 'hierarchy-controller',
  serviceAccount: 'hierarchical-namespaces',
  eventSource: MANAGER,
  watches: [watch(customResourceDefinitions, { select: SELECT, keys: () => [''] })],
  workers: 1,
  resyncEveryMs: SWEEP_MS,
  async reconcile(context): Promise<ReconcileResult> {
    const definition = context.shared.informer(customResourceDefinitions, SELECT).get(DEFINITION);
    if (!isOurs(definition)) return;
    if (definition.metadata.deletionTimestamp) return letGo(context);
    if (!isConditionTrue(definition.status?.conditions, 'Established')) return;
    for (const ref of FOLLOWED) await follow(context, ref);
    const failed = await growTrees(context);
    if (failed > 0) return { requeueAfterMs: RETRY_MS };
  },
});

/** The definition is being deleted: finalizers would keep its objects, and that of anchors the anchors, since nobody acts for them any more. */
async function letGo(context: ReconcileContext): Promise<ReconcileResult> {
  const { api } = context;
  const tasks: Task[] = [];
  for (const [ref, finalizer] of [
    [hierarchyConfigurations, HIERARCHY_FINALIZER],
    [subnamespaceAnchors, ANCHOR_FINALIZER],
  ] as const) {
    const { items } = await api.list<KubeObject>(ref).catch((error: unknown) => {
      if (isStatusError(error, 'NotFound')) return { items: [] };
      throw error;
    });
    for (const { metadata } of items) {
      const { name, namespace, resourceVersion, finalizers = [] } = metadata;
      if (!finalizers.includes(finalizer)) continue;
      const others = finalizers.filter((one) => one !== finalizer);
      const patch = { metadata: { resourceVersion, finalizers: others } };
      tasks.push(async () => {
        await api.patch<KubeObject>(ref, { name, namespace }, { type: 'merge', patch });
      });
    }
  }
  if ((await runTasks(context, tasks)) > 0) return { requeueAfterMs: RETRY_MS };
}

/** How many writes failed. */
async function growTrees(context: ReconcileContext): Promise<number> {
  const config = await findConfig(context);
  const { types, problems } = await findTypes(context, config);
  for (const { ref, mode } of types) if (mode !== 'Ignore') await follow(context, refOf(context, ref));
  const woods = readForest(context.shared);
  let failed = await runTasks(context, namespaceTasks(context, woods));
  failed += await runTasks(context, anchorTasks(context, woods));
  const statuses: ResourceStatus[] = [];
  for (const type of types) {
    const { status, tasks } = await propagate(context, { type, woods });
    failed += await runTasks(context, tasks);
    statuses.push(status);
  }
  await reportConfig(context, { config, statuses, conditions: [...problems, ...affected(woods)] });
  return failed;
}

/** It is made where it is missing, as HNC does. */
async function findConfig({ api, shared }: ReconcileContext): Promise<HNCConfiguration> {
  const found = shared.informer(hncConfigurations).get(CONFIG);
  if (found) return found;
  try {
    return await api.create(hncConfigurations, { metadata: { name: CONFIG } });
  } catch (error) {
    if (!isStatusError(error, 'AlreadyExists')) throw error;
    return api.get(hncConfigurations, { name: CONFIG });
  }
}

type Resolved = ReturnType<typeof resolveTypes>;

async function findTypes(
  { api, clock, memory }: ReconcileContext,
  { spec }: HNCConfiguration,
): Promise<Resolved> {
  const asked = spec?.resources ?? [];
  const known = memory.get('types') as
    | { readonly atMs: number; readonly asked: unknown; readonly resolved: Resolved }
    | undefined;
  const nowMs = clock.monotonic();
  if (known && deepEqual(known.asked, asked) && nowMs - known.atMs < DISCOVERY_MS) return known.resolved;
  const resolved = resolveTypes(asked, (await discoverResources(api)).resources);
  memory.set('types', { atMs: nowMs, asked, resolved });
  return resolved;
}

/** One reference for each kind: caches are by reference. */
function refOf({ memory }: ReconcileContext, ref: ResourceRef): ResourceRef {
  const key = `ref ${ref.group}/${ref.version}/${ref.plural}`;
  const known = memory.get(key) as ResourceRef | undefined;
  if (known) return known;
  memory.set(key, ref);
  return ref;
}

async function propagate(
  context: ReconcileContext,
  { type: { ref, mode }, woods }: { readonly type: PropagatedType; readonly woods: Woods },
): Promise<{ readonly status: ResourceStatus; readonly tasks: readonly Task[] }> {
  const { group, version, plural: resource } = ref;
  const status = { group, version, resource, mode };
  if (mode === 'Ignore') return { status, tasks: [] };
  const kept = refOf(context, ref);
  const closed = [...woods.namespaces.values()].filter(({ metadata }) => metadata.deletionTimestamp);
  const plan = planPropagation({
    forest: woods.forest,
    ref,
    mode,
    objects: context.shared.informer(kept).list(),
    closed: new Set(closed.map(({ metadata }) => metadata.name)),
  });
  // Hierarchies that go with their definition leave what was made.
  const tasks =
    plan.remove.length > 0 && (await isGoing(context.api, DEFINITION))
      ? []
      : copyTasks(context, { ref, plan });
  return {
    status: {
      ...status,
      numPropagatedObjects: plan.propagated,
      ...(mode === 'Remove' ? {} : { numSourceObjects: plan.sources }),
    },
    tasks,
  };
}

interface ConfigCondition {
  readonly type: string;
  readonly reason: string;
  readonly message: string;
}

/** One for each type of condition that namespaces have. */
function affected({ forest }: Woods): ConfigCondition[] {
  const found = new Map<string, { readonly type: string; readonly names: string[] }>();
  for (const name of forest.names)
    for (const { type, reason } of forest.conditionsOf(name)) {
      const known = found.get(reason) ?? { type, names: [] };
      known.names.push(name);
      found.set(reason, known);
    }
  return [...found].map(([reason, { type, names }]) => ({
    type: 'NamespaceCondition',
    reason: type,
    message: affectedMessage(names, reason),
  }));
}

function affectedMessage(names: readonly string[], reason: string): string {
  if (names.length === 1) return `Namespaces "${names[0]}" is affected by "${reason}"`;
  const shown = names.slice(0, MAXIMUM_NAMED).map((name) => `"${name}"`);
  const more = names.length > MAXIMUM_NAMED ? ' ...' : '';
  return `${names.length} namespaces ${shown.join(', ')}${more} are affected by "${reason}"`;
}

async function reportConfig(
  { api, clock }: ReconcileContext,
  {
    config,
    statuses,
    conditions,
  }: {
    readonly config: HNCConfiguration;
    readonly statuses: readonly ResourceStatus[];
    readonly conditions: readonly ConfigCondition[];
  },
): Promise<void> {
  // One of a type, the last.
  const last = new Map(conditions.map((condition) => [condition.type, condition]));
  const status = {
    resources: statuses.toSorted((left, right) => (sortKey(left) < sortKey(right) ? -1 : 1)),
    conditions: keepTimes([...last.values()], {
      before: config.status?.conditions,
      now: formatTime(clock.now()),
    }),
  };
  const before = config.status;
  if (deepEqual({ resources: before?.resources ?? [], conditions: before?.conditions ?? [] }, status)) return;
  await api.patch(
    hncConfigurations,
    { name: CONFIG },
    { type: 'merge', subresource: 'status', patch: { status } },
  );
}

function sortKey({ group, resource }: ResourceStatus): string {
  return `${group} ${resource}`;
}
