/**
 * Tells which nodes are alive. A node is heard of by its Lease and by changes of its conditions; one that is silent for too long gets
 * the conditions Unknown, and its pods are no longer Ready. What the conditions say is put into taints; pods are evicted for those by
 * taint-eviction-controller. After upstream's pkg/controller/nodelifecycle.
 *
 *   heard of ──silent 50 s──► Ready=Unknown ──► unreachable:NoSchedule at once, unreachable:NoExecute at its zone's pace
 *       ▲                                                     │
 *       '───────────── heard of again, Ready=True: taints off ┘
 *
 * Time is this process's own: what a node writes as time is only compared for being another than before.
 */
import type { Lease, Node, NodeCondition, Pod, Taint } from '#api/types.ts';
import { isStatusError } from '#machinery/errors.ts';
import { formatTime, timeMs } from '#machinery/time.ts';
import type { ResourceRef } from '#client/client.ts';
import { leases, nodes, pods } from '#client/refs.ts';
import { defineController, watch, type ReconcileContext, type ReconcileResult } from '#runtime/controller.ts';
import { nameOf } from '../owners.ts';
import { isPodReady } from '#component-helpers/pod-status.ts';
import { findCondition } from '#component-helpers/conditions.ts';
import { podsByNode, podsOnNode } from './pods-by-node.ts';
import { zoneState, type ZoneState } from './node-zones.ts';

const LEASES_NAMESPACE = 'kube-node-lease';
const GRACE_MS = 50_000;
/** For a node that never reported a condition. */
const STARTUP_GRACE_MS = 60_000;
/** One node of a zone is given up in this time; of a large zone that is mostly lost, in the longer one. */
const EVICTION_INTERVAL_MS = 10_000;
const SLOW_EVICTION_INTERVAL_MS = 100_000;
const LARGE_ZONE_NODES = 50;

const NOT_READY = 'node.kubernetes.io/not-ready';
const UNREACHABLE = 'node.kubernetes.io/unreachable';
const UNSCHEDULABLE = 'node.kubernetes.io/unschedulable';

/** Taints with NoSchedule by a condition's type and status. */
const CONDITION_TAINTS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  Ready: { False: NOT_READY, Unknown: UNREACHABLE },
  MemoryPressure: { True: 'node.kubernetes.io/memory-pressure' },
  DiskPressure: { True: 'node.kubernetes.io/disk-pressure' },
  NetworkUnavailable: { True: 'node.kubernetes.io/network-unavailable' },
  PIDPressure: { True: 'node.kubernetes.io/pid-pressure' },
};
const NO_SCHEDULE_KEYS: ReadonlySet<string> = new Set([
  UNSCHEDULABLE,
  ...Object.values(CONDITION_TAINTS).flatMap((taints) => Object.values(taints)),
]);
const NO_EXECUTE_KEYS: ReadonlySet<string> = new Set([NOT_READY, UNREACHABLE]);
/** What a silent node is no longer believed. */
const HEARTBEAT_CONDITIONS = ['Ready', 'MemoryPressure', 'DiskPressure', 'PIDPressure'];

/** What is remembered of a node. */
interface Health {
  readonly uid: string | undefined;
  /** clock.monotonic() when it was last heard of. */
  probedMs: number;
  heartbeat: string;
  /** Its pods are still to be marked not ready. */
  marksPods: boolean;
}

export const nodeLifecycleController = defineController({
  name: 'node-lifecycle-controller',
  serviceAccount: 'node-controller',
  eventSource: 'node-controller',
  watches: [
    watch(nodes),
    watch(leases, { select: { namespace: LEASES_NAMESPACE }, keys: (lease) => [lease.metadata.name] }),
    watch(pods, { keys: () => [] }),
  ],
  indexes: [podsByNode],
  reconcile,
});

async function reconcile(context: ReconcileContext): Promise<ReconcileResult> {
  const { key, informer, memory, clock, events } = context;
  const node = informer(nodes).get(key);
  if (!node) return forget(context);
  const { health, isNew } = observe(node, {
    lease: informer(leases).get(`${LEASES_NAMESPACE}/${key}`),
    context,
  });
  if (isNew)
    events.event(node, {
      type: 'Normal',
      reason: 'RegisteredNode',
      message: `Node ${key} event: Registered Node ${key} in Controller`,
    });
  memory.set(key, health);
  const graceMs = conditionOf(node, 'Ready') ? GRACE_MS : STARTUP_GRACE_MS;
  const leftMs = health.probedMs + graceMs - clock.monotonic();
  const current = leftMs < 0 ? await giveUp(node, { health, context }) : node;
  const waitMs = await taintByConditions(current, context);
  if (health.marksPods) await markPodsNotReady(current, { health, context });
  const nextMs = Math.min(leftMs < 0 ? Infinity : leftMs + 1, waitMs);
  return nextMs === Infinity ? undefined : { requeueAfterMs: nextMs };
}

