/** Deletion of a pod that a taint drives out: the condition DisruptionTarget first, so that owners and users see why. */
import type { Pod } from '#api/types.ts';
import { pods } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { Stored } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import type { ReconcileContext } from '#runtime/controller.ts';
import { nameOf } from './owners.ts';

/** A pod that is gone, or replaced by another of its name, is none to evict. */
export async function evictPod(
  pod: Stored<Pod>,
  { api, clock }: ReconcileContext,
  { reason, message }: { readonly reason: string; readonly message: string },
): Promise<void> {
  const condition = {
    type: 'DisruptionTarget',
    status: 'True',
    reason,
    message,
    lastTransitionTime: formatTime(clock.now()),
  };
  const { uid } = pod.metadata;
  try {
    await api.patch(pods, nameOf(pod), {
      type: 'strategic',
      subresource: 'status',
      patch: { metadata: { uid }, status: { conditions: [condition] } },
    });
    await api.delete(pods, nameOf(pod), uid ? { preconditions: { uid } } : {});
  } catch (error) {
    if (!isStatusError(error, 'NotFound') && !isStatusError(error, 'Conflict')) throw error;
  }
}
