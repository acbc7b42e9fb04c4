/** PodTopologySpread: hard constraints as a filter, soft ones (and upstream's defaults: host and zone) as a score. */
import type { TopologySpreadConstraint } from '#api/types.ts';
import { compileLabelSelector, type LabelSelectorObject } from '#machinery/labels.ts';
import { refusal, type Cycle, type SchedulerPlugin } from '../plugin.ts';
import type { NodeInfo } from '../node-info.ts';
import type { PodInfo } from '../pod-info.ts';
import type { PodMatcher } from '../pod-info.ts';
import { matchesRequiredNodeAffinity } from '#component-helpers/node-affinity.ts';
import { findUntoleratedTaint } from '#component-helpers/tolerations.ts';
import type { NodeSum } from '../node-sums.ts';
import { helpsPodTopologySpread } from '../queueing-hints.ts';

const NAME = 'PodTopologySpread';
const SCORE = `${NAME}/score`;
const HOSTNAME = 'kubernetes.io/hostname';

interface Constraint {
  readonly topologyKey: string;
  readonly maxSkew: number;
  readonly minDomains: number;
  readonly matcher: PodMatcher;
  readonly honourAffinity: boolean;
  readonly honourTaints: boolean;
}

/** Matching pods per value of the topology key. `lowest` is cached until a count changes. */
interface Counted {
  readonly constraint: Constraint;
  readonly domains: ReadonlyMap<string, number>;
  readonly selfMatch: 0 | 1;
  lowest: number | undefined;
}

/** Of a simulation. */
interface Copied {
  readonly domains: Map<string, number>;
}

/** Excludes the hostname topology, for which the node's own pods are counted when it is scored. */
interface ScoreState {
  readonly counted: readonly Pick<Counted, 'constraint' | 'domains'>[];
  readonly weights: readonly number[];
  readonly ignored: ReadonlySet<string>;
}

type DefaultConstraint = Pick<
  TopologySpreadConstraint,
  'topologyKey' | 'maxSkew' | 'whenUnsatisfiable' | 'minDomains' | 'nodeAffinityPolicy' | 'nodeTaintsPolicy'
>;

/** defaults: constraints of pods without any, over the pods of one Service or controller; undefined: upstream's, hosts (maxSkew 3) and zones (5). */
export function podTopologySpread(defaults?: readonly DefaultConstraint[]): SchedulerPlugin {
  return {
    name: NAME,
    weight: 2,
    queueingHints: ['pod-added', 'pod-updated', 'pod-deleted', 'node-added', 'node-updated', 'node-deleted'],
    isHelpedBy: helpsPodTopologySpread,
    preFilter(cycle) {
      const constraints = constraintsOf(cycle, { whenUnsatisfiable: 'DoNotSchedule', defaults });
      if (constraints.length === 0) return 'skip';
      cycle.state.set(
        NAME,
        constraints.map((constraint): Counted => {
          const sum = domainSum(cycle, { constraint, all: constraints });
          return {
            constraint,
            domains: sum.domains,
            selfMatch: constraint.matcher.matches(cycle.pod.labels) ? 1 : 0,
            lowest: sum.domains.size < constraint.minDomains ? 0 : sum.lowest,
          };
        }),
      );
      return undefined;
    },
    filter(cycle, node) {
      for (const counted of cycle.state.get(NAME) as readonly Counted[]) {
        const { constraint, domains, selfMatch } = counted;
        const value = node.labels[constraint.topologyKey];
        if (value === undefined)
          return refusal(
            NAME,
            "node(s) didn't match pod topology spread constraints (missing required label)",
            { resolvable: false },
          );
        if ((domains.get(value) ?? 0) + selfMatch - lowestCount(counted) > constraint.maxSkew)
          return refusal(NAME, "node(s) didn't match pod topology spread constraints");
      }
      return undefined;
    },
    cloneState: (state) =>
      (state as readonly Counted[]).map((one) => ({ ...one, domains: new Map(one.domains) })),
    podRemoved: (cycle, { pod, node }) => shift(cycle, { pod, node, step: -1 }),
    podAdded: (cycle, { pod, node }) => shift(cycle, { pod, node, step: 1 }),
    preScore(cycle, nodes) {
      // Of upstream's defaults, a node may lack some keys.
      const own = hasOwnConstraints(cycle.pod) || defaults !== undefined;
      const constraints = constraintsOf(cycle, { whenUnsatisfiable: 'ScheduleAnyway', defaults });
      if (constraints.length === 0) return 'skip';
      const ignored = new Set(
        own
          ? nodes
              .filter((node) => constraints.some(({ topologyKey }) => node.labels[topologyKey] === undefined))
              .map((node) => node.name)
          : [],
      );
      const counted = constraints.map((constraint) => ({
        constraint,
        domains: scoreDomains(cycle, { constraint, all: own ? constraints : [], nodes, ignored }),
      }));
      const weights = counted.map(({ constraint, domains }) =>
        Math.log((constraint.topologyKey === HOSTNAME ? nodes.length - ignored.size : domains.size) + 2),
      );
      cycle.state.set(SCORE, { counted, weights, ignored } satisfies ScoreState);
      return undefined;
    },
    score(cycle, node) {
      const { counted, weights, ignored } = cycle.state.get(SCORE) as ScoreState;
      if (ignored.has(node.name)) return 0;
      let sum = 0;
      for (const [index, { constraint, domains }] of counted.entries()) {
        const value = node.labels[constraint.topologyKey];
        if (value === undefined) continue;
        const count =
          constraint.topologyKey === HOSTNAME ? node.count(constraint.matcher) : (domains.get(value) ?? 0);
        sum += count * (weights[index] ?? 0) + (constraint.maxSkew - 1);
      }
      return Math.round(sum);
    },
    normalize(cycle, scores, nodes) {
      const { ignored } = cycle.state.get(SCORE) as ScoreState;
      let low = Infinity;
      let high = 0;
      for (const [index, node] of nodes.entries()) {
        if (ignored.has(node.name)) continue;
        low = Math.min(low, scores[index] ?? 0);
        high = Math.max(high, scores[index] ?? 0);
      }
      for (const [index, node] of nodes.entries()) {
        scores[index] = ignored.has(node.name)
          ? 0
          : high === 0
            ? 100
            : Math.trunc((100 * (high + low - (scores[index] ?? 0))) / high);
      }
    },
  };
}

