/** NodeResourcesFit: the node must have the requested resources available; scored by LeastAllocated over CPU and memory. */
import { MAX_NODE_SCORE, refusal, type Refusal, type SchedulerPlugin } from '../plugin.ts';
import type { ResourceClaims } from '../dra/resource-claims.ts';
import type { NodeInfo } from '../node-info.ts';
import type { PodInfo } from '../pod-info.ts';

export const nodeResourcesFit: SchedulerPlugin = {
  name: 'NodeResourcesFit',
  weight: 1,
  queueingHints: ['pod-deleted', 'pod-updated', 'node-added', 'node-updated'],
  filter: ({ pod, snapshot }, node) => insufficient(pod, node, snapshot.resourceClaims),
  score({ pod }, node) {
    const { milliCPU, memoryBytes } = node.allocatable;
    const cpu = freeShare(node.scoringRequested.milliCPU + pod.scoringRequests.milliCPU, milliCPU);
    const memory = freeShare(
      node.scoringRequested.memoryBytes + pod.scoringRequests.memoryBytes,
      memoryBytes,
    );
    const counted = (milliCPU > 0 ? 1 : 0) + (memoryBytes > 0 ? 1 : 0);
    return counted === 0 ? 0 : Math.trunc((cpu + memory) / counted);
  },
};

function freeShare(requested: number, capacity: number): number {
  return capacity === 0 || requested > capacity
    ? 0
    : Math.trunc(((capacity - requested) * MAX_NODE_SCORE) / capacity);
}

/** Every insufficient resource, in upstream's order. Not resolvable when the request exceeds the node's allocatable. */
export function insufficient(
  { requests }: PodInfo,
  node: NodeInfo,
  claims?: Pick<ResourceClaims, 'classOfExtendedResource'>,
): Refusal | undefined {
  const { requested, allocatable } = node;
  let reasons: string[] | undefined;
  let resolvable = true;
  if (node.pods.size + 1 > node.podLimit) reasons = ['Too many pods'];
  const need = (
    name: string,
    { wanted, used, total }: { readonly wanted: number; readonly used: number; readonly total: number },
  ): void => {
    if (wanted <= 0 || wanted <= total - used) return;
    (reasons ??= []).push(`Insufficient ${name}`);
    if (wanted > total) resolvable = false;
  };
  need('cpu', { wanted: requests.milliCPU, used: requested.milliCPU, total: allocatable.milliCPU });
  need('memory', {
    wanted: requests.memoryBytes,
    used: requested.memoryBytes,
    total: allocatable.memoryBytes,
  });
  need('ephemeral-storage', {
    wanted: requests.ephemeralStorageBytes,
    used: requested.ephemeralStorageBytes,
    total: allocatable.ephemeralStorageBytes,
  });
  for (const [name, wanted] of requests.scalars) {
    const total = allocatable.scalars.get(name) ?? 0;
    // DynamicResources allocates devices for it.
    if (total === 0 && claims?.classOfExtendedResource(name)) continue;
    need(name, { wanted, used: requested.scalars.get(name) ?? 0, total });
  }
  return reasons && refusal('NodeResourcesFit', reasons, { resolvable });
}
