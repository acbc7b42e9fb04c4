/** InterPodAffinity: required pod affinity and anti-affinity (both directions) as filters, preferred ones as scores. */
import { refusal, type Cycle, type SchedulerPlugin } from '../plugin.ts';
import type { NodeInfo } from '../node-info.ts';
import { termMatches, type AffinityTerm, type PodInfo } from '../pod-info.ts';
import { helpsInterPodAffinity } from '../queueing-hints.ts';
import type { NodeSum } from '../node-sums.ts';
import { TopologyCounts } from '../topology-counts.ts';

const NAME = 'InterPodAffinity';
const SCORE = `${NAME}/score`;

interface InterPodAffinityArgs {
  /** The score of existing pods whose required affinity matches this pod. */
  readonly hardPodAffinityWeight: number;
  /** A pod without preferences of its own is not scored. */
  readonly ignorePreferredTermsOfExistingPods: boolean;
}

const DEFAULTS: InterPodAffinityArgs = {
  hardPodAffinityWeight: 1,
  ignorePreferredTermsOfExistingPods: false,
};

interface FilterState {
  /** Existing pods whose required anti-affinity matches this pod. */
  readonly refusedBy: TopologyCounts;
  /** Pods that match ALL required affinity terms of this pod. */
  readonly wanted: TopologyCounts;
  /** Pods that match a required anti-affinity term of this pod. */
  readonly unwanted: TopologyCounts;
}

export function interPodAffinity(args: InterPodAffinityArgs = DEFAULTS): SchedulerPlugin {
  return {
    name: NAME,
    weight: 2,
    queueingHints: ['pod-added', 'pod-updated', 'pod-deleted', 'node-added', 'node-updated'],
    isHelpedBy: helpsInterPodAffinity,
    preFilter(cycle) {
      const { pod, snapshot } = cycle;
      const hasTerms = pod.requiredAffinity.length + pod.requiredAntiAffinity.length > 0;
      if (!hasTerms && snapshot.withRequiredAntiAffinity.size === 0) return 'skip';
      const state = snapshot.sums.of(`${NAME}/${signature(cycle)}`, () => {
        const sum = new FilterSum(cycle);
        for (const node of hasTerms ? snapshot.nodes : snapshot.withRequiredAntiAffinity) sum.update(node);
        return sum;
      });
      if (!hasTerms && state.refusedBy.isEmpty) return 'skip';
      cycle.state.set(NAME, state satisfies FilterState);
      return undefined;
    },
    filter(cycle, node) {
      const state = cycle.state.get(NAME) as FilterState;
      if (!affinityHolds(cycle, { state, node }))
        return refusal(NAME, "node(s) didn't match pod affinity rules", { resolvable: false });
      if (cycle.pod.requiredAntiAffinity.some(({ topologyKey }) => state.unwanted.at(topologyKey, node) > 0))
        return refusal(NAME, "node(s) didn't match pod anti-affinity rules");
      if (state.refusedBy.isAnyAt(node))
        return refusal(NAME, "node(s) didn't satisfy existing pods anti-affinity rules");
      return undefined;
    },
    podRemoved: (cycle, { pod, node }) => count(cycle, { pod, node, step: -1 }),
    podAdded: (cycle, { pod, node }) => count(cycle, { pod, node, step: 1 }),
    cloneState(state) {
      const { refusedBy, wanted, unwanted } = state as FilterState;
      return {
        refusedBy: new TopologyCounts(refusedBy),
        wanted: new TopologyCounts(wanted),
        unwanted: new TopologyCounts(unwanted),
      } satisfies FilterState;
    },
    preScore(cycle) {
      const { pod, snapshot } = cycle;
      const hasTerms = pod.preferredAffinity.length + pod.preferredAntiAffinity.length > 0;
      if (!hasTerms && (args.ignorePreferredTermsOfExistingPods || snapshot.withAffinity.size === 0))
        return 'skip';
      const { hardPodAffinityWeight: hardWeight } = args;
      const { scores } = snapshot.sums.of(`${SCORE}/${hardWeight}/${signature(cycle)}`, () => {
        const sum = new ScoreSum(cycle, { hasTerms, hardWeight });
        for (const node of hasTerms ? snapshot.nodes : snapshot.withAffinity) sum.update(node);
        return sum;
      });
      if (scores.isEmpty) return 'skip';
      cycle.state.set(SCORE, scores);
      return undefined;
    },
    score: (cycle, node) => (cycle.state.get(SCORE) as TopologyCounts).sumAt(node),
    normalize(_cycle, scores) {
      let low = Infinity;
      let high = -Infinity;
      for (const score of scores) {
        low = Math.min(low, score);
        high = Math.max(high, score);
      }
      for (let index = 0; index < scores.length; index += 1)
        scores[index] = high === low ? 0 : Math.trunc((100 * ((scores[index] ?? 0) - low)) / (high - low));
    },
  };
}

/** What decides which pods concern it and which it concerns. */
function signature({ pod, snapshot }: Cycle): string {
  const { podAffinity, podAntiAffinity } = pod.pod.spec?.affinity ?? {};
  return JSON.stringify([
    pod.namespace,
    pod.labels,
    podAffinity,
    podAntiAffinity,
    snapshot.namespacesVersion,
  ]);
}

interface Amount {
  readonly counts: TopologyCounts;
  readonly topologyKey: string;
  readonly value: string;
  by: number;
}

/** What one node adds: pods of one controller add to the same. */
class Amounts {
  readonly #labels: NodeInfo['labels'];
  readonly list: Amount[] = [];

  constructor({ labels }: NodeInfo) {
    this.#labels = labels;
  }

