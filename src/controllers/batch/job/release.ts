/** Removes the tracking finalizer from pods, and records which pods the cache still shows with it. */
import type { Stored } from '#machinery/object.ts';
import type { Pod } from '#api/types.ts';
import { isStatusError } from '#machinery/errors.ts';
import { pods } from '#client/refs.ts';
import type { ReconcileContext } from '#runtime/controller.ts';
import { nameOf } from '../../owners.ts';
import { TRACKING, hasTrackingFinalizer } from './model.ts';

/** Uids of the job's pods whose finalizer was removed and that the cache still shows with it. Call once per reconcile, before releasing. */
export function releasedPods(
  { memory, key }: ReconcileContext,
  all: readonly Stored<Pod>[],
): ReadonlySet<string> {
  const known = memory.get(`released/${key}`) as ReadonlySet<string> | undefined;
  const released = new Set(
    all
      .filter((pod) => known?.has(pod.metadata.uid) && hasTrackingFinalizer(pod))
      .map(({ metadata }) => metadata.uid),
  );
  memory.set(`released/${key}`, released);
  return new Set(released);
}

/** A pod that was deleted or replaced has no finalizer to remove. */
export async function releasePod({ api, memory, key }: ReconcileContext, pod: Pod): Promise<void> {
  const patch = { metadata: { uid: pod.metadata!.uid, '$deleteFromPrimitiveList/finalizers': [TRACKING] } };
  try {
    await api.patch(pods, nameOf(pod), { type: 'strategic', patch });
  } catch (error) {
    if (
      !isStatusError(error, 'NotFound') &&
      !isStatusError(error, 'Conflict') &&
      !isStatusError(error, 'Invalid')
    )
      throw error;
  }
  (memory.get(`released/${key}`) as Set<string> | undefined)?.add(pod.metadata!.uid!);
}

export function forgetReleased({ memory, key }: ReconcileContext): void {
  memory.delete(`released/${key}`);
}
