/** NodeResourcesBalancedAllocation: prefers nodes whose CPU and memory fill up evenly. */
import { MAX_NODE_SCORE, type SchedulerPlugin } from '../plugin.ts';

export const nodeResourcesBalancedAllocation: SchedulerPlugin = {
  name: 'NodeResourcesBalancedAllocation',
  weight: 1,
  /** A pod that requests nothing changes no balance. */
  preScore: ({ pod }) => (pod.requests.milliCPU === 0 && pod.requests.memoryBytes === 0 ? 'skip' : undefined),
  score({ pod }, node) {
    const cpu = share(node.requested.milliCPU + pod.requests.milliCPU, node.allocatable.milliCPU);
    const memory = share(node.requested.memoryBytes + pod.requests.memoryBytes, node.allocatable.memoryBytes);
    return Math.trunc((1 - Math.abs(cpu - memory) / 2) * MAX_NODE_SCORE);
  },
};

function share(requested: number, capacity: number): number {
  return capacity === 0 ? 0 : Math.min(1, requested / capacity);
}
