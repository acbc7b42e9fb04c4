/** Removes the finalizer of a deleted claim when no pod on a node uses it. After upstream's pkg/controller/volume/pvcprotection. */
import type { Stored } from '#machinery/object.ts';
import type { PersistentVolumeClaim, Pod } from '#api/types.ts';
import { persistentVolumeClaims, pods } from '#client/refs.ts';
import { defineController, watch } from '#runtime/controller.ts';
import { isControlledBy } from '#component-helpers/owner-references.ts';
import { claimNameOf } from '#component-helpers/persistent-volumes.ts';
import { isPodTerminal } from '#component-helpers/pod-status.ts';
import { claimsOfPod, podsByClaim, podsOfClaim } from './pods-by-claim.ts';
import { protect } from './protection.ts';

export const persistentVolumeClaimProtectionController = defineController({
  name: 'persistentvolumeclaim-protection-controller',
  serviceAccount: 'pvc-protection-controller',
  watches: [watch(persistentVolumeClaims), watch(pods, { keys: claimsOfPod })],
  indexes: [podsByClaim],
  reconcile: (context) =>
    protect(context, {
      resource: persistentVolumeClaims,
      finalizer: 'kubernetes.io/pvc-protection',
      isUsed: (claim) =>
        podsOfClaim(context.informer(pods), context.key).some((pod) => usesClaim(pod, claim)),
      isUsedByLive: async (claim) =>
        (await context.api.list(pods, { namespace: claim.metadata.namespace })).items.some((pod) =>
          usesClaim(pod, claim),
        ),
    }),
});

/** A kubelet starts no pod with a claim that is being deleted, so an unscheduled pod does not count; a finished pod counts until it is deleted. */
function usesClaim(pod: Stored<Pod>, claim: Stored<PersistentVolumeClaim>): boolean {
  if (!pod.spec?.nodeName) return false;
  return (pod.spec.volumes ?? []).some(
    (volume) =>
      claimNameOf(pod, volume) === claim.metadata.name &&
      (volume.persistentVolumeClaim !== undefined || (!isShutDown(pod) && isControlledBy(claim, pod))),
  );
}

/** Its containers are gone and the kubelet has finished with it; only finalizers hold the pod, perhaps that of this claim's owner. */
function isShutDown(pod: Stored<Pod>): boolean {
  return (
    pod.metadata?.deletionTimestamp !== undefined &&
    pod.metadata.deletionGracePeriodSeconds === 0 &&
    isPodTerminal(pod)
  );
}
