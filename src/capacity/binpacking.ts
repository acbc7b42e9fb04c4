/** Upstream's binpacking estimator: how many nodes of one kind it takes for these pods, the largest first, each on the first new node that takes it. */
import type { Pod } from '#api/types.ts';
import { podRequests, resourceAmounts } from '#scheduler/resources.ts';
import type { NodeUse, Simulation } from '#scheduler/simulation.ts';
import { nodeLike, podLike, type TemplateNode } from './template-node.ts';

export interface Packed {
  readonly nodes: number;
  readonly pods: readonly Pod[];
  /** Why the others fit on no new node. */
  readonly refused: ReadonlyMap<Pod, string>;
  /** Of the new nodes' CPU and memory, the mean of the shares that stay free: 0…1. */
  readonly waste: number;
}

interface Estimate {
  readonly pods: readonly Pod[];
  readonly template: TemplateNode;
  readonly maxNodes: number;
  /** Said of pods that would need more. */
  readonly limit: string;
  /** Of the group: part of the names of the new nodes. */
  readonly name: string;
}

/** The simulation is as before. */
export function binpack(simulation: Simulation, { pods, template, maxNodes, limit, name }: Estimate): Packed {
  const added: string[] = [];
  const packed: Pod[] = [];
  const refused = new Map<Pod, string>();
  for (const pod of largestFirst(pods, template)) {
    const another = podLike(pod, 'packed');
    if (added.length > 0 && simulation.place(another, added).kind === 'fits') {
      packed.push(pod);
      continue;
    }
    if (added.length >= maxNodes) {
      refused.set(pod, limit);
      continue;
    }
    const next = `template-node-for-${name}-${added.length}`;
    const made = nodeLike(template, next);
    simulation.addNode(made.node, made.pods);
    const found = simulation.place(another, [next]);
    if (found.kind === 'fits') {
      added.push(next);
      packed.push(pod);
    } else {
      simulation.removeNode(next);
      refused.set(pod, found.reasons.join(', '));
    }
  }
  const waste = wasteOf(added.map((one) => simulation.use(one)));
  for (const one of added) simulation.removeNode(one);
  return { nodes: added.length, pods: packed, refused, waste };
}

/** By the sum of the shares of a node's CPU and memory that they ask for, as upstream. */
function largestFirst(pods: readonly Pod[], { node }: TemplateNode): readonly Pod[] {
  const { milliCPU: cpu, memoryBytes: memory } = resourceAmounts(node.status?.allocatable);
  const share = (pod: Pod): number => {
    const requests = podRequests(pod);
    return (cpu === 0 ? 0 : requests.milliCPU / cpu) + (memory === 0 ? 0 : requests.memoryBytes / memory);
  };
  return pods.toSorted((one, other) => share(other) - share(one));
}

function wasteOf(uses: readonly NodeUse[]): number {
  const free = (of: 'milliCPU' | 'memoryBytes'): number => {
    const total = uses.reduce((sum, { allocatable }) => sum + allocatable[of], 0);
    const used = uses.reduce((sum, { requested }) => sum + requested[of], 0);
    return total === 0 ? 0 : (total - used) / total;
  };
  return (free('milliCPU') + free('memoryBytes')) / 2;
}
