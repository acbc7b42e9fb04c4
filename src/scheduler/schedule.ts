/**
 * Selects the node for a pod from a snapshot and a profile. Pure and synchronous; nothing is written here.
 * Follows upstream's schedulePod: filter (a sample of) the nodes, score the feasible ones, take the highest score, break ties at random.
 */
import type { Random } from '#stdx/random.ts';
import { CycleFilters, probed, refusalOn } from './cycle-filters.ts';
import type { NodeInfo } from './node-info.ts';
import type { PluginProbe } from './plugin-metrics.ts';
import type { PodInfo } from './pod-info.ts';
import { refusal, type Cycle, type Refusal, type SchedulerPlugin } from './plugin.ts';
import { Refusals, type RefusalsByNode } from './refusals.ts';
import type { Snapshot } from './snapshot.ts';

export interface Profile {
  readonly schedulerName: string;
  readonly plugins: readonly SchedulerPlugin[];
  /** 0 = adaptive as upstream: 50 % falling to 5 % with cluster size, never below 100 nodes. */
  readonly percentageOfNodesToScore?: number;
  /** Of DefaultPreemption; false: it is disabled. */
  readonly preemption?: PreemptionArgs | false;
  /** Of VolumeBinding. */
  readonly bindTimeoutMs?: number;
}

/** How many nodes preemption looks at: a share of all, and at least this many. */
export interface PreemptionArgs {
  readonly minCandidateNodesPercentage: number;
  readonly minCandidateNodesAbsolute: number;
}

export type Decision =
  | {
      readonly kind: 'fits';
      readonly node: string;
      readonly evaluated: number;
      readonly feasible: number;
      readonly cycle: Cycle;
    }
  | { readonly kind: 'none'; readonly failure: Failure; readonly cycle: Cycle };

export interface Failure {
  readonly nodeCount: number;
  /** Per node that was evaluated. */
  readonly refusals: RefusalsByNode;
  /** For the nodes that were not evaluated because a preFilter excluded them. */
  readonly others?: Refusal | undefined;
  /** Set when a preFilter rejected the pod for all nodes. */
  readonly everywhere?: Refusal;
}

interface ScheduleInput {
  readonly pod: PodInfo;
  readonly snapshot: Snapshot;
  readonly profile: Profile;
  readonly random: Random;
  /** The node index at which the search starts, so that successive pods do not always sample the same nodes. */
  readonly startIndex?: number;
  /** The nominated node: selected if it is feasible, whatever the scores of others. */
  readonly nominatedNode?: string | undefined;
  readonly probe?: PluginProbe | undefined;
  /** Called after each extension point with the total duration of its plugins. */
  readonly observe?: (
    point: ExtensionPoint,
    taken: { readonly seconds: number; readonly status: string },
  ) => void;
}

type ExtensionPoint = 'PreFilter' | 'Filter' | 'PreScore' | 'Score';

const MIN_FEASIBLE_NODES = 100;
const MIN_PERCENTAGE = 5;

/** The nodes that the plugins accept, before one is chosen. */
interface Candidates {
  readonly kind: 'candidates';
  readonly cycle: Cycle;
  readonly feasible: readonly NodeInfo[];
  readonly refusals: RefusalsByNode;
  readonly others?: Refusal | undefined;
  /** The feasible node is the nominated one; others were not evaluated. */
  readonly isNominated: boolean;
}

export function schedule(input: ScheduleInput): Decision {
  const timed = timer(input.observe);
  const found = findCandidates(input, timed);
  return found.kind === 'candidates' ? choose(found, { ...input, timed }) : found;
}

type Timed = ReturnType<typeof timer>;

/** Up to the filters. */
export function findCandidates(
  input: ScheduleInput,
  timed: Timed = timer(input.observe),
): Candidates | Extract<Decision, { kind: 'none' }> {
  const { snapshot, profile } = input;
  const cycle: Cycle = { pod: input.pod, snapshot, state: new Map(), filters: [], probe: input.probe };
  input.probe?.begin();
  const nodeCount = snapshot.nodes.length;
  const narrowed = runPreFilters(cycle, profile.plugins);
  timed('PreFilter', 'refused' in narrowed ? 'Unschedulable' : 'Success');
  if ('refused' in narrowed)
    return { kind: 'none', cycle, failure: { nodeCount, refusals: new Map(), everywhere: narrowed.refused } };
  const nominated = snapshot.byName.get(input.nominatedNode ?? '');
  if (nominated?.node && narrowed.nodes?.has(nominated.name) !== false && !refusalOn(cycle, nominated))
    return { kind: 'candidates', cycle, feasible: [nominated], refusals: new Map(), isNominated: true };
  const { feasible, refusals } = findFeasible(cycle, { ...input, ...narrowed });
  timed('Filter', feasible.length === 0 ? 'Unschedulable' : 'Success');
  const { others } = narrowed;
  if (feasible.length === 0) return { kind: 'none', cycle, failure: { nodeCount, refusals, others } };
  return { kind: 'candidates', cycle, feasible, refusals, others, isNominated: false };
}

