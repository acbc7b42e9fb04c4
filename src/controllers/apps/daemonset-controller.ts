/**
 * Keeps one pod of a DaemonSet on every eligible node, and replaces pods when the template changes. After upstream's
 * pkg/controller/daemon. daemonset/plan.ts makes the decisions.
 */
import type { Stored } from '#machinery/object.ts';
import { isDeepStrictEqual } from 'node:util';
import type { DaemonSet, DaemonSetStatus, Pod } from '#api/types.ts';
import { compileLabelSelector, type LabelSelector } from '#machinery/labels.ts';
import { objectKey } from '#machinery/object.ts';
import { backoffMs } from '#stdx/backoff.ts';
import { controllerRevisions, daemonSets, nodes, pods } from '#client/refs.ts';
import {
  defineController,
  watch,
  type ReconcileContext,
  type ReconcileResult,
  type SourceContext,
} from '#runtime/controller.ts';
import { controllerReference } from '#component-helpers/owner-references.ts';
import { byController, claim, controlledBy, controllerKey, orphans, ownerKeys } from '../owners.ts';
import { createPod, deletePod, isNamespaceTerminating, podFromTemplate, slowStart } from '../pod-control.ts';
import { isPodAvailable, isPodReady, nextAvailableInMs } from '#component-helpers/pod-status.ts';
import { byAge } from '../object-order.ts';
import {
  HASH_LABEL,
  isUpdated,
  pinnedTemplate,
  placement,
  podTemplate,
  targetNode,
} from './daemonset/model.ts';
import { planPlacement, planUpdate, type Plan, type Situation } from './daemonset/plan.ts';
import {
  RevisionCollision,
  currentRevision,
  listRevisions,
  trimHistory,
  type HistoryOptions,
} from './history.ts';

/** Maximum number of concurrent requests. */
const BURST = 250;
/** Backoff between replacements of a failing pod on one node. */
const FAILED_BACKOFF = { initialMs: 1_000, maximumMs: 900_000 };

export const daemonSetController = defineController({
  name: 'daemonset-controller',
  serviceAccount: 'daemon-set-controller',
  workers: 2,
  seesOwnWrites: {
    featureGate: 'StaleControllerConsistencyDaemonSet',
    subsystem: 'daemonset_controller',
  },
  watches: [
    watch(daemonSets),
    watch(controllerRevisions, {
      keys: (revision, { informer }) =>
        ownerKeys(revision, { resource: daemonSets, informer: informer(daemonSets), selectorOf }),
    }),
    watch(pods, {
      keys: (pod, { informer }) =>
        ownerKeys(pod, { resource: daemonSets, informer: informer(daemonSets), selectorOf }),
      observe: {
        added: (pod, context) =>
          void ownerOf(pod, context, (key) =>
            pod.metadata?.deletionTimestamp
              ? context.expectations.deletionObserved(key, objectKey(pod))
              : context.expectations.creationObserved(key),
          ),
        updated: (pod, _previous, context) =>
          void ownerOf(pod, context, (key) => {
            if (pod.metadata?.deletionTimestamp) context.expectations.deletionObserved(key, objectKey(pod));
          }),
        deleted: (pod, context) =>
          void ownerOf(pod, context, (key) => context.expectations.deletionObserved(key, objectKey(pod))),
      },
    }),
    watch(nodes, {
      keys: (_node, { informer }) => informer(daemonSets).list().map(objectKey),
      // Ignores heartbeats.
      changed: (node, previous) =>
        !isDeepStrictEqual(node.metadata?.labels, previous.metadata?.labels) ||
        !isDeepStrictEqual(node.spec, previous.spec),
    }),
  ],
  indexes: [byController(pods), byController(controllerRevisions)],
  reconcile,
});

function selectorOf(set: Stored<DaemonSet>): LabelSelector {
  return compileLabelSelector(set.spec?.selector);
}

function ownerOf(pod: Stored<Pod>, { informer }: SourceContext, then: (key: string) => void): void {
  const key = controllerKey(pod, { resource: daemonSets, informer: informer(daemonSets) });
  if (key !== undefined) then(key);
}

