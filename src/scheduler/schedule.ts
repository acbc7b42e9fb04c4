/**
 * The decision: which node for this pod, from a snapshot and a profile. Pure and synchronous; nothing is written here.
 * Follows upstream's schedulePod: filter (a sample of) nodes, then score those that fit, the best wins, ties broken by the given random.
 */
import type { Random } from '#stdx/random.ts';
import type { NodeInfo } from './node-info.ts';
import type { PodInfo } from './pod-info.ts';
import { cloneCycle, type Cycle, type Refusal, type SchedulerPlugin } from './plugin.ts';
import type { Snapshot } from './snapshot.ts';

export interface Profile {
  readonly schedulerName: string;
  readonly plugins: readonly SchedulerPlugin[];
  /** 0 = adaptive as upstream: 50 % falling to 5 % with cluster size, never below 100 nodes. */
  readonly percentageOfNodesToScore?: number;
}

export type Decision =
  | { readonly kind: 'fits'; readonly node: string; readonly evaluated: number; readonly feasible: number }
  | { readonly kind: 'none'; readonly failure: Failure; readonly cycle: Cycle };

export interface Failure {
  readonly nodeCount: number;
  /** Per node that was looked at. */
  readonly refusals: ReadonlyMap<string, Refusal>;
  /** Set when a preFilter refused the pod on every node. */
  readonly everywhere?: Refusal;
}

export interface ScheduleInput {
  readonly pod: PodInfo;
  readonly snapshot: Snapshot;
  readonly profile: Profile;
  readonly random: Random;
  /** Where the search over nodes starts, so that successive pods do not always sample the same ones. */
  readonly startIndex?: number;
}

const MIN_FEASIBLE_NODES = 100;
const MIN_PERCENTAGE = 5;

export function schedule(input: ScheduleInput): Decision {
  const cycle: Cycle = { pod: input.pod, snapshot: input.snapshot, state: new Map(), filters: [] };
  const prepared = runPreFilters(cycle, input.profile.plugins);
  if ('refused' in prepared) return { kind: 'none', cycle, failure: { nodeCount: input.snapshot.nodes.length, refusals: new Map(), everywhere: prepared.refused } };
  cycle.filters = prepared.filters;
  const { feasible, refusals } = findFeasible(cycle, { ...input, ...prepared });
  if (feasible.length === 0) return { kind: 'none', cycle, failure: { nodeCount: input.snapshot.nodes.length, refusals } };
  const best = feasible.length === 1 ? feasible[0] : pickBest(cycle, { feasible, profile: input.profile, random: input.random });
  return { kind: 'fits', node: best?.name ?? '', evaluated: feasible.length + refusals.size, feasible: feasible.length };
}

interface Prepared { readonly filters: readonly SchedulerPlugin[]; readonly nodes: ReadonlySet<string> | undefined }

/** The plugins whose filter has a say for this pod, and the nodes it is narrowed to. */
function runPreFilters(cycle: Cycle, plugins: readonly SchedulerPlugin[]): Prepared | { readonly refused: Refusal } {
  const filters: SchedulerPlugin[] = [];
  let nodes: ReadonlySet<string> | undefined;
  for (const plugin of plugins) {
    const outcome = plugin.preFilter?.(cycle);
    if (outcome !== undefined && outcome !== 'skip') {
      if ('reasons' in outcome) return { refused: outcome };
      nodes = nodes ? nodes.intersection(outcome.nodes) : outcome.nodes;
    }
    if (plugin.filter && outcome !== 'skip') filters.push(plugin);
  }
  return { filters, nodes };
}

/** For preemption: does the pod pass every filter on this (changed copy of a) node, in this cycle's state? */
export function passesFilters(cycle: Cycle, node: NodeInfo): boolean {
  return refusalOf(cycle, node) === undefined;
}

/**
 * Twice where pods of at least this priority were promised the node: once as if they were there already, and once without them (upstream does
 * the same, since affinity to a pod that is not there yet must not count).
 */
