/** What is asked of a simulation. Each leaves it as it was, but for emptyNode(). */
import type { Pod } from '#api/types.ts';
import { staysWithNode } from '#component-helpers/pod-drain.ts';
import type { Placement, Simulation } from '#scheduler/simulation.ts';
import { nodeLike, podLike, type TemplateNode } from './template-node.ts';

/** How many more pods like this one the nodes take, up to `limit`. */
export function countMore(
  simulation: Simulation,
  { pod, limit }: { readonly pod: Pod; readonly limit: number },
): number {
  const placed: Pod[] = [];
  while (placed.length < limit) {
    const another = podLike(pod, `more-${placed.length}`);
    if (simulation.place(another).kind !== 'fits') break;
    placed.push(another);
  }
  for (const one of placed) simulation.removePod(one);
  return placed.length;
}

export interface Loss {
  readonly node: string;
  /** Pods that would find no place on the other nodes. */
  readonly homeless: readonly { readonly pod: Pod; readonly message: string }[];
}

/** What happens to its pods when a node fails. */
export function lossOf(simulation: Simulation, name: string): Loss {
  const { left, takeBack } = emptyNode(simulation, name);
  takeBack();
  return { node: name, homeless: left };
}

/** Nodes, of the given ones, whose pods fit on the others, taken out one after the other: together they could go. */
export function spareNodes(simulation: Simulation, candidates: readonly string[]): readonly string[] {
  const undo: (() => void)[] = [];
  const spare = candidates.filter((name) => {
    const { left, takeBack } = emptyNode(simulation, name);
    if (left.length === 0) undo.push(takeBack);
    else takeBack();
    return left.length === 0;
  });
  for (const one of undo.toReversed()) one();
  return spare;
}

interface EmptiedNode {
  /** Pods that find no other place. */
  readonly left: Loss['homeless'];
  /** Once, and before what was done earlier is taken back. */
  takeBack(): void;
}

/** Takes a node out, and places its pods on the others, or on these. The one question that changes the simulation. */
export function emptyNode(
  simulation: Simulation,
  name: string,
  { among }: { readonly among?: readonly string[] } = {},
): EmptiedNode {
  const { node } = simulation.use(name);
  const pods = simulation.removeNode(name);
  const moving = pods.filter((pod) => !staysWithNode(pod));
  const { placed, left } = placeAll(simulation, { pods: moving, among });
  return {
    left,
    takeBack() {
      for (const pod of placed) simulation.removePod(pod);
      simulation.addNode(node, pods);
    },
  };
}

function placeAll(
  simulation: Simulation,
  { pods, among }: { readonly pods: readonly Pod[]; readonly among: readonly string[] | undefined },
): { readonly placed: readonly Pod[]; readonly left: Loss['homeless'] } {
  const placed: Pod[] = [];
  const left: Loss['homeless'][number][] = [];
  for (const pod of pods) {
    const moved = podLike(pod, 'moved');
    const found = simulation.place(moved, among);
    if (found.kind === 'fits') placed.push(moved);
    else left.push({ pod, message: found.message });
  }
  return { placed, left };
}

export interface NodesNeeded {
  /** Pods that the present nodes take. */
  readonly onPresent: number;
  readonly onAdded: number;
  readonly addedNodes: number;
  /** Why the others fit on no further node either. */
  readonly left?: { readonly count: number; readonly reasons: readonly string[] };
}

/** How many more nodes like this one it takes to place so many pods. */
export function nodesFor(
  simulation: Simulation,
  { pod, count, like }: { readonly pod: Pod; readonly count: number; readonly like: TemplateNode },
): NodesNeeded {
  const present = simulation.nodeNames;
  const added: string[] = [];
  const placed: Pod[] = [];
  let onPresent = 0;
  let refused: Extract<Placement, { kind: 'none' }> | undefined;
  while (placed.length < count && !refused) {
    const another = podLike(pod, `planned-${placed.length}`);
    const found = placeOrAdd(simulation, { pod: another, present, added, like });
    if (found.kind === 'none') refused = found;
    else {
      placed.push(another);
      if (!added.includes(found.node)) onPresent += 1;
    }
  }
  for (const one of placed) simulation.removePod(one);
  for (const name of added) simulation.removeNode(name);
  return {
    onPresent,
    onAdded: placed.length - onPresent,
    addedNodes: added.length,
    ...(refused ? { left: { count: count - placed.length, reasons: refused.reasons } } : {}),
  };
}

interface Growing {
  readonly pod: Pod;
  readonly present: readonly string[];
  /** Grows. */
  readonly added: string[];
  readonly like: TemplateNode;
}

function placeOrAdd(simulation: Simulation, { pod, present, added, like }: Growing): Placement {
  const found = simulation.place(pod, [...present, ...added]);
  if (found.kind === 'fits') return found;
  const name = `planned-node-${added.length + 1}`;
  const template = nodeLike(like, name);
  simulation.addNode(template.node, template.pods);
  const onNew = simulation.place(pod, [name]);
  if (onNew.kind === 'fits') added.push(name);
  else simulation.removeNode(name);
  return onNew;
}
