/** Shared by the parts of the deployment controller: a deployment with its replica sets during one reconcile, and derived values. Pure. */
import type { Stored } from '#machinery/object.ts';
import { isDeepStrictEqual } from 'node:util';
import type { Deployment, PodTemplateSpec, ReplicaSet } from '#api/types.ts';
import { getScaledValueFromIntOrPercent } from '#machinery/int-or-string.ts';
import { byAge, createdMs } from '../../object-order.ts';

export const HASH_LABEL = 'pod-template-hash';
export const REVISION = 'deployment.kubernetes.io/revision';
export const REVISION_HISTORY = 'deployment.kubernetes.io/revision-history';
export const DESIRED_REPLICAS = 'deployment.kubernetes.io/desired-replicas';
export const MAX_REPLICAS = 'deployment.kubernetes.io/max-replicas';
const NO_DEADLINE = 2 ** 31 - 1;

/** The replica set of the current template, if it exists, and all others. */
export interface Rollout {
  newSet: Stored<ReplicaSet> | undefined;
  oldSets: Stored<ReplicaSet>[];
}

export function allSets({ newSet, oldSets }: Rollout): Stored<ReplicaSet>[] {
  return newSet ? [...oldSets, newSet] : oldSets;
}

export function replicasOf(set: Stored<ReplicaSet> | undefined): number {
  return set?.spec?.replicas ?? (set ? 1 : 0);
}

/** The sum of spec.replicas over all sets. */
export function specReplicas(sets: readonly Stored<ReplicaSet>[]): number {
  return sets.reduce((sum, set) => sum + replicasOf(set), 0);
}

type Count = 'replicas' | 'readyReplicas' | 'availableReplicas';

/** The sum of status.replicas over all sets. */
export function statusReplicas(sets: readonly Stored<ReplicaSet>[], count: Count): number {
  return sets.reduce((sum, set) => sum + (set.status?.[count] ?? 0), 0);
}

export function activeSets(sets: readonly Stored<ReplicaSet>[]): Stored<ReplicaSet>[] {
  return sets.filter((set) => replicasOf(set) > 0);
}

export function wanted(deployment: Stored<Deployment>): number {
  return deployment.spec?.replicas ?? 1;
}

export function isRollingUpdate(deployment: Stored<Deployment>): boolean {
  return (deployment.spec?.strategy?.type ?? 'RollingUpdate') === 'RollingUpdate';
}

/** Both bounds as numbers. Never both 0: the rollout could not progress. */
export function rollingBounds(deployment: Stored<Deployment>): {
  readonly maxSurge: number;
  readonly maxUnavailable: number;
} {
  const replicas = wanted(deployment);
  if (!isRollingUpdate(deployment)) return { maxSurge: 0, maxUnavailable: 0 };
  const { maxSurge = '25%', maxUnavailable = '25%' } = deployment.spec?.strategy?.rollingUpdate ?? {};
  const surge = getScaledValueFromIntOrPercent(maxSurge, replicas, { roundUp: true });
  const unavailable = getScaledValueFromIntOrPercent(maxUnavailable, replicas, { roundUp: false });
  if (replicas === 0) return { maxSurge: surge, maxUnavailable: 0 };
  return {
    maxSurge: surge,
    maxUnavailable: surge === 0 && unavailable === 0 ? 1 : Math.min(unavailable, replicas),
  };
}

export function hasProgressDeadline(deployment: Stored<Deployment>): boolean {
  const { progressDeadlineSeconds } = deployment.spec ?? {};
  return progressDeadlineSeconds !== undefined && progressDeadlineSeconds !== NO_DEADLINE;
}

export function isSameTemplate(a: PodTemplateSpec | undefined, b: PodTemplateSpec | undefined): boolean {
  return isDeepStrictEqual(withoutHash(a), withoutHash(b));
}

function withoutHash(template: PodTemplateSpec | undefined): unknown {
  const { [HASH_LABEL]: _, ...labels } = template?.metadata?.labels ?? {};
  const { creationTimestamp: _c, ...metadata } = template?.metadata ?? {};
  return { ...template, metadata: { ...metadata, labels } };
}

/** The oldest one when several match. */
function findNewSet(
  deployment: Stored<Deployment>,
  sets: readonly Stored<ReplicaSet>[],
): Stored<ReplicaSet> | undefined {
  return sets.toSorted(byAge).find((set) => isSameTemplate(set.spec?.template, deployment.spec?.template));
}

export function splitSets(deployment: Stored<Deployment>, sets: readonly Stored<ReplicaSet>[]): Rollout {
  const newSet = findNewSet(deployment, sets);
  return { newSet, oldSets: sets.filter((set) => set !== newSet) };
}

const MAX_INT64 = 2n ** 63n - 1n;

/** An int64 upstream, which may exceed a number's precision. An invalid value counts as 0. */
export function revisionOf(object: {
  readonly metadata?: { readonly annotations?: Record<string, string> };
}): bigint {
  const text = object.metadata?.annotations?.[REVISION] ?? '';
  const revision = /^[+-]?\d+$/.test(text) ? BigInt(text.replace(/^\+/, '')) : 0n;
  return revision <= MAX_INT64 && revision >= -MAX_INT64 ? revision : 0n;
}

export function maxRevision(sets: readonly Stored<ReplicaSet>[]): bigint {
  return sets.map(revisionOf).reduce((highest, revision) => (revision > highest ? revision : highest), 0n);
}

/** The number of replicas that the new set should have now, within maxSurge. */
export function newSetReplicas(
  deployment: Stored<Deployment>,
  { all, current }: { readonly all: readonly Stored<ReplicaSet>[]; readonly current: number },
): number {
  const replicas = wanted(deployment);
  if (!isRollingUpdate(deployment)) return replicas;
  const room = replicas + rollingBounds(deployment).maxSurge - specReplicas(all);
  return room <= 0 ? current : current + Math.min(room, replicas - current);
}

export function bySizeNewer(a: Stored<ReplicaSet>, b: Stored<ReplicaSet>): number {
  return replicasOf(b) - replicasOf(a) || createdMs(b) - createdMs(a) || byAge(b, a);
}

export function bySizeOlder(a: Stored<ReplicaSet>, b: Stored<ReplicaSet>): number {
  return replicasOf(b) - replicasOf(a) || byAge(a, b);
}
