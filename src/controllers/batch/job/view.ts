/** The state of a job and its pods in one reconcile: counted pods, newly finished pods, and the resulting condition. Pure. */
import type { Job, JobSpec, Pod } from '#api/types.ts';
import { timeMs } from '#machinery/time.ts';
import { isPodActive, isPodReady, isPodTerminating } from '#component-helpers/pod-status.ts';
import { counts, judge } from './failure-policy.ts';
import { IndexSet } from './indexes.ts';
import {
  INDEX_FAILURES,
  INDEX_IGNORED_FAILURES,
  completionIndex,
  countIn,
  countsFor,
  deadlineInMs,
  finishedMs,
  hasTrackingFinalizer,
  isFailed,
  isIndexed,
  isSuspended,
  restartsExceed,
  trueCondition,
} from './model.ts';

/** The pending result of a job. The condition of this type is set first; the final one follows when all pods have ended. */
export interface Ending {
  readonly type: 'SuccessCriteriaMet' | 'FailureTarget';
  readonly reason: string;
  readonly message: string;
}

export class JobView {
  readonly job: Job;
  readonly spec: JobSpec;
  readonly pods: readonly Pod[];
  readonly nowMs: number;
  readonly active: readonly Pod[];
  readonly terminating: number;
  readonly ready: number;
  /** Uids that the status names as uncounted. */
  readonly uncounted: { readonly succeeded: ReadonlySet<string>; readonly failed: ReadonlySet<string> };
  readonly newSucceeded: readonly Pod[];
  readonly newFailed: readonly Pod[];
  readonly succeededBefore: IndexSet;
  readonly succeededIndexes: IndexSet;
  readonly failedIndexes: IndexSet;
  readonly succeeded: number;
  readonly failed: number;
  readonly #released: ReadonlySet<string>;

  /** released: uids of pods whose finalizer was removed, which the cache may not show yet. */
  constructor(
    job: Job,
    {
      pods,
      released,
      nowMs,
    }: { readonly pods: readonly Pod[]; readonly released: ReadonlySet<string>; readonly nowMs: number },
  ) {
    this.job = job;
    this.spec = job.spec!;
    this.pods = pods;
    this.nowMs = nowMs;
    this.#released = released;
    this.active = pods.filter(isPodActive);
    this.terminating = pods.filter(isPodTerminating).length;
    this.ready = this.active.filter(isPodReady).length;
    const { uncountedTerminatedPods, succeeded = 0, failed = 0 } = job.status ?? {};
    this.uncounted = {
      succeeded: new Set(uncountedTerminatedPods?.succeeded),
      failed: new Set(uncountedTerminatedPods?.failed),
    };
    this.newSucceeded = pods.filter(
      (pod) =>
        pod.status?.phase === 'Succeeded' &&
        this.isTracked(pod) &&
        countsFor(pod, job) &&
        !this.uncounted.succeeded.has(pod.metadata!.uid!),
    );
    this.newFailed = pods.filter(
      (pod) =>
        isFailed(pod, this.spec) &&
        this.isTracked(pod) &&
        countsFor(pod, job) &&
        !this.uncounted.failed.has(pod.metadata!.uid!),
    );
    const completions = this.spec.completions ?? 0;
    this.succeededBefore = isIndexed(job)
      ? IndexSet.parse(job.status?.completedIndexes, completions)
      : IndexSet.empty;
    this.succeededIndexes = this.succeededBefore.with(
      isIndexed(job) ? this.newSucceeded.map((pod) => completionIndex(pod)!) : [],
    );
    this.failedIndexes = this.#failedIndexes();
    this.succeeded = isIndexed(job)
      ? this.succeededIndexes.size
      : succeeded + this.newSucceeded.length + this.uncounted.succeeded.size;
    this.failed =
      failed +
      this.newFailed.filter((pod) => counts(this.spec.podFailurePolicy, pod)).length +
      this.uncounted.failed.size;
  }

  /** It still has the tracking finalizer, so it is not accounted for. */
  isTracked(pod: Pod): boolean {
    return hasTrackingFinalizer(pod) && !this.#released.has(pod.metadata!.uid!);
  }