/** For simulations, which have no use for scores: the first of these nodes that passes the filters. */
export function firstFit(
  nodes: readonly NodeInfo[],
  { pod, snapshot, profile }: Pick<ScheduleInput, 'pod' | 'snapshot' | 'profile'>,
): { readonly node: string } | { readonly failure: Failure } {
  const cycle: Cycle = { pod, snapshot, state: new Map(), filters: [] };
  const narrowed = runPreFilters(cycle, profile.plugins);
  const nodeCount = nodes.length;
  const refusals = new Refusals();
  if ('refused' in narrowed) return { failure: { nodeCount, refusals, everywhere: narrowed.refused } };
  const filters = new CycleFilters(cycle, profile);
  for (const node of nodes) {
    if (narrowed.nodes?.has(node.name) === false) continue;
    const refused = filters.refusalOn(node);
    if (!refused) return { node: node.name };
    refusals.add(node.name, refused);
  }
  return { failure: { nodeCount, refusals, others: narrowed.others } };
}

interface ChoiceInput extends Pick<ScheduleInput, 'profile' | 'random'> {
  /** Added to the plugins' scores, by node. */
  readonly extraScores?: ReadonlyMap<string, number>;
  readonly timed?: Timed | undefined;
}

/** By score. The candidates are one node at least. */
export function choose(
  { cycle, feasible, refusals, isNominated }: Candidates,
  { profile, random, extraScores, timed }: ChoiceInput,
): Extract<Decision, { kind: 'fits' }> {
  const best =
    feasible.length === 1 ? feasible[0] : pickBest(cycle, { feasible, profile, random, extraScores, timed });
  return {
    kind: 'fits',
    node: best?.name ?? '',
    evaluated: isNominated ? 0 : feasible.length + refusals.size,
    feasible: feasible.length,
    cycle,
  };
}

/** Each call reports the time since the previous one. */
function timer(observe: ScheduleInput['observe']): (point: ExtensionPoint, status: string) => void {
  if (!observe) return () => {};
  let sinceMs = performance.now();
  return (point, status) => {
    const nowMs = performance.now();
    observe(point, { seconds: (nowMs - sinceMs) / 1000, status });
    sinceMs = nowMs;
  };
}

interface Narrowed {
  readonly nodes?: ReadonlySet<string>;
  readonly others?: Refusal;
}

/** Fills cycle.filters; returns the nodes to which preFilter restricts the pod. */
function runPreFilters(
  cycle: Cycle,
  plugins: readonly SchedulerPlugin[],
): Narrowed | { readonly refused: Refusal } {
  const filters: SchedulerPlugin[] = [];
  const narrowing: string[] = [];
  let nodes: ReadonlySet<string> | undefined;
  for (const plugin of plugins) {
    const outcome =
      plugin.preFilter &&
      probed(cycle, { point: 'PreFilter', plugin, work: () => plugin.preFilter?.(cycle) });
    if (outcome !== undefined && outcome !== 'skip') {
      if ('reasons' in outcome) return { refused: outcome };
      narrowing.push(plugin.name);
      nodes = nodes ? nodes.intersection(outcome.nodes) : outcome.nodes;
      if (nodes.size === 0)
        return { refused: refusal(plugin.name, contradiction(narrowing), { resolvable: false }) };
    }
    if (plugin.filter && outcome !== 'skip') filters.push(plugin);
  }
  cycle.filters = filters;
  return nodes
    ? {
        nodes,
        others: refusal(
          narrowing[0] ?? '',
          `node(s) didn't satisfy plugin(s) [${narrowing.sort().join(' ')}]`,
          { resolvable: false },
        ),
      }
    : {};
}

function contradiction(narrowing: readonly string[]): string {
  return narrowing.length === 1
    ? `node(s) didn't satisfy plugin ${narrowing[0]}`
    : `node(s) didn't satisfy plugin(s) [${[...narrowing].sort().join(' ')}] simultaneously`;
}

function findFeasible(
  cycle: Cycle,
  input: ScheduleInput & Narrowed,
): { feasible: NodeInfo[]; refusals: Refusals } {
  const { snapshot } = input;
  const nodes = input.nodes
    ? [...input.nodes]
        .map((name) => snapshot.byName.get(name))
        .filter((info): info is NodeInfo => info?.node !== undefined)
    : snapshot.nodes;
  const wanted = nodesToFind(nodes.length, input.profile.percentageOfNodesToScore ?? 0);
  const feasible: NodeInfo[] = [];
  const refusals = new Refusals();
  const start = nodes.length === 0 ? 0 : (input.startIndex ?? 0) % nodes.length;
  const filters = new CycleFilters(cycle, input.profile);
  for (let step = 0; step < nodes.length && feasible.length < wanted; step += 1) {
    const node = nodes[(start + step) % nodes.length] as NodeInfo;
    const refused = filters.refusalOn(node);
    if (refused) refusals.add(node.name, refused);
    else feasible.push(node);
  }
  return { feasible, refusals };
}

