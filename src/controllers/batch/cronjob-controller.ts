/**
 * Creates a Job at each time of a CronJob's schedule, tracks active jobs, and deletes the oldest finished ones. After upstream's
 * pkg/controller/cronjob. A job's name is derived from its scheduled time, so that it is created only once.
 */
import { isDeepStrictEqual } from 'node:util';
import { httpDate } from '#stdx/dates.ts';
import type { CronJob, CronJobStatus, Job, ObjectReference } from '#api/types.ts';
import { isStatusError } from '#machinery/errors.ts';
import { objectKey } from '#machinery/object.ts';
import { formatTime, timeMs } from '#machinery/time.ts';
import { errorMessage } from '#stdx/log.ts';
import { cronJobs, jobs } from '#client/refs.ts';
import { defineController, watch, type ReconcileContext, type ReconcileResult } from '#runtime/controller.ts';
import { controllerReference, isControlledBy } from '#component-helpers/owner-references.ts';
import { byController, controlledBy, controllerKey, nameOf } from '../owners.ts';
import { isNamespaceTerminating } from '../pod-control.ts';
import { compareText, createdMs } from '../object-order.ts';
import { lastDueMs, parseSchedule, type Schedule } from './cronjob/schedule.ts';
import { WallClock } from './cronjob/wall-clock.ts';
import { finishedCondition } from './job/model.ts';

const SCHEDULED = 'batch.kubernetes.io/cronjob-scheduled-timestamp';
/** Slightly after the scheduled time, to allow for clock skew. */
const DELTA_MS = 100;
/** More missed times than this cause a warning. */
const MANY = 100;

export const cronJobController = defineController({
  name: 'cronjob-controller',
  watches: [
    watch(cronJobs),
    watch(jobs, {
      keys(job, { informer }) {
        const key = controllerKey(job, { resource: cronJobs, informer: informer(cronJobs) });
        return key === undefined ? [] : [key];
      },
    }),
  ],
  indexes: [byController(jobs)],
  reconcile,
});

async function reconcile(context: ReconcileContext): Promise<ReconcileResult> {
  const { key, informer } = context;
  const cronJob = informer(cronJobs).get(key);
  if (!cronJob) return;
  const run = new Run(context, cronJob, controlledBy(informer(jobs), cronJob));
  await run.trimHistory();
  await run.followJobs();
  await run.write();
  if (cronJob.metadata?.deletionTimestamp) return;
  return run.startDue();
}

interface Timetable {
  readonly schedule: Schedule;
  readonly wallClock: WallClock;
}

/** One reconcile of one CronJob. */
class Run {
  readonly #context: ReconcileContext;
  readonly #jobs: readonly Job[];
  readonly #deleted = new Set<string>();
  #cronJob: CronJob;
  #status: CronJobStatus;
  #afterWrite: (() => void)[] = [];

  constructor(context: ReconcileContext, cronJob: CronJob, all: readonly Job[]) {
    this.#context = context;
    this.#cronJob = cronJob;
    this.#jobs = all;
    this.#status = structuredClone(cronJob.status ?? {});
  }

