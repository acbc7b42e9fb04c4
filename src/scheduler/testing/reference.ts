/**
 * A slow, obvious scheduler for small clusters, from the documented meaning of each plugin: it reads plain API objects, keeps nothing, and shares no code with the
 * scheduler. Knows what reference.test.ts generates: labels, taints, node and pod affinity, spread constraints, host ports, CPU and memory.
 */
import type { Node, NodeSelectorTerm, Pod, PodAffinityTerm, TopologySpreadConstraint } from '#api/types.ts';

interface ReferenceCluster {
  readonly nodes: readonly Node[];
  /** With spec.nodeName. */
  readonly pods: readonly Pod[];
}

interface Verdicts {
  /** Node → the first plugin that refuses it; undefined: feasible. */
  readonly refusedBy: ReadonlyMap<string, string | undefined>;
  /** Of feasible nodes. */
  readonly scores: ReadonlyMap<string, number>;
}

const HOST = 'kubernetes.io/hostname';
const nameOf = ({ metadata }: Node): string => metadata?.name ?? '';
const labelsOf = ({ metadata }: Node | Pod): Readonly<Record<string, string>> => metadata?.labels ?? {};
const GI = 2 ** 30;
const MI = 2 ** 20;

export function referenceVerdicts(pod: Pod, cluster: ReferenceCluster): Verdicts {
  const refusedBy = new Map(
    cluster.nodes.map((node) => [
      nameOf(node),
      FILTERS.find(([, fits]) => !fits({ pod, node, cluster }))?.[0],
    ]),
  );
  const feasible = cluster.nodes.filter((node) => refusedBy.get(nameOf(node)) === undefined);
  const scores = new Map(feasible.map((node) => [nameOf(node), 0]));
  for (const [weight, score] of SCORES)
    for (const [index, points] of score({ pod, feasible, cluster }).entries()) {
      const name = nameOf(feasible[index]!);
      scores.set(name, scores.get(name)! + weight * points);
    }
  return { refusedBy, scores };
}

// --------------------------------------------------------------------------------------------------------------- filters

interface Question {
  readonly pod: Pod;
  readonly node: Node;
  readonly cluster: ReferenceCluster;
}

const FILTERS: readonly (readonly [plugin: string, fits: (question: Question) => boolean])[] = [
  ['NodeUnschedulable', ({ node }) => !node.spec?.unschedulable],
  [
    'TaintToleration',
    ({ pod, node }) =>
      (node.spec?.taints ?? []).every(
        (taint) => taint.effect === 'PreferNoSchedule' || tolerates(pod, taint.key),
      ),
  ],
  ['NodeAffinity', ({ pod, node }) => hasRequiredLabels(pod, node)],
  [
    'NodePorts',
    ({ pod, node, cluster }) =>
      portsOf(pod).every((port) => !podsOn(node, cluster).some((other) => portsOf(other).includes(port))),
  ],
  ['NodeResourcesFit', fitsResources],
  ['PodTopologySpread', fitsSpread],
  ['InterPodAffinity', fitsPodAffinity],
];

function tolerates({ spec }: Pod, key: string): boolean {
  return (spec?.tolerations ?? []).some((toleration) => toleration.key === key);
}

function hasRequiredLabels({ spec }: Pod, node: Node): boolean {
  const selected = Object.entries(spec?.nodeSelector ?? {}).every(
    ([key, value]) => labelsOf(node)[key] === value,
  );
  const required = spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  return selected && (!required || required.nodeSelectorTerms.some((term) => matchesTerm(term, node)));
}

function matchesTerm({ matchExpressions = [] }: NodeSelectorTerm, node: Node): boolean {
  return matchExpressions.every(({ key, operator, values = [] }) => {
    const value = labelsOf(node)[key];
    if (operator === 'In') return value !== undefined && values.includes(value);
    if (operator === 'NotIn') return value === undefined || !values.includes(value);
    return (value !== undefined) === (operator === 'Exists');
  });
}

function podsOn(node: Node, { pods }: ReferenceCluster): readonly Pod[] {
  return pods.filter(({ spec }) => spec?.nodeName === nameOf(node));
}

function portsOf({ spec }: Pod): readonly number[] {
  return (spec?.containers ?? []).flatMap(({ ports = [] }) =>
    ports.flatMap(({ hostPort }) => hostPort ?? []),
  );
}

