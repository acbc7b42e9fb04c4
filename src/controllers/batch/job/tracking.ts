/**
 * Accounts for finished pods, in steps that can be interrupted at any point without counting a pod twice:
 *
 *   uid into status.uncountedTerminatedPods -> finalizer removed from the pod -> uid moved into the counts
 *
 * Succeeded pods of Indexed jobs are identified by their index and skip the first step. The job's final condition is set only when
 * all pods are accounted for and none is terminating.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Job, JobCondition, JobStatus, Pod } from '#api/types.ts';
import { formatTime } from '#machinery/time.ts';
import { jobs } from '#client/refs.ts';
import type { ReconcileContext } from '#runtime/controller.ts';
import { findCondition, withCondition } from '#component-helpers/conditions.ts';
import { counts } from './failure-policy.ts';
import type { IndexSet } from './indexes.ts';
import { completionIndex, countsFor, isFailed, isIndexed, isSuspended, trueCondition } from './model.ts';
import { forgetReleased, releasePod } from './release.ts';
import type { Ending, JobView } from './view.ts';

/** Maximum number of uids in a status: more finished pods are handled in the next round. */
const MAX_UNCOUNTED = 500;

/** The decisions for the job and the results of managing its pods. */
export interface Outcome {
  /** Set when no pod is running any more. */
  readonly ending: Ending | undefined;
  readonly active: number;
  readonly terminating: number;
  /** Whether its pods were scaled: only then the Suspended condition may change. */
  readonly managed: boolean;
  readonly failure: unknown;
  readonly waitMs?: number | undefined;
}

/** The cached job, or the last written one when the cache is behind it: otherwise pods would be counted or created twice. */
export function newestJob({ memory, key }: ReconcileContext, cached: Job): Job {
  const written = memory.get(`written/${key}`) as Job | undefined;
  if (!written || written.metadata!.uid !== cached.metadata!.uid) return cached;
  return BigInt(written.metadata!.resourceVersion!) > BigInt(cached.metadata!.resourceVersion!)
    ? written
    : cached;
}

export function forgetTracking(context: ReconcileContext): void {
  context.memory.delete(`written/${context.key}`);
  forgetReleased(context);
}

/** Writes the status. Returns true when the job is finished. */
export async function track(context: ReconcileContext, view: JobView, outcome: Outcome): Promise<boolean> {
  const ledger = new Ledger(context, view, outcome);
  ledger.foldReleased();
  const ended = ledger.enterEnded();
  ledger.enterInterimCondition();
  await ledger.write();
  const failure = await ledger.release(ended);
  ledger.foldReleased();
  const finished = failure === undefined && ledger.finish();
  await ledger.write();
  if (failure) throw failure;
  if (finished) ledger.report();
  return finished;
}

class Ledger {
  readonly #context: ReconcileContext;
  readonly #view: JobView;
  readonly #outcome: Outcome;
  readonly #status: JobStatus;
  readonly #now: string;
  readonly #tracked: Set<string>;
  #succeededIndexes: IndexSet;
  #job: Job;
  #isFull = false;
  #events: { readonly reason: string; readonly message: string }[] = [];

  constructor(context: ReconcileContext, view: JobView, outcome: Outcome) {
    this.#context = context;
    this.#view = view;
    this.#outcome = outcome;
    this.#job = view.job;
    this.#now = formatTime(view.nowMs);
    this.#tracked = new Set(
      view.pods.filter((pod) => view.isTracked(pod)).map(({ metadata }) => metadata!.uid!),
    );
    this.#succeededIndexes = view.succeededBefore;
    this.#status = structuredClone(view.job.status ?? {});
    this.#status.uncountedTerminatedPods ??= {};
    this.#status.active = outcome.active;
    this.#status.ready = Math.min(view.ready, outcome.active);
    this.#status.terminating = outcome.terminating;
    if (this.#status.startTime === undefined && !isSuspended(view.job)) this.#status.startTime = this.#now;
    if (outcome.managed && !outcome.ending) this.#noteSuspension();
  }

