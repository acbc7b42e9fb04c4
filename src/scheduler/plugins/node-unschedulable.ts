/** NodeUnschedulable: rejects cordoned nodes, unless the pod tolerates the corresponding taint. */
import { refusal, type SchedulerPlugin } from '../plugin.ts';
import { toleratesAny } from '#component-helpers/tolerations.ts';
import { helpsNodeUnschedulable } from '../queueing-hints.ts';

const TAINT = { key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule' };

export const nodeUnschedulable: SchedulerPlugin = {
  name: 'NodeUnschedulable',
  readsPods: false,
  queueingHints: ['node-added', 'node-updated'],
  isHelpedBy: helpsNodeUnschedulable,
  sign: ({ pod }) => pod.pod.spec?.tolerations ?? [],
  filter({ pod }, node) {
    if (!node.node?.spec?.unschedulable) return undefined;
    if (toleratesAny(pod.pod.spec?.tolerations, TAINT)) return undefined;
    return refusal('NodeUnschedulable', 'node(s) were unschedulable', { resolvable: false });
  },
};
