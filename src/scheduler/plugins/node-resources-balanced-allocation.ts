/** NodeResourcesBalancedAllocation: prefers nodes whose CPU and memory fill up evenly. */
import { MAX_NODE_SCORE, type SchedulerPlugin } from '../plugin.ts';

export const nodeResourcesBalancedAllocation: SchedulerPlugin = {
  name: 'NodeResourcesBalancedAllocation',
  weight: 1,
  /** A pod without requests does not change the balance. */
  preScore: ({ pod }) => (pod.requests.milliCPU === 0 && pod.requests.memoryBytes === 0 ? 'skip' : undefined),
  score({ pod }, node) {
    const { milliCPU, memoryBytes } = node.allocatable;
    // A resource that the node does not have is ignored.
    if (milliCPU === 0 || memoryBytes === 0) return MAX_NODE_SCORE;
    const cpu = Math.min(1, (node.requested.milliCPU + pod.requests.milliCPU) / milliCPU);
    const memory = Math.min(1, (node.requested.memoryBytes + pod.requests.memoryBytes) / memoryBytes);
    return Math.trunc((1 - Math.abs(cpu - memory) / 2) * MAX_NODE_SCORE);
  },
};