  #noteSuspension(): void {
    const suspended = isSuspended(this.#job);
    const known = findCondition(this.#status.conditions, 'Suspended');
    if (suspended ? known?.status === 'True' : known === undefined || known.status === 'False') return;
    this.#condition({
      type: 'Suspended',
      status: suspended ? 'True' : 'False',
      reason: suspended ? 'JobSuspended' : 'JobResumed',
      message: suspended ? 'Job suspended' : 'Job resumed',
    });
    this.#events.push({
      reason: suspended ? 'Suspended' : 'Resumed',
      message: suspended ? 'Job suspended' : 'Job resumed',
    });
    // activeDeadlineSeconds counts from here.
    if (!suspended) this.#status.startTime = this.#now;
  }

  #condition(condition: Pick<JobCondition, 'type' | 'status' | 'reason' | 'message'>): void {
    this.#status.conditions = withCondition<JobCondition>(this.#status.conditions, {
      ...condition,
      lastProbeTime: this.#now,
      lastTransitionTime: this.#now,
    });
  }

  /** Counts the pods whose finalizers were removed. */
  foldReleased(): void {
    const uncounted = this.#status.uncountedTerminatedPods!;
    for (const field of ['succeeded', 'failed'] as const) {
      const all = uncounted[field] ?? [];
      const left = all.filter((uid) => this.#tracked.has(uid));
      if (left.length < all.length)
        this.#status[field] = (this.#status[field] ?? 0) + all.length - left.length;
      if (left.length > 0) uncounted[field] = left;
      else delete uncounted[field];
    }
  }

  /** Adds finished pods to the uncounted ones. Returns those whose finalizer can be removed. */
  enterEnded(): Pod[] {
    const { job } = this.#view;
    const release: Pod[] = [],
      newIndexes: number[] = [];
    const delayed = this.#delayed();
    for (const pod of this.#view.pods) {
      const uid = pod.metadata!.uid!;
      if (!this.#tracked.has(uid) || delayed.has(uid) || !this.#mayGo(pod)) continue;
      const { uncounted } = this.#view;
      if (pod.status?.phase === 'Succeeded' && !uncounted.failed.has(uid)) {
        const index = completionIndex(pod);
        if (!isIndexed(job)) this.#enter('succeeded', uid);
        else if (countsFor(pod, job) && !this.#succeededIndexes.has(index!)) newIndexes.push(index!);
      } else if (this.#isFailure(pod) && countsFor(pod, job) && counts(job.spec!.podFailurePolicy, pod))
        this.#enter('failed', uid);
      release.push(pod);
      const { succeeded = [], failed = [] } = this.#status.uncountedTerminatedPods!;
      if (succeeded.length + failed.length + newIndexes.length < MAX_UNCOUNTED) continue;
      this.#isFull = true;
      this.#context.enqueue(this.#context.key);
      break;
    }
    if (isIndexed(job)) this.#enterIndexes(newIndexes);
    return release;
  }

  #enter(field: 'succeeded' | 'failed', uid: string): void {
    const list = (this.#status.uncountedTerminatedPods![field] ??= []);
    if (!list.includes(uid)) list.push(uid);
  }

  #enterIndexes(newIndexes: readonly number[]): void {
    this.#succeededIndexes = this.#succeededIndexes.with(newIndexes);
    this.#status.succeeded = this.#succeededIndexes.size;
    const completed = this.#succeededIndexes.toString();
    if (completed) this.#status.completedIndexes = completed;
    else delete this.#status.completedIndexes;
    // Without backoffLimitPerIndex the field is absent; with it, '' means that no index failed.
    if (this.#view.spec.backoffLimitPerIndex === undefined) delete this.#status.failedIndexes;
    else this.#status.failedIndexes = this.#view.failedIndexes.toString();
  }

  /** Of a failed job, all remaining pods count as failed; of a completed one, stopped pods are not counted. */
  #isFailure(pod: Pod): boolean {
    return isFailed(pod, this.#view.spec) || this.#outcome.ending?.type === 'FailureTarget';
  }

  /** It has ended, or is not expected to continue. */
  #mayGo(pod: Pod): boolean {
    const { job, spec } = this.#view;
    return (
      this.#outcome.ending !== undefined ||
      job.metadata?.deletionTimestamp !== undefined ||
      pod.status?.phase === 'Succeeded' ||
      isFailed(pod, spec)
    );
  }

  /** The last failed pod of an index is kept until its replacement exists, because it stores the index's failure count. */
  #delayed(): Set<string> {
    const { spec, newFailed, active, succeededIndexes, failedIndexes, job } = this.#view;
    const delayed = new Set<string>();
    if (spec.backoffLimitPerIndex === undefined || this.#outcome.ending || job.metadata?.deletionTimestamp)
      return delayed;
    const busy = new Set(active.map(completionIndex));
    for (const index of new Set(newFailed.map(completionIndex))) {
      if (index === undefined || busy.has(index) || succeededIndexes.has(index) || failedIndexes.has(index))
        continue;
      delayed.add(this.#view.lastFailed(index)!.metadata!.uid!);
    }
    return delayed;
  }

  enterInterimCondition(): void {
    const { ending } = this.#outcome;
    if (ending && !trueCondition(this.#job, ending.type)) this.#condition({ ...ending, status: 'True' });
  }

  /** Returns the errors. */
  async release(ended: readonly Pod[]): Promise<unknown> {
    const outcomes = await Promise.allSettled(
      ended.map(async (pod) => {
        await releasePod(this.#context, pod);
        this.#tracked.delete(pod.metadata!.uid!);
      }),
    );
    return outcomes.find((outcome) => outcome.status === 'rejected')?.reason;
  }

  /** Sets the final condition when all pods are accounted for. */
  finish(): boolean {
    const { ending } = this.#outcome;
    const { uncountedTerminatedPods: { succeeded = [], failed = [] } = {}, active = 0 } = this.#status;
    if (
      !ending ||
      this.#isFull ||
      succeeded.length + failed.length > 0 ||
      active > 0 ||
      (this.#status.terminating ?? 0) > 0
    )
      return false;
    const isSuccess = ending.type === 'SuccessCriteriaMet';
    this.#condition({
      type: isSuccess ? 'Complete' : 'Failed',
      status: 'True',
      reason: ending.reason,
      message: ending.message,
    });
    if (isSuccess) this.#status.completionTime = this.#now;
    return true;
  }

  async write(): Promise<void> {
    if (!isDeepStrictEqual(withoutZeros(this.#status), withoutZeros(this.#job.status))) {
      this.#job = await this.#context.api.updateStatus(jobs, {
        ...this.#job,
        status: structuredClone(this.#status),
      });
      this.#context.memory.set(`written/${this.#context.key}`, this.#job);
    }
    for (const event of this.#events) this.#context.events.event(this.#job, { type: 'Normal', ...event });
    this.#events = [];
  }

  report(): void {
    const { events } = this.#context;
    const { completions } = this.#view.spec;
    const { reason, message, type } = this.#outcome.ending!;
    if (type === 'FailureTarget') return events.event(this.#job, { type: 'Warning', reason, message });
    if (completions !== undefined && (this.#status.succeeded ?? 0) > completions) {
      events.event(this.#job, {
        type: 'Warning',
        reason: 'TooManySucceededPods',
        message: 'Too many succeeded pods running after completion count reached',
      });
    }
    events.event(this.#job, { type: 'Normal', reason: 'Completed', message: 'Job completed' });
  }
}

/** Zero and absent counts are equal, except for the two pointer fields. */
function withoutZeros(status: JobStatus | undefined): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(status ?? {}).filter(
      ([name, value]) => value !== undefined && (value !== 0 || name === 'ready' || name === 'terminating'),
    ),
  );
}
