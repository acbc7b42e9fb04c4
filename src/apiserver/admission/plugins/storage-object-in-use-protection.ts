/** StorageObjectInUseProtection: claims, volumes and volume attributes classes are not removed while something uses them. */
import type { AdmissionPlugin } from '../plugin.ts';

const FINALIZERS: Readonly<Record<string, string>> = {
  '/persistentvolumeclaims': 'kubernetes.io/pvc-protection',
  '/persistentvolumes': 'kubernetes.io/pv-protection',
  'storage.k8s.io/volumeattributesclasses': 'kubernetes.io/vac-protection',
};

export const storageObjectInUseProtection: AdmissionPlugin = {
  name: 'StorageObjectInUseProtection',
  handles: (operation, { group, resource, subresource }) =>
    operation === 'CREATE' && subresource === '' && FINALIZERS[`${group}/${resource}`] !== undefined,
  admit({ object, gvr }) {
    const finalizer = FINALIZERS[`${gvr.group}/${gvr.resource}`];
    if (!object || finalizer === undefined) return;
    const meta = (object.metadata ??= {});
    if (!meta.finalizers?.includes(finalizer)) meta.finalizers = [...(meta.finalizers ?? []), finalizer];
  },
};
