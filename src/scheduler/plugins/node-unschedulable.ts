/** NodeUnschedulable: cordoned nodes, unless the pod tolerates the taint that stands for it. */
import { refusal, type SchedulerPlugin } from '../plugin.ts';
import { tolerates } from './tolerations.ts';

const TAINT = { key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule' };

export const nodeUnschedulable: SchedulerPlugin = {
  name: 'NodeUnschedulable',
  wakesOn: ['node-added', 'node-updated'],
  filter({ pod }, node) {
    if (!node.node?.spec?.unschedulable) return undefined;
    if ((pod.pod.spec?.tolerations ?? []).some((toleration) => tolerates(toleration, TAINT)))
      return undefined;
    return refusal('NodeUnschedulable', 'node(s) were unschedulable', { resolvable: false });
  },
};