function lowestCount(counted: Counted): number {
  if (counted.lowest === undefined) {
    let lowest = Infinity;
    for (const count of counted.domains.values()) lowest = Math.min(lowest, count);
    counted.lowest = counted.domains.size < counted.constraint.minDomains || lowest === Infinity ? 0 : lowest;
  }
  return counted.lowest;
}

function ownConstraints(pod: PodInfo, whenUnsatisfiable: string): Constraint[] {
  return (pod.pod.spec?.topologySpreadConstraints ?? [])
    .filter((raw) => raw.whenUnsatisfiable === whenUnsatisfiable)
    .map((raw) => ({
      topologyKey: raw.topologyKey,
      maxSkew: raw.maxSkew,
      minDomains: raw.minDomains ?? 1,
      matcher: matcherOf(selectorWithKeys(raw, pod), pod.namespace),
      honourAffinity: raw.nodeAffinityPolicy !== 'Ignore',
      honourTaints: raw.nodeTaintsPolicy === 'Honor',
    }));
}

function matcherOf(selector: LabelSelectorObject | undefined, namespace: string): PodMatcher {
  const compiled = compileLabelSelector(selector);
  return {
    namespace,
    key: `${namespace}/${JSON.stringify(selector ?? null)}`,
    matches: (labels) => compiled.matches(labels),
  };
}

function selectorWithKeys(raw: TopologySpreadConstraint, pod: PodInfo): LabelSelectorObject | undefined {
  const selector = raw.labelSelector as LabelSelectorObject | undefined;
  const keys = (raw.matchLabelKeys ?? []).filter((key) => pod.labels[key] !== undefined);
  if (!selector || keys.length === 0) return selector;
  return {
    ...selector,
    matchExpressions: [
      ...(selector.matchExpressions ?? []),
      ...keys.map((key) => ({ key, operator: 'In', values: [pod.labels[key] ?? ''] })),
    ],
  };
}

const SYSTEM_DEFAULTS: readonly DefaultConstraint[] = [
  { topologyKey: HOSTNAME, maxSkew: 3, whenUnsatisfiable: 'ScheduleAnyway' },
  { topologyKey: 'topology.kubernetes.io/zone', maxSkew: 5, whenUnsatisfiable: 'ScheduleAnyway' },
];

function hasOwnConstraints({ pod }: PodInfo): boolean {
  return (pod.spec?.topologySpreadConstraints ?? []).length > 0;
}

function constraintsOf(
  { pod, snapshot }: Cycle,
  {
    whenUnsatisfiable,
    defaults = SYSTEM_DEFAULTS,
  }: { readonly whenUnsatisfiable: string; readonly defaults: readonly DefaultConstraint[] | undefined },
): Constraint[] {
  if (hasOwnConstraints(pod)) return ownConstraints(pod, whenUnsatisfiable);
  const wanted = defaults.filter((one) => one.whenUnsatisfiable === whenUnsatisfiable);
  const matcher = wanted.length > 0 ? snapshot.defaultSelector(pod) : undefined;
  if (!matcher) return [];
  return wanted.map((raw) => ({
    topologyKey: raw.topologyKey,
    maxSkew: raw.maxSkew,
    minDomains: raw.minDomains ?? 1,
    matcher,
    honourAffinity: raw.nodeAffinityPolicy !== 'Ignore',
    honourTaints: raw.nodeTaintsPolicy === 'Honor',
  }));
}

interface Counting {
  readonly constraint: Constraint;
  readonly all: readonly Constraint[];
}

