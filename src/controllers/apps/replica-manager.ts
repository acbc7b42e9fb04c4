/**
 * Maintains the number of pods of a template. Shared by ReplicaSets and ReplicationControllers, whose objects have the
 * same shape except for the selector. After upstream's pkg/controller/replicaset.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Pod, PodTemplateSpec, ReplicaSetCondition, ReplicaSetStatus } from '#api/types.ts';
import type { LabelSelector } from '#machinery/labels.ts';
import { LabelSelector as Selector } from '#machinery/labels.ts';
import { objectKey, type KubeObject } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import { errorMessage } from '#stdx/log.ts';
import type { ResourceRef } from '#client/client.ts';
import { pods } from '#client/refs.ts';
import {
  defineController,
  watch,
  type ControllerDefinition,
  type ReconcileContext,
  type ReconcileResult,
} from '#runtime/controller.ts';
import { findController, controllerReference } from '#component-helpers/owner-references.ts';
import { byController, claim, controlledBy, controllerKey, orphans, ownerKeys } from '../owners.ts';
import { createPod, deletePod, isNamespaceTerminating, podFromTemplate, slowStart } from '../pod-control.ts';
import { podsToDelete, ranksByNode } from '../pod-ranking.ts';
import {
  isPodActive,
  isPodAvailable,
  isPodReady,
  isPodTerminating,
  nextAvailableInMs,
} from '#component-helpers/pod-status.ts';

/** Maximum number of pods that are created or deleted in one reconcile. */
const BURST = 500;

export interface Replicator extends KubeObject {
  spec?: { replicas?: number; minReadySeconds?: number; template?: PodTemplateSpec };
  status?: ReplicaSetStatus;
}

interface ReplicaManagerOptions {
  readonly name: string;
  readonly serviceAccount?: string;
  readonly eventSource?: string;
  readonly seesOwnWrites?: ControllerDefinition['seesOwnWrites'];
  readonly resource: ResourceRef<Replicator>;
  readonly selectorOf: (owner: Replicator) => LabelSelector;
  /** Whether the status counts terminating pods. */
  readonly countsTerminating: boolean;
}

export function defineReplicaManager(options: ReplicaManagerOptions): ControllerDefinition {
  const { name, serviceAccount, eventSource, seesOwnWrites, resource, selectorOf } = options;
  return defineController({
    name,
    ...(serviceAccount ? { serviceAccount } : {}),
    ...(eventSource ? { eventSource } : {}),
    ...(seesOwnWrites ? { seesOwnWrites } : {}),
    watches: [
      watch(resource),
      watch(pods, {
        keys: (pod, { informer }) => ownerKeys(pod, { resource, informer: informer(resource), selectorOf }),
        observe: {
          added(pod, { expectations, informer }) {
            const key = controllerKey(pod, { resource, informer: informer(resource) });
            if (key === undefined) return;
            if (pod.metadata?.deletionTimestamp) expectations.deletionObserved(key, objectKey(pod));
            else expectations.creationObserved(key);
          },
          updated(pod, _previous, { expectations, informer }) {
            const key = pod.metadata?.deletionTimestamp
              ? controllerKey(pod, { resource, informer: informer(resource) })
              : undefined;
            if (key !== undefined) expectations.deletionObserved(key, objectKey(pod));
          },
          deleted(pod, { expectations, informer }) {
            const key = controllerKey(pod, { resource, informer: informer(resource) });
            if (key !== undefined) expectations.deletionObserved(key, objectKey(pod));
          },
        },
      }),
    ],
    indexes: [byController(pods), byController(resource)],
    reconcile: (context) => reconcile(context, options),
  });
}

async function reconcile(
  context: ReconcileContext,
  options: ReplicaManagerOptions,
): Promise<ReconcileResult> {
  const { key, informer, expectations, clock } = context;
  const owner = informer(options.resource).get(key);
  if (!owner) return void expectations.forget(key);
  const satisfied = expectations.satisfied(key);
  const selector = options.selectorOf(owner);
  const namespace = owner.metadata.namespace!;
  const all = [...controlledBy(informer(pods), owner), ...orphans(informer(pods), namespace)];
  const active = await claim(all.filter(isPodActive), {
    api: context.api,
    resource: pods,
    owner,
    ownerResource: options.resource,
    selector,
  });
  const terminating = all.filter(
    (pod) => isPodTerminating(pod) && findController(pod)?.uid === owner.metadata.uid,
  );
  let failure: unknown;
  if (satisfied && !owner.metadata.deletionTimestamp)
    failure = await manage(owner, { active, context, options });
  const status = statusOf(owner, { active, terminating, failure, options, nowMs: clock.now() });
  await writeStatus(owner, { status, context, options });
  if (failure) throw failure;
  const { minReadySeconds } = owner.spec ?? {};
  const nextMs =
    status.readyReplicas === status.availableReplicas
      ? undefined
      : nextAvailableInMs(active, { minReadySeconds, nowMs: clock.now() });
  const waitMs = Math.min(nextMs ?? Infinity, expectations.expiresInMs(key) ?? Infinity);
  return waitMs === Infinity ? undefined : { requeueAfterMs: waitMs };
}

