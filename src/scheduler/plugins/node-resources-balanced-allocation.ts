/** NodeResourcesBalancedAllocation: prefers nodes whose resources, CPU and memory by default, fill up evenly. */
import { MAX_NODE_SCORE, type SchedulerPlugin } from '../plugin.ts';
import { amountsSignature } from '../resources.ts';
import { CPU_AND_MEMORY, usages, type ResourceWeight } from '../resource-scores.ts';

export function nodeResourcesBalancedAllocation(
  resources: readonly ResourceWeight[] = CPU_AND_MEMORY,
): SchedulerPlugin {
  return {
    name: 'NodeResourcesBalancedAllocation',
    weight: 1,
    /** A pod without requests does not change the balance. */
    preScore: ({ pod }) =>
      pod.requests.milliCPU === 0 &&
      pod.requests.memoryBytes === 0 &&
      resources.every(({ name }) => !pod.requests.scalars.get(name))
        ? 'skip'
        : undefined,
    sign: ({ pod }) => amountsSignature(pod.requests),
    score({ pod }, node) {
      const shares = usages(pod, node, { resources, isScoring: false }).map(({ requested, capacity }) =>
        Math.min(1, requested / capacity),
      );
      return Math.trunc((1 - deviation(shares)) * MAX_NODE_SCORE);
    },
  };
}

/** The standard deviation. */
function deviation(shares: readonly number[]): number {
  if (shares.length < 2) return 0;
  if (shares.length === 2) return Math.abs((shares[0]! - shares[1]!) / 2);
  const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
  return Math.sqrt(shares.reduce((sum, share) => sum + (share - mean) ** 2, 0) / shares.length);
}