function forget({ key, memory, events }: ReconcileContext): void {
  if (!memory.delete(key)) return;
  events.event(
    { apiVersion: 'v1', kind: 'Node', metadata: { name: key, uid: key } },
    {
      type: 'Normal',
      reason: 'RemovingNode',
      message: `Node ${key} event: Removing Node ${key} from Controller`,
    },
  );
}

/** Notes that the node was heard of when anything of its heartbeat is another than before. */
function observe(
  node: Node,
  { lease, context }: { readonly lease: Lease | undefined; readonly context: ReconcileContext },
): { readonly health: Health; readonly isNew: boolean } {
  const { key, memory, clock } = context;
  const nowMs = clock.monotonic();
  const heartbeat = heartbeatOf(node, lease);
  const known = memory.get(key) as Health | undefined;
  if (known && known.uid === node.metadata?.uid) {
    if (known.heartbeat !== heartbeat) Object.assign(known, { heartbeat, probedMs: nowMs });
    return { health: known, isNew: false };
  }
  const createdMs = timeMs(node.metadata?.creationTimestamp) ?? clock.now();
  const probedMs = conditionOf(node, 'Ready') || lease ? nowMs : nowMs - Math.max(0, clock.now() - createdMs);
  return { health: { uid: node.metadata?.uid, probedMs, heartbeat, marksPods: false }, isNew: true };
}

/** Conditions this controller wrote itself do not count: they keep the heartbeat time the node gave. */
function heartbeatOf(node: Node, lease: Lease | undefined): string {
  const ready = conditionOf(node, 'Ready');
  return `${lease?.spec?.renewTime ?? ''} ${ready?.lastHeartbeatTime ?? ''} ${ready && ready.status !== 'Unknown' ? (ready.lastTransitionTime ?? '') : ''}`;
}

function conditionOf(node: Node, type: string): NodeCondition | undefined {
  return findCondition(node.status?.conditions, type);
}

/** Writes what is no longer known of a silent node. Answers the node as it is then. */
async function giveUp(
  node: Node,
  { health, context }: { readonly health: Health; readonly context: ReconcileContext },
): Promise<Node> {
  const { api, clock, events, key } = context;
  const now = formatTime(clock.now());
  const given = node.status?.conditions ?? [];
  const unknown = given.map((condition) =>
    HEARTBEAT_CONDITIONS.includes(condition.type) && condition.status !== 'Unknown'
      ? {
          ...condition,
          status: 'Unknown',
          reason: 'NodeStatusUnknown',
          message: 'Kubelet stopped posting node status.',
          lastTransitionTime: now,
        }
      : condition,
  );
  const never = HEARTBEAT_CONDITIONS.filter((type) => !conditionOf(node, type)).map((type) => ({
    type,
    status: 'Unknown',
    reason: 'NodeStatusNeverUpdated',
    message: 'Kubelet never posted node status.',
    lastHeartbeatTime: node.metadata?.creationTimestamp ?? now,
    lastTransitionTime: now,
  }));
  const changed = never.length > 0 || unknown.some((condition, index) => condition !== given[index]);
  if (!changed) return node;
  const wasReady = conditionOf(node, 'Ready')?.status === 'True';
  const updated = await api.updateStatus(nodes, {
    ...node,
    status: { ...node.status, conditions: [...unknown, ...never] },
  });
  // What was written is no sign of life.
  health.heartbeat = heartbeatOf(updated, context.informer(leases).get(`${LEASES_NAMESPACE}/${key}`));
  if (wasReady) {
    health.marksPods = true;
    events.event(node, {
      type: 'Normal',
      reason: 'NodeNotReady',
      message: `Node ${key} status is now: NodeNotReady`,
    });
  }
  return updated;
}

/** Answers how long to wait until the node may get a taint it should have; Infinity when nothing waits. */
async function taintByConditions(node: Node, context: ReconcileContext): Promise<number> {
  const given = node.spec?.taints ?? [];
  const ready = conditionOf(node, 'Ready');
  // A node that said nothing yet stays as admission made it.
  if (!ready) return Infinity;
  const wanted = [...noScheduleTaints(node)];
  let waitMs = Infinity;
  const evicts = CONDITION_TAINTS['Ready']![ready.status];
  if (evicts !== undefined) {
    const has = given.some(({ key, effect }) => effect === 'NoExecute' && NO_EXECUTE_KEYS.has(key));
    const leave = evictionLeave(node, { has, context });
    if (leave === 'now') wanted.push({ key: evicts, effect: 'NoExecute' });
    else if (leave !== 'never') waitMs = leave;
  }
  await writeTaints(node, { given, wanted, context });
  return waitMs;
}

