/** Scales the replica sets of a deployment proportionally when it was resized or is paused, without continuing the rollout. */
import type { Stored } from '#machinery/object.ts';
import type { Deployment, ReplicaSet } from '#api/types.ts';
import { createdMs } from '../../object-order.ts';
import {
  DESIRED_REPLICAS,
  MAX_REPLICAS,
  activeSets,
  bySizeNewer,
  bySizeOlder,
  isRollingUpdate,
  replicasOf,
  rollingBounds,
  specReplicas,
  wanted,
  type Rollout,
  allSets,
} from './model.ts';
import type { DeploymentSync } from './sync.ts';

/** Whether the size changed since a running replica set was last scaled. */
export function isScalingEvent(deployment: Stored<Deployment>, rollout: Rollout): boolean {
  return activeSets(allSets(rollout)).some((set) => {
    const desired = numberIn(set, DESIRED_REPLICAS);
    return desired !== undefined && desired !== wanted(deployment);
  });
}

export async function scale(sync: DeploymentSync): Promise<void> {
  const { deployment } = sync;
  const replicas = wanted(deployment);
  const only = activeOrLatest(sync);
  if (only) {
    if (replicasOf(only) !== replicas) await sync.scaleSet(only, replicas);
    return;
  }
  if (isSaturated(deployment, sync.newSet)) {
    for (const set of activeSets(sync.oldSets)) await sync.scaleSet(set, 0);
    return;
  }
  if (isRollingUpdate(deployment)) await scaleInProportion(sync);
}

/** The only replica set to scale, when there is just one. */
function activeOrLatest({ newSet, oldSets }: DeploymentSync): Stored<ReplicaSet> | undefined {
  if (!newSet && oldSets.length === 0) return undefined;
  const newestFirst = oldSets.toSorted((a, b) => createdMs(b) - createdMs(a));
  const active = activeSets(newSet ? [...newestFirst, newSet] : newestFirst);
  if (active.length === 0) return newSet ?? newestFirst[0];
  return active.length === 1 ? active[0] : undefined;
}

function isSaturated(deployment: Stored<Deployment>, set: Stored<ReplicaSet> | undefined): boolean {
  const replicas = wanted(deployment);
  return (
    set !== undefined &&
    replicasOf(set) === replicas &&
    numberIn(set, DESIRED_REPLICAS) === replicas &&
    (set.status?.availableReplicas ?? 0) === replicas
  );
}

/** Shares are proportional to the size of each set; the rounding remainder goes to the largest. */
async function scaleInProportion(sync: DeploymentSync): Promise<void> {
  const { deployment } = sync;
  const active = activeSets(sync.all);
  const allowed = wanted(deployment) > 0 ? wanted(deployment) + rollingBounds(deployment).maxSurge : 0;
  const toAdd = allowed - specReplicas(active);
  const sets = toAdd > 0 ? active.toSorted(bySizeNewer) : toAdd < 0 ? active.toSorted(bySizeOlder) : active;
  let added = 0;
  const sizes = sets.map((set) => {
    const share = toAdd === 0 ? 0 : shareOf(set, { deployment, toAdd, added });
    added += share;
    return replicasOf(set) + share;
  });
  if (sizes.length > 0 && toAdd !== 0) sizes[0] = Math.max(0, sizes[0]! + toAdd - added);
  for (const [index, set] of sets.entries()) await sync.scaleSet(set, sizes[index]!);
}

function shareOf(
  set: Stored<ReplicaSet>,
  {
    deployment,
    toAdd,
    added,
  }: { readonly deployment: Stored<Deployment>; readonly toAdd: number; readonly added: number },
): number {
  if (replicasOf(set) === 0 || toAdd === added) return 0;
  const fraction = fractionOf(set, deployment),
    left = toAdd - added;
  return toAdd > 0 ? Math.min(fraction, left) : Math.max(fraction, left);
}

function fractionOf(set: Stored<ReplicaSet>, deployment: Stored<Deployment>): number {
  const replicas = wanted(deployment),
    size = replicasOf(set);
  if (replicas === 0) return -size;
  // A replica set without the annotation is assumed to have the deployment's present size.
  const maxBefore = numberIn(set, MAX_REPLICAS) || (deployment.status?.replicas ?? 0);
  if (maxBefore === 0) return 0;
  const next = (size * (replicas + rollingBounds(deployment).maxSurge)) / maxBefore;
  return roundHalfAway(next) - size;
}

function roundHalfAway(value: number): number {
  return Math.sign(value) * Math.round(Math.abs(value));
}

function numberIn(set: Stored<ReplicaSet>, annotation: string): number | undefined {
  const text = set.metadata?.annotations?.[annotation];
  return text !== undefined && /^-?[0-9]+$/.test(text) ? Number(text) : undefined;
}