  /** The failed pod of the index with the highest failure count. */
  lastFailed(index: number): Pod | undefined {
    const weight = (pod: Pod): number => countIn(pod, INDEX_FAILURES) + countIn(pod, INDEX_IGNORED_FAILURES);
    return this.newFailed
      .filter((pod) => completionIndex(pod) === index)
      .sort((a, b) => weight(b) - weight(a) || finishedMs(b) - finishedMs(a))[0];
  }

  /** A resumed job gets a new start time. */
  get startedMs(): number | undefined {
    if (!isSuspended(this.job) && trueCondition(this.job, 'Suspended')) return this.nowMs;
    return timeMs(this.job.status?.startTime) ?? (isSuspended(this.job) ? undefined : this.nowMs);
  }

  /** undefined while the job continues. */
  ending(): Ending | undefined {
    const { job } = this;
    for (const type of ['SuccessCriteriaMet', 'FailureTarget'] as const) {
      const condition = trueCondition(job, type);
      if (condition) return { type, reason: condition.reason ?? '', message: condition.message ?? '' };
    }
    return this.#failure() ?? this.#indexEnding();
  }

  #failure(): Ending | undefined {
    for (const pod of this.pods) {
      const verdict =
        isFailed(pod, this.spec) && this.isTracked(pod) ? judge(this.spec.podFailurePolicy, pod) : undefined;
      if (verdict?.action === 'FailJob') return failure('PodFailurePolicy', verdict.message);
    }
    const limit =
      this.spec.backoffLimitPerIndex === undefined
        ? (this.spec.backoffLimit ?? 6)
        : (this.spec.backoffLimit ?? 2 ** 31 - 1);
    if (this.failed > limit || restartsExceed(this.job, this.pods))
      return failure('BackoffLimitExceeded', 'Job has reached the specified backoff limit');
    if (deadlineInMs(this.job, { startedMs: this.startedMs, nowMs: this.nowMs }) === 0)
      return failure('DeadlineExceeded', 'Job was active longer than specified deadline');
    return undefined;
  }

  #indexEnding(): Ending | undefined {
    if (!isIndexed(this.job)) return undefined;
    const { maxFailedIndexes, completions = 0, successPolicy } = this.spec;
    if (this.failedIndexes.size > 0) {
      if (maxFailedIndexes !== undefined && this.failedIndexes.size > maxFailedIndexes)
        return failure(
          'MaxFailedIndexesExceeded',
          'Job has exceeded the specified maximal number of failed indexes',
        );
      if (this.failedIndexes.size + this.succeededIndexes.size >= completions)
        return failure('FailedIndexes', 'Job has failed indexes');
    }
    for (const [index, { succeededIndexes, succeededCount }] of (successPolicy?.rules ?? []).entries()) {
      const wanted =
        succeededIndexes === undefined ? undefined : IndexSet.parse(succeededIndexes, completions);
      const have = wanted ? this.succeededIndexes.countOf(wanted) : this.succeededIndexes.size;
      if (have > 0 && have >= (succeededCount ?? wanted?.size ?? completions))
        return {
          type: 'SuccessCriteriaMet',
          reason: 'SuccessPolicy',
          message: `Matched rules at index ${index}`,
        };
    }
    return undefined;
  }

  /** An index fails when its pods failed more than backoffLimitPerIndex times, or by the failure policy. */
  #failedIndexes(): IndexSet {
    const { backoffLimitPerIndex: limit, completions = 0, podFailurePolicy } = this.spec;
    if (limit === undefined) return IndexSet.empty;
    const failed = this.newFailed.filter((pod) => {
      const verdict = judge(podFailurePolicy, pod);
      return (
        verdict?.action === 'FailIndex' ||
        (verdict?.action !== 'Ignore' && countIn(pod, INDEX_FAILURES) >= limit)
      );
    });
    return IndexSet.parse(this.job.status?.failedIndexes, completions).with(
      failed.map((pod) => completionIndex(pod)!).filter((index) => !this.succeededIndexes.has(index)),
    );
  }
}

function failure(reason: string, message: string): Ending {
  return { type: 'FailureTarget', reason, message };
}
