/**
 * Deletes pods from nodes with NoExecute taints that they do not tolerate, or whose tolerationSeconds have passed. After upstream's
 * pkg/controller/tainteviction. Toleration times count from when this process first saw the pod with the taints.
 */
import type { Stored } from '#machinery/object.ts';
import type { Pod, Taint } from '#api/types.ts';
import { objectKey } from '#machinery/object.ts';
import { nodes, pods } from '#client/refs.ts';
import { defineController, watch, type ReconcileContext, type ReconcileResult } from '#runtime/controller.ts';
import { minTolerationSeconds } from '#component-helpers/tolerations.ts';
import { evictPod } from '../pod-eviction.ts';
import { isPodTerminal } from '#component-helpers/pod-status.ts';
import { podsByNode, podsOnNode } from './pods-by-node.ts';

/** A scheduled eviction: clock.monotonic() when its wait began. */
interface Waiting {
  readonly uid: string | undefined;
  readonly sinceMs: number;
}

export const taintEvictionController = defineController({
  name: 'taint-eviction-controller',
  serviceAccount: 'node-controller',
  watches: [
    watch(pods, { keys: (pod) => (pod.spec?.nodeName ? [objectKey(pod)] : []) }),
    // Called with the node before and after a change: removed taints matter as much as added ones.
    watch(nodes, {
      keys: (node, { informer }) =>
        noExecuteTaints(node.spec?.taints).length === 0
          ? []
          : podsOnNode(informer(pods), node.metadata.name).map(objectKey),
    }),
  ],
  indexes: [podsByNode],
  workers: 8,
  reconcile,
});

function noExecuteTaints(taints: readonly Taint[] | undefined): Taint[] {
  return (taints ?? []).filter(({ effect }) => effect === 'NoExecute');
}

async function reconcile(context: ReconcileContext): Promise<ReconcileResult> {
  const { key, informer, memory, clock } = context;
  const pod = informer(pods).get(key);
  if (!pod || pod.metadata?.deletionTimestamp || isPodTerminal(pod)) return void memory.delete(key);
  const taints = noExecuteTaints(informer(nodes).get(pod.spec?.nodeName ?? '')?.spec?.taints);
  const seconds = taints.length === 0 ? Infinity : minTolerationSeconds(taints, pod.spec?.tolerations);
  if (seconds === Infinity) return cancel(pod, context);
  if (seconds === 0) return evict(pod, context);
  const known = memory.get(key) as Waiting | undefined;
  const waiting =
    known && known.uid === pod.metadata?.uid ? known : { uid: pod.metadata?.uid, sinceMs: clock.monotonic() };
  memory.set(key, waiting);
  const leftMs = waiting.sinceMs + seconds * 1000 - clock.monotonic();
  if (leftMs > 0) return { requeueAfterMs: leftMs };
  return evict(pod, context);
}

function cancel(pod: Stored<Pod>, { key, memory, events }: ReconcileContext): void {
  if (!memory.delete(key)) return;
  events.event(pod, {
    type: 'Normal',
    reason: 'TaintManagerEviction',
    message: `Cancelling deletion of Pod ${key}`,
  });
}

async function evict(pod: Stored<Pod>, context: ReconcileContext): Promise<void> {
  const { key, events, memory } = context;
  events.event(pod, {
    type: 'Normal',
    reason: 'TaintManagerEviction',
    message: `Marking for deletion Pod ${key}`,
  });
  await evictPod(pod, context, {
    reason: 'DeletionByTaintManager',
    message: 'Taint manager: deleting due to NoExecute taint',
  });
  memory.delete(key);
}
