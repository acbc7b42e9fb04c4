/**
 * Monitors node health. The heartbeat of a node is its Lease and changes of its conditions; without one for the grace period
 * its conditions become Unknown, and its pods are marked not ready. Conditions are converted to taints; taint-eviction-controller
 * evicts pods by them. After upstream's pkg/controller/nodelifecycle.
 *
 *   heartbeat ──none for 50 s──► Ready=Unknown ──► unreachable:NoSchedule at once, unreachable:NoExecute at its zone's rate
 *       ▲                                                     │
 *       '──────── heartbeat again, Ready=True: taints removed ─┘
 *
 * Times are measured with the local clock: timestamps of a node are only compared for changes.
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
/** The grace period of a node that never reported a condition. */
const STARTUP_GRACE_MS = 60_000;
/** Interval between evictions of nodes in one zone; the longer one is for a large zone of which most nodes are unhealthy. */
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
/** Conditions that are set to Unknown without a heartbeat. */
const HEARTBEAT_CONDITIONS = ['Ready', 'MemoryPressure', 'DiskPressure', 'PIDPressure'];

/** The monitored state of a node. */
interface Health {
  readonly uid: string | undefined;
  /** clock.monotonic() at its last heartbeat. */
  probedMs: number;
  heartbeat: string;
  /** Its pods must still be marked not ready. */
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

/** Records a heartbeat when the Lease or a condition changed. */
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

/** Conditions that this controller wrote do not count: they keep the node's lastHeartbeatTime. */
function heartbeatOf(node: Node, lease: Lease | undefined): string {
  const ready = conditionOf(node, 'Ready');
  return `${lease?.spec?.renewTime ?? ''} ${ready?.lastHeartbeatTime ?? ''} ${ready && ready.status !== 'Unknown' ? (ready.lastTransitionTime ?? '') : ''}`;
}

function conditionOf(node: Node, type: string): NodeCondition | undefined {
  return findCondition(node.status?.conditions, type);
}

/** Sets the conditions of an unhealthy node to Unknown. Returns the updated node. */
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
  // Our own write is no heartbeat.
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

/** Returns how long to wait until the node may get its taint; Infinity when there is nothing to do. */
async function taintByConditions(node: Node, context: ReconcileContext): Promise<number> {
  const given = node.spec?.taints ?? [];
  const ready = conditionOf(node, 'Ready');
  // A node that has not reported conditions keeps the taint of admission.
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
  // With resourceVersion as precondition: a taint that is added concurrently must not be lost.
  const patch = {
    metadata: { resourceVersion: node.metadata!.resourceVersion },
    spec: { taints: taints.length > 0 ? taints : null },
  };
  await context.api.patch(nodes, { name: node.metadata!.name! }, { type: 'merge', patch });
}

/** When the node may get a NoExecute taint, depending on its zone. When all zones are unhealthy, the control plane is probably partitioned: nothing is evicted. */
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

/** The kubelet cannot do so itself: endpoints must exclude these pods. */
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
