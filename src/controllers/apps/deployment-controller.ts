/**
 * Rolls pods of a Deployment from one template to the next, through ReplicaSets. After upstream's pkg/controller/deployment.
 *
 *   claim sets ─► paused or resized? ─yes─► scale in proportion ─► status
 *                      └─no─► RollingUpdate | Recreate: one step ─► status with progress and deadline
 */
import type { Stored } from '#machinery/object.ts';
import type { Deployment, Pod, ReplicaSet } from '#api/types.ts';
import { compileLabelSelector, type LabelSelector } from '#machinery/labels.ts';
import { deployments, pods, replicaSets } from '#client/refs.ts';
import {
  defineController,
  watch,
  type ReconcileContext,
  type ReconcileResult,
  type SourceContext,
} from '#runtime/controller.ts';
import { findController } from '#component-helpers/owner-references.ts';
import { byController, claim, controlledBy, controllerKey, orphans, ownerKeys } from '../owners.ts';
import { isRollingUpdate, splitSets } from './deployment/model.ts';
import { recreate, rollingUpdate, cleanUpHistory } from './deployment/rollout.ts';
import { isScalingEvent, scale } from './deployment/scaling.ts';
import { syncRevision } from './deployment/revisions.ts';
import { notePause, writeCounts, writeRolloutStatus } from './deployment/status.ts';
import { DeploymentSync } from './deployment/sync.ts';

export const deploymentController = defineController({
  name: 'deployment-controller',
  watches: [
    watch(deployments),
    watch(replicaSets, {
      keys: (set, { informer }) =>
        ownerKeys(set, { resource: deployments, informer: informer(deployments), selectorOf }),
    }),
    watch(pods, { keys: recreatedDeployment }),
  ],
  indexes: [byController(replicaSets), byController(pods)],
  reconcile,
});

function selectorOf(deployment: Stored<Deployment>): LabelSelector {
  return compileLabelSelector(deployment.spec?.selector);
}

/** Only Recreate watches pods: rolling updates follow the status of replica sets. */
function recreatedDeployment(pod: Stored<Pod>, { informer }: SourceContext): readonly string[] {
  const setKey = controllerKey(pod, { resource: replicaSets, informer: informer(replicaSets) });
  const set = setKey === undefined ? undefined : informer(replicaSets).get(setKey);
  const key = set && controllerKey(set, { resource: deployments, informer: informer(deployments) });
  const deployment = key === undefined ? undefined : informer(deployments).get(key);
  return deployment && !isRollingUpdate(deployment) ? [key!] : [];
}

async function reconcile(context: ReconcileContext): Promise<ReconcileResult> {
  const { key, informer, api, events } = context;
  const deployment = informer(deployments).get(key);
  if (!deployment) return;
  const selector = selectorOf(deployment);
  if (selector.isEverything) {
    events.event(deployment, {
      type: 'Warning',
      reason: 'SelectingAll',
      message: 'This deployment is selecting all pods. A non-empty selector is required.',
    });
    return noteGeneration(context, deployment);
  }
  const candidates = [
    ...controlledBy(informer(replicaSets), deployment),
    ...orphans(informer(replicaSets), deployment.metadata.namespace!),
  ];
  const sets = await claim(candidates, {
    api,
    resource: replicaSets,
    owner: deployment,
    ownerResource: deployments,
    selector,
  });
  const sync = new DeploymentSync(context, { deployment, ...splitSets(deployment, sets) });
  if (deployment.metadata?.deletionTimestamp) return writeCounts(sync);
  await notePause(sync);
  const requeueAfterMs = await step(sync);
  return requeueAfterMs === undefined ? undefined : { requeueAfterMs };
}

async function step(sync: DeploymentSync): Promise<number | undefined> {
  const { deployment } = sync;
  if (deployment.spec?.paused || isScalingEvent(deployment, sync)) {
    await syncRevision(sync, { create: false });
    await scale(sync);
    if (deployment.spec?.paused) await cleanUpHistory(sync);
    await writeCounts(sync);
    return undefined;
  }
  if (isRollingUpdate(deployment)) await rollingUpdate(sync);
  else await recreate(sync, podsBySet(sync));
  return writeRolloutStatus(sync);
}

function podsBySet(sync: DeploymentSync): Map<string, readonly Stored<Pod>[]> {
  const informer = sync.context.informer(pods);
  return new Map(
    sync.all.map((set: Stored<ReplicaSet>) => [
      set.metadata.uid,
      controlledBy(informer, set).filter((pod) => findController(pod)?.kind === 'ReplicaSet'),
    ]),
  );
}

async function noteGeneration({ api }: ReconcileContext, deployment: Stored<Deployment>): Promise<void> {
  const { generation = 0 } = deployment.metadata ?? {};
  if ((deployment.status?.observedGeneration ?? 0) >= generation) return;
  await api.updateStatus(deployments, {
    ...deployment,
    status: { ...deployment.status, observedGeneration: generation },
  });
}
