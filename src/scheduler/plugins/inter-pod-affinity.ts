/** InterPodAffinity: required pod affinity and anti-affinity (both directions) as filters, preferred ones as scores. */
import { refusal, type Cycle, type SchedulerPlugin } from '../plugin.ts';
import type { NodeInfo } from '../node-info.ts';
import { termMatches, type AffinityTerm, type PodInfo } from '../pod-info.ts';
import { helpsInterPodAffinity } from '../queueing-hints.ts';

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

/** topologyKey → its value → sum over matching pods. */
type Counts = Map<string, Map<string, number>>;

interface FilterState {
  /** Existing pods whose required anti-affinity matches this pod. */
  readonly refusedBy: Counts;
  /** Pods that match ALL required affinity terms of this pod. */
  readonly wanted: Counts;
  /** Pods that match a required anti-affinity term of this pod. */
  readonly unwanted: Counts;
}

export function interPodAffinity(args: InterPodAffinityArgs = DEFAULTS): SchedulerPlugin {
  return {
    name: NAME,
    weight: 2,
    queueingHints: ['pod-added', 'pod-updated', 'pod-deleted', 'node-added', 'node-updated'],
    isHelpedBy: helpsInterPodAffinity,
    preFilter(cycle) {
      const { pod, snapshot } = cycle;
      const ownTerms = pod.requiredAffinity.length + pod.requiredAntiAffinity.length > 0;
      const state: FilterState = { refusedBy: new Map(), wanted: new Map(), unwanted: new Map() };
      for (const node of ownTerms ? snapshot.nodes : snapshot.withRequiredAntiAffinity) {
        for (const existing of ownTerms ? node.pods.values() : node.withRequiredAntiAffinity)
          count(cycle, { state, existing, node, step: 1 });
      }
      if (!ownTerms && state.refusedBy.size === 0) return 'skip';
      cycle.state.set(NAME, state);
      return undefined;
    },
    filter(cycle, node) {
      const state = cycle.state.get(NAME) as FilterState;
      if (!affinityHolds(cycle, { state, node }))
        return refusal(NAME, "node(s) didn't match pod affinity rules", { resolvable: false });
      if (cycle.pod.requiredAntiAffinity.some((term) => at(state.unwanted, { term, node }) > 0))
        return refusal(NAME, "node(s) didn't match pod anti-affinity rules");
      for (const [key, byValue] of state.refusedBy) {
        if ((byValue.get(node.labels[key] ?? '') ?? 0) > 0 && node.labels[key] !== undefined)
          return refusal(NAME, "node(s) didn't satisfy existing pods anti-affinity rules");
      }
      return undefined;
    },
    podRemoved: (cycle, { pod, node }) =>
      count(cycle, { state: cycle.state.get(NAME) as FilterState, existing: pod, node, step: -1 }),
    podAdded: (cycle, { pod, node }) =>
      count(cycle, { state: cycle.state.get(NAME) as FilterState, existing: pod, node, step: 1 }),
    cloneState(state) {
      const { refusedBy, wanted, unwanted } = state as FilterState;
      return {
        refusedBy: copied(refusedBy),
        wanted: copied(wanted),
        unwanted: copied(unwanted),
      } satisfies FilterState;
    },
    preScore(cycle) {
      const { pod, snapshot } = cycle;
      const own = pod.preferredAffinity.length + pod.preferredAntiAffinity.length > 0;
      if (!own && args.ignorePreferredTermsOfExistingPods) return 'skip';
      const scores: Counts = new Map();
      for (const node of own ? snapshot.nodes : snapshot.withAffinity) {
        for (const existing of own ? node.pods.values() : node.withAffinity)
          attract(cycle, { scores, existing, node, hardWeight: args.hardPodAffinityWeight });
      }
      if (scores.size === 0) return 'skip';
      cycle.state.set(SCORE, scores);
      return undefined;
    },
    score(cycle, node) {
      let sum = 0;
      for (const [key, byValue] of cycle.state.get(SCORE) as Counts) {
        const value = node.labels[key];
        if (value !== undefined) sum += byValue.get(value) ?? 0;
      }
      return sum;
    },
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

function copied(counts: Counts): Counts {
  return new Map([...counts].map(([key, byValue]) => [key, new Map(byValue)]));
}

interface Place {
  readonly term: AffinityTerm;
  readonly node: NodeInfo;
}

/** Nodes without the topology label are in no domain. */
function add(counts: Counts, { term, node, by }: Place & { readonly by: number }): void {
  const value = node.labels[term.topologyKey];
  if (value === undefined) return;
  let byValue = counts.get(term.topologyKey);
  if (!byValue) counts.set(term.topologyKey, (byValue = new Map()));
  byValue.set(value, (byValue.get(value) ?? 0) + by);
}

function at(counts: Counts, { term, node }: Place): number {
  const value = node.labels[term.topologyKey];
  return value === undefined ? 0 : (counts.get(term.topologyKey)?.get(value) ?? 0);
}

interface CountChange {
  readonly state: FilterState;
  readonly existing: PodInfo;
  readonly node: NodeInfo;
  readonly step: 1 | -1;
}

function count({ pod, snapshot }: Cycle, { state, existing, node, step }: CountChange): void {
  const about = (term: AffinityTerm, other: PodInfo): boolean =>
    termMatches(term, other, snapshot.namespaceLabels);
  for (const term of existing.requiredAntiAffinity)
    if (about(term, pod)) add(state.refusedBy, { term, node, by: step });
  for (const term of pod.requiredAntiAffinity)
    if (about(term, existing)) add(state.unwanted, { term, node, by: step });
  if (pod.requiredAffinity.length > 0 && pod.requiredAffinity.every((term) => about(term, existing))) {
    for (const term of pod.requiredAffinity) add(state.wanted, { term, node, by: step });
  }
}

function attract(
  { pod, snapshot }: Cycle,
  {
    scores,
    existing,
    node,
    hardWeight,
  }: {
    readonly scores: Counts;
    readonly existing: PodInfo;
    readonly node: NodeInfo;
    readonly hardWeight: number;
  },
): void {
  const pull = (
    terms: readonly AffinityTerm[],
    by: { readonly about: PodInfo; readonly weight: (term: AffinityTerm) => number },
  ): void => {
    for (const term of terms)
      if (termMatches(term, by.about, snapshot.namespaceLabels))
        add(scores, { term, node, by: by.weight(term) });
  };
  pull(pod.preferredAffinity, { about: existing, weight: (term) => term.weight });
  pull(pod.preferredAntiAffinity, { about: existing, weight: (term) => -term.weight });
  if (hardWeight > 0) pull(existing.requiredAffinity, { about: pod, weight: () => hardWeight });
  pull(existing.preferredAffinity, { about: pod, weight: (term) => term.weight });
  pull(existing.preferredAntiAffinity, { about: pod, weight: (term) => -term.weight });
}

/** The first pod of a group with affinity to itself may use any node that has the topology label. */
function affinityHolds(
  { pod, snapshot }: Cycle,
  { state, node }: { readonly state: FilterState; readonly node: NodeInfo },
): boolean {
  if (pod.requiredAffinity.length === 0) return true;
  if (!pod.requiredAffinity.every((term) => node.labels[term.topologyKey] !== undefined)) return false;
  if (pod.requiredAffinity.every((term) => at(state.wanted, { term, node }) > 0)) return true;
  const noPods = [...state.wanted.values()].every((byValue) =>
    [...byValue.values()].every((value) => value <= 0),
  );
  return noPods && pod.requiredAffinity.every((term) => termMatches(term, pod, snapshot.namespaceLabels));
}
