/** PersistentVolumeClaimResize: a claim grows only when it is bound and its class allows it. */
import type { PersistentVolumeClaim, StorageClass } from '#api/types.ts';
import { classOfClaim, requestedStorage } from '#component-helpers/persistent-volumes.ts';
import { compareQuantities } from '#machinery/quantity.ts';
import { forbid, isTarget } from '../forbid.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../plugin.ts';

export const persistentVolumeClaimResize: AdmissionPlugin = {
  name: 'PersistentVolumeClaimResize',
  handles: (operation, target) => operation === 'UPDATE' && isTarget(target, '', 'persistentvolumeclaims'),
  validate(attributes) {
    const claim = attributes.object as PersistentVolumeClaim;
    const previous = attributes.oldObject as PersistentVolumeClaim;
    if (compareQuantities(requestedStorage(previous), requestedStorage(claim)) >= 0) return;
    if (previous.status?.phase !== 'Bound')
      throw forbid(attributes, 'Only bound persistent volume claims can be expanded');
    if (!allowsExpansion(claim, attributes))
      throw forbid(
        attributes,
        'only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize',
      );
  },
};

function allowsExpansion(claim: PersistentVolumeClaim, { internal }: AdmissionAttributes): boolean {
  const name = classOfClaim(claim);
  const found =
    name === '' ? undefined : internal.get({ group: 'storage.k8s.io', resource: 'storageclasses' }, { name });
  return (found as StorageClass | undefined)?.allowVolumeExpansion === true;
}