/** 'm' and plain CPUs, 'Mi' and 'Gi'. */
function amount(text: unknown): number {
  const value = String(text ?? '0');
  if (value.endsWith('m')) return Number(value.slice(0, -1));
  if (value.endsWith('Gi')) return Number(value.slice(0, -2)) * GI;
  if (value.endsWith('Mi')) return Number(value.slice(0, -2)) * MI;
  return Number(value);
}
const milliCPU = (text: unknown): number =>
  String(text ?? '0').endsWith('m') ? amount(text) : amount(text) * 1000;

interface Amounts {
  readonly cpu: number;
  readonly memory: number;
}

/** assumed: what scoring assumes for containers without requests. */
function requestsOf({ spec }: Pod, assumed: Amounts = { cpu: 0, memory: 0 }): Amounts {
  const all = (spec?.containers ?? []).map(({ resources }) => resources?.requests ?? {});
  const sum = (of: (requests: Readonly<Record<string, unknown>>) => number): number =>
    all.reduce((total, one) => total + of(one), 0);
  return {
    cpu: sum(({ cpu }) => (cpu === undefined ? assumed.cpu : milliCPU(cpu))),
    memory: sum(({ memory }) => (memory === undefined ? assumed.memory : amount(memory))),
  };
}

function capacityOf({ status }: Node): Amounts & { readonly pods: number } {
  const { cpu, memory, pods } = status?.allocatable ?? {};
  return { cpu: milliCPU(cpu), memory: amount(memory), pods: Number(pods) };
}

function usedOn({ node, cluster }: Pick<Question, 'node' | 'cluster'>, assumed?: Amounts): Amounts {
  return podsOn(node, cluster).reduce<Amounts>(
    (sum, other) => {
      const { cpu, memory } = requestsOf(other, assumed);
      return { cpu: sum.cpu + cpu, memory: sum.memory + memory };
    },
    { cpu: 0, memory: 0 },
  );
}

function fitsResources(question: Question): boolean {
  const { pod, node, cluster } = question;
  const capacity = capacityOf(node);
  const used = usedOn(question);
  const wanted = requestsOf(pod);
  return (
    podsOn(node, cluster).length < capacity.pods &&
    (wanted.cpu === 0 || used.cpu + wanted.cpu <= capacity.cpu) &&
    (wanted.memory === 0 || used.memory + wanted.memory <= capacity.memory)
  );
}

// ---------------------------------------------------------------------------------------------------------------- spread

function selects(term: { readonly labelSelector?: unknown }, pod: Pod): boolean {
  const { matchLabels = {} } = (term.labelSelector ?? {}) as {
    readonly matchLabels?: Readonly<Record<string, string>>;
  };
  return Object.entries(matchLabels).every(([key, value]) => labelsOf(pod)[key] === value);
}

function constraintsOf({ spec }: Pod, action: string): readonly TopologySpreadConstraint[] {
  return (spec?.topologySpreadConstraints ?? []).filter(
    ({ whenUnsatisfiable }) => whenUnsatisfiable === action,
  );
}

/** Value of the key → matching pods, over nodes that the pod could use and that have every key. */
function domains(
  constraint: TopologySpreadConstraint,
  {
    pod,
    cluster,
    all,
  }: {
    readonly pod: Pod;
    readonly cluster: ReferenceCluster;
    readonly all: readonly TopologySpreadConstraint[];
  },
): Map<string, number> {
  const counts = new Map<string, number>();
  for (const node of cluster.nodes) {
    if (!all.every(({ topologyKey }) => labelsOf(node)[topologyKey] !== undefined)) continue;
    if (!hasRequiredLabels(pod, node)) continue;
    const value = labelsOf(node)[constraint.topologyKey]!;
    const matching = podsOn(node, cluster).filter(
      (other) => other.metadata?.namespace === pod.metadata?.namespace && selects(constraint, other),
    );
    counts.set(value, (counts.get(value) ?? 0) + matching.length);
  }
  return counts;
}

