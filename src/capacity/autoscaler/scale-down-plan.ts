/**
 * Which Nodes are not needed: little is asked of them, their pods may leave, and fit on the others, one after the other in the same simulation. Remembers since when. It writes nothing.
 *
 *   a Node of a group ─► not kept, not too full ─► its pods may leave ─► they fit elsewhere ─► unneeded ──for long enough──► to be deleted
 *                                                                                     '── no longer: forgotten
 */
import type { Pod, PodDisruptionBudget } from '#api/types.ts';
import { REPLACE_REQUESTED } from '#component-helpers/node-remediation.ts';
import { staysWithNode } from '#component-helpers/pod-drain.ts';
import { isMirrorPod } from '#component-helpers/static-pods.ts';
import { podRequests } from '#scheduler/resources.ts';
import type { NodeUse, Simulation } from '#scheduler/simulation.ts';
import type { Clock } from '#stdx/clock.ts';
import { blockerOf, type BlockingReason } from '../drainable.ts';
import { emptyNode } from '../questions.ts';
import type { ClusterState } from './cluster-state.ts';
import { isBeingDeleted, isNodeReady } from './node-facts.ts';
import type { AutoscalerSettings } from './settings.ts';

/** Upstream's. */
type UnremovableReason =
  | BlockingReason
  | 'NotAutoscaled'
  | 'CurrentlyBeingDeleted'
  | 'NotUnderutilized'
  | 'NotUnneededLongEnough'
  | 'NotUnreadyLongEnough'
  | 'ScaleDownUnreadyDisabled'
  | 'NodeGroupMinSizeReached'
  | 'MinimalResourceLimitExceeded'
  | 'NoPlaceToMovePods'
  | 'RecentlyUnremovable';

interface UnneededNode {
  readonly name: string;
  readonly group: string;
  readonly sinceMs: number;
  /** The larger share of CPU and memory that is asked for. */
  readonly utilization: number;
  /** What has to be evicted. */
  readonly pods: readonly Pod[];
  readonly isReady: boolean;
  /** Remediation gave it up: it goes at once. */
  readonly isReplaced: boolean;
}

export interface ScaleDownPlan {
  readonly unneeded: readonly UnneededNode[];
  /** Why others stay. */
  readonly unremovable: ReadonlyMap<string, UnremovableReason>;
}

interface PlanInput {
  readonly simulation: Simulation;
  readonly state: ClusterState;
  readonly budgets: readonly PodDisruptionBudget[];
  readonly replicasOf: (pod: Pod) => number | undefined;
  /** Deletions that are under way, by group. */
  readonly inDeletion: ReadonlyMap<string, number>;
  readonly clock: Clock;
}

/** Nodes with pods to move that are tried in one loop beside those that were unneeded before: upstream's --scale-down-non-empty-candidates-count. */
const MAX_NEW_CANDIDATES = 30;
/** Of one loop. Shorter than upstream's --scale-down-simulation-timeout: it holds up the renewal of the lease. */
const SIMULATION_TIMEOUT_MS = 5_000;

export class ScaleDownPlanner {
  readonly #settings: AutoscalerSettings;
  #unneededSince = new Map<string, number>();
  /** Until when a Node is not tried again. */
  readonly #unremovableUntil = new Map<string, number>();

  constructor(settings: AutoscalerSettings) {
    this.#settings = settings;
  }

  /** Leaves the simulation without the unneeded Nodes. */
  plan(input: PlanInput): ScaleDownPlan {
    const { simulation, clock } = input;
    const nowMs = clock.now();
    const unremovable = new Map<string, UnremovableReason>();
    const uses = simulation.nodeNames.map((name) => simulation.use(name));
    const candidates: Candidate[] = [];
    for (const use of uses) {
      const found = this.#candidate(use, { input, nowMs });
      if (typeof found === 'string') unremovable.set(use.node.metadata?.name ?? '', found);
      else candidates.push(found);
    }
    const destinations = uses
      .filter(({ node }) => isNodeReady(node) && !isBeingDeleted(node))
      .map(({ node }) => node.metadata?.name ?? '');
    const unneeded = this.#simulate(candidates, { input, destinations, unremovable, nowMs });
    this.#unneededSince = new Map(unneeded.map(({ name, sinceMs }) => [name, sinceMs]));
    return { unneeded, unremovable };
  }

  /** Everything is thought over again: the cluster is not as it was. */
  forget(): void {
    this.#unneededSince.clear();
  }

  /** Those that were unneeded for long enough, as many as limits allow. */
  due({ unneeded }: ScaleDownPlan, limits: Limits): readonly UnneededNode[] {
    const { state, inDeletion, nowMs } = limits;
    const left = new Map(
      state.groups.map(({ id, target, minSize }) => [id, target - minSize - (inDeletion.get(id) ?? 0)]),
    );
    let { spareCores, spareMemoryBytes } = limits;
    return unneeded.filter(({ name, group, sinceMs, isReady, isReplaced }) => {
      const { options } = state.group(group)!;
      const waitMs = isReady ? options.scaleDownUnneededMs : options.scaleDownUnreadyMs;
      if (!isReplaced && nowMs - sinceMs < waitMs) return false;
      const { milliCPU, memoryBytes } = limits.allocatableOf(name);
      const isAllowed =
        left.get(group)! > 0 && spareCores >= milliCPU / 1_000 && spareMemoryBytes >= memoryBytes;
      if (!isAllowed && !isReplaced) return false;
      left.set(group, left.get(group)! - 1);
      spareCores -= milliCPU / 1_000;
      spareMemoryBytes -= memoryBytes;
      return true;
    });
  }