interface ManageOptions {
  readonly active: readonly Pod[];
  readonly context: ReconcileContext;
  readonly options: ReplicaManagerOptions;
}

/** Creates or deletes the difference. Returns the errors. */
async function manage(owner: Replicator, { active, context, options }: ManageOptions): Promise<unknown> {
  const surplus = active.length - (owner.spec?.replicas ?? 1);
  if (surplus < 0) return createMissing(owner, Math.min(-surplus, BURST), { context, options });
  if (surplus > 0) return deleteSurplus(owner, Math.min(surplus, BURST), { active, context, options });
  return undefined;
}

async function createMissing(
  owner: Replicator,
  count: number,
  { context, options }: Omit<ManageOptions, 'active'>,
): Promise<unknown> {
  const { key, expectations } = context;
  const pod = podFromTemplate({
    template: owner.spec!.template!,
    owner,
    reference: controllerReference(owner, options.resource),
  });
  let failed = 0;
  expectations.expectCreations(key, count);
  const { succeeded, error } = await slowStart(count, async () => {
    try {
      await createPod(pod, { owner, context });
    } catch (caught) {
      // A terminating namespace rejects pods; its deletion removes the owner too.
      if (isNamespaceTerminating(caught)) return;
      failed += 1;
      expectations.creationObserved(key);
      throw caught;
    }
  });
  const skipped = count - succeeded - failed;
  if (skipped > 0) expectations.lower(key, { creations: skipped });
  return error;
}

async function deleteSurplus(
  owner: Replicator,
  count: number,
  { active, context, options }: ManageOptions,
): Promise<unknown> {
  const { key, expectations, clock } = context;
  const doomed = podsToDelete(active, count, {
    ranks: ranksByNode(relatedPods(owner, { active, context, options })),
    nowMs: clock.now(),
  });
  expectations.expectDeletions(key, doomed.map(objectKey));
  const outcomes = await Promise.allSettled(
    doomed.map((pod) =>
      deletePod(pod, { owner, context, gone: () => expectations.deletionObserved(key, objectKey(pod)) }),
    ),
  );
  return outcomes.find((outcome) => outcome.status === 'rejected')?.reason;
}

/** The pods of all owners with the same owner (all ReplicaSets of a Deployment), for ranking by node. */
function relatedPods(owner: Replicator, { active, context, options }: ManageOptions): readonly Pod[] {
  const grandparent = findController(owner);
  if (!grandparent) return active;
  const siblings = context.informer(options.resource).byIndex('controller', grandparent.uid);
  return siblings.flatMap((sibling) => controlledBy(context.informer(pods), sibling)).filter(isPodActive);
}

function statusOf(
  owner: Replicator,
  {
    active,
    terminating,
    failure,
    options,
    nowMs,
  }: {
    readonly active: readonly Pod[];
    readonly terminating: readonly Pod[];
    readonly failure: unknown;
    readonly options: ReplicaManagerOptions;
    readonly nowMs: number;
  },
): ReplicaSetStatus {
  const templateLabels = Selector.fromMap(owner.spec?.template?.metadata?.labels);
  const { minReadySeconds } = owner.spec ?? {};
  const conditions = nextConditions(owner, {
    surplus: active.length - (owner.spec?.replicas ?? 1),
    failure,
    nowMs,
  });
  return {
    replicas: active.length,
    fullyLabeledReplicas: active.filter((pod) => templateLabels.matches(pod.metadata?.labels)).length,
    readyReplicas: active.filter(isPodReady).length,
    availableReplicas: active.filter((pod) => isPodAvailable(pod, { minReadySeconds, nowMs })).length,
    ...(options.countsTerminating ? { terminatingReplicas: terminating.length } : {}),
    observedGeneration: owner.metadata?.generation ?? 0,
    ...(conditions.length > 0 ? { conditions } : {}),
  };
}

function nextConditions(
  owner: Replicator,
  {
    surplus,
    failure,
    nowMs,
  }: { readonly surplus: number; readonly failure: unknown; readonly nowMs: number },
): ReplicaSetCondition[] {
  const conditions = owner.status?.conditions ?? [];
  const known = conditions.some(({ type }) => type === 'ReplicaFailure');
  if (failure && !known) {
    return [
      ...conditions,
      {
        type: 'ReplicaFailure',
        status: 'True',
        lastTransitionTime: formatTime(nowMs),
        reason: surplus < 0 ? 'FailedCreate' : 'FailedDelete',
        message: errorMessage(failure),
      },
    ];
  }
  return !failure && known ? conditions.filter(({ type }) => type !== 'ReplicaFailure') : conditions;
}

async function writeStatus(
  owner: Replicator,
  {
    status,
    context,
    options,
  }: {
    readonly status: ReplicaSetStatus;
    readonly context: ReconcileContext;
    readonly options: ReplicaManagerOptions;
  },
): Promise<void> {
  if (isDeepStrictEqual(withoutZeros(status), withoutZeros(owner.status))) return;
  await context.api.updateStatus(options.resource, { ...owner, status });
}

/** Zero counts are omitted on the wire (except `replicas`). */
function withoutZeros(status: ReplicaSetStatus | undefined): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(status ?? {}).filter(([name, value]) => value !== 0 || name === 'terminatingReplicas'),
  );
}
