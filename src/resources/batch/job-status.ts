/**
 * Validates a Job's status: consistent conditions, counts that do not decrease. Problems of the stored object that an update does not change
 * are accepted, so that old objects can still be written. After upstream's validation of Job status.
 */
import type { Job, JobStatus } from '#api/types.ts';
import type { FieldError } from '#machinery/errors.ts';
import { checkNonNegative } from '../checks.ts';
import { Errors, STATUS } from '../field-path.ts';
import { semanticEqual } from '../strategy.ts';
import { readIndexes, sharedIndex } from './indexes.ts';

const CONDITIONS = STATUS.child('conditions');
const TERMINAL = ['Failed', 'Complete', 'FailureTarget'] as const;

function has(status: JobStatus, type: string): boolean {
  return (
    status.conditions?.some((condition) => condition.type === type && condition.status === 'True') ?? false
  );
}

function isFinished(status: JobStatus): boolean {
  return has(status, 'Complete') || has(status, 'Failed');
}

/** One update, with its changes. */
class StatusUpdate {
  readonly errors = new Errors();
  readonly job: Job;
  readonly next: JobStatus;
  readonly stored: JobStatus;
  readonly finishes: boolean;

  constructor(job: Job, previous: Job) {
    this.job = job;
    this.next = job.status ?? {};
    this.stored = previous.status ?? {};
    this.finishes = isFinished(this.next) !== isFinished(this.stored);
  }

  changes(...fields: readonly (keyof JobStatus)[]): boolean {
    return fields.some((field) => !semanticEqual(this.next[field], this.stored[field]));
  }

  toggles(...types: readonly string[]): boolean {
    return types.some((type) => has(this.next, type) !== has(this.stored, type));
  }

  conditions(detail: string): void {
    this.errors.omitted(CONDITIONS, detail);
  }
}

export function checkJobStatusUpdate(job: Job, previous: Job): FieldError[] {
  const update = new StatusUpdate(job, previous);
  for (const field of ['active', 'succeeded', 'failed', 'ready', 'terminating'] as const)
    checkNonNegative(update.next[field], STATUS, field, update.errors);
  checkUncounted(update);
  checkConditions(update);
  checkTimes(update);
  checkFinished(update);
  checkIndexes(update);
  checkHistory(update);
  return update.errors.list;
}

function checkUncounted({ next, errors }: StatusUpdate): void {
  const seen = new Set<string>();
  for (const field of ['succeeded', 'failed'] as const) {
    next.uncountedTerminatedPods?.[field]?.forEach((uid, i) => {
      const at = STATUS.child('uncountedTerminatedPods').child(field).index(i);
      if (uid === '') errors.invalid(at, uid, 'must not be empty');
      else if (seen.has(uid)) errors.duplicate(at, uid);
      seen.add(uid);
    });
  }
}

function checkConditions(update: StatusUpdate): void {
  const { next, job } = update;
  const complete = has(next, 'Complete'),
    failed = has(next, 'Failed'),
    target = has(next, 'FailureTarget'),
    met = has(next, 'SuccessCriteriaMet');
  if (complete && failed && update.toggles('Complete', 'Failed'))
    update.conditions('cannot set Complete=True and Failed=true conditions');
  if (complete && target && update.toggles('Complete', 'FailureTarget'))
    update.conditions('cannot set Complete=True and FailureTarget=true conditions');
  if (failed && !target && update.toggles('Failed', 'FailureTarget'))
    update.conditions('cannot set Failed=True condition without the FailureTarget=true condition');
  if (complete && !met && update.toggles('Complete', 'SuccessCriteriaMet'))
    update.conditions('cannot set Complete=True condition without the SuccessCriteriaMet=true condition');
  if (met && failed) update.conditions('cannot set SuccessCriteriaMet=True and Failed=true conditions');
  if (met && target)
    update.conditions('cannot set SuccessCriteriaMet=True and FailureTarget=true conditions');
  if (job.spec?.successPolicy && !met && complete)
    update.conditions('cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True');
}

function checkTimes(update: StatusUpdate): void {
  const { next, errors } = update,
    { startTime, completionTime } = next,
    complete = has(next, 'Complete');
  const path = STATUS.child('completionTime');
  if (update.toggles('Complete') || update.changes('completionTime')) {
    if (completionTime && !complete)
      errors.invalid(
        path,
        completionTime,
        'cannot set completionTime when there is no Complete=True condition',
      );
    if (!completionTime && complete) errors.required(path, 'completionTime is required for Complete jobs');
  }
  if (
    startTime &&
    completionTime &&
    update.changes('startTime', 'completionTime') &&
    Date.parse(completionTime) < Date.parse(startTime)
  )
    errors.invalid(path, completionTime, 'completionTime cannot be set before startTime');
}

