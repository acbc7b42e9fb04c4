/** Job. */
import type { Job, JobSpec, PodFailurePolicyRule } from '#api/types.ts';
import { isConditionTrue } from '#component-helpers/conditions.ts';
import { prepareCreate, prepareUpdate } from '../apps/pod-owner.ts';
import { defaultPodTemplate } from '../core/pod/defaults.ts';
import { workloadWarnings } from '../core/pod/warnings.ts';
import { defineResource } from '../define.ts';
import { Errors } from '../field-path.ts';
import { keepAllButStatus, metaOf } from '../strategy.ts';
import {
  formatAge,
  columns,
  containerImages,
  containerNames,
  formatSelector,
  humanDuration,
  nameOf,
  type RowContext,
} from '../tables.ts';
import { checkJob, checkJobUpdate, COMPLETIONS_SOFT_MAX, PARALLELISM_OF_MANY_MAX } from './job-spec.ts';
import { checkJobStatusUpdate } from './job-status.ts';

const CONTROLLER_UID = 'batch.kubernetes.io/controller-uid';
const JOB_NAME = 'batch.kubernetes.io/job-name';

export const jobs = defineResource<Job>({
  group: 'batch',
  plural: 'jobs',
  defaultPropagation: 'orphan',
  deleteWarning:
    'child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning',
  applyDefaults: (job) => {
    const spec = (job.spec ??= {} as JobSpec);
    defaultJobSpec(spec);
    const labels = spec.template?.metadata?.labels;
    // The same object: the job's labels then include those that preparation adds to the template.
    if (labels && Object.keys(labels).length > 0 && Object.keys(job.metadata?.labels ?? {}).length === 0)
      metaOf(job).labels = labels;
  },
  prepareForCreate: (job, context) => {
    if (job.spec?.manualSelector !== true) generateSelector(job);
    labelAsTemplate(job);
    prepareCreate(job, context);
  },
  prepareForUpdate: prepareUpdate,
  validate: (job) => {
    const errors = new Errors();
    checkJob(job, undefined, errors);
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkJob(next, previous, errors);
    checkJobUpdate(next, previous, errors);
    return errors.list;
  },
  status: {
    prepareForUpdate: (next, previous) => {
      keepAllButStatus(next, previous);
      labelAsTemplate(next);
    },
    validateUpdate: checkJobStatusUpdate,
  },
  warnings: (job, previous) => {
    const list = workloadWarnings(job, previous, {
      template: job.spec?.template,
      path: 'spec.template',
      namesPods: true,
    });
    if (
      job.spec?.completionMode === 'Indexed' &&
      (job.spec.completions ?? 0) > COMPLETIONS_SOFT_MAX &&
      (job.spec.parallelism ?? 0) > PARALLELISM_OF_MANY_MAX
    ) {
      list.push(
        'In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail',
      );
    }
    return list;
  },
  fieldSelectors: { 'status.successful': (job) => String(job.status?.succeeded ?? 0) },
  unknownFieldSelector: (field) => `field label ${JSON.stringify(field)} not supported for Job`,
  table: {
    columns: columns(
      'Name',
      'Status',
      'Completions',
      'Duration',
      'Age',
      'Containers:wide',
      'Images:wide',
      'Selector:wide',
    ),
    row: (job, context) => [
      nameOf(job),
      statusOf(job),
      completionsOf(job),
      durationOf(job, context),
      formatAge(job, context),
      containerNames(job.spec?.template?.spec),
      containerImages(job.spec?.template?.spec),
      formatSelector(job.spec?.selector),
    ],
  },
});

/** A job without labels gets those of its template, as if it were decoded again. */
function labelAsTemplate(job: Job): void {
  const labels = job.spec?.template?.metadata?.labels,
    meta = metaOf(job);
  if (labels && (meta.labels === labels || Object.keys(meta.labels ?? {}).length === 0))
    meta.labels = { ...labels };
}

function defaultJobSpec(spec: JobSpec): void {
  if (spec.completions === undefined && spec.parallelism === undefined) spec.completions = 1;
  spec.parallelism ??= 1;
  if (spec.backoffLimit === undefined)
    spec.backoffLimit = spec.backoffLimitPerIndex === undefined ? 6 : 2147483647;
  spec.completionMode ??= 'NonIndexed';
  spec.suspend ??= false;
  spec.podReplacementPolicy ??= spec.podFailurePolicy ? 'Failed' : 'TerminatingOrFailed';
  spec.manualSelector ??= false;
  defaultJobParts(spec);
}

/** For jobs and for job templates of CronJobs. */
export function defaultJobParts({ podFailurePolicy, template }: Partial<JobSpec>): void {
  if (podFailurePolicy && !podFailurePolicy.rules?.length)
    podFailurePolicy.rules = null as unknown as PodFailurePolicyRule[];
  for (const rule of podFailurePolicy?.rules ?? [])
    for (const pattern of rule.onPodConditions ?? []) pattern.status ||= 'True';
  defaultPodTemplate(template);
}

/** A unique selector and labels, derived from the job's uid, with the new and the legacy label names. */
function generateSelector(job: Job): void {
  const { uid, name } = job.metadata ?? {};
  if (uid === undefined || !job.spec?.template) return;
  const labels = ((job.spec.template.metadata ??= {}).labels ??= {});
  for (const [key, value] of [
    [JOB_NAME, name],
    ['job-name', name],
    [CONTROLLER_UID, uid],
    ['controller-uid', uid],
  ] as const)
    labels[key] ??= value ?? '';
  const selector = (job.spec.selector ??= {});
  (selector.matchLabels ??= {})[CONTROLLER_UID] ??= uid;
}

function statusOf(job: Job): string {
  if (isConditionTrue(job.status?.conditions, 'Complete')) return 'Complete';
  if (isConditionTrue(job.status?.conditions, 'Failed')) return 'Failed';
  if (job.metadata?.deletionTimestamp) return 'Terminating';
  if (isConditionTrue(job.status?.conditions, 'Suspended')) return 'Suspended';
  if (isConditionTrue(job.status?.conditions, 'FailureTarget')) return 'FailureTarget';
  return isConditionTrue(job.status?.conditions, 'SuccessCriteriaMet') ? 'SuccessCriteriaMet' : 'Running';
}

function completionsOf(job: Job): string {
  const done = job.status?.succeeded ?? 0,
    { completions, parallelism = 0 } = job.spec ?? {};
  if (completions !== undefined) return `${done}/${completions}`;
  return parallelism > 1 ? `${done}/1 of ${parallelism}` : `${done}/1`;
}

function durationOf(job: Job, { nowMs }: RowContext): string {
  const { startTime, completionTime } = job.status ?? {};
  if (!startTime) return '';
  return humanDuration((completionTime ? Date.parse(completionTime) : nowMs) - Date.parse(startTime));
}
