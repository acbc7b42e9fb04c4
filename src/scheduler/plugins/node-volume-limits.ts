/** NodeVolumeLimits: a node takes no more volumes of a CSI driver than its CSINode says. After upstream's nodevolumelimits (CSI). */
import type { Pod, Volume } from '#api/types.ts';
import { claimNameOf, classOfClaim } from '#component-helpers/persistent-volumes.ts';
import { refusal, type SchedulerPlugin } from '../plugin.ts';
import type { StorageObjects } from '../storage.ts';
import { concernsClaimOf } from './claims-of-pod.ts';

const NAME = 'NodeVolumeLimits';

export const nodeVolumeLimits: SchedulerPlugin = {
  name: NAME,
  queueingHints: [
    'csi-node-added',
    'csi-node-updated',
    'pod-deleted',
    'claim-added',
    'claim-updated',
    'volume-added',
    'volume-updated',
    'volume-attachment-deleted',
  ],
  isHelpedBy: concernsClaimOf,
  preFilter: ({ pod }) =>
    pod.pod.spec?.volumes?.some((volume) => isAttachable(pod.pod, volume)) ? undefined : 'skip',
  filter({ pod, snapshot }, node) {
    const limits = limitsOf(snapshot.volumes, node.name);
    if (limits.size === 0) return undefined;
    const wanted = attachableVolumes(pod.pod, snapshot.volumes);
    const attached = attachedTo(node.name, snapshot.volumes);
    for (const { pod: other } of node.pods.values())
      for (const [volume, driver] of attachableVolumes(other, snapshot.volumes)) attached.set(volume, driver);
    for (const [driver, limit] of limits) {
      const added = countOf(
        driver,
        [...wanted].filter(([volume]) => !attached.has(volume)),
      );
      if (added > 0 && added + countOf(driver, attached) > limit)
        return refusal(NAME, 'node(s) exceed max volume count');
    }
    return undefined;
  },
};

/** Also of pods that are gone: their volumes are still being detached. */
function attachedTo(node: string, objects: StorageObjects): Map<string, string> {
  const found = new Map<string, string>();
  for (const { spec } of objects.attachments(node)) {
    const { persistentVolumeName, inlineVolumeSpec } = spec?.source ?? {};
    const csi = (inlineVolumeSpec ?? objects.volume(persistentVolumeName ?? '')?.spec)?.csi;
    if (csi) found.set(`${csi.driver}/${csi.volumeHandle}`, csi.driver);
  }
  return found;
}

function isAttachable(pod: Pod, volume: Volume): boolean {
  return claimNameOf(pod, volume) !== undefined;
}

function countOf(driver: string, volumes: Iterable<readonly [volume: string, driver: string]>): number {
  let count = 0;
  for (const [, of] of volumes) if (of === driver) count += 1;
  return count;
}

function limitsOf(objects: StorageObjects, node: string): ReadonlyMap<string, number> {
  const limits = new Map<string, number>();
  for (const { name, allocatable } of objects.csiNode(node)?.spec?.drivers ?? [])
    if (allocatable?.count !== undefined) limits.set(name, allocatable.count);
  return limits;
}

/** Unique volume → driver. A claim without a volume counts for the driver that its class provisions with. */
function attachableVolumes(pod: Pod, objects: StorageObjects): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  const namespace = pod.metadata?.namespace ?? '';
  for (const volume of pod.spec?.volumes ?? []) {
    const name = claimNameOf(pod, volume);
    const claim = name === undefined ? undefined : objects.claim(namespace, name);
    if (!claim) continue;
    const csi = objects.volume(claim.spec?.volumeName ?? '')?.spec?.csi;
    if (csi) found.set(`${csi.driver}/${csi.volumeHandle}`, csi.driver);
    else if (!claim.spec?.volumeName) {
      const driver = objects.storageClass(classOfClaim(claim))?.provisioner;
      if (driver) found.set(`${driver}/claim/${namespace}/${name}`, driver);
    }
  }
  return found;
}
