/** SchedulingGates: a pod with gates does not enter the queue. The API server reports it in the pod's status. */
import type { SchedulerPlugin } from '../plugin.ts';

export const schedulingGates: SchedulerPlugin = {
  name: 'SchedulingGates',
  queueingHints: ['pod-updated'],
  preEnqueue(pod) {
    const gates = (pod.spec?.schedulingGates ?? []).map((gate) => gate.name);
    return gates.length === 0 ? undefined : `waiting for scheduling gates: [${gates.join(' ')}]`;
  },
};
