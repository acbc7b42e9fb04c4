/** NodeName: only the node of spec.nodeName is feasible, where it was set before scheduling. */
import { refusal, type SchedulerPlugin } from '../plugin.ts';

export const nodeName: SchedulerPlugin = {
  name: 'NodeName',
  readsPods: false,
  queueingHints: ['node-added'],
  // A pod without a name waits for any node: see Scheduler.
  isHelpedBy: ({ spec }, { object }) => !object || !spec?.nodeName || object.metadata?.name === spec.nodeName,
  preFilter: ({ pod }) => (pod.pod.spec?.nodeName ? undefined : 'skip'),
  sign: ({ pod }) => pod.pod.spec?.nodeName ?? '',
  filter: ({ pod }, node) =>
    pod.pod.spec?.nodeName === node.name
      ? undefined
      : refusal('NodeName', "node(s) didn't match the requested node name", { resolvable: false }),
};
