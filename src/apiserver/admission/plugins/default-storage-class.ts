/** DefaultStorageClass: a claim that names no class gets the default one, if there is one. */
import type { PersistentVolumeClaim } from '#api/types.ts';
import type { KubeObject } from '#machinery/object.ts';
import { isTarget, newestDefault } from '../forbid.ts';
import type { AdmissionPlugin } from '../plugin.ts';

const DEFAULT_ANNOTATIONS = [
  'storageclass.kubernetes.io/is-default-class',
  'storageclass.beta.kubernetes.io/is-default-class',
] as const;
const CLAIM_CLASS_ANNOTATION = 'volume.beta.kubernetes.io/storage-class';

export const defaultStorageClass: AdmissionPlugin = {
  name: 'DefaultStorageClass',
  handles: (operation, target) => operation === 'CREATE' && isTarget(target, '', 'persistentvolumeclaims'),
  admit({ object, internal }) {
    const claim = object as PersistentVolumeClaim;
    // '' is a choice: no class at all.
    if (
      claim.spec?.storageClassName !== undefined ||
      claim.metadata?.annotations?.[CLAIM_CLASS_ANNOTATION] !== undefined
    )
      return;
    const found = newestDefault(
      internal.list({ group: 'storage.k8s.io', resource: 'storageclasses' }).filter(isDefaultClass),
    );
    if (found?.metadata?.name) claim.spec = { ...claim.spec, storageClassName: found.metadata.name };
  },
};

function isDefaultClass(storageClass: KubeObject): boolean {
  return DEFAULT_ANNOTATIONS.some(
    (annotation) => storageClass.metadata?.annotations?.[annotation] === 'true',
  );
}
