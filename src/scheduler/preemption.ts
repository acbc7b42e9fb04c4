/**
 * DefaultPreemption: when no node takes a pod, find the node where removing the fewest and least important pods of lower priority
 * makes room, with as few PodDisruptionBudget violations as possible. Selects victims, deletes nothing. After upstream's DryRunPreemption.
 */
import type { PodDisruptionBudget } from '#api/types.ts';
import type { Random } from '#stdx/random.ts';
import { DisruptionBudgets } from './disruption-budgets.ts';
import { refusal, type Cycle, type Refusal } from './plugin.ts';
import type { NodeInfo } from './node-info.ts';
import { moreImportantFirst, type PodInfo } from './pod-info.ts';
import { preemptionTrial, type PreemptionTrial } from './preemption-trial.ts';
import { failureMessage, type Failure, type PreemptionArgs } from './schedule.ts';

interface PreemptionInput {
  readonly cycle: Cycle;
  readonly failure: Failure;
  readonly budgets: readonly PodDisruptionBudget[];
  readonly random: Random;
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
  const best = candidates
    .map(ranked)
    .reduce((one, other) => (compareCandidates(other, one) < 0 ? other : one)).candidate;
  return { node: best.node, victims: best.victims };
}

/**
 * Nodes where preemption would help. The search begins at a random node and ends when there are as many as the arguments want, one of them at
 * least without a violated budget.
 */
export function preemptionCandidates(input: PreemptionInput): PreemptionCandidates | NoPreemption {
  const { pod, snapshot } = input.cycle;
  if (pod.pod.spec?.preemptionPolicy === 'Never')
    return { message: 'not eligible due to preemptionPolicy=Never.', keepNomination: true };
  if (victimsEnding(input))
    return { message: 'not eligible due to a terminating pod on the nominated node.', keepNomination: true };
  const { candidates, refusals } = dryRun(input);
  if (candidates.length > 0) return { candidates, message: '' };
  const message = failureMessage({ nodeCount: snapshot.nodes.length, refusals, others: UNHELPFUL });
  return { candidates, message };
}

function dryRun(input: PreemptionInput): {
  readonly candidates: readonly PreemptionCandidate[];
  readonly refusals: ReadonlyMap<string, Refusal>;
} {
  const { cycle, random, args } = input;
  const potential = resolvableNodes(input);
  const wanted = candidatesWanted(potential.length, args ?? DEFAULTS);
  const offset = Math.floor(random() * potential.length);
  const candidates: PreemptionCandidate[] = [];
  const refusals = new Map<string, Refusal>();
  const options = { cycle, budgets: new DisruptionBudgets(input.budgets), trial: preemptionTrial(cycle) };
  let hasOneWithoutViolations = false;
  for (let step = 0; step < potential.length; step += 1) {
    const node = cycle.snapshot.byName.get(potential[(offset + step) % potential.length] as string);
    if (!node?.node) continue;
    const tried = victimsOn(node, options);
    if (!('victims' in tried)) {
      refusals.set(node.name, tried);
      continue;
    }
    candidates.push(tried);
    hasOneWithoutViolations ||= tried.violations === 0;
    if (hasOneWithoutViolations && candidates.length >= wanted) break;
  }
  return { candidates, refusals };
}

function candidatesWanted(nodes: number, args: PreemptionArgs): number {
  const share = Math.trunc((nodes * args.minCandidateNodesPercentage) / 100);
  return Math.min(nodes, Math.max(args.minCandidateNodesAbsolute, share));
}

/** Names of the nodes where removing pods may help; nodes that were not evaluated are out of the question. */
function resolvableNodes({ cycle: { snapshot }, failure }: PreemptionInput): readonly string[] {
  if (failure.everywhere) return failure.everywhere.resolvable ? snapshot.nodes.map(({ name }) => name) : [];
  const names: string[] = [];
  for (const [name, { resolvable }] of failure.refusals.entries()) if (resolvable) names.push(name);
  return names;
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

interface DryRunOptions {
  readonly cycle: Cycle;
  readonly budgets: DisruptionBudgets;
  readonly trial: PreemptionTrial;
}

/** Removes all pods of lower priority; if the pod then fits, reprieves as many as possible, highest priority first. */
function victimsOn(node: NodeInfo, { cycle, budgets, trial }: DryRunOptions): PreemptionCandidate | Refusal {
  const lower = node.podsBelow(cycle.pod.priority);
  if (lower.length === 0) return NO_VICTIMS;
  trial.start(node);
  try {
    for (const pod of lower) trial.remove(pod);
    const refused = trial.refusal();
    if (refused) return refused;
    const { violating, rest } = budgets.split(lower);
    const victims = violating.filter((pod) => !reprieve(trial, pod));
    const violations = victims.length;
    for (const pod of rest) if (!reprieve(trial, pod)) victims.push(pod);
    if (victims.length === 0) return NO_VICTIMS;
    return {
      node: node.name,
      victims: violations > 0 ? victims.sort(moreImportantFirst) : victims,
      violations,
    };
  } finally {
    trial.end();
  }
}

/** Returns false, and removes the pod again, when the incoming pod no longer fits. */
function reprieve(trial: PreemptionTrial, pod: PodInfo): boolean {
  trial.add(pod);
  if (!trial.refusalOfPods()) return true;
  trial.remove(pod);
  return false;
}

/** A candidate with what it is compared by. */
interface Ranked {
  readonly candidate: PreemptionCandidate;
  readonly highest: number;
  readonly sum: number;
  /** Start of the first of its victims of the highest priority. */
  readonly earliestMs: number;
}

function ranked(candidate: PreemptionCandidate): Ranked {
  const { victims } = candidate;
  const highest = victims[0]?.priority ?? 0;
  let sum = 0;
  let earliestMs = Infinity;
  for (const { priority, startedMs } of victims) {
    sum += priority + 2 ** 31;
    if (priority === highest && startedMs < earliestMs) earliestMs = startedMs;
  }
  return { candidate, highest, sum, earliestMs };
}

/** Fewest budget violations, lowest highest priority, lowest sum of priorities, fewest victims, latest start of the highest-priority victims. */
function compareCandidates(a: Ranked, b: Ranked): number {
  return (
    a.candidate.violations - b.candidate.violations ||
    a.highest - b.highest ||
    a.sum - b.sum ||
    a.candidate.victims.length - b.candidate.victims.length ||
    b.earliestMs - a.earliestMs
  );
}
