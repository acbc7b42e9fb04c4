/** DefaultStorageClass: a claim that names no class gets the default one, if there is one. */
import type { PersistentVolumeClaim, StorageClass } from '#api/types.ts';
import { newestDefault } from '#component-helpers/default-class.ts';
import { choosesClass, isDefaultClass } from '#component-helpers/persistent-volumes.ts';
import { isTarget } from '../forbid.ts';
import type { AdmissionPlugin } from '../plugin.ts';

export const defaultStorageClass: AdmissionPlugin = {
  name: 'DefaultStorageClass',
  handles: (operation, target) => operation === 'CREATE' && isTarget(target, '', 'persistentvolumeclaims'),
  admit({ object, internal }) {
    const claim = object as PersistentVolumeClaim;
    // '' is a choice: no class at all.
    if (choosesClass(claim)) return;
    const classes = internal.list({ group: 'storage.k8s.io', resource: 'storageclasses' }) as StorageClass[];
    const found = newestDefault(classes.filter(isDefaultClass));
    if (found?.metadata?.name) claim.spec = { ...claim.spec, storageClassName: found.metadata.name };
  },
};