/** Over the nodes that are eligible for the pod and have every topology key. */
function domainSum(cycle: Cycle, counting: Counting): DomainSum {
  const { constraint, all } = counting;
  const { spec } = cycle.pod.pod;
  const key = JSON.stringify([
    constraint.topologyKey,
    constraint.matcher.key,
    all.map(({ topologyKey }) => topologyKey),
    constraint.honourAffinity && [spec?.nodeSelector, spec?.affinity?.nodeAffinity],
    constraint.honourTaints && (spec?.tolerations ?? []),
  ]);
  return cycle.snapshot.sums.of(`${NAME}/${key}`, () => {
    const sum = new DomainSum(cycle.pod, counting);
    for (const node of cycle.snapshot.nodes) sum.update(node);
    return sum;
  });
}

interface InDomain {
  readonly value: string;
  readonly count: number;
}

/** Matching pods by domain, and the lowest of these counts. */
class DomainSum implements NodeSum {
  readonly domains = new Map<string, number>();
  readonly #pod: PodInfo;
  readonly #counting: Counting;
  readonly #added = new Map<NodeInfo, InDomain>();
  /** Domain → its nodes. */
  readonly #nodes = new Map<string, number>();
  /** Count → the number of domains that have it. */
  readonly #levels = new Map<number, number>();

  constructor(pod: PodInfo, counting: Counting) {
    this.#pod = pod;
    this.#counting = counting;
  }

  /** 0 without domains. */
  get lowest(): number {
    let lowest = Infinity;
    for (const level of this.#levels.keys()) lowest = Math.min(lowest, level);
    return lowest === Infinity ? 0 : lowest;
  }

  update(node: NodeInfo): void {
    const before = this.#added.get(node);
    const after = this.#domainOf(node);
    if (before?.value === after?.value && before?.count === after?.count) return;
    if (before) this.#add(before, -1);
    if (after) {
      this.#add(after, 1);
      this.#added.set(node, after);
    } else this.#added.delete(node);
  }

  #domainOf(node: NodeInfo): InDomain | undefined {
    const { constraint } = this.#counting;
    const value = node.labels[constraint.topologyKey];
    if (!node.node || value === undefined || !isCounted(this.#pod, { ...this.#counting, node }))
      return undefined;
    return { value, count: node.count(constraint.matcher) };
  }

  #add({ value, count }: InDomain, step: 1 | -1): void {
    const nodes = (this.#nodes.get(value) ?? 0) + step;
    const before = this.domains.get(value);
    if (before !== undefined) this.#level(before, -1);
    if (nodes === 0) {
      this.#nodes.delete(value);
      this.domains.delete(value);
      return;
    }
    const now = (before ?? 0) + step * count;
    this.#nodes.set(value, nodes);
    this.domains.set(value, now);
    this.#level(now, 1);
  }

  #level(count: number, step: 1 | -1): void {
    const domains = (this.#levels.get(count) ?? 0) + step;
    if (domains === 0) this.#levels.delete(count);
    else this.#levels.set(count, domains);
  }
}

/** Only the domains of nodes to be scored. */
function scoreDomains(
  cycle: Cycle,
  counting: Counting & { readonly nodes: readonly NodeInfo[]; readonly ignored: ReadonlySet<string> },
): ReadonlyMap<string, number> {
  const { topologyKey } = counting.constraint;
  const domains = new Map<string, number>();
  if (topologyKey === HOSTNAME) return domains;
  const { domains: counts } = domainSum(cycle, counting);
  for (const node of counting.nodes) {
    const value = node.labels[topologyKey];
    if (value !== undefined && !domains.has(value) && !counting.ignored.has(node.name))
      domains.set(value, counts.get(value) ?? 0);
  }
  return domains;
}

function isCounted(pod: PodInfo, { node, constraint, all }: Counting & { readonly node: NodeInfo }): boolean {
  for (const { topologyKey } of all) if (node.labels[topologyKey] === undefined) return false;
  return eligible(pod, { node, constraint });
}

function eligible(
  pod: PodInfo,
  { node, constraint }: { readonly node: NodeInfo; readonly constraint: Constraint },
): boolean {
  if (constraint.honourAffinity && !matchesRequiredNodeAffinity(pod.pod.spec, node)) return false;
  return (
    !constraint.honourTaints ||
    findUntoleratedTaint(node.taints, {
      tolerations: pod.pod.spec?.tolerations ?? [],
      effects: ['NoSchedule', 'NoExecute'],
    }) === undefined
  );
}

function shift(
  cycle: Cycle,
  { pod, node, step }: { readonly pod: PodInfo; readonly node: NodeInfo; readonly step: 1 | -1 },
): void {
  // Terminating pods were not counted.
  if (pod.namespace !== cycle.pod.namespace || pod.pod.metadata?.deletionTimestamp) return;
  for (const counted of cycle.state.get(NAME) as readonly (Counted & Copied)[]) {
    const { constraint, domains } = counted;
    const value = node.labels[constraint.topologyKey];
    const before = value === undefined ? undefined : domains.get(value);
    if (value === undefined || before === undefined || !constraint.matcher.matches(pod.labels)) continue;
    domains.set(value, before + step);
    counted.lowest = undefined;
  }
}