async function reconcile(context: ReconcileContext): Promise<ReconcileResult> {
  const { key, informer, expectations, events, api } = context;
  const set = informer(daemonSets).get(key);
  if (!set) return void expectations.forget(key);
  const selector = selectorOf(set);
  if (selector.isEverything)
    return events.event(set, {
      type: 'Warning',
      reason: 'SelectingAll',
      message: 'This daemon set is selecting all pods. A non-empty selector is required.',
    });
  if (set.metadata?.deletionTimestamp) return;
  const history: HistoryOptions = {
    context,
    owner: set,
    ownerResource: daemonSets,
    selector,
    template: set.spec!.template,
    collisionCount: set.status?.collisionCount,
    hashLabel: HASH_LABEL,
  };
  const { current, old } = await currentRevision(history, await listRevisions(history)).catch(
    (error: unknown) => noteCollision(context, set, error),
  );
  const hash = current.metadata!.labels![HASH_LABEL]!;
  const candidates = [
    ...controlledBy(informer(pods), set),
    ...orphans(informer(pods), set.metadata.namespace!),
  ];
  const claimed = await claim(candidates, {
    api,
    resource: pods,
    owner: set,
    ownerResource: daemonSets,
    selector,
  });
  const situation: Situation = {
    set,
    hash,
    nodes: informer(nodes).list(),
    podsByNode: groupByNode(claimed),
    nowMs: context.clock.now(),
  };
  let failure: unknown, failedMs: number | undefined;
  const settled = expectations.satisfied(key);
  if (settled) {
    try {
      failedMs = await act(context, situation);
      await trimHistory(context, old, {
        limit: set.spec?.revisionHistoryLimit ?? 10,
        isLive: ({ metadata }) =>
          claimed.some((pod) => pod.metadata?.labels?.[HASH_LABEL] === metadata?.labels?.[HASH_LABEL]),
      });
    } catch (error) {
      failure = error;
    }
  }
  await writeStatus(context, situation, { observe: settled });
  if (failure) throw failure;
  const availableMs = nextAvailableInMs(claimed, {
    minReadySeconds: set.spec?.minReadySeconds,
    nowMs: context.clock.now(),
  });
  const waitMs = Math.min(
    failedMs ?? Infinity,
    availableMs ?? Infinity,
    expectations.expiresInMs(key) ?? Infinity,
  );
  return waitMs === Infinity ? undefined : { requeueAfterMs: waitMs };
}

async function noteCollision(
  { api }: ReconcileContext,
  set: Stored<DaemonSet>,
  error: unknown,
): Promise<never> {
  if (error instanceof RevisionCollision)
    await api.updateStatus(daemonSets, {
      ...set,
      status: { ...statusDefaults, ...set.status, collisionCount: (set.status?.collisionCount ?? 0) + 1 },
    });
  throw error;
}

function groupByNode(all: readonly Stored<Pod>[]): Map<string, Stored<Pod>[]> {
  const groups = new Map<string, Stored<Pod>[]>();
  for (const pod of all) {
    const node = targetNode(pod);
    if (node === undefined) continue;
    const group = groups.get(node);
    if (group) group.push(pod);
    else groups.set(node, [pod]);
  }
  return groups;
}

/** Placement first; rolling update when placement had nothing to do. Returns when a failed pod may be replaced. */
async function act(context: ReconcileContext, situation: Situation): Promise<number | undefined> {
  const plan = planPlacement(situation);
  const waitMs = decideFailed(context, situation, plan);
  if (plan.create.length + plan.remove.length > 0) await carryOut(context, situation, plan);
  else if (situation.set.spec?.updateStrategy?.type !== 'OnDelete')
    await carryOut(context, situation, planUpdate(situation));
  return waitMs;
}

/** Finished pods are deleted, to be replaced; repeatedly failing ones with backoff. */
function decideFailed(
  { memory, events, clock }: ReconcileContext,
  { set }: Situation,
  plan: Plan,
): number | undefined {
  let waitMs: number | undefined;
  for (const pod of plan.succeeded) {
    events.event(set, {
      type: 'Normal',
      reason: 'SucceededDaemonPod',
      message: `Found succeeded daemon pod ${objectKey(pod)} on node ${targetNode(pod)}, will try to delete it`,
    });
    plan.remove.push(pod);
  }
  for (const pod of plan.failed) {
    const id = `failed/${set.metadata.uid}/${targetNode(pod)}`;
    const last = memory.get(id) as { readonly count: number; readonly untilMs: number } | undefined;
    const nowMs = clock.monotonic();
    if (last && nowMs < last.untilMs) {
      waitMs = Math.min(waitMs ?? Infinity, last.untilMs - nowMs);
      continue;
    }
    // A pod that did not fail for twice the maximum backoff starts over.
    const count = last && nowMs < last.untilMs + 2 * FAILED_BACKOFF.maximumMs ? last.count + 1 : 0;
    memory.set(id, { count, untilMs: nowMs + backoffMs(count, FAILED_BACKOFF) });
    events.event(set, {
      type: 'Warning',
      reason: 'FailedDaemonPod',
      message: `Found failed daemon pod ${objectKey(pod)} on node ${targetNode(pod)}, will try to kill it`,
    });
    plan.remove.push(pod);
  }
  return waitMs;
}