function fitsSpread({ pod, node, cluster }: Question): boolean {
  const all = constraintsOf(pod, 'DoNotSchedule');
  return all.every((constraint) => {
    const value = labelsOf(node)[constraint.topologyKey];
    if (value === undefined) return false;
    const counts = domains(constraint, { pod, cluster, all });
    const isFew = counts.size < (constraint.minDomains ?? 1);
    const least = isFew || counts.size === 0 ? 0 : Math.min(...counts.values());
    const own = selects(constraint, pod) ? 1 : 0;
    return (counts.get(value) ?? 0) + own - least <= constraint.maxSkew;
  });
}

// ---------------------------------------------------------------------------------------------------------- pod affinity

/** Terms are about the pods of the namespace of the pod that has them. */
function concerns(
  term: PodAffinityTerm,
  { owner, other }: { readonly owner: Pod; readonly other: Pod },
): boolean {
  return owner.metadata?.namespace === other.metadata?.namespace && selects(term, other);
}

function sharesDomain(key: string, a: Node, b: Node): boolean {
  return labelsOf(a)[key] !== undefined && labelsOf(a)[key] === labelsOf(b)[key];
}

function nodeOf({ spec }: Pod, { nodes }: ReferenceCluster): Node {
  return nodes.find((node) => nameOf(node) === spec?.nodeName)!;
}

function fitsPodAffinity({ pod, node, cluster }: Question): boolean {
  const { podAffinity, podAntiAffinity } = pod.spec?.affinity ?? {};
  const wanted = podAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? [];
  const unwanted = podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? [];
  const near = (term: PodAffinityTerm, others: readonly Pod[]): boolean =>
    others.some((other) => sharesDomain(term.topologyKey, node, nodeOf(other, cluster)));
  const company = cluster.pods.filter((other) =>
    wanted.every((term) => concerns(term, { owner: pod, other })),
  );
  const hasKeys = wanted.every(({ topologyKey }) => labelsOf(node)[topologyKey] !== undefined);
  // The first of a group that wants its own company. It counts pods whose node has the key.
  const isFirst =
    !company.some((other) =>
      wanted.some(({ topologyKey }) => labelsOf(nodeOf(other, cluster))[topologyKey] !== undefined),
    ) && wanted.every((term) => concerns(term, { owner: pod, other: pod }));
  if (wanted.length > 0 && !(hasKeys && (wanted.every((term) => near(term, company)) || isFirst)))
    return false;
  if (
    unwanted.some((term) =>
      near(
        term,
        cluster.pods.filter((other) => concerns(term, { owner: pod, other })),
      ),
    )
  )
    return false;
  return !cluster.pods.some((other) =>
    (other.spec?.affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? []).some(
      (term) => concerns(term, { owner: other, other: pod }) && near(term, [other]),
    ),
  );
}

// ---------------------------------------------------------------------------------------------------------------- scores

interface ScoreQuestion {
  readonly pod: Pod;
  readonly feasible: readonly Node[];
  readonly cluster: ReferenceCluster;
}
type Score = (question: ScoreQuestion) => readonly number[];

const toHundred = (points: readonly number[]): number[] => {
  const most = Math.max(0, ...points);
  return points.map((one) => (most === 0 ? 0 : Math.trunc((one * 100) / most)));
};

const SCORES: readonly (readonly [weight: number, score: Score])[] = [
  [
    3,
    ({ pod, feasible }) =>
      toHundred(
        feasible.map(
          (node) =>
            (node.spec?.taints ?? []).filter(
              ({ effect, key }) => effect === 'PreferNoSchedule' && !tolerates(pod, key),
            ).length,
        ),
      ).map((one) => 100 - one),
  ],
  [
    2,
    ({ pod, feasible }) =>
      toHundred(
        feasible.map((node) =>
          (pod.spec?.affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? [])
            .filter(({ preference }) => matchesTerm(preference, node))
            .reduce((sum, { weight }) => sum + weight, 0),
        ),
      ),
  ],
  [1, leastAllocated],
  [1, balanced],
  [2, spreadScore],
  [2, podAffinityScore],
];

function leastAllocated({ pod, feasible, cluster }: ScoreQuestion): readonly number[] {
  const assumed = { cpu: 100, memory: 200 * MI };
  const wanted = requestsOf(pod, assumed);
  const free = (requested: number, capacity: number): number =>
    requested > capacity ? 0 : Math.trunc(((capacity - requested) * 100) / capacity);
  return feasible.map((node) => {
    const used = usedOn({ node, cluster }, assumed);
    const { cpu, memory } = capacityOf(node);
    return Math.trunc((free(used.cpu + wanted.cpu, cpu) + free(used.memory + wanted.memory, memory)) / 2);
  });
}