  #candidate(
    use: NodeUse,
    { input, nowMs }: { readonly input: PlanInput; readonly nowMs: number },
  ): Candidate | UnremovableReason {
    const { state, budgets, replicasOf, inDeletion } = input;
    const { node } = use;
    const name = node.metadata?.name ?? '';
    const group = state.groupOfNode(name);
    if (!group) return 'NotAutoscaled';
    if (isBeingDeleted(node)) return 'CurrentlyBeingDeleted';
    // Remediation emptied it and gave it up.
    const isReplaced = node.metadata?.annotations?.[REPLACE_REQUESTED] !== undefined;
    const isReady = isNodeReady(node);
    const utilization = utilizationOf(use, {
      ignoreDaemonSets: group.options.ignoreDaemonSetsUtilization,
      ignoreMirrorPods: this.#settings.ignoreMirrorPodsUtilization,
    });
    const pods = use.pods.filter((pod) => !staysWithNode(pod));
    const candidate = { name, group: group.id, utilization, pods, isReady, isReplaced };
    if (isReplaced) return candidate;
    if (group.target - (inDeletion.get(group.id) ?? 0) <= group.minSize) return 'NodeGroupMinSizeReached';
    if (!isReady && !this.#settings.scaleDownUnreadyEnabled) return 'ScaleDownUnreadyDisabled';
    // What runs on a Node that is not Ready does not keep it.
    if (isReady && utilization >= group.options.scaleDownUtilizationThreshold) return 'NotUnderutilized';
    if (!this.#unneededSince.has(name) && nowMs < (this.#unremovableUntil.get(name) ?? 0))
      return 'RecentlyUnremovable';
    const facts = { budgets, rules: this.#settings.drainRules, replicasOf };
    return blockerOf({ node, pods: use.pods }, facts)?.reason ?? candidate;
  }

  #simulate(
    candidates: readonly Candidate[],
    {
      input: { simulation, clock },
      destinations,
      unremovable,
      nowMs,
    }: {
      readonly input: PlanInput;
      readonly destinations: readonly string[];
      readonly unremovable: Map<string, UnremovableReason>;
      readonly nowMs: number;
    },
  ): readonly UnneededNode[] {
    const startMs = clock.monotonic();
    let fresh = 0;
    return this.#inOrder(candidates).flatMap((candidate) => {
      const { name, pods, isReplaced } = candidate;
      const wasUnneeded = this.#unneededSince.has(name);
      if (pods.length > 0 && !wasUnneeded && !isReplaced) {
        if (fresh >= MAX_NEW_CANDIDATES || clock.monotonic() - startMs > SIMULATION_TIMEOUT_MS) return [];
        fresh += 1;
      }
      const { left, takeBack } = emptyNode(simulation, name, { among: destinations });
      if (left.length > 0 && !isReplaced) {
        takeBack();
        unremovable.set(name, 'NoPlaceToMovePods');
        this.#unremovableUntil.set(name, nowMs + this.#settings.unremovableRecheckMs);
        return [];
      }
      this.#unremovableUntil.delete(name);
      return [{ ...candidate, sinceMs: this.#unneededSince.get(name) ?? nowMs }];
    });
  }

  /** Those that go without an eviction first, then those that were unneeded before, the emptiest first: the same ones in each loop. */
  #inOrder(candidates: readonly Candidate[]): readonly Candidate[] {
    const rank = ({ name, pods }: Candidate): number =>
      pods.length === 0 ? 0 : this.#unneededSince.has(name) ? 1 : 2;
    return candidates.toSorted(
      (one, other) => rank(one) - rank(other) || one.utilization - other.utilization,
    );
  }
}

type Candidate = Omit<UnneededNode, 'sinceMs'>;

interface Limits {
  readonly state: ClusterState;
  readonly inDeletion: ReadonlyMap<string, number>;
  readonly nowMs: number;
  /** That the cluster has beyond its minimum. */
  readonly spareCores: number;
  readonly spareMemoryBytes: number;
  readonly allocatableOf: (node: string) => { readonly milliCPU: number; readonly memoryBytes: number };
}

/** The larger share of CPU and memory that its pods ask for. */
function utilizationOf(
  { node, pods, allocatable }: Pick<NodeUse, 'node' | 'pods' | 'allocatable'>,
  {
    ignoreDaemonSets,
    ignoreMirrorPods,
  }: { readonly ignoreDaemonSets: boolean; readonly ignoreMirrorPods: boolean },
): number {
  const isIgnored = (pod: Pod): boolean =>
    pod.metadata?.deletionTimestamp !== undefined ||
    (staysWithNode(pod) && (isMirrorPod(pod) ? ignoreMirrorPods : ignoreDaemonSets));
  const requests = pods.filter((pod) => !isIgnored(pod)).map((pod) => podRequests(pod));
  const sum = (of: 'milliCPU' | 'memoryBytes'): number =>
    requests.reduce((total, amounts) => total + amounts[of], 0);
  const share = (of: 'milliCPU' | 'memoryBytes'): number =>
    allocatable[of] === 0 ? 0 : sum(of) / allocatable[of];
  return node.status ? Math.max(share('milliCPU'), share('memoryBytes')) : 0;
}

/** By reason, for metrics. */
export function countReasons({ unremovable }: ScaleDownPlan): ReadonlyMap<UnremovableReason, number> {
  const counts = new Map<UnremovableReason, number>();
  for (const reason of unremovable.values()) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  return counts;
}
