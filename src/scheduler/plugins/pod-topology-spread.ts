/** PodTopologySpread: hard constraints as a filter, soft ones (and upstream's defaults: host and zone) as a score. */
import type { TopologySpreadConstraint } from '#api/types.ts';
import { compileLabelSelector, type LabelSelectorObject } from '#machinery/labels.ts';
import { refusal, type Cycle, type SchedulerPlugin } from '../plugin.ts';
import type { NodeInfo } from '../node-info.ts';
import type { PodInfo } from '../pod-info.ts';
import type { PodMatcher } from '../snapshot.ts';
import { matchesRequired } from './node-affinity.ts';
import { firstUntolerated } from './tolerations.ts';

const NAME = 'PodTopologySpread';
const HOSTNAME = 'kubernetes.io/hostname';

interface Constraint {
  readonly topologyKey: string;
  readonly maxSkew: number;
  readonly minDomains: number;
  readonly matcher: PodMatcher;
  readonly honourAffinity: boolean;
  readonly honourTaints: boolean;
}

interface Counted { readonly constraint: Constraint; readonly domains: Map<string, number>; readonly selfMatch: 0 | 1 }

interface ScoreState { readonly counted: readonly Counted[]; readonly weights: readonly number[]; readonly ignored: ReadonlySet<string> }

export const podTopologySpread: SchedulerPlugin = {
  name: NAME,
  weight: 2,
  wakesOn: ['pod-added', 'pod-updated', 'pod-deleted', 'node-added', 'node-updated', 'node-deleted'],
  preFilter(cycle) {
    const constraints = ownConstraints(cycle.pod, 'DoNotSchedule');
    if (constraints.length === 0) return 'skip';
    cycle.state.set(NAME, constraints.map((constraint) => countDomains(cycle, { constraint, all: constraints })));
    return undefined;
  },
  filter(cycle, node) {
    for (const { constraint, domains, selfMatch } of cycle.state.get(NAME) as readonly Counted[]) {
      const value = node.labels[constraint.topologyKey];
      if (value === undefined) return refusal(NAME, "node(s) didn't match pod topology spread constraints (missing required label)", { resolvable: false });
      const lowest = domains.size < constraint.minDomains ? 0 : Math.min(...domains.values(), Infinity);
      const skew = (domains.get(value) ?? 0) + selfMatch - (Number.isFinite(lowest) ? lowest : 0);
      if (skew > constraint.maxSkew) return refusal(NAME, "node(s) didn't match pod topology spread constraints");
    }
    return undefined;
  },
  cloneState: (state) => (state as readonly Counted[]).map((one) => ({ ...one, domains: new Map(one.domains) })),
  podRemoved: (cycle, { pod, node }) => shift(cycle, { pod, node, step: -1 }),
  podAdded: (cycle, { pod, node }) => shift(cycle, { pod, node, step: 1 }),
  preScore(cycle, nodes) {
    const own = ownConstraints(cycle.pod, 'ScheduleAnyway');
    const constraints = own.length > 0 || (cycle.pod.pod.spec?.topologySpreadConstraints ?? []).length > 0 ? own : defaultConstraints(cycle);
    if (constraints.length === 0) return 'skip';
    const requireAll = own.length > 0;
    const ignored = new Set(nodes.filter((node) => requireAll && constraints.some(({ topologyKey }) => node.labels[topologyKey] === undefined)).map((node) => node.name));
    const counted = constraints.map((constraint) => countDomains(cycle, { constraint, all: requireAll ? constraints : [] }));
    const weights = counted.map(({ constraint, domains }) => Math.log((constraint.topologyKey === HOSTNAME ? nodes.length - ignored.size : domains.size) + 2));
    cycle.state.set(`${NAME}/score`, { counted, weights, ignored } satisfies ScoreState);
    return undefined;
  },
  score(cycle, node) {
    const { counted, weights, ignored } = cycle.state.get(`${NAME}/score`) as ScoreState;
    if (ignored.has(node.name)) return 0;
    let sum = 0;
    for (const [index, { constraint, domains }] of counted.entries()) {
      const value = node.labels[constraint.topologyKey];
      if (value !== undefined) sum += (domains.get(value) ?? 0) * (weights[index] ?? 0) + (constraint.maxSkew - 1);
    }
    return Math.round(sum);
  },
  normalize(cycle, scores, nodes) {
    const { ignored } = cycle.state.get(`${NAME}/score`) as ScoreState;
    let low = Infinity;
    let high = 0;
    for (const [index, node] of nodes.entries()) {
      if (ignored.has(node.name)) continue;
      low = Math.min(low, scores[index] ?? 0);
      high = Math.max(high, scores[index] ?? 0);
    }
    for (const [index, node] of nodes.entries()) {
      scores[index] = ignored.has(node.name) ? 0 : high === 0 ? 100 : Math.trunc((100 * (high + low - (scores[index] ?? 0))) / high);
    }
  },
};

