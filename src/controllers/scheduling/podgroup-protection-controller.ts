/** Removes the finalizer of a deleted PodGroup when no running pod names it. After upstream's pkg/controller/scheduling/podgroupprotection. */
import type { Pod } from '#api/types.ts';
import type { ResourceRef } from '#client/client.ts';
import { podGroupsV1alpha2, pods } from '#client/refs.ts';
import { isPodTerminal } from '#component-helpers/pod-status.ts';
import { defineController, watch } from '#runtime/controller.ts';

/** The API server adds it (PodGroupProtection); it is not put back. */
const FINALIZER = 'scheduling.k8s.io/podgroup-protection';
const BY_GROUP = 'active-pods-by-group';

const activePodsByGroup = {
  resource: pods as ResourceRef,
  name: BY_GROUP,
  values: ((pod: Pod) => (isPodTerminal(pod) ? [] : groupOf(pod))) as (object: never) => readonly string[],
};

export const podGroupProtectionController = defineController({
  name: 'podgroup-protection-controller',
  featureGate: 'GenericWorkload',
  watches: [watch(podGroupsV1alpha2), watch(pods, { keys: groupOf })],
  indexes: [activePodsByGroup],
  async reconcile({ key, api, informer }) {
    const group = informer(podGroupsV1alpha2).get(key);
    const finalizers = group?.metadata.finalizers ?? [];
    if (!group?.metadata.deletionTimestamp || !finalizers.includes(FINALIZER)) return;
    if (informer(pods).byIndex(BY_GROUP, key).length > 0) return;
    const left = finalizers.filter((name) => name !== FINALIZER);
    await api.update(podGroupsV1alpha2, { ...group, metadata: { ...group.metadata, finalizers: left } });
  },
});

function groupOf({ metadata, spec }: Pod): string[] {
  const name = spec?.schedulingGroup?.podGroupName;
  return name === undefined ? [] : [`${metadata?.namespace}/${name}`];
}
