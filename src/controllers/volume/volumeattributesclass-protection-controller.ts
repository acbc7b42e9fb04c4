/** Removes the finalizer of a deleted VolumeAttributesClass when no claim and no volume uses it. After upstream's pkg/controller/volume/vacprotection. */
import type { PersistentVolume, PersistentVolumeClaim } from '#api/types.ts';
import { persistentVolumeClaims, persistentVolumes, volumeAttributesClasses } from '#client/refs.ts';
import { defineController, watch } from '#runtime/controller.ts';
import { protect } from './protection.ts';

export const volumeAttributesClassProtectionController = defineController({
  name: 'volumeattributesclass-protection-controller',
  watches: [
    watch(volumeAttributesClasses),
    watch(persistentVolumeClaims, { keys: classesOfClaim }),
    watch(persistentVolumes, { keys: classesOfVolume }),
  ],
  reconcile: (context) =>
    protect(context, {
      resource: volumeAttributesClasses,
      finalizer: 'kubernetes.io/vac-protection',
      isUsed: () =>
        context
          .informer(persistentVolumeClaims)
          .list()
          .some((claim) => classesOfClaim(claim).includes(context.key)) ||
        context
          .informer(persistentVolumes)
          .list()
          .some((volume) => classesOfVolume(volume).includes(context.key)),
    }),
});

/** The current, the target and the requested class. */
function classesOfClaim({ spec, status }: PersistentVolumeClaim): string[] {
  return named([
    spec?.volumeAttributesClassName,
    status?.currentVolumeAttributesClassName,
    status?.modifyVolumeStatus?.targetVolumeAttributesClassName,
  ]);
}

function classesOfVolume({ spec }: PersistentVolume): string[] {
  return named([spec?.volumeAttributesClassName]);
}

function named(names: readonly (string | undefined)[]): string[] {
  return names.filter((name) => name !== undefined && name !== '') as string[];
}
