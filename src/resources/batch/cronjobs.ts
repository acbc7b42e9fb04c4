/** CronJob. */
import type { CronJob, CronJobSpec, JobSpec } from '#api/types.ts';
import { cronProblem, isTimeZone } from '#machinery/cron.ts';
import { checkEnum, checkNonNegative } from '../checks.ts';
import { dropDisabledTemplateFields } from '../core/pod/disabled.ts';
import { workloadWarnings } from '../core/pod/warnings.ts';
import { defineResource } from '../define.ts';
import { Errors, METADATA, SPEC } from '../field-path.ts';
import { keepAllButStatus } from '../strategy.ts';
import {
  formatAge,
  columns,
  containerImages,
  containerNames,
  formatSelector,
  nameOf,
  sinceTime,
} from '../tables.ts';
import { prepareCreate, prepareUpdate } from '../apps/pod-owner.ts';
import { checkJobSpec } from './job-spec.ts';
import { defaultJobParts } from './jobs.ts';

/** Names of its jobs have eleven more characters, and are label values. */
const NAME_MAX = 52;

export const cronjobs = defineResource<CronJob>({
  group: 'batch',
  plural: 'cronjobs',
  applyDefaults: (cronJob) => {
    const spec = (cronJob.spec ??= {} as CronJobSpec);
    spec.concurrencyPolicy ||= 'Allow';
    spec.suspend ??= false;
    spec.successfulJobsHistoryLimit ??= 3;
    spec.failedJobsHistoryLimit ??= 1;
    const template = (spec.jobTemplate ??= {});
    // The rest is defaulted when its jobs are created.
    defaultJobParts((template.spec ??= {} as JobSpec));
  },
  prepareForCreate: (cronJob, context) => {
    prepareCreate(cronJob, context);
    dropDisabledTemplateFields(cronJob.spec?.jobTemplate?.spec?.template, undefined, context);
  },
  prepareForUpdate: (next, previous, context) => {
    dropDisabledTemplateFields(
      next.spec?.jobTemplate?.spec?.template,
      previous.spec?.jobTemplate?.spec?.template,
      context,
    );
    prepareUpdate(next, previous, context);
  },
  validate: (cronJob) => {
    const errors = new Errors();
    const name = nameOf(cronJob);
    if (name.length > NAME_MAX)
      errors.invalid(METADATA.child('name'), name, `must be no more than ${NAME_MAX} characters`);
    checkSpec(cronJob.spec ?? ({} as CronJobSpec), errors);
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkSpec(next.spec ?? ({} as CronJobSpec), errors, previous.spec);
    return errors.list;
  },
  status: { prepareForUpdate: keepAllButStatus },
  warnings: (cronJob, previous) =>
    workloadWarnings(cronJob, previous, {
      template: cronJob.spec?.jobTemplate?.spec?.template,
      path: 'spec.jobTemplate.spec.template',
      namesPods: true,
    }),
  table: {
    columns: columns(
      'Name',
      'Schedule',
      'Timezone',
      'Suspend:boolean',
      'Active:integer',
      'Last Schedule',
      'Age',
      'Containers:wide',
      'Images:wide',
      'Selector:wide',
    ),
    row: (cronJob, context) => {
      const { spec, status } = cronJob;
      const job = spec?.jobTemplate?.spec;
      return [
        nameOf(cronJob),
        spec?.schedule ?? '',
        spec?.timeZone ?? '<none>',
        spec?.suspend === undefined ? '<unset>' : spec.suspend ? 'True' : 'False',
        status?.active?.length ?? 0,
        status?.lastScheduleTime ? sinceTime(status.lastScheduleTime, context) : '<none>',
        formatAge(cronJob, context),
        containerNames(job?.template?.spec),
        containerImages(job?.template?.spec),
        formatSelector(job?.selector),
      ];
    },
  },
});

/** stored: stored values are accepted. */
function checkSpec(spec: CronJobSpec, errors: Errors, stored?: CronJobSpec): void {
  if (!spec.schedule) errors.required(SPEC.child('schedule'));
  else checkSchedule(spec, errors, stored?.schedule.includes('TZ') ?? false);
  checkNonNegative(spec.startingDeadlineSeconds, SPEC, 'startingDeadlineSeconds', errors);
  if (spec.timeZone !== stored?.timeZone) checkTimeZone(spec, errors);
  checkEnum(spec.concurrencyPolicy, ['Allow', 'Forbid', 'Replace'], SPEC, 'concurrencyPolicy', errors);
  const path = SPEC.child('jobTemplate').child('spec'),
    job = spec.jobTemplate?.spec ?? ({} as JobSpec);
  checkJobSpec(job, path, errors);
  if (job.selector) errors.invalid(path.child('selector'), job.selector, '`selector` will be auto-generated');
  if (job.manualSelector === true) errors.notSupported(path.child('manualSelector'), true, ['nil', 'false']);
  checkNonNegative(spec.successfulJobsHistoryLimit, SPEC, 'successfulJobsHistoryLimit', errors);
  checkNonNegative(spec.failedJobsHistoryLimit, SPEC, 'failedJobsHistoryLimit', errors);
}

function checkSchedule(spec: CronJobSpec, errors: Errors, mayHaveZone: boolean): void {
  const problem = cronProblem(spec.schedule);
  if (problem !== undefined) errors.invalid(SPEC.child('schedule'), spec.schedule, problem);
  if (!spec.schedule.includes('TZ')) return;
  if (mayHaveZone) {
    if (spec.timeZone !== undefined)
      errors.invalid(
        SPEC.child('schedule'),
        spec.schedule,
        'cannot use both timeZone field and TZ or CRON_TZ in schedule',
      );
  } else
    errors.invalid(
      SPEC.child('schedule'),
      spec.schedule,
      'cannot use TZ or CRON_TZ in schedule, use timeZone field instead',
    );
}

function checkTimeZone({ timeZone }: CronJobSpec, errors: Errors): void {
  if (timeZone === undefined) return;
  const path = SPEC.child('timeZone');
  if (timeZone === '') errors.invalid(path, timeZone, 'timeZone must be nil or non-empty string');
  else if (timeZone.toLowerCase() === 'local')
    errors.invalid(
      path,
      timeZone,
      'timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones',
    );
  else if (!isTimeZone(timeZone)) errors.invalid(path, timeZone, `unknown time zone ${timeZone}`);
}
