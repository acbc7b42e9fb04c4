/**
 * Which node groups have to grow for pods that fit nowhere. Pure, but for the simulation, which is left with the pods placed that fit on the present
 * nodes. After upstream's cluster autoscaler: its binpacking estimator, expanders and balancing.
 *
 *   pods ─► those that fit on present nodes are left out ─► an option for each group (binpacking) ─► expander ─► balanced over similar groups
 *             ▲                                                                                                     │
 *             '──────────────────────────────── again for the pods that are left ───────────────────────────────────┘
 *
 * A turn does not see the pods that an earlier one helped: constraints between the two are settled when their nodes are there.
 */
import type { Node, Pod } from '#api/types.ts';
import { resourceAmounts } from '#scheduler/resources.ts';
import type { Simulation } from '#scheduler/simulation.ts';
import type { Random } from '#stdx/random.ts';
import { binpack, type Packed } from './binpacking.ts';
import type { Expander } from './node-groups.ts';
import { nodeLike, podKind, type TemplateNode } from './template-node.ts';

export interface Increase {
  readonly group: string;
  readonly from: number;
  readonly to: number;
  readonly maxSize: number;
}

export interface ScaleUp {
  readonly increases: readonly Increase[];
  /** Pods that wait for the increases. */
  readonly helped: readonly Pod[];
  /** Pods that fit on present nodes: the scheduler will see to them. */
  readonly fitting: readonly Pod[];
  /** Why no group helps the others, by group. */
  readonly notHelped: readonly { readonly pod: Pod; readonly reasons: ReadonlyMap<string, string> }[];
}

/** A group that may grow. */
export interface GrowingGroup {
  readonly name: string;
  /** As many nodes as it should have now, those that are on their way among them. */
  readonly size: number;
  readonly maxSize: number;
  /** Undefined: nobody knows what a further node is like. */
  readonly template: TemplateNode | undefined;
  /** Of one node for an hour. */
  readonly price: number | undefined;
  /** For the expander priority: the highest wins. */
  readonly priority: number;
  /** Labels that tell its nodes from those of groups like it. */
  readonly ownLabels: ReadonlySet<string>;
  /** Why it may not grow now. */
  readonly skip?: string | undefined;
}

/** Of the whole cluster. */
interface GrowthLimits {
  /** 0: none. */
  readonly maxNodesTotal: number;
  /** In this decision. */
  readonly maxNodesPerScaleUp?: number | undefined;
  readonly maxCores?: number | undefined;
  readonly maxMemoryBytes?: number | undefined;
}

export interface GrowthInput {
  readonly pods: readonly Pod[];
  readonly groups: readonly GrowingGroup[];
  /** Asked in turn until one option is left; what is left then is chosen from at random. */
  readonly expanders: readonly Expander[];
  /** Similar groups grow together. */
  readonly balanceSimilarGroups: boolean;
  readonly limits: GrowthLimits;
  readonly random: Random;
}

interface Option extends Packed {
  readonly state: GrowingGroup & { readonly template: TemplateNode };
}

/** Upstream's words. */
const MAX_SIZE = 'max node group size reached';
const MAX_TOTAL = 'max cluster size reached';
const MAX_AT_ONCE = 'max nodes per scale-up reached';
const MAX_CPU = 'max cluster cpu limit reached';
const MAX_MEMORY = 'max cluster memory limit reached';
const NO_TEMPLATE = 'it has no Node and no template';

export function decideScaleUp(simulation: Simulation, input: GrowthInput): ScaleUp {
  const { pods } = input;
  const states = new Map(input.groups.map((group) => [group.name, group]));
  const before = new Map(input.groups.map(({ name, size }) => [name, size]));
  const { fitting, left } = placePresent(simulation, pods);
  const present = amountsOfAll(simulation);
  let waiting = left;
  const helped: Pod[] = [];
  const reasons = new Map<Pod, Map<string, string>>(waiting.map((pod) => [pod, new Map()]));
  // Each turn helps one pod at least, or is the last one.
  while (waiting.length > 0) {
    const room = roomLeft(present, { limits: input.limits, states, before });
    const options = [...states.values()].flatMap((state) =>
      optionOf(simulation, { state, waiting, room, reasons }),
    );
    const best = chooseOption(options, input);
    if (!best) break;
    for (const [name, more] of spread(best.nodes, sharing(best, { options, input }))) {
      const state = states.get(name)!;
      states.set(name, { ...state, size: state.size + more });
    }
    helped.push(...best.pods);
    const ofBest = new Set(best.pods);
    waiting = waiting.filter((pod) => !ofBest.has(pod));
  }
  return {
    fitting,
    helped,
    increases: [...states.values()].flatMap(({ name, size, maxSize }) => {
      const from = before.get(name)!;
      return size > from ? [{ group: name, from, to: size, maxSize }] : [];
    }),
    notHelped: waiting.map((pod) => ({ pod, reasons: reasons.get(pod)! })),
  };
}