  add(
    counts: TopologyCounts,
    { topologyKey, by }: { readonly topologyKey: string; readonly by: number },
  ): void {
    const value = this.#labels[topologyKey];
    if (value === undefined) return;
    for (const amount of this.list)
      if (amount.counts === counts && amount.topologyKey === topologyKey) {
        amount.by += by;
        return;
      }
    this.list.push({ counts, topologyKey, value, by });
  }
}

abstract class AffinitySum implements NodeSum {
  readonly #added = new Map<NodeInfo, readonly Amount[]>();

  update(node: NodeInfo): void {
    for (const { counts, topologyKey, value, by } of this.#added.get(node) ?? [])
      counts.add(topologyKey, { value, by: -by });
    const amounts = new Amounts(node);
    this.collect(node, amounts);
    for (const { counts, topologyKey, value, by } of amounts.list) counts.add(topologyKey, { value, by });
    if (amounts.list.length > 0) this.#added.set(node, amounts.list);
    else this.#added.delete(node);
  }

  /** What the pods on the node add. */
  abstract collect(node: NodeInfo, amounts: Amounts): void;
}

class FilterSum extends AffinitySum implements FilterState {
  readonly refusedBy = new TopologyCounts();
  readonly wanted = new TopologyCounts();
  readonly unwanted = new TopologyCounts();
  readonly #cycle: Cycle;
  readonly #hasTerms: boolean;

  constructor(cycle: Cycle) {
    super();
    this.#cycle = cycle;
    this.#hasTerms = cycle.pod.requiredAffinity.length + cycle.pod.requiredAntiAffinity.length > 0;
  }

  collect(node: NodeInfo, amounts: Amounts): void {
    for (const existing of this.#hasTerms ? node.pods.values() : node.withRequiredAntiAffinity)
      countRequired(this.#cycle, {
        state: this,
        existing,
        step: 1,
        add: (counts, amount) => amounts.add(counts, amount),
      });
  }
}

interface RequiredCount {
  readonly state: FilterState;
  readonly existing: PodInfo;
  readonly step: 1 | -1;
  readonly add: (
    counts: TopologyCounts,
    amount: { readonly topologyKey: string; readonly by: number },
  ) => void;
}

function countRequired({ pod, snapshot }: Cycle, { state, existing, step, add }: RequiredCount): void {
  const about = (term: AffinityTerm, other: PodInfo): boolean =>
    termMatches(term, other, snapshot.namespaceLabels);
  for (const term of existing.requiredAntiAffinity)
    if (about(term, pod)) add(state.refusedBy, { topologyKey: term.topologyKey, by: step });
  for (const term of pod.requiredAntiAffinity)
    if (about(term, existing)) add(state.unwanted, { topologyKey: term.topologyKey, by: step });
  if (pod.requiredAffinity.length > 0 && pod.requiredAffinity.every((term) => about(term, existing)))
    for (const term of pod.requiredAffinity) add(state.wanted, { topologyKey: term.topologyKey, by: step });
}

/** A simulated pod. */
function count(
  cycle: Cycle,
  { pod, node, step }: { readonly pod: PodInfo; readonly node: NodeInfo; readonly step: 1 | -1 },
): void {
  countRequired(cycle, {
    state: cycle.state.get(NAME) as FilterState,
    existing: pod,
    step,
    add: (counts, { topologyKey, by }) => {
      const value = node.labels[topologyKey];
      if (value !== undefined) counts.add(topologyKey, { value, by });
    },
  });
}

class ScoreSum extends AffinitySum {
  readonly scores = new TopologyCounts();
  readonly #cycle: Cycle;
  readonly #options: { readonly hasTerms: boolean; readonly hardWeight: number };

  constructor(cycle: Cycle, options: { readonly hasTerms: boolean; readonly hardWeight: number }) {
    super();
    this.#cycle = cycle;
    this.#options = options;
  }

  collect(node: NodeInfo, amounts: Amounts): void {
    for (const existing of this.#options.hasTerms ? node.pods.values() : node.withAffinity)
      this.#attract(existing, amounts);
  }

  #attract(existing: PodInfo, amounts: Amounts): void {
    const { pod } = this.#cycle;
    const { hardWeight } = this.#options;
    const pull = (
      terms: readonly AffinityTerm[],
      { about, weight }: { readonly about: PodInfo; readonly weight: (term: AffinityTerm) => number },
    ): void => {
      for (const term of terms)
        if (termMatches(term, about, this.#cycle.snapshot.namespaceLabels))
          amounts.add(this.scores, { topologyKey: term.topologyKey, by: weight(term) });
    };
    pull(pod.preferredAffinity, { about: existing, weight: (term) => term.weight });
    pull(pod.preferredAntiAffinity, { about: existing, weight: (term) => -term.weight });
    if (hardWeight > 0) pull(existing.requiredAffinity, { about: pod, weight: () => hardWeight });
    pull(existing.preferredAffinity, { about: pod, weight: (term) => term.weight });
    pull(existing.preferredAntiAffinity, { about: pod, weight: (term) => -term.weight });
  }
}

/** The first pod of a group with affinity to itself may use any node that has the topology label. */
function affinityHolds(
  { pod, snapshot }: Cycle,
  { state, node }: { readonly state: FilterState; readonly node: NodeInfo },
): boolean {
  const { requiredAffinity: terms } = pod;
  if (terms.length === 0) return true;
  if (!terms.every(({ topologyKey }) => node.labels[topologyKey] !== undefined)) return false;
  if (terms.every(({ topologyKey }) => state.wanted.at(topologyKey, node) > 0)) return true;
  return state.wanted.isEmpty && terms.every((term) => termMatches(term, pod, snapshot.namespaceLabels));
}
