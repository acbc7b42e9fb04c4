/** Names of volumes of CSI drivers, which controllers and node agents must compute alike. After upstream's pkg/volume/csi. */
import { createHash } from 'node:crypto';
import type { CSIDriver } from '#api/types.ts';

interface CsiVolumeId {
  readonly driver: string;
  readonly volumeHandle: string;
}

/** 'kubernetes.io/csi/<driver>^<handle>', as in the status of nodes. */
export function uniqueVolumeName({ driver, volumeHandle }: CsiVolumeId): string {
  return `kubernetes.io/csi/${driver}^${volumeHandle}`;
}

/** Of the VolumeAttachment that attaches a volume to a node. */
export function attachmentName({ driver, volumeHandle }: CsiVolumeId, nodeName: string): string {
  return `csi-${createHash('sha256').update(`${volumeHandle}${driver}${nodeName}`).digest('hex')}`;
}

/** A driver without a CSIDriver object attaches its volumes. */
export function needsAttachment(driver: CSIDriver | undefined): boolean {
  return driver?.spec.attachRequired ?? true;
}
