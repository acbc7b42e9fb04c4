/** Deletes each finished Job once its ttlSecondsAfterFinished has passed. After upstream's pkg/controller/ttlafterfinished. */
import type { Job } from '#api/types.ts';
import { isStatusError } from '#machinery/errors.ts';
import { timeMs } from '#machinery/time.ts';
import { jobs } from '#client/refs.ts';
import { defineController, watch, type ReconcileContext, type ReconcileResult } from '#runtime/controller.ts';
import { nameOf } from '../owners.ts';
import { finishedCondition } from './job/model.ts';

export const ttlAfterFinishedController = defineController({
  name: 'ttl-after-finished-controller',
  watches: [watch(jobs)],
  reconcile,
});

async function reconcile({ key, api, clock, informer }: ReconcileContext): Promise<ReconcileResult> {
  const cached = informer(jobs).get(key);
  if (!cached) return;
  const leftMs = timeLeftMs(cached, clock.now());
  if (leftMs === undefined) return;
  if (leftMs > 0) return { requeueAfterMs: leftMs };
  // Read live, because the TTL may just have been extended and a deletion cannot be undone.
  try {
    const job = await api.get(jobs, nameOf(cached));
    const liveLeftMs = timeLeftMs(job, clock.now());
    if (liveLeftMs === undefined) return;
    if (liveLeftMs > 0) return { requeueAfterMs: liveLeftMs };
    await api.delete(jobs, nameOf(job), {
      propagationPolicy: 'Foreground',
      preconditions: { uid: job.metadata.uid },
    });
  } catch (error) {
    if (!isStatusError(error, 'NotFound')) throw error;
  }
}

/** undefined when it has no TTL, or is not finished. */
function timeLeftMs(job: Job, nowMs: number): number | undefined {
  const seconds = job.spec?.ttlSecondsAfterFinished;
  const finishedAtMs = timeMs(finishedCondition(job)?.lastTransitionTime);
  if (seconds === undefined || finishedAtMs === undefined || job.metadata?.deletionTimestamp)
    return undefined;
  return finishedAtMs + seconds * 1000 - nowMs;
}
