/** Predicates and derived values of jobs and their pods. Pure. */
import type { Job, JobCondition, JobSpec, Pod } from '#api/types.ts';
import { timeMs } from '#machinery/time.ts';
import { findCondition } from '#component-helpers/conditions.ts';
import { podCondition } from '#component-helpers/pod-status.ts';
import { createdMs } from '../../object-order.ts';

export const TRACKING = 'batch.kubernetes.io/job-tracking';
export const INDEX = 'batch.kubernetes.io/job-completion-index';
export const INDEX_FAILURES = 'batch.kubernetes.io/job-index-failure-count';
export const INDEX_IGNORED_FAILURES = 'batch.kubernetes.io/job-index-ignored-failure-count';
export const MANAGER = 'kubernetes.io/job-controller';

/** Complete or Failed: the job is finished. */
export function finishedCondition(job: Job): JobCondition | undefined {
  return job.status?.conditions?.find(
    ({ type, status }) => (type === 'Complete' || type === 'Failed') && status === 'True',
  );
}

export function trueCondition(job: Job, type: string): JobCondition | undefined {
  const condition = findCondition(job.status?.conditions, type);
  return condition?.status === 'True' ? condition : undefined;
}

export function isSuspended(job: Job): boolean {
  return job.spec?.suspend === true;
}

export function isIndexed(job: Job): boolean {
  return job.spec?.completionMode === 'Indexed';
}

/** Whether a pod is replaced only after it has failed, instead of when it is being deleted. */
export function replacesOnlyFailed({ podReplacementPolicy, podFailurePolicy }: JobSpec): boolean {
  return (podReplacementPolicy ?? (podFailurePolicy ? 'Failed' : 'TerminatingOrFailed')) === 'Failed';
}

/** A terminating pod counts as failed, unless the job's replacement policy is Failed. */
export function isFailed(pod: Pod, spec: JobSpec): boolean {
  if (pod.status?.phase === 'Failed') return true;
  return (
    pod.status?.phase !== 'Succeeded' &&
    pod.metadata?.deletionTimestamp !== undefined &&
    !replacesOnlyFailed(spec)
  );
}

export function hasTrackingFinalizer(pod: Pod): boolean {
  return pod.metadata?.finalizers?.includes(TRACKING) === true;
}

/** undefined when it has none, or an invalid one. */
export function completionIndex(pod: Pod): number | undefined {
  const text = pod.metadata?.annotations?.[INDEX];
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

/** An index of this job; always true for non-indexed jobs. */
export function countsFor(pod: Pod, job: Job): boolean {
  if (!isIndexed(job)) return true;
  const index = completionIndex(pod);
  return index !== undefined && index < (job.spec?.completions ?? 0);
}

export function countIn(pod: Pod, annotation: string): number {
  const text = pod.metadata?.annotations?.[annotation];
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : 0;
}

/** The time at which a pod ended: of its containers, else of its conditions, else of its deletion. */
export function finishedMs(pod: Pod): number {
  const ends = [...(pod.status?.containerStatuses ?? []), ...(pod.status?.initContainerStatuses ?? [])]
    .map(({ state }) => timeMs(state?.terminated?.finishedAt))
    .filter((ms) => ms !== undefined);
  if (ends.length > 0) return Math.max(...ends);
  return (
    timeMs(podCondition(pod, 'Ready')?.lastTransitionTime) ??
    timeMs(pod.metadata?.deletionTimestamp) ??
    createdMs(pod)
  );
}

/** Restarts of containers in place count against the limit as well. */
export function restartsExceed(job: Job, pods: readonly Pod[]): boolean {
  const { template, backoffLimit = 6 } = job.spec!;
  if (template.spec?.restartPolicy !== 'OnFailure') return false;
  let restarts = 0;
  for (const { status } of pods) {
    if (status?.phase !== 'Running' && status?.phase !== 'Pending') continue;
    for (const { restartCount } of [
      ...(status.initContainerStatuses ?? []),
      ...(status.containerStatuses ?? []),
    ])
      restarts += restartCount;
  }
  return backoffLimit === 0 ? restarts > 0 : restarts >= backoffLimit;
}

/** Milliseconds until activeDeadlineSeconds; 0 when it has passed; undefined when there is none, or the job is suspended. */
export function deadlineInMs(
  job: Job,
  { startedMs, nowMs }: { readonly startedMs: number | undefined; readonly nowMs: number },
): number | undefined {
  const { activeDeadlineSeconds } = job.spec!;
  if (activeDeadlineSeconds === undefined || startedMs === undefined || isSuspended(job)) return undefined;
  return Math.max(0, startedMs + activeDeadlineSeconds * 1000 - nowMs);
}
