/**
 * One reconcile of one deployment: the objects that it reads and the writes that several parts need. Objects are replaced with the
 * server's response, so that a later write of the same reconcile does not conflict with an earlier one.
 */
import type { Stored } from '#machinery/object.ts';
import type { Deployment, DeploymentCondition, ReplicaSet } from '#api/types.ts';
import { formatTime } from '#machinery/time.ts';
import { deployments, replicaSets } from '#client/refs.ts';
import type { ReconcileContext } from '#runtime/controller.ts';
import {
  DESIRED_REPLICAS,
  MAX_REPLICAS,
  REVISION,
  allSets,
  replicasOf,
  rollingBounds,
  wanted,
  type Rollout,
} from './model.ts';

export class DeploymentSync implements Rollout {
  readonly context: ReconcileContext;
  deployment: Stored<Deployment>;
  newSet: Stored<ReplicaSet> | undefined;
  oldSets: Stored<ReplicaSet>[];

  constructor(
    context: ReconcileContext,
    { deployment, newSet, oldSets }: Rollout & { readonly deployment: Stored<Deployment> },
  ) {
    this.context = context;
    this.deployment = deployment;
    this.newSet = newSet;
    this.oldSets = oldSets;
  }

  get all(): Stored<ReplicaSet>[] {
    return allSets(this);
  }

  get nowMs(): number {
    return this.context.clock.now();
  }

  condition(
    type: string,
    {
      status,
      reason,
      message,
    }: { readonly status: 'True' | 'False' | 'Unknown'; readonly reason: string; readonly message: string },
  ): DeploymentCondition {
    const now = formatTime(this.nowMs);
    return { type, status, lastUpdateTime: now, lastTransitionTime: now, reason, message };
  }

  event(type: 'Normal' | 'Warning', reason: string, message: string): void {
    this.context.events.event(this.deployment, { type, reason, message });
  }

  /** Status and annotations: an update of the status subresource accepts both. */
  async writeStatus(change: {
    readonly status?: Deployment['status'] | undefined;
    readonly revision?: string | undefined;
  }): Promise<void> {
    const { metadata } = this.deployment;
    const annotations =
      change.revision === undefined
        ? metadata?.annotations
        : { ...metadata?.annotations, [REVISION]: change.revision };
    this.deployment = await this.context.api.updateStatus(deployments, {
      ...this.deployment,
      metadata: { ...metadata, ...(annotations ? { annotations } : {}) },
      status: change.status ?? this.deployment.status ?? {},
    });
  }

  async updateSet(set: ReplicaSet): Promise<ReplicaSet> {
    const updated = await this.context.api.update(replicaSets, set);
    if (this.newSet?.metadata?.uid === updated.metadata?.uid) this.newSet = updated;
    this.oldSets = this.oldSets.map((old) => (old.metadata?.uid === updated.metadata?.uid ? updated : old));
    return updated;
  }

  /** Sets replicas and size annotations. Returns true when replicas changed. */
  async scaleSet(set: Stored<ReplicaSet>, replicas: number): Promise<boolean> {
    const annotations = { ...set.metadata?.annotations, ...sizeAnnotations(this.deployment) };
    const before = replicasOf(set);
    if (before === replicas && !sizeAnnotationsDiffer(set, this.deployment)) return false;
    await this.updateSet({
      ...set,
      metadata: { ...set.metadata, annotations },
      spec: { ...set.spec!, replicas },
    });
    if (before === replicas) return false;
    this.event(
      'Normal',
      'ScalingReplicaSet',
      `Scaled ${before < replicas ? 'up' : 'down'} replica set ${set.metadata.name} from ${before} to ${replicas}`,
    );
    return true;
  }
}

/** Records the deployment's size in the replica set when it is scaled. */
export function sizeAnnotations(deployment: Stored<Deployment>): Record<string, string> {
  const replicas = wanted(deployment);
  return {
    [DESIRED_REPLICAS]: String(replicas),
    [MAX_REPLICAS]: String(replicas + rollingBounds(deployment).maxSurge),
  };
}

function sizeAnnotationsDiffer(set: Stored<ReplicaSet>, deployment: Stored<Deployment>): boolean {
  return Object.entries(sizeAnnotations(deployment)).some(
    ([key, value]) => set.metadata?.annotations?.[key] !== value,
  );
}
