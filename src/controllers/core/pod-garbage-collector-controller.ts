/**
 * Deletes pods that no other component deletes: those of deleted or out-of-service nodes, terminating unscheduled pods, and the
 * oldest terminated pods beyond a threshold. After upstream's pkg/controller/podgc.
 */
import type { Stored } from '#machinery/object.ts';
import type { Node, Pod } from '#api/types.ts';
import { isStatusError } from '#machinery/errors.ts';
import { formatTime } from '#machinery/time.ts';
import { nodes, pods } from '#client/refs.ts';
import { defineController, watch, type ReconcileContext } from '#runtime/controller.ts';
import { nameOf } from '../owners.ts';
import { isPodTerminal } from '#component-helpers/pod-status.ts';
import { byAge } from '../object-order.ts';
import { podsByNode, podsOnNode } from './pods-by-node.ts';

const EVERY_MS = 20_000;
/** Quarantine: a node may be missing in the cache for a short time. */
const QUARANTINE_MS = 40_000;
/** Maximum number of terminated pods that are kept. */
const TERMINATED_KEPT = 12_500;
const OUT_OF_SERVICE = 'node.kubernetes.io/out-of-service';

export const podGarbageCollectorController = defineController({
  name: 'pod-garbage-collector-controller',
  serviceAccount: 'pod-garbage-collector',
  watches: [watch(pods, { keys: () => [] }), watch(nodes, { keys: () => [] })],
  indexes: [podsByNode],
  resyncEveryMs: EVERY_MS,
  async reconcile(context) {
    const all = context.informer(pods).list();
    const doomed: Doomed[] = [
      ...surplus(all),
      ...outOfService(context),
      ...(await onMissingNodes(all, context)),
      ...neverScheduled(all),
    ];
    const byUid = new Map(doomed.map((one) => [one.pod.metadata.uid, one]));
    const outcomes = await Promise.allSettled([...byUid.values()].map((one) => remove(one, context)));
    const failed = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failed) throw failed.reason;
  },
});

interface Doomed {
  readonly pod: Stored<Pod>;
  /** The DisruptionTarget condition of a pod that had not terminated. */
  readonly message?: string;
}

function surplus(all: readonly Stored<Pod>[]): Doomed[] {
  const ended = all.filter(isPodTerminal);
  if (ended.length <= TERMINATED_KEPT) return [];
  return ended
    .sort(byAge)
    .slice(0, ended.length - TERMINATED_KEPT)
    .map((pod) => ({ pod }));
}

/** Its kubelet will not stop the containers: the node has the out-of-service taint. */
function outOfService({ informer }: ReconcileContext): Doomed[] {
  return informer(nodes)
    .list()
    .filter(isOutOfService)
    .flatMap(({ metadata }) => podsOnNode(informer(pods), metadata.name))
    .filter(({ metadata }) => metadata?.deletionTimestamp)
    .map((pod) => ({ pod }));
}

function isOutOfService({ spec, status }: Stored<Node>): boolean {
  const ready = status?.conditions?.find(({ type }) => type === 'Ready');
  return ready?.status !== 'True' && spec?.taints?.some(({ key }) => key === OUT_OF_SERVICE) === true;
}

async function onMissingNodes(
  all: readonly Stored<Pod>[],
  { informer, memory, clock, api }: ReconcileContext,
): Promise<Doomed[]> {
  const missing = new Set(
    all.map(({ spec }) => spec?.nodeName ?? '').filter((name) => name !== '' && !informer(nodes).get(name)),
  );
  for (const name of memory.keys()) if (!missing.has(name)) memory.delete(name);
  const gone = new Set<string>();
  for (const name of missing) {
    const sinceMs = (memory.get(name) as number | undefined) ?? clock.monotonic();
    memory.set(name, sinceMs);
    if (clock.monotonic() - sinceMs < QUARANTINE_MS) continue;
    try {
      await api.get(nodes, { name });
    } catch (error) {
      if (!isStatusError(error, 'NotFound')) throw error;
      gone.add(name);
    }
  }
  return all
    .filter(({ spec }) => gone.has(spec?.nodeName ?? ''))
    .map((pod) => ({ pod, message: 'PodGC: node no longer exists' }));
}

function neverScheduled(all: readonly Stored<Pod>[]): Doomed[] {
  return all
    .filter(({ metadata, spec }) => metadata?.deletionTimestamp && !spec?.nodeName)
    .map((pod) => ({ pod }));
}

/** A pod that had not terminated is marked Failed first, so that its owner can count it. */
async function remove({ pod, message }: Doomed, { api, clock }: ReconcileContext): Promise<void> {
  const { uid } = pod.metadata;
  const condition = {
    type: 'DisruptionTarget',
    status: 'True',
    reason: 'DeletionByPodGC',
    message,
    lastTransitionTime: formatTime(clock.now()),
  };
  try {
    if (!isPodTerminal(pod)) {
      await api.patch(pods, nameOf(pod), {
        type: 'strategic',
        subresource: 'status',
        patch: {
          metadata: { uid },
          status: { phase: 'Failed', ...(message === undefined ? {} : { conditions: [condition] }) },
        },
      });
    }
    await api.delete(pods, nameOf(pod), {
      gracePeriodSeconds: 0,
      ...(uid ? { preconditions: { uid } } : {}),
    });
  } catch (error) {
    if (!isStatusError(error, 'NotFound') && !isStatusError(error, 'Conflict')) throw error;
  }
}