function checkFinished(update: StatusUpdate): void {
  const { next, errors, finishes } = update,
    { active = 0, ready, terminating = 0, uncountedTerminatedPods } = next;
  if (isFinished(next)) {
    if (active > 0 && (finishes || update.changes('active')))
      errors.invalid(STATUS.child('active'), active, 'active>0 is invalid for finished job');
    if (!next.startTime && (finishes || update.changes('startTime')))
      errors.required(STATUS.child('startTime'), 'startTime is required for finished job');
    const uncounted =
      (uncountedTerminatedPods?.failed?.length ?? 0) + (uncountedTerminatedPods?.succeeded?.length ?? 0);
    if (uncounted > 0 && (finishes || update.changes('uncountedTerminatedPods')))
      errors.invalid(
        STATUS.child('uncountedTerminatedPods'),
        uncountedTerminatedPods,
        'uncountedTerminatedPods needs to be empty for finished job',
      );
    if (terminating > 0 && (finishes || update.changes('terminating')))
      errors.invalid(STATUS.child('terminating'), terminating, 'terminating>0 is invalid for finished job');
  }
  if (ready !== undefined && ready > active && update.changes('ready', 'active'))
    errors.invalid(STATUS.child('ready'), ready, 'cannot set more ready pods than active');
}

function checkIndexes(update: StatusUpdate): void {
  const { next, errors, job } = update,
    { completedIndexes = '', failedIndexes } = next,
    { completions, backoffLimitPerIndex, completionMode } = job.spec ?? {};
  if (update.changes('completedIndexes')) {
    const problem =
      completions === undefined ? undefined : readIndexes(completedIndexes, completions).problem;
    if (problem !== undefined)
      errors.invalid(
        STATUS.child('completedIndexes'),
        completedIndexes,
        `error parsing completedIndexes: ${problem}`,
      );
    if (completedIndexes !== '' && completionMode !== 'Indexed')
      errors.invalid(
        STATUS.child('completedIndexes'),
        completedIndexes,
        'cannot set non-empty completedIndexes when non-indexed completion mode',
      );
  }
  if (failedIndexes === undefined || !update.changes('failedIndexes', 'completedIndexes')) return;
  const path = STATUS.child('failedIndexes');
  if (update.changes('failedIndexes')) {
    const problem =
      completions === undefined || backoffLimitPerIndex === undefined
        ? undefined
        : readIndexes(failedIndexes, completions).problem;
    if (problem !== undefined) errors.invalid(path, failedIndexes, `error parsing failedIndexes: ${problem}`);
    if (backoffLimitPerIndex === undefined)
      errors.invalid(
        path,
        failedIndexes,
        'cannot set non-null failedIndexes when backoffLimitPerIndex is null',
      );
  }
  const shared =
    completions === undefined ? undefined : sharedIndex(completedIndexes, failedIndexes, completions);
  if (shared !== undefined)
    errors.invalid(path, failedIndexes, `failedIndexes and completedIndexes overlap at index: ${shared}`);
}

/** Compared with the stored object. */
function checkHistory(update: StatusUpdate): void {
  const { next, stored, errors, job } = update,
    spec = job.spec;
  for (const type of TERMINAL)
    if (has(stored, type) && !has(next, type))
      update.conditions(`cannot disable the terminal ${type}=True condition`);
  if ((next.failed ?? 0) < (stored.failed ?? 0))
    errors.invalid(STATUS.child('failed'), next.failed ?? 0, 'cannot decrease the failed counter');
  // Elastic indexed jobs lose succeeded pods when they are scaled down.
  const isElastic = spec?.completionMode === 'Indexed' && spec.completions === spec.parallelism;
  if (!isElastic && (next.succeeded ?? 0) < (stored.succeeded ?? 0))
    errors.invalid(STATUS.child('succeeded'), next.succeeded ?? 0, 'cannot decrease the succeeded counter');
  if (next.completionTime && stored.completionTime && next.completionTime !== stored.completionTime)
    errors.invalid(STATUS.child('completionTime'), next.completionTime, 'completionTime cannot be mutated');
  // A resumed job starts over.
  const resumes = has(stored, 'Suspended') && !has(next, 'Suspended');
  if (stored.startTime && stored.startTime !== next.startTime && spec?.suspend !== true && !resumes)
    errors.invalid(
      STATUS.child('startTime'),
      next.startTime,
      'field is immutable for unsuspended job once set',
    );
  if (has(stored, 'SuccessCriteriaMet') && !has(next, 'SuccessCriteriaMet'))
    update.conditions('cannot disable the SuccessCriteriaMet=True condition');
  if (has(stored, 'Complete') && !has(stored, 'SuccessCriteriaMet') && has(next, 'SuccessCriteriaMet'))
    update.conditions('cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions');
}