function refusalOf(cycle: Cycle, node: NodeInfo): Refusal | undefined {
  const promised = cycle.snapshot.nominated(node.name).filter((other) => other.priority >= cycle.pod.priority && other.uid !== cycle.pod.uid && !node.pods.has(other.uid));
  if (promised.length > 0) {
    const trial = cloneCycle(cycle);
    const crowded = node.clone();
    for (const pod of promised) {
      crowded.addPod(pod);
      for (const plugin of trial.filters) plugin.podAdded?.(trial, { pod, node: crowded });
    }
    const refused = firstRefusal(trial, crowded);
    if (refused) return refused;
  }
  return firstRefusal(cycle, node);
}

function firstRefusal(cycle: Cycle, node: NodeInfo): Refusal | undefined {
  for (const plugin of cycle.filters) {
    const refused = plugin.filter?.(cycle, node);
    if (refused) return refused;
  }
  return undefined;
}

function findFeasible(cycle: Cycle, input: ScheduleInput & Prepared): { feasible: NodeInfo[]; refusals: Map<string, Refusal> } {
  const { nodes } = input.snapshot;
  const wanted = nodesToFind(nodes.length, input.profile.percentageOfNodesToScore ?? 0);
  const feasible: NodeInfo[] = [];
  const refusals = new Map<string, Refusal>();
  const start = nodes.length === 0 ? 0 : (input.startIndex ?? 0) % nodes.length;
  for (let step = 0; step < nodes.length && feasible.length < wanted; step += 1) {
    const node = nodes[(start + step) % nodes.length];
    if (!node) continue;
    if (input.nodes && !input.nodes.has(node.name)) {
      refusals.set(node.name, NARROWED);
      continue;
    }
    const refused = refusalOf(cycle, node);
    if (refused) refusals.set(node.name, refused);
    else feasible.push(node);
  }
  return { feasible, refusals };
}

const NARROWED: Refusal = { plugin: 'NodeAffinity', reasons: ["node(s) didn't match Pod's node affinity/selector"], resolvable: false };

export function nodesToFind(count: number, percentage: number): number {
  if (count < MIN_FEASIBLE_NODES) return count;
  const share = percentage > 0 ? percentage : Math.max(MIN_PERCENTAGE, 50 - Math.trunc(count / 125));
  return Math.min(count, Math.max(MIN_FEASIBLE_NODES, Math.trunc((count * share) / 100)));
}

function pickBest(cycle: Cycle, { feasible, profile, random }: { readonly feasible: readonly NodeInfo[]; readonly profile: Profile; readonly random: Random }): NodeInfo | undefined {
  const totals = new Float64Array(feasible.length);
  for (const plugin of profile.plugins) {
    if (!plugin.score || !plugin.weight || plugin.preScore?.(cycle, feasible) === 'skip') continue;
    const scores = new Float64Array(feasible.length);
    for (let index = 0; index < feasible.length; index += 1) scores[index] = plugin.score(cycle, feasible[index] as NodeInfo);
    plugin.normalize?.(cycle, scores, feasible);
    for (let index = 0; index < scores.length; index += 1) totals[index] = (totals[index] ?? 0) + (scores[index] ?? 0) * plugin.weight;
  }
  return feasible[indexOfBest(totals, random)];
}

/** Each of several equal bests with the same chance. */
function indexOfBest(totals: Float64Array, random: Random): number {
  let best = 0;
  let ties = 1;
  for (let index = 1; index < totals.length; index += 1) {
    const difference = (totals[index] ?? 0) - (totals[best] ?? 0);
    if (difference > 0) {
      best = index;
      ties = 1;
    } else if (difference === 0) {
      ties += 1;
      if (random() * ties < 1) best = index;
    }
  }
  return best;
}

/** Upstream's sentence: '0/3 nodes are available: 1 Insufficient cpu, 2 node(s) …'. */
export function failureMessage(failure: Failure): string {
  const head = `0/${failure.nodeCount} nodes are available:`;
  if (failure.everywhere) return `${head} ${failure.everywhere.reasons.join(', ')}.`;
  const counts = new Map<string, number>();
  for (const refused of failure.refusals.values()) for (const reason of refused.reasons) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  const lines = [...counts].map(([reason, count]) => `${count} ${reason}`).sort();
  return failure.nodeCount === 0 ? 'no nodes available to schedule pods' : `${head} ${lines.join(', ')}.`;
}
