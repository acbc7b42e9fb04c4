/**
 * DefaultPreemption: when no node takes a pod, find the node where removing the fewest and least important pods of lower priority
 * makes room, with as few PodDisruptionBudget violations as possible. Pure: selects victims, deletes nothing. After upstream's postFilter.
 */
import type { PodDisruptionBudget } from '#api/types.ts';
import { compileLabelSelector, type LabelSelectorObject } from '#machinery/labels.ts';
import { cloneCycle, refusal, type Cycle, type Refusal, type SchedulerPlugin } from './plugin.ts';
import type { NodeInfo } from './node-info.ts';
import type { PodInfo } from './pod-info.ts';
import { failureMessage, refusalOn, type Failure, type PreemptionArgs } from './schedule.ts';

interface PreemptionInput {
  readonly cycle: Cycle;
  readonly failure: Failure;
  readonly budgets: readonly PodDisruptionBudget[];
  readonly args?: PreemptionArgs | undefined;
  /** The node nominated by an earlier preemption. */
  readonly nominatedNode?: string | undefined;
}

export interface Preemption {
  readonly node: string;
  readonly victims: readonly PodInfo[];
}

/** Why no pod is preempted. keepNomination: the nomination stays, because the pod may not preempt (again). */
interface NoPreemption {
  readonly message: string;
  readonly keepNomination: boolean;
}

export interface PreemptionCandidate extends Preemption {
  readonly violations: number;
}

interface PreemptionCandidates {
  readonly candidates: readonly PreemptionCandidate[];
  /** When there are none. */
  readonly message: string;
}

/** As upstream. */
const DEFAULTS: PreemptionArgs = { minCandidateNodesPercentage: 10, minCandidateNodesAbsolute: 100 };

const UNHELPFUL = refusal('DefaultPreemption', 'Preemption is not helpful for scheduling', {
  resolvable: false,
});
const NO_VICTIMS = refusal('DefaultPreemption', 'No preemption victims found for incoming pod', {
  resolvable: false,
});

export function findPreemption(input: PreemptionInput): Preemption | NoPreemption {
  const found = preemptionCandidates(input);
  if (!('candidates' in found)) return found;
  return bestPreemption(found);
}

export function bestPreemption({ candidates, message }: PreemptionCandidates): Preemption | NoPreemption {
  if (candidates.length === 0) return { message, keepNomination: false };
  const best = candidates.reduce((one, other) => (compareCandidates(other, one) < 0 ? other : one));
  return { node: best.node, victims: best.victims };
}

/** Nodes where preemption would help, up to the number that the arguments want. */
export function preemptionCandidates(input: PreemptionInput): PreemptionCandidates | NoPreemption {
  const {
    cycle: { pod, snapshot },
  } = input;
  if (pod.pod.spec?.preemptionPolicy === 'Never')
    return { message: 'not eligible due to preemptionPolicy=Never.', keepNomination: true };
  if (victimsEnding(input))
    return { message: 'not eligible due to terminating pod on the nominated node.', keepNomination: true };
  const { minCandidateNodesPercentage, minCandidateNodesAbsolute } = input.args ?? DEFAULTS;
  const share = Math.trunc((snapshot.nodes.length * minCandidateNodesPercentage) / 100);
  const wanted = Math.max(minCandidateNodesAbsolute, share);
  const candidates: PreemptionCandidate[] = [];
  const refusals = new Map<string, Refusal>();
  const trackers = input.cycle.filters.filter((plugin) => plugin.podRemoved ?? plugin.podAdded);
  for (const node of resolvableNodes(input)) {
    const tried = victimsOn(node, { ...input, trackers });
    if ('victims' in tried) candidates.push(tried);
    else refusals.set(node.name, tried);
    if (candidates.length >= wanted) break;
  }
  return {
    candidates,
    message:
      candidates.length > 0
        ? ''
        : failureMessage({ nodeCount: snapshot.nodes.length, refusals, others: UNHELPFUL }),
  };
}

/** Where removing pods may help; nodes that were not evaluated are out of the question. */
function* resolvableNodes({ cycle: { snapshot }, failure }: PreemptionInput): Iterable<NodeInfo> {
  if (failure.everywhere?.resolvable) yield* snapshot.nodes;
  if (failure.everywhere) return;
  for (const [name, { resolvable }] of failure.refusals.entries()) {
    const node = resolvable ? snapshot.byName.get(name) : undefined;
    if (node?.node) yield node;
  }
}

function refusedOn({ everywhere, refusals, others }: Failure, node: string): Refusal | undefined {
  return everywhere ?? refusals.get(node) ?? others;
}

