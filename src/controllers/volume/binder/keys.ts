/** The binder's keys and indexes: which claims and volumes a change concerns. Pure. */
import type { PersistentVolume, PersistentVolumeClaim, StorageClass } from '#api/types.ts';
import { persistentVolumeClaims, persistentVolumes } from '#client/refs.ts';
import { classOfClaim, classOfVolume, isDefaultClass } from '#component-helpers/persistent-volumes.ts';
import { objectKey } from '#machinery/object.ts';
import type { SourceContext } from '#runtime/controller.ts';

/** Claims without a volume by their class. */
export const UNBOUND_BY_CLASS = 'binder-unbound-class';
export const CLAIMS_BY_VOLUME = 'binder-volume';
export const VOLUMES_BY_CLAIM = 'binder-claim';
/** Volumes that any claim of their class may take. */
export const AVAILABLE_BY_CLASS = 'binder-available-class';

const CLAIM = 'claim ';
const VOLUME = 'volume ';

export function claimKey(key: string): string {
  return CLAIM + key;
}

export function volumeKey(name: string): string {
  return VOLUME + name;
}

export function parseKey(key: string): { readonly claim: string } | { readonly volume: string } {
  return key.startsWith(CLAIM) ? { claim: key.slice(CLAIM.length) } : { volume: key.slice(VOLUME.length) };
}

export function classOfUnbound(claim: PersistentVolumeClaim): string[] {
  return claim.spec?.volumeName ? [] : [classOfClaim(claim)];
}

export function claimOfVolume({ spec }: PersistentVolume): string[] {
  return spec?.claimRef ? [`${spec.claimRef.namespace}/${spec.claimRef.name}`] : [];
}

export function classOfAvailable(volume: PersistentVolume): string[] {
  return volume.status?.phase === 'Available' && !volume.spec?.claimRef ? [classOfVolume(volume)] : [];
}

export function keysOfClaim(claim: PersistentVolumeClaim, { informer }: SourceContext): string[] {
  const key = objectKey(claim);
  const volumes = informer(persistentVolumes)
    .byIndex(VOLUMES_BY_CLAIM, key)
    .map(({ metadata }) => metadata.name);
  const { volumeName } = claim.spec ?? {};
  return [claimKey(key), ...new Set([...(volumeName ? [volumeName] : []), ...volumes])].map((name, index) =>
    index === 0 ? name : volumeKey(name),
  );
}

/** The claims that it names or that name it, and those that may take it. */
export function keysOfVolume(volume: PersistentVolume, { informer }: SourceContext): string[] {
  const name = volume.metadata?.name ?? '';
  const claims = informer(persistentVolumeClaims);
  const concerned = [
    ...claimOfVolume(volume),
    ...claims.byIndex(CLAIMS_BY_VOLUME, name).map(objectKey),
    ...(volume.status?.phase === 'Available'
      ? claims.byIndex(UNBOUND_BY_CLASS, classOfVolume(volume)).map(objectKey)
      : []),
  ];
  return [volumeKey(name), ...new Set(concerned.map(claimKey))];
}

export function keysOfClass(storageClass: StorageClass, { informer }: SourceContext): string[] {
  const classes = [storageClass.metadata?.name ?? '', ...(isDefaultClass(storageClass) ? [''] : [])];
  return classes.flatMap((name) =>
    informer(persistentVolumeClaims)
      .byIndex(UNBOUND_BY_CLASS, name)
      .map((claim) => claimKey(objectKey(claim))),
  );
}
