/** What a driver gets to know of a volume: capability, access mode and context. Pure. After upstream's pkg/volume/csi. */
import type { CSIDriver, CSIPersistentVolumeSource, CSIVolumeSource, Pod, Volume } from '#api/types.ts';
import type { PersistentVolume } from '#api/types.ts';
import { isBlockMode } from '#component-helpers/persistent-volumes.ts';
import { createHash } from 'node:crypto';
import type { AccessMode, NodeCapability, Texts, VolumeCapability } from './protocol.ts';

export interface SecretReference {
  readonly name?: string | undefined;
  readonly namespace?: string | undefined;
}

/** A volume of a pod as the driver will see it, of a claim or written in the pod. */
export interface CsiVolume {
  readonly pod: Pod;
  /** Of the PersistentVolume, or in the pod. */
  readonly name: string;
  readonly driver: string;
  readonly volumeHandle: string;
  readonly isEphemeral: boolean;
  readonly isBlock: boolean;
  readonly fsType: string;
  /** Of the driver's source or the pod's volume. */
  readonly readOnly: boolean;
  readonly attributes: Texts;
  readonly accessModes: readonly string[];
  readonly mountOptions: readonly string[];
  readonly stageSecret?: SecretReference | undefined;
  readonly publishSecret?: SecretReference | undefined;
  readonly expandSecret?: SecretReference | undefined;
  /** Absent: written in the pod. */
  readonly persistent?: PersistentVolume | undefined;
}

export function persistentCsiVolume(
  pod: Pod,
  {
    persistent,
    source,
    readOnly,
  }: {
    readonly persistent: PersistentVolume;
    readonly source: CSIPersistentVolumeSource;
    readonly readOnly: boolean;
  },
): CsiVolume {
  const { spec, metadata } = persistent;
  return {
    pod,
    name: metadata?.name ?? '',
    driver: source.driver,
    volumeHandle: source.volumeHandle,
    isEphemeral: false,
    isBlock: isBlockMode(spec?.volumeMode),
    fsType: source.fsType ?? '',
    readOnly: readOnly || (source.readOnly ?? false),
    attributes: source.volumeAttributes ?? {},
    accessModes: spec?.accessModes ?? [],
    mountOptions: spec?.mountOptions ?? [],
    stageSecret: source.nodeStageSecretRef,
    publishSecret: source.nodePublishSecretRef,
    expandSecret: source.nodeExpandSecretRef,
    persistent,
  };
}

export function inlineCsiVolume(
  pod: Pod,
  { volume, source }: { readonly volume: Volume; readonly source: CSIVolumeSource },
): CsiVolume {
  const { uid = '', namespace } = pod.metadata ?? {};
  const secret = source.nodePublishSecretRef;
  return {
    pod,
    name: volume.name,
    driver: source.driver,
    volumeHandle: `csi-${createHash('sha256').update(`${uid}${volume.name}`).digest('hex')}`,
    isEphemeral: true,
    isBlock: false,
    fsType: source.fsType ?? '',
    readOnly: source.readOnly ?? false,
    attributes: source.volumeAttributes ?? {},
    accessModes: ['ReadWriteOnce'],
    mountOptions: [],
    publishSecret: secret && { name: secret.name, namespace },
  };
}

export function volumeCapability(
  volume: CsiVolume,
  {
    capabilities,
    fsGroup,
  }: { readonly capabilities: ReadonlySet<NodeCapability>; readonly fsGroup: number | undefined },
): VolumeCapability {
  const accessMode = { mode: accessModeOf(volume.accessModes[0], capabilities) };
  if (volume.isBlock) return { block: {}, accessMode };
  const delegates = fsGroup !== undefined && capabilities.has('VOLUME_MOUNT_GROUP');
  return {
    mount: {
      fsType: volume.fsType,
      mountFlags: volume.mountOptions,
      volumeMountGroup: delegates ? String(fsGroup) : '',
    },
    accessMode,
  };
}

function accessModeOf(mode: string | undefined, capabilities: ReadonlySet<NodeCapability>): AccessMode {
  const knowsWriters = capabilities.has('SINGLE_NODE_MULTI_WRITER');
  switch (mode) {
    case 'ReadWriteOnce':
      return knowsWriters ? 'SINGLE_NODE_MULTI_WRITER' : 'SINGLE_NODE_WRITER';
    case 'ReadWriteOncePod':
      return knowsWriters ? 'SINGLE_NODE_SINGLE_WRITER' : 'SINGLE_NODE_WRITER';
    case 'ReadOnlyMany':
      return 'MULTI_NODE_READER_ONLY';
    case 'ReadWriteMany':
      return 'MULTI_NODE_MULTI_WRITER';
    default:
      return 'UNKNOWN';
  }
}

/** Whether files of the volume are given to the pod's fsGroup: the policy of the driver, by default only for file systems of one node. */
export function takesFsGroup(volume: CsiVolume, driver: CSIDriver | undefined): boolean {
  switch (driver?.spec.fsGroupPolicy ?? 'ReadWriteOnceWithFSType') {
    case 'None':
      return false;
    case 'File':
      return true;
    default:
      return (
        volume.fsType !== '' &&
        (volume.isEphemeral ||
          volume.accessModes.some((mode) => mode === 'ReadWriteOnce' || mode === 'ReadWriteOncePod'))
      );
  }
}

/** The driver's own attributes, and the pod where the driver asks for it. */
export function volumeContext(volume: CsiVolume, driver: CSIDriver | undefined): Texts {
  if (!driver?.spec.podInfoOnMount) return volume.attributes;
  const { metadata, spec } = volume.pod;
  return {
    ...volume.attributes,
    'csi.storage.k8s.io/pod.name': metadata?.name ?? '',
    'csi.storage.k8s.io/pod.namespace': metadata?.namespace ?? '',
    'csi.storage.k8s.io/pod.uid': metadata?.uid ?? '',
    'csi.storage.k8s.io/serviceAccount.name': spec?.serviceAccountName ?? '',
    'csi.storage.k8s.io/ephemeral': String(volume.isEphemeral),
  };
}

/** Throws when the driver does not offer volumes that live with a pod, or with a claim. */
export function checkLifecycle(volume: CsiVolume, driver: CSIDriver | undefined): void {
  const mode = volume.isEphemeral ? 'Ephemeral' : 'Persistent';
  const offered = driver?.spec.volumeLifecycleModes ?? ['Persistent'];
  if (!offered.includes(mode))
    throw new Error(
      `volume mode ${JSON.stringify(mode)} not supported by driver ${volume.driver} (only supports ${JSON.stringify(offered)})`,
    );
}
