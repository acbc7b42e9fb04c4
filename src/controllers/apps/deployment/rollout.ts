/** Scales old replica sets down and the new one up: RollingUpdate within its bounds, Recreate, and cleanup of old history. */
import type { Stored } from '#machinery/object.ts';
import type { Deployment, DeploymentStatus, Pod, ReplicaSet } from '#api/types.ts';
import { isStatusError } from '#machinery/errors.ts';
import { replicaSets } from '#client/refs.ts';
import { isPodTerminal } from '#component-helpers/pod-status.ts';
import { byAge } from '../../object-order.ts';
import {
  activeSets,
  newSetReplicas,
  replicasOf,
  revisionOf,
  rollingBounds,
  specReplicas,
  statusReplicas,
  wanted,
} from './model.ts';
import { syncRevision } from './revisions.ts';
import type { DeploymentSync } from './sync.ts';

/** One step; the next follows when the status of the replica sets has changed. */
export async function rollingUpdate(sync: DeploymentSync): Promise<void> {
  await syncRevision(sync, { create: true });
  if (await scaleNewSet(sync)) return;
  if (await scaleDownOldSets(sync)) return;
  await cleanUpWhenComplete(sync);
}

async function scaleNewSet(sync: DeploymentSync): Promise<boolean> {
  const set = sync.newSet!;
  const current = replicasOf(set),
    replicas = wanted(sync.deployment);
  if (current === replicas) return false;
  const next = current > replicas ? replicas : newSetReplicas(sync.deployment, { all: sync.all, current });
  return next !== current && sync.scaleSet(set, next);
}

async function scaleDownOldSets(sync: DeploymentSync): Promise<boolean> {
  if (specReplicas(sync.oldSets) === 0) return false;
  const minAvailable = wanted(sync.deployment) - rollingBounds(sync.deployment).maxUnavailable;
  const newUnavailable = replicasOf(sync.newSet) - (sync.newSet?.status?.availableReplicas ?? 0);
  const most = specReplicas(sync.all) - minAvailable - newUnavailable;
  if (most <= 0) return false;
  // Unhealthy pods first: they could block the rollout forever.
  const cleaned = await scaleDownUnhealthy(sync, most);
  const scaled = await scaleDownAvailable(sync, minAvailable);
  return cleaned + scaled > 0;
}

async function scaleDownUnhealthy(sync: DeploymentSync, most: number): Promise<number> {
  let total = 0;
  for (const set of activeSets(sync.oldSets).toSorted(byAge)) {
    if (total >= most) break;
    const unavailable = replicasOf(set) - (set.status?.availableReplicas ?? 0);
    if (unavailable <= 0) continue;
    const count = Math.min(most - total, unavailable);
    await sync.scaleSet(set, replicasOf(set) - count);
    total += count;
  }
  return total;
}

async function scaleDownAvailable(sync: DeploymentSync, minAvailable: number): Promise<number> {
  const spare = statusReplicas(sync.all, 'availableReplicas') - minAvailable;
  let total = 0;
  for (const set of activeSets(sync.oldSets).toSorted(byAge)) {
    if (total >= spare) break;
    const count = Math.min(spare - total, replicasOf(set));
    await sync.scaleSet(set, replicasOf(set) - count);
    total += count;
  }
  return total;
}

/** pods: of all replica sets of the deployment, by replica set uid. */
export async function recreate(
  sync: DeploymentSync,
  podsBySet: ReadonlyMap<string, readonly Stored<Pod>[]>,
): Promise<void> {
  await syncRevision(sync, { create: false });
  let scaled = false;
  for (const set of activeSets(sync.oldSets)) scaled = (await sync.scaleSet(set, 0)) || scaled;
  if (scaled || oldPodsRun(sync, podsBySet)) return;
  if (!sync.newSet) await syncRevision(sync, { create: true });
  await sync.scaleSet(sync.newSet!, wanted(sync.deployment));
  await cleanUpWhenComplete(sync);
}

function oldPodsRun(sync: DeploymentSync, podsBySet: ReadonlyMap<string, readonly Stored<Pod>[]>): boolean {
  if (statusReplicas(sync.oldSets, 'replicas') > 0) return true;
  for (const [uid, pods] of podsBySet) {
    if (uid !== sync.newSet?.metadata?.uid && pods.some((pod) => !isPodTerminal(pod))) return true;
  }
  return false;
}

export function isComplete(deployment: Stored<Deployment>, status: DeploymentStatus | undefined): boolean {
  const replicas = wanted(deployment);
  return (
    (status?.updatedReplicas ?? 0) === replicas &&
    (status?.replicas ?? 0) === replicas &&
    (status?.availableReplicas ?? 0) === replicas &&
    (status?.observedGeneration ?? 0) >= (deployment.metadata?.generation ?? 0)
  );
}

async function cleanUpWhenComplete(sync: DeploymentSync): Promise<void> {
  if (isComplete(sync.deployment, sync.deployment.status)) await cleanUpHistory(sync);
}

/** Deletes the oldest empty sets beyond revisionHistoryLimit. */
export async function cleanUpHistory(sync: DeploymentSync): Promise<void> {
  const limit = sync.deployment.spec?.revisionHistoryLimit;
  if (limit === undefined || limit === 2 ** 31 - 1) return;
  const candidates = sync.oldSets.filter((set) => !set.metadata?.deletionTimestamp);
  const surplus = candidates.length - limit;
  if (surplus <= 0) return;
  for (const set of candidates.toSorted((a, b) => Number(revisionOf(a) - revisionOf(b))).slice(0, surplus)) {
    if (!isSettledEmpty(set)) continue;
    try {
      await sync.context.api.delete(replicaSets, {
        name: set.metadata.name,
        namespace: set.metadata.namespace,
      });
    } catch (error) {
      if (!isStatusError(error, 'NotFound')) throw error;
    }
  }
}

function isSettledEmpty(set: Stored<ReplicaSet>): boolean {
  return (
    (set.status?.replicas ?? 0) === 0 &&
    replicasOf(set) === 0 &&
    (set.metadata?.generation ?? 0) <= (set.status?.observedGeneration ?? 0)
  );
}
