import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import type { CronJob, CronJobSpec, CronJobStatus, Job } from '#api/types.ts';
import { cronJobs, events, jobs } from '#client/refs.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { cronJobController } from './cronjob-controller.ts';

const MINUTE_MS = 60_000;

describe('cronjob-controller', () => {
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld([cronJobController]);
  });
  after(() => world.stop());
  // Half a minute without a scheduled time.
  beforeEach(() => world.clock.advance((90_000 - (world.clock.now() % MINUTE_MS)) % MINUTE_MS));

  const jobTemplate = {
    metadata: { labels: { of: 'cron' } },
    spec: { template: { spec: { containers: [{ name: 'c', image: 'work:1' }], restartPolicy: 'Never' } } },
  };
  const make = async (namespace: string, spec: Partial<CronJobSpec> = {}): Promise<CronJob> => {
    await world.namespace(namespace);
    return world.api.create(cronJobs, {
      metadata: { name: 'tick', namespace },
      spec: { schedule: '* * * * *', jobTemplate: structuredClone(jobTemplate), ...spec },
    });
  };
  const jobsOf = async (namespace: string): Promise<Job[]> =>
    (await world.api.list(jobs, { namespace })).items;
  const status = async (namespace: string): Promise<CronJobStatus> =>
    (await world.api.get(cronJobs, { name: 'tick', namespace })).status ?? {};
  const patch = (namespace: string, spec: object): Promise<CronJob> =>
    world.api.patch(cronJobs, { name: 'tick', namespace }, { type: 'merge', patch: { spec } });
  const eventEmitted = (namespace: string, reason: string, message: RegExp): Promise<unknown> =>
    world.until(`event ${reason}`, async () =>
      (await world.api.list(events, { namespace })).items.some(
        (event) => event.reason === reason && message.test(event.message ?? ''),
      ),
    );
  const minute = async (): Promise<void> => {
    await world.clock.advance(MINUTE_MS);
    await world.pass(200);
  };

  /** Plays the job controller. */
  async function finish(job: Job, type: 'Complete' | 'Failed'): Promise<void> {
    const now = new Date(world.clock.now()).toISOString().replace(/\.\d+/, '');
    const condition = { status: 'True', lastTransitionTime: now, lastProbeTime: now };
    const conditions =
      type === 'Complete'
        ? [
            { ...condition, type: 'SuccessCriteriaMet' },
            { ...condition, type },
          ]
        : [
            { ...condition, type: 'FailureTarget' },
            { ...condition, type },
          ];
    await world.api.updateStatus(jobs, {
      ...job,
      status: {
        startTime: now,
        conditions,
        ...(type === 'Complete' ? { completionTime: now, succeeded: 1 } : { failed: 1 }),
      },
    });
  }

  it('creates one job at each time and tracks it until it finishes', async () => {
    await make('each', { timeZone: 'Asia/Tokyo' });
    await world.pass(500);
    assert.equal((await jobsOf('each')).length, 0);
    await world.clock.advance(MINUTE_MS);
    const [job] = await world.until('job', async () => {
      const list = await jobsOf('each');
      return list.length === 1 && list;
    });
    assert.equal(job!.metadata!.name, `tick-${Math.floor(world.clock.now() / MINUTE_MS)}`);
    assert.equal(job!.metadata!.labels!['of'], 'cron');
    assert.match(
      job!.metadata!.annotations!['batch.kubernetes.io/cronjob-scheduled-timestamp']!,
      /:00\+09:00$/,
    );
    assert.equal(job!.metadata!.ownerReferences![0]!.kind, 'CronJob');
    const { active, lastScheduleTime } = await world.until('status', async () => {
      const now = await status('each');
      return now.active && now;
    });
    assert.equal(active![0]!.uid, job!.metadata!.uid);
    assert.equal(Date.parse(lastScheduleTime!) / MINUTE_MS, Number(job!.metadata!.name.slice(5)));
    await eventEmitted('each', 'SuccessfulCreate', /^Created job tick-\d+$/);
    await finish(job!, 'Complete');
    await world.until('seen', async () => {
      const now = await status('each');
      return !now.active && now.lastSuccessfulTime;
    });
    await eventEmitted('each', 'SawCompletedJob', /^Saw completed job: tick-\d+, condition: Complete$/);
    await patch('each', { suspend: true });
    await minute();
    await minute();
    assert.equal((await jobsOf('each')).length, 1);
  });

  it('follows the concurrency policies Allow, Forbid and Replace', async () => {
    for (const concurrencyPolicy of ['Allow', 'Forbid', 'Replace'])
      await make(concurrencyPolicy.toLowerCase(), { concurrencyPolicy });
    await minute();
    const first = new Map<string, Job>();
    for (const namespace of ['allow', 'forbid', 'replace'])
      first.set(
        namespace,
        (
          await world.until('job', async () => (await status(namespace)).active && (await jobsOf(namespace)))
        )[0]!,
      );
    await minute();
    await world.until(
      'two',
      async () => (await jobsOf('allow')).length === 2 && (await status('allow')).active?.length === 2,
    );
    await eventEmitted(
      'forbid',
      'JobAlreadyActive',
      /^Not starting job because prior execution is running and concurrency policy is Forbid$/,
    );
    assert.equal((await jobsOf('forbid')).length, 1);
    await world.until('replaced', async () => {
      const list = (await status('replace')).active;
      return list?.length === 1 && list[0]!.uid !== first.get('replace')!.metadata!.uid;
    });
    assert.equal((await jobsOf('replace')).length, 1);
    // The missed time is made up for as soon as possible.
    await finish(first.get('forbid')!, 'Failed');
    await world.until('next', async () => (await jobsOf('forbid')).length === 2);
    for (const namespace of ['allow', 'forbid', 'replace']) await patch(namespace, { suspend: true });
  });

  it('keeps the history limits, and removes missing jobs from the active list', async () => {
    await make('history', { successfulJobsHistoryLimit: 1, failedJobsHistoryLimit: 0 });
    const names: string[] = [];
    for (const type of ['Complete', 'Complete', 'Failed'] as const) {
      await minute();
      const job = await world.until(
        'job',
        async () =>
          (await status('history')).active &&
          (await jobsOf('history')).find(({ status: now }) => !now?.conditions),
      );
      names.push(job.metadata!.name!);
      await finish(job, type);
    }
    await world.until(
      'one left',
      async () => (await jobsOf('history')).map(({ metadata }) => metadata!.name).join() === names[1],
    );
    await eventEmitted('history', 'SuccessfulDelete', new RegExp(`^Deleted job ${names[0]}$`));
    await minute();
    const job = await world.until(
      'job',
      async () =>
        (await status('history')).active &&
        (await jobsOf('history')).find(({ status: now }) => !now?.conditions),
    );
    await patch('history', { suspend: true });
    await world.api.delete(
      jobs,
      { name: job.metadata!.name!, namespace: 'history' },
      { propagationPolicy: 'Background' },
    );
    await world.until('forgotten', async () => !(await status('history')).active);
    await eventEmitted('history', 'MissingJob', /^Active job went missing: tick-/);
  });

  it('makes up for the last missed time only, within startingDeadlineSeconds', async () => {
    await make('late', { suspend: true });
    await make('toolate', { suspend: true, startingDeadlineSeconds: 20 });
    await world.clock.advance(120 * MINUTE_MS);
    await patch('late', { suspend: false });
    await patch('toolate', { suspend: false });
    await world.until('job', async () => (await jobsOf('late')).length === 1);
    await eventEmitted('late', 'TooManyMissedTimes', /^too many missed start times/);
    await world.pass(500);
    assert.equal((await jobsOf('late')).length, 1);
    assert.equal((await jobsOf('toolate')).length, 0);
    await minute();
    await world.until('in time', async () => (await jobsOf('toolate')).length === 1);
  });
});