  #tell(type: 'Normal' | 'Warning', reason: string, message: string): void {
    this.#context.events.event(this.#cronJob, { type, reason, message });
  }

  #isActive(job: { readonly metadata?: { readonly uid?: string } }): boolean {
    return this.#status.active?.some(({ uid }) => uid === job.metadata!.uid) === true;
  }

  #forget(uid: string | undefined): void {
    const left = (this.#status.active ?? []).filter((reference) => reference.uid !== uid);
    if (left.length > 0) this.#status.active = left;
    else delete this.#status.active;
  }

  async write(): Promise<void> {
    if (!isDeepStrictEqual(this.#status, this.#cronJob.status ?? {})) {
      this.#cronJob = await this.#context.api.updateStatus(cronJobs, {
        ...this.#cronJob,
        status: this.#status,
      });
      this.#status = structuredClone(this.#cronJob.status ?? {});
    }
    for (const tell of this.#afterWrite.splice(0)) tell();
  }

  /** Updates the list of active jobs and lastSuccessfulTime. */
  async followJobs(): Promise<void> {
    for (const job of this.#jobs) {
      const end = finishedCondition(job);
      if (!end) await this.#followRunning(job);
      else if (this.#isActive(job)) {
        this.#forget(job.metadata!.uid);
        this.#afterWrite.push(() =>
          this.#tell(
            'Normal',
            'SawCompletedJob',
            `Saw completed job: ${job.metadata!.name}, condition: ${end.type}`,
          ),
        );
      }
      const completedMs = end?.type === 'Complete' ? timeMs(job.status?.completionTime) : undefined;
      if (completedMs !== undefined && completedMs > (timeMs(this.#status.lastSuccessfulTime) ?? -Infinity))
        this.#status.lastSuccessfulTime = job.status!.completionTime!;
    }
    const known = new Set(this.#jobs.map(({ metadata }) => metadata!.uid));
    for (const { uid, name = '', namespace } of this.#status.active ?? []) {
      if (known.has(uid) && !this.#deleted.has(uid!)) continue;
      // The cache may not show it yet.
      const live = await this.#find({ name, namespace });
      if (live?.metadata?.uid === uid) continue;
      this.#forget(uid);
      if (!this.#deleted.has(uid!))
        this.#afterWrite.push(() => this.#tell('Normal', 'MissingJob', `Active job went missing: ${name}`));
    }
  }

  async #followRunning(job: Job): Promise<void> {
    if (this.#isActive(job)) return;
    const live = await this.#context.api.get(cronJobs, nameOf(this.#cronJob));
    if (live.status?.active?.some(({ uid }) => uid === job.metadata!.uid)) {
      this.#cronJob = live;
      this.#status = structuredClone(live.status);
      return;
    }
    this.#tell(
      'Warning',
      'UnexpectedJob',
      `Saw a job that the controller did not create or forgot: ${job.metadata!.name}`,
    );
  }

  async #find(name: {
    readonly name: string;
    readonly namespace?: string | undefined;
  }): Promise<Job | undefined> {
    try {
      return await this.#context.api.get(jobs, name);
    } catch (error) {
      if (isStatusError(error, 'NotFound')) return undefined;
      throw error;
    }
  }

  /** Deletes the oldest finished jobs beyond the history limits. */
  async trimHistory(): Promise<void> {
    const { successfulJobsHistoryLimit, failedJobsHistoryLimit } = this.#cronJob.spec!;
    for (const [type, limit] of [
      ['Complete', successfulJobsHistoryLimit],
      ['Failed', failedJobsHistoryLimit],
    ] as const) {
      if (limit === undefined) continue;
      const ended = this.#jobs.filter(
        (job) => finishedCondition(job)?.type === type && !job.metadata?.deletionTimestamp,
      );
      for (const job of ended.sort(byStart).slice(0, Math.max(0, ended.length - limit)))
        await this.#delete(job);
    }
  }

  async #delete(job: Job): Promise<void> {
    const { name, uid } = job.metadata!;
    try {
      await this.#context.api.delete(jobs, nameOf(job), {
        propagationPolicy: 'Background',
        preconditions: { uid: uid! },
      });
    } catch (error) {
      if (!isStatusError(error, 'NotFound') && !isStatusError(error, 'Conflict')) {
        this.#tell('Warning', 'FailedDelete', `Deleted job: ${errorMessage(error)}`);
        throw error;
      }
    }
    this.#deleted.add(uid!);
    this.#forget(uid);
    this.#tell('Normal', 'SuccessfulDelete', `Deleted job ${name}`);
  }

  /** Creates the job of the last scheduled time, and returns when the next one is due. */
  async startDue(): Promise<ReconcileResult> {
    const { suspend, startingDeadlineSeconds, concurrencyPolicy } = this.#cronJob.spec!;
    const table = this.#timetable();
    if (!table || suspend) return;
    const nowMs = this.#context.clock.now();
    const dueMs = this.#due(table, nowMs);
    const nextMs = table.schedule.next(Math.max(nowMs, dueMs ?? 0));
    const later = nextMs === undefined ? undefined : { requeueAfterMs: nextMs - nowMs + DELTA_MS };
    if (dueMs === undefined) return later;
    if (startingDeadlineSeconds !== undefined && dueMs + startingDeadlineSeconds * 1000 < nowMs) {
      this.#tell(
        'Warning',
        'MissSchedule',
        `Missed scheduled time to start a job: ${httpTime(dueMs, table.wallClock)}`,
      );
      return later;
    }
    if (
      timeMs(this.#status.lastScheduleTime) === dueMs ||
      this.#status.active?.some(({ name }) => name === jobName(this.#cronJob, dueMs))
    )
      return later;
    if (concurrencyPolicy === 'Forbid' && this.#status.active?.length) {
      this.#tell(
        'Normal',
        'JobAlreadyActive',
        'Not starting job because prior execution is running and concurrency policy is Forbid',
      );
      return later;
    }
    if (concurrencyPolicy === 'Replace') await this.#deleteActive();
    await this.#start(dueMs, table);
    return later;
  }

  #timetable(): Timetable | undefined {
    const { schedule, timeZone } = this.#cronJob.spec!;
    let wallClock: WallClock;
    try {
      wallClock = new WallClock(timeZone);
    } catch (error) {
      this.#tell(
        'Warning',
        'UnknownTimeZone',
        `invalid timeZone: ${JSON.stringify(timeZone)}: ${errorMessage(error)}`,
      );
      return undefined;
    }
    try {
      return { schedule: parseSchedule(schedule, wallClock), wallClock };
    } catch (error) {
      this.#tell(
        'Warning',
        'UnparseableSchedule',
        `unparseable schedule: ${JSON.stringify(schedule)} : ${errorMessage(error)}`,
      );
      return undefined;
    }
  }

  #due({ schedule }: Timetable, nowMs: number): number | undefined {
    const { startingDeadlineSeconds } = this.#cronJob.spec!;
    const sinceMs = timeMs(this.#status.lastScheduleTime) ?? createdMs(this.#cronJob);
    const earliestMs =
      startingDeadlineSeconds === undefined
        ? sinceMs
        : Math.max(sinceMs, nowMs - startingDeadlineSeconds * 1000);
    const dueMs = lastDueMs(schedule, { earliestMs, nowMs });
    const firstMs = schedule.next(earliestMs);
    if (dueMs === undefined || firstMs === undefined || firstMs === dueMs) return dueMs;
    const missed = Math.floor((nowMs - firstMs) / (schedule.next(firstMs)! - firstMs)) + 1;
    if (missed > MANY)
      this.#tell(
        'Warning',
        'TooManyMissedTimes',
        'too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew',
      );
    return dueMs;
  }

  async #deleteActive(): Promise<void> {
    for (const { name = '', namespace, uid } of this.#status.active ?? []) {
      const job = await this.#find({ name, namespace });
      if (job?.metadata?.uid === uid) await this.#delete(job!);
      else this.#forget(uid);
    }
  }

  async #start(dueMs: number, { wallClock }: Timetable): Promise<void> {
    const job = jobAt(this.#cronJob, dueMs, wallClock);
    let created: Job;
    try {
      created = await this.#context.api.create(jobs, job);
      this.#tell('Normal', 'SuccessfulCreate', `Created job ${job.metadata!.name}`);
    } catch (error) {
      // A terminating namespace rejects jobs; its deletion removes the cron job too.
      if (isNamespaceTerminating(error)) return this.write();
      if (!isStatusError(error, 'AlreadyExists')) {
        this.#tell('Warning', 'FailedCreate', `Error creating job: ${errorMessage(error)}`);
        await this.write();
        throw error;
      }
      const existing = await this.#find(nameOf(job));
      if (!existing) throw error;
      // The job belongs to another owner: there is no job for this time, and a retry does not help.
      if (!isControlledBy(existing, this.#cronJob)) return this.write();
      created = existing;
    }
    if (!finishedCondition(created) && !this.#isActive(created))
      this.#status.active = [...(this.#status.active ?? []), referenceTo(created)];
    this.#status.lastScheduleTime = formatTime(dueMs);
    await this.write();
  }
}

function jobName(cronJob: CronJob, dueMs: number): string {
  return `${cronJob.metadata!.name}-${Math.floor(dueMs / 60_000)}`;
}

function jobAt(cronJob: CronJob, dueMs: number, wallClock: WallClock): Job {
  const { metadata, spec } = cronJob.spec!.jobTemplate;
  return {
    metadata: {
      name: jobName(cronJob, dueMs),
      namespace: cronJob.metadata!.namespace!,
      ownerReferences: [controllerReference(cronJob, cronJobs)],
      ...(metadata?.labels ? { labels: { ...metadata.labels } } : {}),
      annotations: { ...metadata?.annotations, [SCHEDULED]: wallClock.text(dueMs) },
    },
    spec: structuredClone(spec!),
  };
}

function referenceTo(job: Job): ObjectReference {
  const { name, namespace, uid, resourceVersion } = job.metadata!;
  return {
    kind: 'Job',
    namespace: namespace!,
    name: name!,
    uid: uid!,
    apiVersion: 'batch/v1',
    resourceVersion: resourceVersion!,
  };
}

/** Jobs without a start time sort last. */
function byStart(a: Job, b: Job): number {
  const aMs = timeMs(a.status?.startTime) ?? Infinity,
    bMs = timeMs(b.status?.startTime) ?? Infinity;
  return aMs === bMs ? compareText(objectKey(a), objectKey(b)) : aMs - bMs;
}

/** 'Mon, 02 Jan 2006 15:04:05 -0700' */
function httpTime(ms: number, wallClock: WallClock): string {
  const offsetMs = wallClock.offsetMs(ms);
  const zone = wallClock.text(ms).slice(19).replace('Z', '+0000').replace(':', '');
  return `${httpDate(ms + offsetMs).slice(0, -4)} ${zone}`;
}
