/** A deployment's status: counts over its replica sets, and the conditions Available, Progressing and ReplicaFailure with upstream's messages. */
import type { Stored } from '#machinery/object.ts';
import { isDeepStrictEqual } from 'node:util';
import type { Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet } from '#api/types.ts';
import { timeMs } from '#machinery/time.ts';
import { findCondition, withCondition, withoutCondition } from '#component-helpers/conditions.ts';
import { hasProgressDeadline, rollingBounds, specReplicas, statusReplicas, wanted } from './model.ts';
import { isComplete } from './rollout.ts';
import type { DeploymentSync } from './sync.ts';

const PROGRESSING = 'Progressing';
const COMPLETE = 'NewReplicaSetAvailable';
const TIMED_OUT = 'ProgressDeadlineExceeded';

/** Counts and Available only, for paused or just scaled deployments. */
export async function writeCounts(sync: DeploymentSync): Promise<void> {
  const status = countsOf(sync);
  if (!sameStatus(status, sync.deployment.status)) await sync.writeStatus({ status });
}

/** The whole status. Returns after what time the progress deadline must be checked again. */
export async function writeRolloutStatus(sync: DeploymentSync): Promise<number | undefined> {
  const { deployment } = sync;
  const status = countsOf(sync);
  if (!hasProgressDeadline(deployment)) status.conditions = withoutCondition(status.conditions, PROGRESSING);
  else setProgress(sync, status);
  const failure = replicaFailure(sync);
  status.conditions = failure
    ? withCondition(status.conditions, failure)
    : withoutCondition(status.conditions, 'ReplicaFailure');
  if (!sameStatus(status, deployment.status)) await sync.writeStatus({ status });
  return deadlineInMs(sync);
}

function countsOf(sync: DeploymentSync): DeploymentStatus {
  const { deployment, all, newSet } = sync;
  const available = statusReplicas(all, 'availableReplicas');
  const enough = available >= wanted(deployment) - rollingBounds(deployment).maxUnavailable;
  const condition = enough
    ? sync.condition('Available', {
        status: 'True',
        reason: 'MinimumReplicasAvailable',
        message: 'Deployment has minimum availability.',
      })
    : sync.condition('Available', {
        status: 'False',
        reason: 'MinimumReplicasUnavailable',
        message: 'Deployment does not have minimum availability.',
      });
  const terminating = terminatingOf(all);
  return {
    observedGeneration: deployment.metadata?.generation ?? 0,
    replicas: statusReplicas(all, 'replicas'),
    updatedReplicas: newSet ? statusReplicas([newSet], 'replicas') : 0,
    readyReplicas: statusReplicas(all, 'readyReplicas'),
    availableReplicas: available,
    unavailableReplicas: Math.max(0, specReplicas(all) - available),
    ...(terminating === undefined ? {} : { terminatingReplicas: terminating }),
    ...(deployment.status?.collisionCount === undefined
      ? {}
      : { collisionCount: deployment.status.collisionCount }),
    conditions: withCondition(deployment.status?.conditions, condition),
  };
}

/** undefined while a replica set has not reported it. */
function terminatingOf(sets: readonly Stored<ReplicaSet>[]): number | undefined {
  let sum = 0;
  for (const { status } of sets) {
    if (status?.terminatingReplicas === undefined) return undefined;
    sum += status.terminatingReplicas;
  }
  return sum;
}

function setProgress(sync: DeploymentSync, status: DeploymentStatus): void {
  const { deployment, newSet } = sync;
  const current = findCondition(deployment.status?.conditions, PROGRESSING);
  if (status.replicas === status.updatedReplicas && current?.reason === COMPLETE) return;
  const subject = newSet
    ? `ReplicaSet "${newSet.metadata.name}"`
    : `Deployment "${deployment.metadata.name}"`;
  if (isComplete(deployment, status)) {
    status.conditions = withCondition(
      status.conditions,
      sync.condition(PROGRESSING, {
        status: 'True',
        reason: COMPLETE,
        message: `${subject} has successfully progressed.`,
      }),
    );
  } else if (hasProgressed(deployment.status, status)) {
    const condition = sync.condition(PROGRESSING, {
      status: 'True',
      reason: 'ReplicaSetUpdated',
      message: `${subject} is progressing.`,
    });
    // Always updated, because the deadline counts from lastUpdateTime.
    const kept =
      current?.status === 'True' && current.lastTransitionTime
        ? { ...condition, lastTransitionTime: current.lastTransitionTime }
        : condition;
    status.conditions = [...withoutCondition(status.conditions, PROGRESSING), kept];
  } else if (isTimedOut(sync, status)) {
    status.conditions = withCondition(
      status.conditions,
      sync.condition(PROGRESSING, {
        status: 'False',
        reason: TIMED_OUT,
        message: `${subject} has timed out progressing.`,
      }),
    );
  }
}

