/** Finds, updates or creates the replica set of the current template, and maintains revision numbers. */
import type { Stored } from '#machinery/object.ts';
import type { Deployment, ReplicaSet } from '#api/types.ts';
import { isStatusError } from '#machinery/errors.ts';
import { errorMessage } from '#stdx/log.ts';
import { deployments, replicaSets } from '#client/refs.ts';
import { findCondition, withCondition } from '#component-helpers/conditions.ts';
import { findController, controllerReference } from '#component-helpers/owner-references.ts';
import { isNamespaceTerminating } from '../../pod-control.ts';
import { templateHash } from '../../template-hash.ts';
import {
  DESIRED_REPLICAS,
  HASH_LABEL,
  MAX_REPLICAS,
  REVISION,
  REVISION_HISTORY,
  hasProgressDeadline,
  isSameTemplate,
  maxRevision,
  newSetReplicas,
  revisionOf,
} from './model.ts';
import { sizeAnnotations, type DeploymentSync } from './sync.ts';

const HISTORY_MAX_CHARACTERS = 2000;
const NAME_MAX = 253;
/** Annotations of the deployment that are not copied to replica sets. */
const NOT_COPIED = new Set([
  'kubectl.kubernetes.io/last-applied-configuration',
  REVISION,
  REVISION_HISTORY,
  DESIRED_REPLICAS,
  MAX_REPLICAS,
  'deprecated.deployment.rollback.to',
]);

/** Updates the annotations of the new replica set and the deployment's revision; with `create`, creates the set when there is none. */
export async function syncRevision(
  sync: DeploymentSync,
  { create }: { readonly create: boolean },
): Promise<void> {
  const revision = String(maxRevision(sync.oldSets) + 1n);
  if (sync.newSet) await refreshNewSet(sync, sync.newSet, revision);
  else if (create) await createNewSet(sync, revision);
}

async function refreshNewSet(sync: DeploymentSync, set: ReplicaSet, revision: string): Promise<void> {
  const { deployment } = sync;
  const annotations = newSetAnnotations(deployment, { current: set.metadata?.annotations ?? {}, revision });
  const minReadySeconds = deployment.spec?.minReadySeconds ?? 0;
  if (annotations || (set.spec?.minReadySeconds ?? 0) !== minReadySeconds) {
    const metadata = { ...set.metadata, ...(annotations ? { annotations } : {}) };
    // Rollout and scaling continue after the status was updated.
    await sync.updateSet({ ...set, metadata, spec: { ...set.spec!, minReadySeconds } });
  }
  await noteNewSet(sync, {
    revision: sync.newSet!.metadata?.annotations?.[REVISION] ?? revision,
    reason: 'FoundNewReplicaSet',
    message: `Found new replica set "${set.metadata!.name!}"`,
    overwrite: false,
  });
}

/** Sets the deployment's revision and the first Progressing condition. */
async function noteNewSet(
  sync: DeploymentSync,
  {
    revision,
    reason,
    message,
    overwrite,
  }: {
    readonly revision: string;
    readonly reason: string;
    readonly message: string;
    readonly overwrite: boolean;
  },
): Promise<void> {
  const { deployment } = sync;
  const revisionDiffers = deployment.metadata?.annotations?.[REVISION] !== revision;
  const notes =
    hasProgressDeadline(deployment) &&
    (overwrite || !findCondition(deployment.status?.conditions, 'Progressing'));
  if (!revisionDiffers && !notes) return;
  const status = notes
    ? {
        ...deployment.status,
        conditions: withCondition(
          deployment.status?.conditions,
          sync.condition('Progressing', { status: 'True', reason, message }),
        ),
      }
    : deployment.status;
  await sync.writeStatus({ revision, status });
}

/** undefined when nothing differs. */
function newSetAnnotations(
  deployment: Deployment,
  { current, revision }: { readonly current: Record<string, string>; readonly revision: string },
): Record<string, string> | undefined {
  const next = { ...current };
  for (const [key, value] of Object.entries(deployment.metadata?.annotations ?? {}))
    if (!NOT_COPIED.has(key)) next[key] = value;
  const before = current[REVISION];
  if (revisionOf({ metadata: { annotations: current } }) < BigInt(revision)) {
    next[REVISION] = revision;
    if (before) next[REVISION_HISTORY] = historyWith(current[REVISION_HISTORY], before);
  }
  const same =
    Object.keys(next).length === Object.keys(current).length &&
    Object.entries(next).every(([key, value]) => current[key] === value);
  return same ? undefined : next;
}

