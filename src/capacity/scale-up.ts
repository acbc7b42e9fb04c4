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
import type { Expander, NodeGroup, NodeGroups } from './node-groups.ts';
import { nodeLike, type TemplateNode } from './template-node.ts';

interface Increase {
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

interface GroupState {
  readonly group: NodeGroup;
  readonly size: number;
  readonly template: TemplateNode | undefined;
}

interface Option extends Packed {
  readonly state: GroupState & { readonly template: TemplateNode };
}

interface Input {
  readonly pods: readonly Pod[];
  readonly config: NodeGroups;
  readonly random: Random;
}

/** Upstream's words. */
const MAX_SIZE = 'max node group size reached';
const MAX_TOTAL = 'max cluster size reached';
const NO_TEMPLATE = 'it has no Node and no template';

export function decideScaleUp(simulation: Simulation, { pods, config, random }: Input): ScaleUp {
  const states = new Map(config.groups.map((group) => [group.name, stateOf(simulation, group)]));
  const before = new Map([...states].map(([name, { size }]) => [name, size]));
  const fitting = pods.filter((pod) => simulation.place(pod).kind === 'fits');
  let waiting = pods.filter((pod) => !fitting.includes(pod));
  const helped: Pod[] = [];
  const reasons = new Map<Pod, Map<string, string>>(waiting.map((pod) => [pod, new Map()]));
  // Each turn helps one pod at least, or is the last one.
  while (waiting.length > 0) {
    const room = roomLeft(simulation, { config, states, before });
    const options = [...states.values()].flatMap((state) =>
      optionOf(simulation, { state, waiting, room, reasons }),
    );
    const best = chooseOption(options, { expanders: config.expanders, random });
    if (!best) break;
    const sharing = config.balanceSimilarGroups
      ? options.filter((other) => other === best || isSimilar(other, best))
      : [best];
    for (const [name, more] of spread(
      best.nodes,
      sharing.map(({ state }) => state),
    )) {
      const state = states.get(name)!;
      states.set(name, { ...state, size: state.size + more });
    }
    helped.push(...best.pods);
    waiting = waiting.filter((pod) => !best.pods.includes(pod));
  }
  return {
    fitting,
    helped,
    increases: [...states.values()].flatMap(({ group, size }) => {
      const from = before.get(group.name)!;
      return size > from ? [{ group: group.name, from, to: size, maxSize: group.maxSize }] : [];
    }),
    notHelped: waiting.map((pod) => ({ pod, reasons: reasons.get(pod)! })),
  };
}

function stateOf(simulation: Simulation, group: NodeGroup): GroupState {
  const members = simulation.nodeNames
    .map((name) => simulation.use(name))
    .filter(({ node }) => group.selector.matches(node.metadata?.labels ?? {}));
  const template = members[0] ?? (group.template && { node: group.template, pods: [] });
  return { group, size: members.length, template };
}

/** Of the whole cluster. */
function roomLeft(
  simulation: Simulation,
  {
    config,
    states,
    before,
  }: {
    readonly config: NodeGroups;
    readonly states: ReadonlyMap<string, GroupState>;
    readonly before: ReadonlyMap<string, number>;
  },
): number {
  if (config.maxNodesTotal === 0) return Infinity;
  const added = [...states].reduce((sum, [name, { size }]) => sum + size - before.get(name)!, 0);
  return config.maxNodesTotal - simulation.nodeNames.length - added;
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
    readonly state: GroupState;
    readonly waiting: readonly Pod[];
    readonly room: number;
    readonly reasons: ReadonlyMap<Pod, Map<string, string>>;
  },
): Option[] {
  const { group, size, template } = state;
  const allOf = (reason: string): Option[] => {
    for (const pod of waiting) reasons.get(pod)!.set(group.name, reason);
    return [];
  };
  if (size >= group.maxSize) return allOf(MAX_SIZE);
  if (room <= 0) return allOf(MAX_TOTAL);
  if (!template) return allOf(NO_TEMPLATE);
  const packed = binpack(simulation, {
    pods: waiting,
    template,
    maxNodes: Math.min(group.maxSize - size, room),
    limit: room < group.maxSize - size ? MAX_TOTAL : MAX_SIZE,
    name: group.name,
  });
  for (const [pod, reason] of packed.refused) reasons.get(pod)!.set(group.name, reason);
  return packed.nodes > 0 ? [{ ...packed, state: { ...state, template } }] : [];
}

const FEWEST_FIRST: Readonly<Record<Exclude<Expander, 'random'>, (option: Option) => number>> = {
  'least-waste': ({ waste }) => waste,
  price: ({ state, nodes }) => (state.group.price ?? 0) * nodes,
  priority: ({ state }) => -state.group.priority,
};

function chooseOption(
  options: readonly Option[],
  { expanders, random }: { readonly expanders: readonly Expander[]; readonly random: Random },
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
  if (!other.pods.every((pod) => one.pods.includes(pod))) return false;
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
  const selecting = new Set(
    both.flatMap(({ state }) => state.group.selector.requirements.map(({ key }) => key)),
  );
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
function spread(count: number, states: readonly GroupState[]): ReadonlyMap<string, number> {
  const more = new Map(states.map(({ group }) => [group.name, 0]));
  const sizeOf = ({ group, size }: GroupState): number => size + more.get(group.name)!;
  for (let left = count; left > 0; left -= 1) {
    const [smallest] = states
      .filter((state) => sizeOf(state) < state.group.maxSize)
      .toSorted((one, other) => sizeOf(one) - sizeOf(other));
    if (!smallest) break;
    more.set(smallest.group.name, more.get(smallest.group.name)! + 1);
  }
  return more;
}