function hasProgressed(before: DeploymentStatus | undefined, after: DeploymentStatus): boolean {
  const old = (status: DeploymentStatus | undefined): number =>
    (status?.replicas ?? 0) - (status?.updatedReplicas ?? 0);
  return (
    (after.updatedReplicas ?? 0) > (before?.updatedReplicas ?? 0) ||
    old(after) < old(before) ||
    (after.readyReplicas ?? 0) > (before?.readyReplicas ?? 0) ||
    (after.availableReplicas ?? 0) > (before?.availableReplicas ?? 0)
  );
}

function isTimedOut({ deployment, nowMs }: DeploymentSync, status: DeploymentStatus): boolean {
  const condition = findCondition(status.conditions, PROGRESSING);
  if (!condition || condition.reason === COMPLETE) return false;
  if (condition.reason === TIMED_OUT) return true;
  return (timeMs(condition.lastUpdateTime) ?? 0) + deployment.spec!.progressDeadlineSeconds! * 1000 < nowMs;
}

function deadlineInMs({ deployment, nowMs }: DeploymentSync): number | undefined {
  const condition = findCondition(deployment.status?.conditions, PROGRESSING);
  if (
    !hasProgressDeadline(deployment) ||
    !condition ||
    condition.reason === TIMED_OUT ||
    isComplete(deployment, deployment.status)
  )
    return undefined;
  const leftMs =
    (timeMs(condition.lastUpdateTime) ?? 0) + deployment.spec!.progressDeadlineSeconds! * 1000 - nowMs;
  // A second later than the deadline, because times are whole seconds.
  return Math.max(0, leftMs) + 1000;
}

/** The ReplicaFailure condition of the new replica set, else of an old one. */
function replicaFailure({ newSet, oldSets }: DeploymentSync): DeploymentCondition | undefined {
  for (const set of newSet ? [newSet, ...oldSets] : oldSets) {
    const condition = findCondition(set.status?.conditions, 'ReplicaFailure');
    if (!condition) continue;
    const { lastTransitionTime } = condition;
    return {
      ...condition,
      ...(lastTransitionTime === undefined ? {} : { lastUpdateTime: lastTransitionTime }),
    };
  }
  return undefined;
}

/** A paused deployment is not stuck: the Progressing condition becomes Paused, and later Resumed. */
export async function notePause(sync: DeploymentSync): Promise<void> {
  const { deployment } = sync;
  const current = findCondition(deployment.status?.conditions, PROGRESSING);
  if (!hasProgressDeadline(deployment) || current?.reason === TIMED_OUT) return;
  const paused = deployment.spec?.paused === true,
    noted = current?.reason === 'DeploymentPaused';
  if (paused === noted) return;
  const condition = paused
    ? sync.condition(PROGRESSING, {
        status: 'Unknown',
        reason: 'DeploymentPaused',
        message: 'Deployment is paused',
      })
    : sync.condition(PROGRESSING, {
        status: 'Unknown',
        reason: 'DeploymentResumed',
        message: 'Deployment is resumed',
      });
  await sync.writeStatus({
    status: { ...deployment.status, conditions: withCondition(deployment.status?.conditions, condition) },
  });
}

function sameStatus(a: Deployment['status'], b: Deployment['status']): boolean {
  return isDeepStrictEqual(onTheWire(a), onTheWire(b));
}

/** Zero counts and empty lists are omitted on the wire. */
function onTheWire(status: DeploymentStatus | undefined): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(status ?? {}).filter(
      ([name, value]) =>
        name === 'terminatingReplicas' ||
        name === 'collisionCount' ||
        (value !== 0 && value !== undefined && !(Array.isArray(value) && value.length === 0)),
    ),
  );
}
