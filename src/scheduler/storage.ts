/** The cluster's storage objects as plugins read them in a scheduling cycle: informers, with the scheduler's own decisions on top. */
import type {
  CSIDriver,
  CSINode,
  CSIStorageCapacity,
  PersistentVolume,
  PersistentVolumeClaim,
  StorageClass,
  VolumeAttachment,
} from '#api/types.ts';
import type { Client, Informer, InformerHandler } from '#client/client.ts';
import {
  csiDrivers,
  csiNodes,
  csiStorageCapacities,
  persistentVolumeClaims,
  persistentVolumes,
  storageClasses,
  volumeAttachments,
} from '#client/refs.ts';
import { classOfVolume } from '#component-helpers/persistent-volumes.ts';
import { objectKey, type KubeObject, type Stored } from '#machinery/object.ts';

export interface StorageObjects {
  claim(namespace: string, name: string): PersistentVolumeClaim | undefined;
  volume(name: string): PersistentVolume | undefined;
  volumesOfClass(name: string): Iterable<PersistentVolume>;
  storageClass(name: string): StorageClass | undefined;
  csiNode(name: string): CSINode | undefined;
  csiDriver(name: string): CSIDriver | undefined;
  capacities(): Iterable<CSIStorageCapacity>;
  /** Attachments of volumes to a node. */
  attachments(node: string): Iterable<VolumeAttachment>;
}

export interface StorageInformers {
  readonly claims: Informer<PersistentVolumeClaim>;
  readonly volumes: Informer<PersistentVolume>;
  readonly classes: Informer<StorageClass>;
  readonly csiNodes: Informer<CSINode>;
  readonly csiDrivers: Informer<CSIDriver>;
  readonly capacities: Informer<CSIStorageCapacity>;
  readonly attachments: Informer<VolumeAttachment>;
}

const BY_CLASS = 'scheduler-class';
const BY_NODE = 'scheduler-node';

type StorageKind =
  | 'claim'
  | 'volume'
  | 'storage-class'
  | 'csi-node'
  | 'csi-driver'
  | 'csi-storage-capacity'
  | 'volume-attachment';
export type StorageEvent = `${StorageKind}-${'added' | 'updated' | 'deleted'}`;

export function storageInformers(api: Client): StorageInformers {
  const volumes = api.informer(persistentVolumes);
  volumes.addIndex(BY_CLASS, classesOf);
  const attachments = api.informer(volumeAttachments);
  attachments.addIndex(BY_NODE, nodesOf);
  return {
    claims: api.informer(persistentVolumeClaims),
    volumes,
    classes: api.informer(storageClasses),
    csiNodes: api.informer(csiNodes),
    csiDrivers: api.informer(csiDrivers),
    capacities: api.informer(csiStorageCapacities),
    attachments,
  };
}

function classesOf(volume: PersistentVolume): readonly string[] {
  return [classOfVolume(volume)];
}

function nodesOf({ spec }: VolumeAttachment): readonly string[] {
  return spec?.nodeName ? [spec.nodeName] : [];
}

/** Returns the functions that end it. */
export function subscribeStorage(
  informers: StorageInformers,
  onEvent: (event: StorageEvent, object: KubeObject) => void,
): (() => void)[] {
  const forward = (kind: StorageKind): InformerHandler<Stored> => ({
    added: (object) => onEvent(`${kind}-added`, object),
    updated: (object) => onEvent(`${kind}-updated`, object),
    deleted: (object) => onEvent(`${kind}-deleted`, object),
  });
  return [
    informers.claims.subscribe(forward('claim')),
    informers.volumes.subscribe(forward('volume')),
    informers.classes.subscribe(forward('storage-class')),
    informers.csiNodes.subscribe(forward('csi-node')),
    informers.csiDrivers.subscribe(forward('csi-driver')),
    informers.capacities.subscribe(forward('csi-storage-capacity')),
    informers.attachments.subscribe(forward('volume-attachment')),
  ];
}

/**
 * Objects as they will be once the scheduler's decisions are written. An assumption holds until its informer has another version of the object:
 * the API's word replaces it.
 */
export class AssumedStorage implements StorageObjects {
  readonly #informers: StorageInformers;
  readonly #claims = new Map<string, Assumption<PersistentVolumeClaim>>();
  readonly #volumes = new Map<string, Assumption<PersistentVolume>>();

  constructor(informers: StorageInformers) {
    this.#informers = informers;
  }

  claim(namespace: string, name: string): PersistentVolumeClaim | undefined {
    const key = `${namespace}/${name}`;
    return current(this.#claims, { key, actual: this.#informers.claims.get(key) });
  }

  volume(name: string): PersistentVolume | undefined {
    return current(this.#volumes, { key: name, actual: this.#informers.volumes.get(name) });
  }

  *volumesOfClass(name: string): Iterable<PersistentVolume> {
    for (const actual of this.#informers.volumes.byIndex(BY_CLASS, name))
      yield current(this.#volumes, { key: actual.metadata.name, actual })!;
  }

  storageClass(name: string): StorageClass | undefined {
    return this.#informers.classes.get(name);
  }

  csiNode(name: string): CSINode | undefined {
    return this.#informers.csiNodes.get(name);
  }

  csiDriver(name: string): CSIDriver | undefined {
    return this.#informers.csiDrivers.get(name);
  }

  capacities(): Iterable<CSIStorageCapacity> {
    return this.#informers.capacities.list();
  }

  attachments(node: string): Iterable<VolumeAttachment> {
    return this.#informers.attachments.byIndex(BY_NODE, node);
  }

  assumeClaim(claim: PersistentVolumeClaim): void {
    this.#claims.set(objectKey(claim), { object: claim, basedOn: claim.metadata?.resourceVersion });
  }

  assumeVolume(volume: PersistentVolume): void {
    this.#volumes.set(objectKey(volume), { object: volume, basedOn: volume.metadata?.resourceVersion });
  }

  forgetClaim(claim: PersistentVolumeClaim): void {
    this.#claims.delete(objectKey(claim));
  }

  forgetVolume(volume: PersistentVolume): void {
    this.#volumes.delete(objectKey(volume));
  }
}

interface Assumption<T> {
  readonly object: T;
  /** The resource version that the object had in the API. */
  readonly basedOn: string | undefined;
}

function current<T extends KubeObject>(
  assumptions: Map<string, Assumption<T>>,
  { key, actual }: { readonly key: string; readonly actual: T | undefined },
): T | undefined {
  const assumption = assumptions.get(key);
  if (!assumption) return actual;
  if (actual?.metadata?.resourceVersion === assumption.basedOn) return assumption.object;
  assumptions.delete(key);
  return actual;
}