/** Whether victims of an earlier preemption are still terminating on the nominated node; until then there are no new victims. */
function victimsEnding({ cycle: { pod, snapshot }, failure, nominatedNode }: PreemptionInput): boolean {
  const node = snapshot.byName.get(nominatedNode ?? '');
  if (!node || refusedOn(failure, node.name)?.resolvable === false) return false;
  return [...node.pods.values()].some(
    (other) =>
      other.priority < pod.priority &&
      other.pod.metadata?.deletionTimestamp !== undefined &&
      other.pod.status?.conditions?.some(
        ({ type, status, reason }) =>
          type === 'DisruptionTarget' && status === 'True' && reason === 'PreemptionByScheduler',
      ),
  );
}

/** Removes all pods of lower priority; if the pod then fits, reprieves as many as possible, highest priority first. */
function victimsOn(
  original: NodeInfo,
  { cycle, budgets, trackers }: PreemptionInput & { readonly trackers: readonly SchedulerPlugin[] },
): PreemptionCandidate | Refusal {
  const lower = [...original.pods.values()].filter((other) => other.priority < cycle.pod.priority);
  if (lower.length === 0) return NO_VICTIMS;
  const node = original.clone();
  const trial = cloneCycle(cycle);
  for (const pod of lower) remove(trial, { node, pod, trackers });
  const refused = refusalOn(trial, node);
  if (refused) return refused;
  const { violating, rest } = splitByBudgets(lower.sort(moreImportantFirst), budgets);
  // Pods that come back only matter to filters that read them.
  const again = { ...trial, filters: trial.filters.filter(({ readsPods }) => readsPods !== false) };
  const victims = violating.filter((pod) => !reprieve(again, { node, pod, trackers }));
  const violations = victims.length;
  victims.push(...rest.filter((pod) => !reprieve(again, { node, pod, trackers })));
  return victims.length === 0
    ? NO_VICTIMS
    : { node: original.name, victims: victims.sort(moreImportantFirst), violations };
}

interface Change {
  readonly node: NodeInfo;
  readonly pod: PodInfo;
  /** Plugins that follow such changes. */
  readonly trackers: readonly SchedulerPlugin[];
}

function remove(cycle: Cycle, { node, pod, trackers }: Change): void {
  node.removePod(pod.uid);
  for (const plugin of trackers) plugin.podRemoved?.(cycle, { pod, node });
}

/** Reprieves a pod; returns false (and removes it again) when the incoming pod no longer fits. */
function reprieve(cycle: Cycle, change: Change): boolean {
  const { node, pod, trackers } = change;
  node.addPod(pod);
  for (const plugin of trackers) plugin.podAdded?.(cycle, { pod, node });
  if (!refusalOn(cycle, node)) return true;
  remove(cycle, change);
  return false;
}

/** Higher priority first, then earlier start. */
function moreImportantFirst(a: PodInfo, b: PodInfo): number {
  return b.priority - a.priority || a.startedMs - b.startedMs;
}

function splitByBudgets(
  pods: readonly PodInfo[],
  budgets: readonly PodDisruptionBudget[],
): { violating: PodInfo[]; rest: PodInfo[] } {
  const allowed = budgets.map((budget) => budget.status?.disruptionsAllowed ?? 0);
  const selectors = budgets.map((budget) =>
    compileLabelSelector(budget.spec?.selector as LabelSelectorObject | undefined),
  );
  const violating: PodInfo[] = [];
  const rest: PodInfo[] = [];
  for (const pod of pods) {
    let violates = false;
    for (const [index, budget] of budgets.entries()) {
      const selector = selectors[index];
      // As upstream, an empty selector matches no pods here.
      if (
        budget.metadata?.namespace !== pod.namespace ||
        !selector ||
        selector.isEverything ||
        !selector.matches(pod.labels)
      )
        continue;
      if (budget.status?.disruptedPods?.[pod.pod.metadata?.name ?? '']) continue;
      allowed[index] = (allowed[index] ?? 0) - 1;
      if ((allowed[index] ?? 0) < 0) violates = true;
    }
    (violates ? violating : rest).push(pod);
  }
  return { violating, rest };
}

/** Fewest budget violations, lowest highest priority, lowest sum of priorities, fewest victims, latest start of the highest-priority victims. */
function compareCandidates(a: PreemptionCandidate, b: PreemptionCandidate): number {
  const highest = (candidate: PreemptionCandidate): number => candidate.victims[0]?.priority ?? 0;
  const sum = (candidate: PreemptionCandidate): number =>
    candidate.victims.reduce((total, pod) => total + pod.priority + 2 ** 31, 0);
  const earliest = (candidate: PreemptionCandidate): number =>
    Math.min(
      ...candidate.victims
        .filter((pod) => pod.priority === highest(candidate))
        .map(({ startedMs }) => startedMs),
    );
  return (
    a.violations - b.violations ||
    highest(a) - highest(b) ||
    sum(a) - sum(b) ||
    a.victims.length - b.victims.length ||
    earliest(b) - earliest(a)
  );
}