function balanced({ pod, feasible, cluster }: ScoreQuestion): readonly number[] {
  const wanted = requestsOf(pod);
  return feasible.map((node) => {
    if (wanted.cpu === 0 && wanted.memory === 0) return 0;
    const used = usedOn({ node, cluster });
    const capacity = capacityOf(node);
    const cpu = Math.min(1, (used.cpu + wanted.cpu) / capacity.cpu);
    const memory = Math.min(1, (used.memory + wanted.memory) / capacity.memory);
    return Math.trunc((1 - Math.abs((cpu - memory) / 2)) * 100);
  });
}

function spreadScore({ pod, feasible, cluster }: ScoreQuestion): readonly number[] {
  const all = constraintsOf(pod, 'ScheduleAnyway');
  const nothing = feasible.map(() => 0);
  if (all.length === 0) return nothing;
  const hasAll = (node: Node): boolean =>
    all.every(({ topologyKey }) => labelsOf(node)[topologyKey] !== undefined);
  const scored = feasible.filter(hasAll);
  const raw = new Map(
    scored.map((node) => {
      let sum = 0;
      for (const constraint of all) {
        const { topologyKey, maxSkew } = constraint;
        const value = labelsOf(node)[topologyKey]!;
        const size =
          topologyKey === HOST
            ? scored.length
            : new Set(scored.map((one) => labelsOf(one)[topologyKey])).size;
        const matching =
          topologyKey === HOST
            ? podsOn(node, cluster).filter(
                (other) =>
                  other.metadata?.namespace === pod.metadata?.namespace && selects(constraint, other),
              ).length
            : (domains(constraint, { pod, cluster, all }).get(value) ?? 0);
        sum += matching * Math.log(size + 2) + (maxSkew - 1);
      }
      return [nameOf(node), Math.round(sum)];
    }),
  );
  const [low, high] = [Math.min(...raw.values()), Math.max(...raw.values())];
  return feasible.map((node) => {
    const own = raw.get(nameOf(node));
    if (own === undefined) return 0;
    return high === 0 ? 100 : Math.trunc((100 * (high + low - own)) / high);
  });
}

function podAffinityScore({ pod, feasible, cluster }: ScoreQuestion): readonly number[] {
  const preferred = (of: Pod, kind: 'podAffinity' | 'podAntiAffinity') =>
    of.spec?.affinity?.[kind]?.preferredDuringSchedulingIgnoredDuringExecution ?? [];
  const pulls = cluster.pods.flatMap((other) => {
    const found: { readonly key: string; readonly weight: number; readonly at: Node }[] = [];
    const add = (
      term: PodAffinityTerm,
      weight: number,
      by: { readonly owner: Pod; readonly other: Pod },
    ): void => {
      if (concerns(term, by)) found.push({ key: term.topologyKey, weight, at: nodeOf(other, cluster) });
    };
    const outward = { owner: pod, other };
    const inward = { owner: other, other: pod };
    for (const { podAffinityTerm, weight } of preferred(pod, 'podAffinity'))
      add(podAffinityTerm, weight, outward);
    for (const { podAffinityTerm, weight } of preferred(pod, 'podAntiAffinity'))
      add(podAffinityTerm, -weight, outward);
    for (const term of other.spec?.affinity?.podAffinity?.requiredDuringSchedulingIgnoredDuringExecution ??
      [])
      add(term, 1, inward);
    for (const { podAffinityTerm, weight } of preferred(other, 'podAffinity'))
      add(podAffinityTerm, weight, inward);
    for (const { podAffinityTerm, weight } of preferred(other, 'podAntiAffinity'))
      add(podAffinityTerm, -weight, inward);
    return found;
  });
  const raw = feasible.map((node) =>
    pulls.filter(({ key, at }) => sharesDomain(key, node, at)).reduce((sum, { weight }) => sum + weight, 0),
  );
  const [low, high] = [Math.min(...raw), Math.max(...raw)];
  return raw.map((one) => (high === low ? 0 : Math.trunc((100 * (one - low)) / (high - low))));
}