/** Earlier revisions of a replica set, oldest first; the oldest are dropped when the list is too long. */
function historyWith(history: string | undefined, revision: string): string {
  const revisions = history ? [...history.split(','), revision] : [revision];
  while (revisions.length > 1 && revisions.join(',').length > HISTORY_MAX_CHARACTERS) revisions.shift();
  return revisions.join(',');
}

async function createNewSet(sync: DeploymentSync, revision: string): Promise<void> {
  const made = newSetOf(sync, revision);
  let created: Stored<ReplicaSet>;
  let existed = false;
  try {
    created = await sync.context.api.create(replicaSets, made);
  } catch (error) {
    if (!isStatusError(error, 'AlreadyExists')) return refused(sync, made, error);
    created = await existing(sync, made, error);
    existed = true;
  }
  sync.newSet = created;
  const name = created.metadata.name;
  if (!existed && (made.spec?.replicas ?? 0) > 0)
    sync.event(
      'Normal',
      'ScalingReplicaSet',
      `Scaled up replica set ${name} from 0 to ${made.spec!.replicas!}`,
    );
  await noteNewSet(sync, {
    revision,
    reason: 'NewReplicaSetCreated',
    message: `Created new replica set "${name}"`,
    overwrite: !existed,
  });
}

function newSetOf(sync: DeploymentSync, revision: string): ReplicaSet {
  const { deployment } = sync;
  const { name = '', namespace } = deployment.metadata;
  const spec = deployment.spec!;
  const hash = templateHash(spec.template, deployment.status?.collisionCount);
  const labels = { ...spec.template.metadata?.labels, [HASH_LABEL]: hash };
  const annotations = {
    ...newSetAnnotations(deployment, { current: {}, revision }),
    ...sizeAnnotations(deployment),
  };
  return {
    metadata: {
      name: `${name.slice(0, NAME_MAX - hash.length - 1)}-${hash}`,
      namespace: namespace!,
      labels,
      annotations,
      ownerReferences: [controllerReference(deployment, deployments)],
    },
    spec: {
      replicas: newSetReplicas(deployment, { all: sync.oldSets, current: 0 }),
      ...(spec.minReadySeconds ? { minReadySeconds: spec.minReadySeconds } : {}),
      selector: { ...spec.selector, matchLabels: { ...spec.selector.matchLabels, [HASH_LABEL]: hash } },
      template: { ...spec.template, metadata: { ...spec.template.metadata, labels } },
    },
  };
}

/** The name exists: either this deployment created it and the cache is behind, or it belongs to another and collisionCount is increased. */
async function existing(sync: DeploymentSync, made: ReplicaSet, error: unknown): Promise<Stored<ReplicaSet>> {
  const { deployment, context } = sync;
  const { name = '', namespace } = made.metadata!;
  const found = await context.api.get(replicaSets, { name, namespace });
  if (
    findController(found)?.uid === deployment.metadata?.uid &&
    isSameTemplate(found.spec?.template, deployment.spec?.template)
  )
    return found;
  await sync.writeStatus({
    status: { ...deployment.status, collisionCount: (deployment.status?.collisionCount ?? 0) + 1 },
  });
  throw error;
}

async function refused(sync: DeploymentSync, made: ReplicaSet, error: unknown): Promise<never> {
  if (isNamespaceTerminating(error)) throw error;
  const message = `Failed to create new replica set "${made.metadata!.name!}": ${errorMessage(error)}`;
  if (hasProgressDeadline(sync.deployment)) {
    const condition = sync.condition('Progressing', {
      status: 'False',
      reason: 'ReplicaSetCreateError',
      message,
    });
    await sync.writeStatus({
      status: {
        ...sync.deployment.status,
        conditions: withCondition(sync.deployment.status?.conditions, condition),
      },
    });
  }
  sync.event('Warning', 'ReplicaSetCreateError', message);
  throw error;
}
