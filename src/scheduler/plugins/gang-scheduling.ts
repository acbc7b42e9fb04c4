/**
 * GangScheduling: the pods of a PodGroup with the gang policy enter the queue once minCount of them are there, and none is bound before minCount have a node.
 * Behind upstream's gate of the same name.
 */
import type { Pod } from '#api/types.ts';
import type { KubeObject } from '#machinery/object.ts';
import { groupKeyOf } from '../pod-groups.ts';
import type { SchedulerPlugin } from '../plugin.ts';

const NAME = 'GangScheduling';

export const gangScheduling: SchedulerPlugin = {
  name: NAME,
  queueingHints: ['pod-added', 'unscheduled-pod-added', 'pod-group-added'],
  /** A pod of the same group, or the group itself. Neither the group of a pod nor the policy of a group changes. */
  isHelpedBy: (pod, { kind, object }) =>
    object === undefined || keyOf(object, kind === 'pod-group-added') === groupKeyOf(pod),
  preEnqueue(pod, groups) {
    const name = pod.spec?.schedulingGroup?.podGroupName;
    if (name === undefined) return undefined;
    const group = groups.groupOf(pod);
    if (!group) return `waiting for pods's pod group ${JSON.stringify(name)} to appear in scheduling queue`;
    const { gang } = group.spec.schedulingPolicy;
    return gang && groups.memberCount(pod) < gang.minCount
      ? 'waiting for minCount pods from a gang to appear in scheduling queue'
      : undefined;
  },
  permit(pod, { groups, scheduled }) {
    const group = groups.groupOf(pod);
    if (!group) throw new Error(notFound(pod));
    const { gang } = group.spec.schedulingPolicy;
    return gang && scheduled < gang.minCount
      ? 'waiting for minCount pods from a gang to be scheduled'
      : undefined;
  },
};

function keyOf(object: KubeObject, isGroup: boolean): string | undefined {
  const { namespace, name } = object.metadata ?? {};
  return isGroup ? `${namespace}/${name}` : groupKeyOf(object as Pod);
}

function notFound(pod: Pod): string {
  const name = pod.spec?.schedulingGroup?.podGroupName;
  return `failed to get podGroup ${groupKeyOf(pod)}: podgroup.scheduling.k8s.io ${JSON.stringify(name)} not found`;
}