async function carryOut(
  context: ReconcileContext,
  { set, hash }: Situation,
  { create, remove }: { readonly create: readonly string[]; readonly remove: readonly Stored<Pod>[] },
): Promise<void> {
  const { key, expectations } = context;
  const created = create.slice(0, BURST),
    removed = remove.slice(0, BURST);
  if (created.length + removed.length === 0) return;
  expectations.expect(key, { creations: created.length, deletions: removed.map(objectKey) });
  const template = podTemplate(set, hash);
  const reference = controllerReference(set, daemonSets);
  let failed = 0;
  const { succeeded, error } = await slowStart(created.length, async (index) => {
    try {
      await createPod(
        podFromTemplate({ template: pinnedTemplate(template, created[index]!), owner: set, reference }),
        { owner: set, context },
      );
    } catch (caught) {
      if (isNamespaceTerminating(caught)) return;
      failed += 1;
      expectations.creationObserved(key);
      throw caught;
    }
  });
  const skipped = created.length - succeeded - failed;
  if (skipped > 0) expectations.lower(key, { creations: skipped });
  const outcomes = await Promise.allSettled(
    removed.map((pod) =>
      deletePod(pod, { owner: set, context, gone: () => expectations.deletionObserved(key, objectKey(pod)) }),
    ),
  );
  const failure = error ?? outcomes.find((outcome) => outcome.status === 'rejected')?.reason;
  if (failure) throw failure;
}

const statusDefaults = {
  currentNumberScheduled: 0,
  numberMisscheduled: 0,
  desiredNumberScheduled: 0,
  numberReady: 0,
};

async function writeStatus(
  { api }: ReconcileContext,
  situation: Situation,
  { observe }: { readonly observe: boolean },
): Promise<void> {
  const { set } = situation;
  const status = statusOf(situation);
  if (observe) status.observedGeneration = set.metadata?.generation ?? 0;
  if (isDeepStrictEqual(counts(status), counts(set.status))) return;
  await api.updateStatus(daemonSets, { ...set, status });
}

function statusOf({ set, hash, nodes: all, podsByNode, nowMs }: Situation): DaemonSetStatus {
  const { minReadySeconds } = set.spec ?? {};
  const status = { ...statusDefaults, updatedNumberScheduled: 0, numberAvailable: 0 };
  for (const node of all) {
    const { shouldRun } = placement(set, node);
    const here = (podsByNode.get(node.metadata.name) ?? []).toSorted(byAge);
    if (shouldRun) status.desiredNumberScheduled += 1;
    const [oldest] = here;
    if (!oldest) continue;
    if (!shouldRun) {
      status.numberMisscheduled += 1;
      continue;
    }
    status.currentNumberScheduled += 1;
    if (isPodReady(oldest)) status.numberReady += 1;
    if (isPodAvailable(oldest, { minReadySeconds, nowMs })) status.numberAvailable += 1;
    if (isUpdated(oldest, { set, hash })) status.updatedNumberScheduled += 1;
  }
  const { observedGeneration, collisionCount, conditions } = set.status ?? {};
  return {
    ...status,
    numberUnavailable: status.desiredNumberScheduled - status.numberAvailable,
    ...(observedGeneration === undefined ? {} : { observedGeneration }),
    ...(collisionCount === undefined ? {} : { collisionCount }),
    ...(conditions ? { conditions } : {}),
  };
}

/** Zero counts are omitted on the wire. */
function counts(status: DaemonSetStatus | undefined): Record<string, unknown> {
  return Object.fromEntries(Object.entries(status ?? {}).filter(([, value]) => value !== 0));
}
