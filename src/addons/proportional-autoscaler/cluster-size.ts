/** The size of a cluster, as the cluster-proportional-autoscaler counts it: Nodes, and the whole cores that pods may have of them. */
import type { Node } from '#api/types.ts';
import { isConditionTrue } from '#component-helpers/conditions.ts';
import { parseQuantity, Quantity } from '#machinery/quantity.ts';
import type { ClusterSize } from './parameters.ts';

export function clusterSize(nodes: readonly Node[]): ClusterSize {
  const schedulable = nodes.filter(isSchedulable);
  return {
    nodes: nodes.length,
    cores: coresOf(nodes),
    schedulableNodes: schedulable.length,
    schedulableCores: coresOf(schedulable),
  };
}

export function isSchedulable({ spec, status }: Node): boolean {
  return spec?.unschedulable !== true && isConditionTrue(status?.conditions, 'Ready');
}

/** Their sum, rounded up. */
function coresOf(nodes: readonly Node[]): number {
  const total = nodes.reduce(
    (sum, { status }) => sum.add(parseQuantity(status?.allocatable?.['cpu'] ?? '0')),
    Quantity.zero,
  );
  return total.value();
}