interface Present {
  readonly fitting: readonly Pod[];
  readonly left: readonly Pod[];
}

/** Leaves those placed that fit. One of a kind that does not fit speaks for those after it: the nodes only get fuller. */
function placePresent(simulation: Simulation, pods: readonly Pod[]): Present {
  const fitting: Pod[] = [];
  const left: Pod[] = [];
  const refused = new Set<string>();
  for (const pod of pods) {
    const kind = podKind(pod);
    if (!refused.has(kind) && simulation.place(pod).kind === 'fits') fitting.push(pod);
    else {
      refused.add(kind);
      left.push(pod);
    }
  }
  return { fitting, left };
}

/** The groups that the new nodes are spread over. */
function sharing(
  best: Option,
  { options, input }: { readonly options: readonly Option[]; readonly input: GrowthInput },
): readonly GrowingGroup[] {
  if (!input.balanceSimilarGroups) return [best.state];
  return options.filter((other) => other === best || isSimilar(other, best)).map(({ state }) => state);
}

/** What the cluster may still get. */
interface Room {
  readonly nodes: number;
  /** In this decision. */
  readonly atOnce: number;
  readonly milliCPU: number;
  readonly memoryBytes: number;
}

function amountsOfAll(simulation: Simulation): Room {
  const uses = simulation.nodeNames.map((name) => simulation.use(name).allocatable);
  return {
    nodes: uses.length,
    atOnce: 0,
    milliCPU: uses.reduce((sum, { milliCPU }) => sum + milliCPU, 0),
    memoryBytes: uses.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0),
  };
}

function roomLeft(
  present: Room,
  {
    limits: { maxNodesTotal, maxNodesPerScaleUp = Infinity, maxCores = Infinity, maxMemoryBytes = Infinity },
    states,
    before,
  }: {
    readonly limits: GrowthLimits;
    readonly states: ReadonlyMap<string, GrowingGroup>;
    readonly before: ReadonlyMap<string, number>;
  },
): Room {
  const added = [...states.values()].map(({ name, size, template }) => {
    const count = size - before.get(name)!;
    const { milliCPU, memoryBytes } = resourceAmounts(template?.node.status?.allocatable);
    return {
      nodes: count,
      atOnce: count,
      milliCPU: count * milliCPU,
      memoryBytes: count * memoryBytes,
    };
  });
  const used = (of: keyof Room): number => added.reduce((sum, one) => sum + one[of], present[of]);
  return {
    nodes: (maxNodesTotal === 0 ? Infinity : maxNodesTotal) - used('nodes'),
    atOnce: maxNodesPerScaleUp - used('atOnce'),
    milliCPU: maxCores * 1_000 - used('milliCPU'),
    memoryBytes: maxMemoryBytes - used('memoryBytes'),
  };
}

/** None: it helps no pod, and `reasons` says why. */
function optionOf(
  simulation: Simulation,
  {
    state,
    waiting,
    room,
    reasons,
  }: {
    readonly state: GrowingGroup;
    readonly waiting: readonly Pod[];
    readonly room: Room;
    readonly reasons: ReadonlyMap<Pod, Map<string, string>>;
  },
): Option[] {
  const { name, template, skip } = state;
  const allOf = (reason: string): Option[] => {
    for (const pod of waiting) reasons.get(pod)!.set(name, reason);
    return [];
  };
  if (skip !== undefined) return allOf(skip);
  if (!template && state.size < state.maxSize) return allOf(NO_TEMPLATE);
  const { maxNodes, limit } = mostNodes(state, room);
  if (maxNodes <= 0 || !template) return allOf(limit);
  const packed = binpack(simulation, { pods: waiting, template, maxNodes, limit, name });
  for (const [pod, reason] of packed.refused) reasons.get(pod)!.set(name, reason);
  return packed.nodes > 0 ? [{ ...packed, state: { ...state, template } }] : [];
}

