/** Removes the finalizer of a deleted volume when no claim is bound to it. After upstream's pkg/controller/volume/pvprotection. */
import { persistentVolumes } from '#client/refs.ts';
import { defineController, watch } from '#runtime/controller.ts';
import { protect } from './protection.ts';

export const persistentVolumeProtectionController = defineController({
  name: 'persistentvolume-protection-controller',
  serviceAccount: 'pv-protection-controller',
  watches: [watch(persistentVolumes)],
  reconcile: (context) =>
    protect(context, {
      resource: persistentVolumes,
      finalizer: 'kubernetes.io/pv-protection',
      isUsed: ({ status }) => status?.phase === 'Bound',
    }),
});
