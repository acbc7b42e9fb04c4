/**
 * Binds claims to volumes, asks provisioners for volumes, and follows volumes after their claims. After upstream's
 * pkg/controller/volume/persistentvolume. It provisions and deletes nothing itself: provisioners do, in this cluster or from outside.
 * One worker: two claims must not take the same volume.
 */
import { persistentVolumeClaims, persistentVolumes, pods, storageClasses } from '#client/refs.ts';
import { hasAnnotation, BIND_COMPLETED } from '#component-helpers/persistent-volumes.ts';
import { objectKey } from '#machinery/object.ts';
import { defineController, watch, type ReconcileContext } from '#runtime/controller.ts';
import {
  AVAILABLE_BY_CLASS,
  CLAIMS_BY_VOLUME,
  claimKey,
  claimOfVolume,
  classOfAvailable,
  classOfUnbound,
  keysOfClaim,
  keysOfClass,
  keysOfVolume,
  parseKey,
  UNBOUND_BY_CLASS,
  VOLUMES_BY_CLAIM,
  volumeKey,
} from './binder/keys.ts';
import { syncClaim } from './binder/sync-claim.ts';
import { syncVolume } from './binder/sync-volume.ts';
import { podsByClaim } from './pods-by-claim.ts';

/** Upstream's --pvclaimbinder-sync-period: what waits is looked at again, and its events are repeated. */
const RESYNC_MS = 15_000;

type Values = (object: never) => readonly string[];

export const persistentVolumeBinderController = defineController({
  name: 'persistentvolume-binder-controller',
  serviceAccount: 'persistent-volume-binder',
  eventSource: 'persistentvolume-controller',
  watches: [
    watch(persistentVolumeClaims, { keys: keysOfClaim }),
    watch(persistentVolumes, { keys: keysOfVolume }),
    watch(storageClasses, { keys: keysOfClass }),
    watch(pods, { keys: () => [] }),
  ],
  indexes: [
    podsByClaim,
    { resource: persistentVolumeClaims, name: UNBOUND_BY_CLASS, values: classOfUnbound as Values },
    {
      resource: persistentVolumeClaims,
      name: CLAIMS_BY_VOLUME,
      values: (({ spec }: { spec?: { volumeName?: string } }) =>
        spec?.volumeName ? [spec.volumeName] : []) as Values,
    },
    { resource: persistentVolumes, name: VOLUMES_BY_CLAIM, values: claimOfVolume as Values },
    { resource: persistentVolumes, name: AVAILABLE_BY_CLASS, values: classOfAvailable as Values },
  ],
  workers: 1,
  resyncEveryMs: RESYNC_MS,
  async reconcile(context) {
    if (context.key === '') return enqueueUnsettled(context);
    const key = parseKey(context.key);
    return 'claim' in key ? syncClaim(context, key.claim) : syncVolume(context, key.volume);
  },
});

function enqueueUnsettled({ informer, enqueue }: ReconcileContext): void {
  for (const claim of informer(persistentVolumeClaims).list())
    if (claim.status?.phase !== 'Bound' || !hasAnnotation(claim, BIND_COMPLETED))
      enqueue(claimKey(objectKey(claim)));
  for (const { metadata, status } of informer(persistentVolumes).list())
    if (status?.phase !== 'Available' && status?.phase !== 'Bound') enqueue(volumeKey(metadata.name));
}
