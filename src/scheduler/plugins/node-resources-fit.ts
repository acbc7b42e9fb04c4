/** NodeResourcesFit: what the pod requests must be free on the node; scored by LeastAllocated over CPU and memory. */
import { MAX_NODE_SCORE, refusal, type Refusal, type SchedulerPlugin } from '../plugin.ts';
import type { NodeInfo } from '../node-info.ts';
import type { PodInfo } from '../pod-info.ts';

export const nodeResourcesFit: SchedulerPlugin = {
  name: 'NodeResourcesFit',
  weight: 1,
  wakesOn: ['pod-deleted', 'pod-updated', 'node-added', 'node-updated'],
  filter: ({ pod }, node) => insufficient(pod, node),
  score({ pod }, node) {
    const cpu = freeShare(node.scoringRequested.milliCPU + pod.scoringRequests.milliCPU, node.allocatable.milliCPU);
    const memory = freeShare(node.scoringRequested.memoryBytes + pod.scoringRequests.memoryBytes, node.allocatable.memoryBytes);
    return Math.trunc((cpu + memory) / 2);
  },
};

function freeShare(requested: number, capacity: number): number {
  return capacity === 0 || requested > capacity ? 0 : Math.trunc(((capacity - requested) * MAX_NODE_SCORE) / capacity);
}

/** Every resource that is short, in upstream's order. Not resolvable when even the empty node is too small. */
export function insufficient({ requests }: PodInfo, node: NodeInfo): Refusal | undefined {
  const reasons: string[] = [];
  let resolvable = true;
  if (node.pods.size + 1 > node.podLimit) reasons.push('Too many pods');
  const need = (name: string, amount: { readonly wanted: number; readonly used: number; readonly total: number }): void => {
    if (amount.wanted <= 0 || amount.wanted <= amount.total - amount.used) return;
    reasons.push(`Insufficient ${name}`);
    if (amount.wanted > amount.total) resolvable = false;
  };
  need('cpu', { wanted: requests.milliCPU, used: node.requested.milliCPU, total: node.allocatable.milliCPU });
  need('memory', { wanted: requests.memoryBytes, used: node.requested.memoryBytes, total: node.allocatable.memoryBytes });
  need('ephemeral-storage', { wanted: requests.ephemeralStorageBytes, used: node.requested.ephemeralStorageBytes, total: node.allocatable.ephemeralStorageBytes });
  for (const [name, wanted] of requests.scalars) {
    need(name, { wanted, used: node.requested.scalars.get(name) ?? 0, total: node.allocatable.scalars.get(name) ?? 0 });
  }
  return reasons.length === 0 ? undefined : refusal('NodeResourcesFit', reasons, { resolvable });
}
