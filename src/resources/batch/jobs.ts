/** Job. */
import type { Job, JobSpec, JobStatus } from '#api/types.ts';
import { defaultPodTemplate } from '../core/pod/defaults.ts';
import { templateWarnings } from '../core/pod/warnings.ts';
import { defineResource } from '../define.ts';
import { Errors, STATUS } from '../field-path.ts';
import { keepAllButStatus, keepField, metaOf, bumpGeneration, startGeneration } from '../strategy.ts';
import { ageOf, columns, containerImages, containerNames, formatSelector, humanDuration, nameOf, type RowContext } from '../tables.ts';
import { checkNonNegative } from '../checks.ts';
import { checkJob, checkJobUpdate } from './job-spec.ts';

const CONTROLLER_UID = 'batch.kubernetes.io/controller-uid';
const JOB_NAME = 'batch.kubernetes.io/job-name';

export const jobs = defineResource<Job>({
  group: 'batch',
  plural: 'jobs',
  defaultPropagation: 'orphan',
  deleteWarning: 'child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning',
  applyDefaults: (job) => {
    const spec = (job.spec ??= {} as JobSpec);
    defaultJobSpec(spec);
    const labels = spec.template?.metadata?.labels;
    if (labels && !job.metadata?.labels) metaOf(job).labels = { ...labels };
  },
  prepareForCreate: (job) => {
    if (job.spec?.manualSelector !== true) generateSelector(job);
    job.status = {};
    startGeneration(job);
  },
  prepareForUpdate: (next, previous) => {
    keepField(next, previous, 'status');
    bumpGeneration(next, previous);
  },
  validate: (job) => {
    const errors = new Errors();
    checkJob(job, errors);
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkJob(next, errors);
    checkJobUpdate(next, previous, errors);
    return errors.list;
  },
  status: {
    prepareForUpdate: (next, previous) => keepAllButStatus(next, previous),
    validateUpdate: (next, previous) => {
      const errors = new Errors();
      checkStatus(next.status ?? {}, previous.status ?? {}, errors);
      return errors.list;
    },
  },
  warnings: (job) => {
    const list = templateWarnings(job.spec?.template, 'spec.template');
    if ((job.metadata?.name ?? '').length > 63) list.push('metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must be no more than 63 characters]');
    if (job.spec?.completionMode === 'Indexed' && (job.spec.completions ?? 0) > 100000 && (job.spec.parallelism ?? 0) > 10000) list.push("spec.completions: In Indexed Jobs with a number of completions higher than 10^5 and parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail");
    return list;
  },
  fieldSelectors: { 'status.successful': (job) => String(job.status?.succeeded ?? 0) },
  table: {
    columns: columns('Name', 'Status', 'Completions', 'Duration', 'Age', 'Containers:wide', 'Images:wide', 'Selector:wide'),
    row: (job, context) => [
      nameOf(job), statusOf(job), completionsOf(job), durationOf(job, context), ageOf(job, context),
      containerNames(job.spec?.template?.spec), containerImages(job.spec?.template?.spec), formatSelector(job.spec?.selector),
    ],
  },
});

export function defaultJobSpec(spec: JobSpec): void {
  if (spec.completions === undefined && spec.parallelism === undefined) spec.completions = 1;
  spec.parallelism ??= 1;
  if (spec.backoffLimit === undefined) spec.backoffLimit = spec.backoffLimitPerIndex === undefined ? 6 : 2147483647;
  spec.completionMode ??= 'NonIndexed';
  spec.suspend ??= false;
  spec.podReplacementPolicy ??= spec.podFailurePolicy ? 'Failed' : 'TerminatingOrFailed';
  if (spec.manualSelector === undefined && spec.selector === undefined) spec.manualSelector = false;
  for (const rule of spec.podFailurePolicy?.rules ?? []) for (const pattern of rule.onPodConditions ?? []) pattern.status ||= 'True';
  defaultPodTemplate(spec.template);
}

/** Labels and a selector no other job has: made of the job's uid, under the new and the old names. */
function generateSelector(job: Job): void {
  const { uid, name } = job.metadata ?? {};
  if (uid === undefined || !job.spec?.template) return;
  const labels = ((job.spec.template.metadata ??= {}).labels ??= {});
  for (const [key, value] of [[JOB_NAME, name], ['job-name', name], [CONTROLLER_UID, uid], ['controller-uid', uid]] as const) labels[key] ??= value ?? '';
  const selector = (job.spec.selector ??= {});
  (selector.matchLabels ??= {})[CONTROLLER_UID] ??= uid;
}

function conditionTrue(job: Job, type: string): boolean {
  return job.status?.conditions?.some((condition) => condition.type === type && condition.status === 'True') ?? false;
}

function statusOf(job: Job): string {
  if (conditionTrue(job, 'Complete')) return 'Complete';
  if (conditionTrue(job, 'Failed')) return 'Failed';
  if (job.metadata?.deletionTimestamp) return 'Terminating';
  if (conditionTrue(job, 'Suspended')) return 'Suspended';
  if (conditionTrue(job, 'FailureTarget')) return 'FailureTarget';
  return conditionTrue(job, 'SuccessCriteriaMet') ? 'SuccessCriteriaMet' : 'Running';
}

function completionsOf(job: Job): string {
  const done = job.status?.succeeded ?? 0, { completions, parallelism = 0 } = job.spec ?? {};
  if (completions !== undefined) return `${done}/${completions}`;
  return parallelism > 1 ? `${done}/1 of ${parallelism}` : `${done}/1`;
}

function durationOf(job: Job, { nowMs }: RowContext): string {
  const { startTime, completionTime } = job.status ?? {};
  if (!startTime) return '';
  return humanDuration((completionTime ? Date.parse(completionTime) : nowMs) - Date.parse(startTime));
}

function checkStatus(status: JobStatus, stored: JobStatus, errors: Errors): void {
  for (const field of ['active', 'succeeded', 'failed', 'ready', 'terminating'] as const) checkNonNegative(status[field], STATUS, field, errors);
  if (stored.startTime && stored.completionTime && status.completionTime && stored.completionTime !== status.completionTime) errors.invalid(STATUS.child('completionTime'), status.completionTime, 'field is immutable');
  const has = (type: string): boolean => status.conditions?.some((condition) => condition.type === type && condition.status === 'True') ?? false;
  if (has('Complete') && has('Failed')) errors.invalid(STATUS.child('conditions'), '', 'cannot set Complete=True and Failed=true conditions');
  if (has('Complete') && !status.completionTime) errors.required(STATUS.child('completionTime'), 'completionTime is required for Complete jobs');
  if (!has('Complete') && status.completionTime) errors.invalid(STATUS.child('completionTime'), status.completionTime, 'cannot set completionTime when there is no Complete=True condition');
  if ((has('Complete') || has('Failed')) && (status.active ?? 0) > 0) errors.invalid(STATUS.child('active'), status.active, 'active>0 is invalid for finished job');
  for (const type of ['Complete', 'Failed'] as const) {
    const before = stored.conditions?.some((condition) => condition.type === type && condition.status === 'True');
    if (before && !has(type)) errors.invalid(STATUS.child('conditions'), '', `cannot disable the terminal ${type}=True condition`);
  }
}

