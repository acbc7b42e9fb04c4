/** InterPodAffinity: required pod affinity and anti-affinity (both directions) as filters, preferred ones as scores. */
import { refusal, type Cycle, type SchedulerPlugin } from '../plugin.ts';
import type { NodeInfo } from '../node-info.ts';
import { termMatches, type AffinityTerm, type PodInfo } from '../pod-info.ts';

const NAME = 'InterPodAffinity';
/** Upstream's hardPodAffinityWeight: pods whose required affinity names this pod pull it a little. */
const HARD_AFFINITY_WEIGHT = 1;

/** How many matching pods there are per 'topologyKey=value'. */
type Counts = Map<string, number>;

interface FilterState {
  /** Existing pods that refuse this pod near them. */
  readonly refusedBy: Counts;
  /** Pods this pod wants near, counted only when they match ALL its affinity terms. */
  readonly wanted: Counts;
  /** Pods this pod refuses near it. */
  readonly unwanted: Counts;
}

export const interPodAffinity: SchedulerPlugin = {
  name: NAME,
  weight: 2,
  wakesOn: ['pod-added', 'pod-updated', 'pod-deleted', 'node-added', 'node-updated'],
  preFilter(cycle) {
    const { pod, snapshot } = cycle;
    const ownTerms = pod.requiredAffinity.length + pod.requiredAntiAffinity.length > 0;
    const state: FilterState = { refusedBy: new Map(), wanted: new Map(), unwanted: new Map() };
    for (const node of ownTerms ? snapshot.nodes : snapshot.withRequiredAntiAffinity) {
      for (const existing of ownTerms ? node.pods.values() : node.withRequiredAntiAffinity) count(cycle, { state, existing, node, step: 1 });
    }
    if (!ownTerms && state.refusedBy.size === 0) return 'skip';
    cycle.state.set(NAME, state);
    return undefined;
  },
  filter(cycle, node) {
    const state = cycle.state.get(NAME) as FilterState | undefined;
    if (!state) return undefined;
    if (!affinityHolds(cycle, { state, node })) return refusal(NAME, "node(s) didn't match pod affinity rules", { resolvable: false });
    if (anyAt(cycle.pod.requiredAntiAffinity, { counts: state.unwanted, node })) return refusal(NAME, "node(s) didn't match pod anti-affinity rules");
    for (const [key, value] of state.refusedBy) {
      if (value > 0 && hasTopology(node, key)) return refusal(NAME, "node(s) didn't satisfy existing pods anti-affinity rules");
    }
    return undefined;
  },
  cloneState: (state) => {
    const { refusedBy, wanted, unwanted } = state as FilterState;
    return { refusedBy: new Map(refusedBy), wanted: new Map(wanted), unwanted: new Map(unwanted) } satisfies FilterState;
  },
  podRemoved: (cycle, { pod, node }) => recount(cycle, { existing: pod, node, step: -1 }),
  podAdded: (cycle, { pod, node }) => recount(cycle, { existing: pod, node, step: 1 }),
  preScore(cycle) {
    const { pod, snapshot } = cycle;
    const own = pod.preferredAffinity.length + pod.preferredAntiAffinity.length > 0;
    const scores = new Map<string, number>();
    const add = (term: AffinityTerm, at: { readonly node: NodeInfo; readonly weight: number }): void => {
      const value = at.node.labels[term.topologyKey];
      if (value !== undefined) scores.set(`${term.topologyKey}=${value}`, (scores.get(`${term.topologyKey}=${value}`) ?? 0) + at.weight);
    };
    for (const node of own ? snapshot.nodes : snapshot.withAffinity) {
      for (const existing of own ? node.pods.values() : node.withAffinity) {
        for (const term of pod.preferredAffinity) if (termMatches(term, existing, snapshot.namespaceLabels)) add(term, { node, weight: term.weight });
        for (const term of pod.preferredAntiAffinity) if (termMatches(term, existing, snapshot.namespaceLabels)) add(term, { node, weight: -term.weight });
        for (const term of existing.requiredAffinity) if (termMatches(term, pod, snapshot.namespaceLabels)) add(term, { node, weight: HARD_AFFINITY_WEIGHT });
        for (const term of existing.preferredAffinity) if (termMatches(term, pod, snapshot.namespaceLabels)) add(term, { node, weight: term.weight });
        for (const term of existing.preferredAntiAffinity) if (termMatches(term, pod, snapshot.namespaceLabels)) add(term, { node, weight: -term.weight });
      }
    }
    if (scores.size === 0) return 'skip';
    cycle.state.set(`${NAME}/score`, scores);
    return undefined;
  },
  score(cycle, node) {
    let sum = 0;
    for (const [key, value] of cycle.state.get(`${NAME}/score`) as Counts) if (hasTopology(node, key)) sum += value;
    return sum;
  },
  normalize(_cycle, scores) {
    let low = Infinity;
    let high = -Infinity;
    for (const score of scores) {
      low = Math.min(low, score);
      high = Math.max(high, score);
    }
    for (let index = 0; index < scores.length; index += 1) scores[index] = high === low ? 0 : Math.trunc((100 * ((scores[index] ?? 0) - low)) / (high - low));
  },
};

interface CountChange { readonly existing: PodInfo; readonly node: NodeInfo; readonly step: 1 | -1 }

function recount(cycle: Cycle, change: CountChange): void {
  const state = cycle.state.get(NAME) as FilterState | undefined;
  if (state) count(cycle, { state, ...change });
}

function count({ pod, snapshot }: Cycle, { state, existing, node, step }: CountChange & { readonly state: FilterState }): void {
  const bump = (counts: Counts, term: AffinityTerm): void => {
    const value = node.labels[term.topologyKey];
    if (value !== undefined) counts.set(`${term.topologyKey}=${value}`, (counts.get(`${term.topologyKey}=${value}`) ?? 0) + step);
  };
  for (const term of existing.requiredAntiAffinity) if (termMatches(term, pod, snapshot.namespaceLabels)) bump(state.refusedBy, term);
  for (const term of pod.requiredAntiAffinity) if (termMatches(term, existing, snapshot.namespaceLabels)) bump(state.unwanted, term);
  if (pod.requiredAffinity.length > 0 && pod.requiredAffinity.every((term) => termMatches(term, existing, snapshot.namespaceLabels))) {
    for (const term of pod.requiredAffinity) bump(state.wanted, term);
  }
}

/** The first pod of a group that wants to be near its own kind may go anywhere that has the topology. */
function affinityHolds({ pod, snapshot }: Cycle, { state, node }: { readonly state: FilterState; readonly node: NodeInfo }): boolean {
  if (pod.requiredAffinity.length === 0) return true;
  if (!pod.requiredAffinity.every((term) => node.labels[term.topologyKey] !== undefined)) return false;
  if (pod.requiredAffinity.every((term) => (state.wanted.get(`${term.topologyKey}=${node.labels[term.topologyKey]}`) ?? 0) > 0)) return true;
  return [...state.wanted.values()].every((value) => value <= 0) && pod.requiredAffinity.every((term) => termMatches(term, pod, snapshot.namespaceLabels));
}

function anyAt(terms: readonly AffinityTerm[], { counts, node }: { readonly counts: Counts; readonly node: NodeInfo }): boolean {
  return terms.some((term) => (counts.get(`${term.topologyKey}=${node.labels[term.topologyKey] ?? ''}`) ?? 0) > 0);
}

/** key: 'topologyKey=value'; label keys have no '='. */
function hasTopology(node: NodeInfo, key: string): boolean {
  const at = key.indexOf('=');
  return node.labels[key.slice(0, at)] === key.slice(at + 1);
}