function noScheduleTaints(node: Node): Taint[] {
  const keys = (node.status?.conditions ?? [])
    .map(({ type, status }) => CONDITION_TAINTS[type]?.[status])
    .filter((key) => key !== undefined);
  if (node.spec?.unschedulable) keys.push(UNSCHEDULABLE);
  return keys.map((key) => ({ key, effect: 'NoSchedule' }));
}

async function writeTaints(
  node: Node,
  {
    given,
    wanted,
    context,
  }: {
    readonly given: readonly Taint[];
    readonly wanted: readonly Taint[];
    readonly context: ReconcileContext;
  },
): Promise<void> {
  const isOurs = ({ key, effect }: Taint): boolean =>
    effect === 'NoSchedule' ? NO_SCHEDULE_KEYS.has(key) : effect === 'NoExecute' && NO_EXECUTE_KEYS.has(key);
  const same =
    (a: Taint) =>
    (b: Taint): boolean =>
      a.key === b.key && a.effect === b.effect;
  const kept = given.filter((taint) => !isOurs(taint) || wanted.some(same(taint)));
  const added = wanted.filter((taint) => !given.some(same(taint)));
  if (kept.length === given.length && added.length === 0) return;
  const timeAdded = formatTime(context.clock.now());
  const taints = [...kept, ...added.map((taint) => ({ ...taint, timeAdded }))];
  // With the version it was decided by: a taint that somebody else adds meanwhile must not be lost.
  const patch = {
    metadata: { resourceVersion: node.metadata!.resourceVersion },
    spec: { taints: taints.length > 0 ? taints : null },
  };
  await context.api.patch(nodes, { name: node.metadata!.name! }, { type: 'merge', patch });
}

/** When the node may get a NoExecute taint, as its zone is. When all zones are lost it is more likely this side that is cut off: nobody is evicted. */
function evictionLeave(
  node: Node,
  { has, context }: { readonly has: boolean; readonly context: ReconcileContext },
): 'now' | 'never' | number {
  const { memory, clock, informer } = context;
  const zones = zoneStatesOf(informer(nodes).list());
  const zone = zones.get(zoneOf(node)) ?? { state: 'Normal', size: 1 };
  if ([...zones.values()].every(({ state }) => state === 'FullDisruption')) return 'never';
  if (has) return 'now';
  if (zone.state === 'PartialDisruption' && zone.size <= LARGE_ZONE_NODES) return EVICTION_INTERVAL_MS;
  const intervalMs = zone.state === 'PartialDisruption' ? SLOW_EVICTION_INTERVAL_MS : EVICTION_INTERVAL_MS;
  const memoryKey = `zone ${zoneOf(node)}`;
  const lastMs = memory.get(memoryKey) as number | undefined;
  const leftMs = lastMs === undefined ? 0 : lastMs + intervalMs - clock.monotonic();
  if (leftMs > 0) return leftMs;
  memory.set(memoryKey, clock.monotonic());
  return 'now';
}

function zoneOf(node: Node): string {
  const labels = node.metadata?.labels ?? {};
  return `${labels['topology.kubernetes.io/region'] ?? ''}/${labels['topology.kubernetes.io/zone'] ?? ''}`;
}

function zoneStatesOf(
  all: readonly Node[],
): Map<string, { readonly state: ZoneState; readonly size: number }> {
  const ready = new Map<string, boolean[]>();
  for (const node of all) {
    const zone = zoneOf(node);
    const list = ready.get(zone) ?? [];
    list.push(conditionOf(node, 'Ready')?.status === 'True');
    ready.set(zone, list);
  }
  return new Map([...ready].map(([zone, list]) => [zone, { state: zoneState(list), size: list.length }]));
}

/** The kubelet cannot say so itself: endpoints must not lead to these pods. */
async function markPodsNotReady(
  node: Node,
  { health, context }: { readonly health: Health; readonly context: ReconcileContext },
): Promise<void> {
  const { api, clock, events, informer } = context;
  const marked = podsOnNode(informer(pods), node.metadata!.name!)
    .filter(isPodReady)
    .map(async (pod: Pod) => {
      const condition = { type: 'Ready', status: 'False', lastTransitionTime: formatTime(clock.now()) };
      try {
        await api.patch(pods as ResourceRef<Pod>, nameOf(pod), {
          type: 'strategic',
          subresource: 'status',
          patch: { metadata: { uid: pod.metadata!.uid }, status: { conditions: [condition] } },
        });
      } catch (error) {
        if (!isStatusError(error, 'NotFound') && !isStatusError(error, 'Conflict')) throw error;
        return;
      }
      events.event(pod, { type: 'Warning', reason: 'NodeNotReady', message: 'Node is not ready' });
    });
  const outcomes = await Promise.allSettled(marked);
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failed) throw failed.reason;
  health.marksPods = false;
}
