/**
 * Tells the owner of a claim that has grown who will expand its volume: never this cluster's controllers, but the volume's provisioner (its
 * resizer). After upstream's pkg/controller/volume/expand, which has no expandable in-tree kind left but FlexVolume.
 */
import { persistentVolumeClaims, persistentVolumes } from '#client/refs.ts';
import { requestedStorage } from '#component-helpers/persistent-volumes.ts';
import { compareQuantities } from '#machinery/quantity.ts';
import { defineController, watch } from '#runtime/controller.ts';

export const persistentVolumeExpanderController = defineController({
  name: 'persistentvolume-expander-controller',
  serviceAccount: 'expand-controller',
  eventSource: 'volume_expand',
  watches: [
    watch(persistentVolumeClaims, {
      changed: (claim, previous) => requestedStorage(claim) !== requestedStorage(previous),
    }),
    watch(persistentVolumes, { keys: () => [] }),
  ],
  async reconcile({ key, informer, events }) {
    const claim = informer(persistentVolumeClaims).get(key);
    if (claim?.status?.phase !== 'Bound') return;
    if (compareQuantities(requestedStorage(claim), claim.status.capacity?.['storage'] ?? '0') <= 0) return;
    const volume = informer(persistentVolumes).get(claim.spec?.volumeName ?? '');
    if (volume?.spec?.claimRef?.uid !== claim.metadata.uid) return;
    events.event(claim, {
      type: 'Normal',
      reason: 'ExternalExpanding',
      message: 'waiting for an external controller to expand this PVC',
    });
  },
});