interface Most {
  readonly maxNodes: number;
  readonly limit: string;
}

/** How many nodes it may get at most, and what keeps it from more. */
function mostNodes({ size, maxSize, template }: GrowingGroup, room: Room): Most {
  const { milliCPU, memoryBytes } = resourceAmounts(template?.node.status?.allocatable);
  const bounds: readonly Most[] = [
    { maxNodes: maxSize - size, limit: MAX_SIZE },
    { maxNodes: room.nodes, limit: MAX_TOTAL },
    { maxNodes: room.atOnce, limit: MAX_AT_ONCE },
    { maxNodes: milliCPU === 0 ? Infinity : Math.floor(room.milliCPU / milliCPU), limit: MAX_CPU },
    {
      maxNodes: memoryBytes === 0 ? Infinity : Math.floor(room.memoryBytes / memoryBytes),
      limit: MAX_MEMORY,
    },
  ];
  return bounds.reduce((least, one) => (one.maxNodes < least.maxNodes ? one : least));
}

const FEWEST_FIRST: Readonly<Record<Exclude<Expander, 'random'>, (option: Option) => number>> = {
  'least-waste': ({ waste }) => waste,
  'most-pods': ({ pods }) => -pods.length,
  price: ({ state, nodes }) => (state.price ?? 0) * nodes,
  priority: ({ state }) => -state.priority,
};

function chooseOption(
  options: readonly Option[],
  { expanders, random }: Pick<GrowthInput, 'expanders' | 'random'>,
): Option | undefined {
  let left = options;
  for (const expander of expanders) {
    if (expander === 'random') break;
    const measure = FEWEST_FIRST[expander];
    const least = Math.min(...left.map(measure));
    left = left.filter((option) => measure(option) === least);
  }
  return left[Math.floor(random() * left.length)];
}

/** Labels in which groups of one kind differ. */
const OF_PLACE = ['topology.kubernetes.io/', 'failure-domain.beta.kubernetes.io/', 'kubernetes.io/hostname'];
/** Upstream's MaxAllocatableDifferenceRatio. */
const ALLOWED_DIFFERENCE = 0.05;

/** The same pods fit, and nodes are alike but for where they are and the labels that select the groups. */
function isSimilar(one: Option, other: Option): boolean {
  const ofOne = new Set(one.pods);
  if (!other.pods.every((pod) => ofOne.has(pod))) return false;
  const [mine, theirs] = [one, other].map(({ state }) => facts(state, [one, other])) as [Facts, Facts];
  return (
    mine.labels === theirs.labels &&
    Object.keys(mine.amounts).every((name) => {
      const [a, b] = [mine.amounts[name]!, theirs.amounts[name]!];
      return Math.abs(a - b) <= ALLOWED_DIFFERENCE * Math.max(a, b);
    })
  );
}

interface Facts {
  readonly labels: string;
  readonly amounts: Readonly<Record<string, number>>;
}

function facts({ template }: Option['state'], both: readonly Option[]): Facts {
  const { node } = nodeLike(template, 'compared');
  const selecting = new Set(both.flatMap(({ state }) => [...state.ownLabels]));
  const labels = Object.entries(node.metadata?.labels ?? {})
    .filter(([key]) => !selecting.has(key) && !OF_PLACE.some((place) => key.startsWith(place)))
    .toSorted();
  return { labels: JSON.stringify(labels), amounts: amountsOf(node) };
}

function amountsOf({ status }: Node): Facts['amounts'] {
  const { milliCPU, memoryBytes } = resourceAmounts(status?.allocatable);
  return { milliCPU, memoryBytes };
}

/** One node after the other to the smallest group that may grow. */
function spread(count: number, states: readonly GrowingGroup[]): ReadonlyMap<string, number> {
  const more = new Map(states.map(({ name }) => [name, 0]));
  const sizeOf = ({ name, size }: GrowingGroup): number => size + more.get(name)!;
  for (let left = count; left > 0; left -= 1) {
    const [smallest] = states
      .filter((state) => sizeOf(state) < state.maxSize)
      .toSorted((one, other) => sizeOf(one) - sizeOf(other));
    if (!smallest) break;
    more.set(smallest.name, more.get(smallest.name)! + 1);
  }
  return more;
}
