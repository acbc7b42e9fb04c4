/**
 * Maintains the pods of each StatefulSet: each has a stable name, an ordinal and claims of its own. After upstream's
 * pkg/controller/statefulset. The steps are in statefulset/rollout.ts.
 */
import { isDeepStrictEqual } from 'node:util';
import type { ControllerRevision, Pod, StatefulSet, StatefulSetStatus } from '#api/types.ts';
import { compileLabelSelector, type LabelSelector } from '#machinery/labels.ts';
import { controllerRevisions, persistentVolumeClaims, pods, statefulSets } from '#client/refs.ts';
import { defineController, watch, type ReconcileContext, type ReconcileResult } from '#runtime/controller.ts';
import { byController, claim, controlledBy, orphans, ownerKeys } from '../owners.ts';
import { nextAvailableInMs } from '#component-helpers/pod-status.ts';
import {
  RevisionCollision,
  currentRevision,
  listRevisions,
  trimHistory,
  type HistoryOptions,
} from './history.ts';
import {
  REVISION_HASH_LABEL,
  isRunningAndAvailable,
  isRunningAndReady,
  parseOrdinal,
  replicasOf,
  revisionOf,
} from './statefulset/model.ts';
import { Rollout, type Revisions } from './statefulset/rollout.ts';

export const statefulSetController = defineController({
  name: 'statefulset-controller',
  seesOwnWrites: {
    featureGate: 'StaleControllerConsistencyStatefulSet',
    subsystem: 'statefulset_controller',
  },
  watches: [
    watch(statefulSets),
    watch(pods, {
      keys: (pod, { informer }) =>
        ownerKeys(pod, { resource: statefulSets, informer: informer(statefulSets), selectorOf }),
    }),
    watch(persistentVolumeClaims, { keys: () => [] }),
    watch(controllerRevisions, { keys: () => [] }),
  ],
  indexes: [byController(pods), byController(controllerRevisions)],
  reconcile,
});

function selectorOf(set: StatefulSet): LabelSelector {
  return compileLabelSelector(set.spec?.selector);
}

async function reconcile(context: ReconcileContext): Promise<ReconcileResult> {
  const { key, informer, memory, clock } = context;
  const set = informer(statefulSets).get(key);
  if (!set) return void memory.delete(`deleted/${key}`);
  const selector = selectorOf(set);
  const candidates = [
    ...controlledBy(informer(pods), set),
    ...orphans(informer(pods), set.metadata.namespace!),
  ];
  const claimed = await claim(candidates, {
    api: context.api,
    resource: pods,
    owner: set,
    ownerResource: statefulSets,
    selector,
    filter: (pod) => parseOrdinal(pod, set) !== undefined,
  });
  const { revisions, old } = await findRevisions(context, set, selector);
  const rollout = new Rollout(context, set, { pods: claimed, revisions });
  let failure: unknown;
  try {
    if (!set.metadata.deletionTimestamp) await rollout.step();
  } catch (error) {
    failure = error;
  }
  await writeStatus(context, set, statusOf(set, { rollout, revisions, nowMs: clock.now() }));
  if (failure) throw failure;
  const live = new Set([revisions.current.metadata!.name, ...claimed.map(revisionOf)]);
  await trimHistory(context, old, {
    limit: set.spec?.revisionHistoryLimit ?? 10,
    isLive: ({ metadata }) => live.has(metadata!.name!),
  });
  const availableMs = nextAvailableInMs(rollout.pods, {
    minReadySeconds: set.spec?.minReadySeconds,
    nowMs: clock.now(),
  });
  const waitMs = Math.min(rollout.waitMs ?? Infinity, availableMs ?? Infinity);
  return waitMs === Infinity ? undefined : { requeueAfterMs: waitMs };
}

async function findRevisions(
  context: ReconcileContext,
  set: StatefulSet,
  selector: LabelSelector,
): Promise<{ readonly revisions: Revisions; readonly old: readonly ControllerRevision[] }> {
  const options: HistoryOptions = {
    context,
    owner: set,
    ownerResource: statefulSets,
    selector,
    template: set.spec!.template,
    collisionCount: set.status?.collisionCount,
    hashLabel: REVISION_HASH_LABEL,
  };
  try {
    const { current: update, old } = await currentRevision(options, await listRevisions(options));
    const current = old.find(({ metadata }) => metadata!.name === set.status?.currentRevision) ?? update;
    return { revisions: { current, update }, old };
  } catch (error) {
    if (error instanceof RevisionCollision)
      await context.api.updateStatus(statefulSets, {
        ...set,
        status: { replicas: 0, ...set.status, collisionCount: (set.status?.collisionCount ?? 0) + 1 },
      });
    throw error;
  }
}

function statusOf(
  set: StatefulSet,
  {
    rollout,
    revisions,
    nowMs,
  }: { readonly rollout: Rollout; readonly revisions: Revisions; readonly nowMs: number },
): StatefulSetStatus {
  const current = revisions.current.metadata!.name!,
    update = revisions.update.metadata!.name!;
  const all = rollout.pods;
  const ofRevision = (name: string): number =>
    all.filter((pod: Pod) => revisionOf(pod) === name && !rollout.isTerminating(pod)).length;
  const { collisionCount = 0, conditions } = set.status ?? {};
  const status: StatefulSetStatus = {
    observedGeneration: set.metadata?.generation ?? 0,
    replicas: all.length,
    readyReplicas: all.filter(isRunningAndReady).length,
    availableReplicas: all.filter((pod) => isRunningAndAvailable(pod, { set, nowMs })).length,
    currentReplicas: ofRevision(current),
    updatedReplicas: ofRevision(update),
    currentRevision: current,
    updateRevision: update,
    collisionCount,
    ...(conditions ? { conditions } : {}),
  };
  const wanted = replicasOf(set);
  const isUpdated =
    status.updatedReplicas === wanted && status.readyReplicas === wanted && status.replicas === wanted;
  return isUpdated && set.spec?.updateStrategy?.type !== 'OnDelete'
    ? { ...status, currentRevision: update, currentReplicas: wanted }
    : status;
}

async function writeStatus(
  { api }: ReconcileContext,
  set: StatefulSet,
  status: StatefulSetStatus,
): Promise<void> {
  if (isDeepStrictEqual(withoutZeros(status), withoutZeros(set.status))) return;
  await api.updateStatus(statefulSets, { ...set, status });
}

/** Zero counts are omitted on the wire; collisionCount is kept once it was written. */
function withoutZeros(status: StatefulSetStatus | undefined): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(status ?? {}).filter(([name, value]) => value !== 0 || name === 'collisionCount'),
  );
}
