/**
 * Accounts for ended pods, in steps that may stop anywhere and are taken up again without counting a pod twice:
 *
 *   uid into status.uncountedTerminatedPods -> finalizer off the pod -> uid out of there and into the count
 *
 * Pods of Indexed jobs that succeeded are known by their index and skip the first step. The job's last condition follows only when
 * all pods are accounted for and none is still ending.
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

/** Uids a status holds at most: more ended pods are taken up in the next round. */
const MAX_UNCOUNTED = 500;

/** What was decided for the job and done to its pods. */
export interface Outcome {
  /** Set when nothing runs any more. */
  readonly ending: Ending | undefined;
  readonly active: number;
  readonly terminating: number;
  /** Its pods were brought to the number it asks for: only then it is known to be suspended or resumed. */
  readonly managed: boolean;
  readonly failure: unknown;
  readonly waitMs?: number | undefined;
}

/** The cache's job, or what was written last when the cache is behind that: else pods would be counted twice or made anew. */
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

/** Writes the status. True when the job is finished. */
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
    // The deadline runs from here.
    if (!suspended) this.#status.startTime = this.#now;
  }

  #condition(condition: Pick<JobCondition, 'type' | 'status' | 'reason' | 'message'>): void {
    this.#status.conditions = withCondition<JobCondition>(this.#status.conditions, {
      ...condition,
      lastProbeTime: this.#now,
      lastTransitionTime: this.#now,
    });
  }

  /** Counts the pods whose finalizers are gone. */
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

  /** Names the pods that ended and are not counted. Answers those whose finalizer can go. */
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
    // Without a limit for each index there are none; with one, '' says that none failed.
    if (this.#view.spec.backoffLimitPerIndex === undefined) delete this.#status.failedIndexes;
    else this.#status.failedIndexes = this.#view.failedIndexes.toString();
  }

  /** Of a job that failed, all that is left counts as failed; of one that succeeded, what is stopped counts as nothing. */
  #isFailure(pod: Pod): boolean {
    return isFailed(pod, this.#view.spec) || this.#outcome.ending?.type === 'FailureTarget';
  }

  /** Ended, or nothing more is expected of it. */
  #mayGo(pod: Pod): boolean {
    const { job, spec } = this.#view;
    return (
      this.#outcome.ending !== undefined ||
      job.metadata?.deletionTimestamp !== undefined ||
      pod.status?.phase === 'Succeeded' ||
      isFailed(pod, spec)
    );
  }

  /** The last failed pod of an index stays until the next is there: it tells how often the index failed. */
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

  /** Answers what went wrong. */
  async release(ended: readonly Pod[]): Promise<unknown> {
    const outcomes = await Promise.allSettled(
      ended.map(async (pod) => {
        await releasePod(this.#context, pod);
        this.#tracked.delete(pod.metadata!.uid!);
      }),
    );
    return outcomes.find((outcome) => outcome.status === 'rejected')?.reason;
  }

  /** Enters the last condition when nothing is left to wait for. */
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

/** Counts of 0 and absent ones are the same, but for the two that are pointers. */
function withoutZeros(status: JobStatus | undefined): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(status ?? {}).filter(
      ([name, value]) => value !== undefined && (value !== 0 || name === 'ready' || name === 'terminating'),
    ),
  );
}