export function nodesToFind(count: number, percentage: number): number {
  if (count < MIN_FEASIBLE_NODES) return count;
  const share = percentage > 0 ? percentage : Math.max(MIN_PERCENTAGE, 50 - Math.trunc(count / 125));
  return Math.min(count, Math.max(MIN_FEASIBLE_NODES, Math.trunc((count * share) / 100)));
}

function pickBest(
  cycle: Cycle,
  {
    feasible,
    profile,
    random,
    extraScores,
    timed,
  }: Pick<ChoiceInput, 'profile' | 'random' | 'timed'> & {
    readonly feasible: readonly NodeInfo[];
    readonly extraScores: ReadonlyMap<string, number> | undefined;
  },
): NodeInfo | undefined {
  const totals = new Float64Array(feasible.length);
  const scoring = profile.plugins.filter((plugin) => isScored(cycle, { plugin, feasible }));
  timed?.('PreScore', 'Success');
  for (const plugin of scoring) {
    const scores = rawScores(cycle, { plugin, nodes: feasible });
    plugin.normalize?.(cycle, scores, feasible);
    for (let index = 0; index < scores.length; index += 1)
      totals[index] = (totals[index] ?? 0) + (scores[index] ?? 0) * (plugin.weight ?? 0);
  }
  if (extraScores)
    for (const [index, { name }] of feasible.entries())
      totals[index] = (totals[index] ?? 0) + (extraScores.get(name) ?? 0);
  const best = feasible[indexOfBest(totals, random)];
  timed?.('Score', 'Success');
  return best;
}

function isScored(
  cycle: Cycle,
  { plugin, feasible }: { readonly plugin: SchedulerPlugin; readonly feasible: readonly NodeInfo[] },
): boolean {
  if (!plugin.score || !plugin.weight) return false;
  if (!plugin.preScore) return true;
  const work = (): 'skip' | undefined => plugin.preScore?.(cycle, feasible);
  return probed(cycle, { point: 'PreScore', plugin, work }) !== 'skip';
}

function rawScores(
  cycle: Cycle,
  { plugin, nodes }: { readonly plugin: SchedulerPlugin; readonly nodes: readonly NodeInfo[] },
): Float64Array {
  const scores = new Float64Array(nodes.length);
  const signature = plugin.sign?.(cycle);
  const known =
    signature === undefined
      ? undefined
      : cycle.snapshot.answers.table<number>(plugin, JSON.stringify(signature));
  for (let index = 0; index < nodes.length; index += 1) {
    const node = nodes[index] as NodeInfo;
    if (known?.has(node)) {
      scores[index] = known.get(node);
      continue;
    }
    const score = probed(cycle, { point: 'Score', plugin, work: () => plugin.score?.(cycle, node) }) ?? 0;
    known?.set(node, score);
    scores[index] = score;
  }
  return scores;
}

/** Selects among equal scores with equal probability. */
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

/** Upstream's FitError: '0/3 nodes are available: 1 Insufficient cpu, 2 node(s) …. no new claims to deallocate, preemption: …'. */
export function failureMessage(failure: Failure, postFilter: readonly string[] = []): string {
  if (failure.nodeCount === 0) return 'no nodes available to schedule pods';
  const reasons = failure.everywhere ? failure.everywhere.reasons.join(', ') : reasonCounts(failure);
  return `0/${failure.nodeCount} nodes are available:${reasons === '' ? '' : ` ${reasons}.`}${postFilter.length > 0 ? ` ${postFilter.join(', ')}` : ''}`;
}

/** The number of nodes per reason, in alphabetical order of the reasons. */
function reasonCounts({ refusals, others, nodeCount }: Failure): string {
  const counts = new Map<string, number>();
  const count = (refused: Refusal, by: number): void => {
    for (const reason of refused.reasons) counts.set(reason, (counts.get(reason) ?? 0) + by);
  };
  // Plugins refuse many nodes with one object.
  const times = new Map<Refusal, number>();
  for (const refused of refusals.values()) times.set(refused, (times.get(refused) ?? 0) + 1);
  for (const [refused, by] of times) count(refused, by);
  if (others && refusals.size < nodeCount) count(others, nodeCount - refusals.size);
  return [...counts]
    .map(([reason, nodes]) => `${nodes} ${reason}`)
    .sort()
    .join(', ');
}
