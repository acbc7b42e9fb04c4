/** NodePorts: rejects nodes where other pods use the same host ports. */
import { refusal, type SchedulerPlugin } from '../plugin.ts';
import { helpsNodePorts } from '../queueing-hints.ts';

export const nodePorts: SchedulerPlugin = {
  name: 'NodePorts',
  queueingHints: ['pod-deleted', 'node-added'],
  isHelpedBy: helpsNodePorts,
  preFilter: ({ pod }) => (pod.hostPorts.length === 0 ? 'skip' : undefined),
  sign: ({ pod }) => pod.hostPorts,
  filter: ({ pod }, node) =>
    node.portConflicts(pod.hostPorts)
      ? refusal('NodePorts', "node(s) didn't have free ports for the requested pod ports")
      : undefined,
};