function ownConstraints(pod: PodInfo, whenUnsatisfiable: string): Constraint[] {
  return (pod.pod.spec?.topologySpreadConstraints ?? []).filter((raw) => raw.whenUnsatisfiable === whenUnsatisfiable).map((raw) => ({
    topologyKey: raw.topologyKey,
    maxSkew: raw.maxSkew,
    minDomains: raw.minDomains ?? 1,
    matcher: matcherOf(selectorWithKeys(raw, pod)),
    honourAffinity: raw.nodeAffinityPolicy !== 'Ignore',
    honourTaints: raw.nodeTaintsPolicy === 'Honor',
  }));
}

function matcherOf(selector: LabelSelectorObject | undefined): PodMatcher {
  const compiled = compileLabelSelector(selector);
  return { key: JSON.stringify(selector ?? null), matches: (labels) => compiled.matches(labels) };
}

function selectorWithKeys(raw: TopologySpreadConstraint, pod: PodInfo): LabelSelectorObject | undefined {
  const selector = raw.labelSelector as LabelSelectorObject | undefined;
  const keys = (raw.matchLabelKeys ?? []).filter((key) => pod.labels[key] !== undefined);
  if (!selector || keys.length === 0) return selector;
  return { ...selector, matchExpressions: [...selector.matchExpressions ?? [], ...keys.map((key) => ({ key, operator: 'In', values: [pod.labels[key] ?? ''] }))] };
}

/** Spread what one Service or controller selects over hosts (skew 3) and zones (skew 5). */
function defaultConstraints({ pod, snapshot }: Cycle): Constraint[] {
  const matcher = snapshot.siblings(pod);
  if (!matcher) return [];
  const shared = { minDomains: 1, matcher, honourAffinity: true, honourTaints: false };
  return [{ topologyKey: HOSTNAME, maxSkew: 3, ...shared }, { topologyKey: 'topology.kubernetes.io/zone', maxSkew: 5, ...shared }];
}

/** Matching pods per value of the topology key, over the nodes the pod could use. */
function countDomains({ pod, snapshot }: Cycle, { constraint, all }: { readonly constraint: Constraint; readonly all: readonly Constraint[] }): Counted {
  const domains = new Map<string, number>();
  for (const node of snapshot.nodes) {
    const value = node.labels[constraint.topologyKey];
    if (value === undefined || all.some(({ topologyKey }) => node.labels[topologyKey] === undefined) || !eligible(pod, { node, constraint })) continue;
    domains.set(value, (domains.get(value) ?? 0) + node.count(pod.namespace, constraint.matcher));
  }
  return { constraint, domains, selfMatch: constraint.matcher.matches(pod.labels) ? 1 : 0 };
}

function eligible(pod: PodInfo, { node, constraint }: { readonly node: NodeInfo; readonly constraint: Constraint }): boolean {
  if (constraint.honourAffinity && !matchesRequired(pod, node)) return false;
  return !constraint.honourTaints || firstUntolerated(node.taints, { tolerations: pod.pod.spec?.tolerations ?? [], effects: ['NoSchedule', 'NoExecute'] }) === undefined;
}

function shift(cycle: Cycle, { pod, node, step }: { readonly pod: PodInfo; readonly node: NodeInfo; readonly step: 1 | -1 }): void {
  for (const { constraint, domains } of (cycle.state.get(NAME) as readonly Counted[] | undefined) ?? []) {
    const value = node.labels[constraint.topologyKey];
    if (value === undefined || pod.namespace !== cycle.pod.namespace || !constraint.matcher.matches(pod.labels) || !domains.has(value)) continue;
    domains.set(value, (domains.get(value) ?? 0) + step);
  }
}
