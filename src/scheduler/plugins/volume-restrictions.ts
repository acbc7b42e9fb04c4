/**
 * VolumeRestrictions: a ReadWriteOncePod claim has one user in the cluster, and a disk of an in-tree kind one user on a node. After upstream's
 * volumerestrictions.
 */
import type { ISCSIVolumeSource, RBDVolumeSource, Volume } from '#api/types.ts';
import { refusal, type Cycle, type SchedulerPlugin } from '../plugin.ts';
import type { PodInfo } from '../pod-info.ts';
import { concernsClaimOf } from './claims-of-pod.ts';

const NAME = 'VolumeRestrictions';

interface State {
  /** Keys of the pod's ReadWriteOncePod claims. */
  readonly exclusive: ReadonlySet<string>;
  /** References of other pods to them. */
  conflicts: number;
}

export const volumeRestrictions: SchedulerPlugin = {
  name: NAME,
  queueingHints: ['pod-deleted', 'node-added', 'claim-added', 'claim-updated'],
  isHelpedBy: concernsClaimOf,
  preFilter({ pod, snapshot, state }) {
    const exclusive = new Set<string>();
    for (const { persistentVolumeClaim } of pod.pod.spec?.volumes ?? []) {
      if (!persistentVolumeClaim) continue;
      const { claimName } = persistentVolumeClaim;
      const claim = snapshot.volumes.claim(pod.namespace, claimName);
      if (!claim)
        return refusal(NAME, `persistentvolumeclaim ${JSON.stringify(claimName)} not found`, {
          resolvable: false,
        });
      if (claim.spec?.accessModes?.includes('ReadWriteOncePod'))
        exclusive.add(`${pod.namespace}/${claimName}`);
    }
    let conflicts = 0;
    for (const key of exclusive)
      for (const node of snapshot.byName.values()) if (node.claimUsers(key) > 0) conflicts += 1;
    if (conflicts === 0 && !pod.pod.spec?.volumes?.some(isDisk)) return 'skip';
    state.set(NAME, { exclusive, conflicts } satisfies State);
    return undefined;
  },
  filter({ pod, state }, node) {
    if (pod.pod.spec?.volumes?.some(isDisk))
      for (const other of node.pods.values())
        if (disksConflict(pod, other)) return refusal(NAME, 'node(s) had no available disk');
    return (state.get(NAME) as State).conflicts > 0
      ? refusal(
          NAME,
          'node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode',
        )
      : undefined;
  },
  podRemoved: (cycle, { pod }) => count(cycle, pod, -1),
  podAdded: (cycle, { pod }) => count(cycle, pod, 1),
  cloneState: (state) => ({ ...(state as State) }),
};

function count({ state }: Cycle, { claims }: PodInfo, by: number): void {
  const own = state.get(NAME) as State;
  for (const key of claims) if (own.exclusive.has(key)) own.conflicts += by;
}

function isDisk({ gcePersistentDisk, awsElasticBlockStore, iscsi, rbd }: Volume): boolean {
  return (gcePersistentDisk ?? awsElasticBlockStore ?? iscsi ?? rbd) !== undefined;
}

function disksConflict({ pod }: PodInfo, { pod: other }: PodInfo): boolean {
  return (pod.spec?.volumes ?? []).some((own) =>
    (other.spec?.volumes ?? []).some((theirs) => isSameDisk(own, theirs)),
  );
}

/** Readers may share, where the kind allows it. */
function isSameDisk(a: Volume, b: Volume): boolean {
  if (a.gcePersistentDisk && b.gcePersistentDisk)
    return (
      a.gcePersistentDisk.pdName === b.gcePersistentDisk.pdName &&
      !(a.gcePersistentDisk.readOnly && b.gcePersistentDisk.readOnly)
    );
  if (a.awsElasticBlockStore && b.awsElasticBlockStore)
    return a.awsElasticBlockStore.volumeID === b.awsElasticBlockStore.volumeID;
  if (a.iscsi && b.iscsi) return isSameTarget(a.iscsi, b.iscsi);
  return a.rbd !== undefined && b.rbd !== undefined && isSameImage(a.rbd, b.rbd);
}

function isSameTarget(a: ISCSIVolumeSource, b: ISCSIVolumeSource): boolean {
  return a.iqn === b.iqn && !(a.readOnly && b.readOnly);
}

function isSameImage(a: RBDVolumeSource, b: RBDVolumeSource): boolean {
  return (
    a.monitors.some((one) => b.monitors.includes(one)) &&
    a.pool === b.pool &&
    a.image === b.image &&
    !(a.readOnly && b.readOnly)
  );
}
