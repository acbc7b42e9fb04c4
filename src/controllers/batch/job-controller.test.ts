import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Job, JobSpec, JobStatus, Pod } from '#api/types.ts';
import { events, jobs, pods } from '#client/refs.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { jobController } from './job-controller.ts';
import { INDEX, INDEX_FAILURES, TRACKING } from './job/model.ts';

const template = {
  metadata: { labels: { app: 'work' } },
  spec: {
    containers: [{ name: 'c', image: 'work:1' }],
    restartPolicy: 'Never',
    terminationGracePeriodSeconds: 0,
  },
};

describe('job-controller', () => {
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld([jobController]);
    await world.node('n1');
  });
  after(() => world.stop());

  const make = async (namespace: string, spec: Partial<JobSpec> = {}): Promise<Job> => {
    await world.namespace(namespace);
    return world.api.create(jobs, {
      metadata: { name: 'work', namespace },
      spec: { template: structuredClone(template), ...spec },
    });
  };
  const podsOf = async (namespace: string): Promise<Pod[]> =>
    (await world.api.list(pods, { namespace })).items;
  const status = async (namespace: string): Promise<JobStatus> =>
    (await world.api.get(jobs, { name: 'work', namespace })).status ?? {};
  const patch = (namespace: string, spec: Partial<JobSpec>): Promise<Job> =>
    world.api.patch(jobs, { name: 'work', namespace }, { type: 'merge', patch: { spec } });
  const conditions = async (namespace: string): Promise<string> =>
    ((await status(namespace)).conditions ?? [])
      .filter((c) => c.status === 'True')
      .map(({ type, reason }) => `${type}:${reason}`)
      .join(' ');
  const message = async (namespace: string, type: string): Promise<string | undefined> =>
    (await status(namespace)).conditions?.find((condition) => condition.type === type)?.message;
  const live = (all: readonly Pod[]): Pod[] =>
    all.filter(
      ({ metadata, status: now }) =>
        !metadata!.deletionTimestamp && now?.phase !== 'Succeeded' && now?.phase !== 'Failed',
    );
  const running = (namespace: string, count: number): Promise<Pod[]> =>
    world.until(`${count} pods`, async () => {
      const list = live(await podsOf(namespace));
      return list.length === count && list;
    });
  const eventEmitted = (namespace: string, reason: string): Promise<unknown> =>
    world.until(`event ${reason}`, async () =>
      (await world.api.list(events, { namespace })).items.some(
        (event) => event.reason === reason && event.source?.component === 'job-controller',
      ),
    );
  const end = (pod: Pod, exitCode: number): Promise<Pod> =>
    world.setPod(pod, { phase: exitCode === 0 ? 'Succeeded' : 'Failed', ready: false, exitCode });

  it('runs pods in parallel until enough succeeded, and counts each once', async () => {
    await make('count', { completions: 5, parallelism: 2 });
    for (let done = 0; done < 5; done++) {
      const [pod] = await running('count', Math.min(2, 5 - done));
      assert.ok(pod!.metadata!.finalizers!.includes(TRACKING));
      await end(pod!, 0);
      await world.until('counted', async () => (await status('count')).succeeded === done + 1);
    }
    await world.until(
      'complete',
      async () =>
        (await conditions('count')) === 'SuccessCriteriaMet:CompletionsReached Complete:CompletionsReached',
    );
    const { succeeded, failed, active, uncountedTerminatedPods, completionTime, startTime } =
      await status('count');
    assert.deepEqual(
      { succeeded, failed, active, uncountedTerminatedPods },
      { succeeded: 5, failed: undefined, active: undefined, uncountedTerminatedPods: {} },
    );
    assert.ok(completionTime && startTime);
    assert.equal(await message('count', 'Complete'), 'Reached expected number of succeeded pods');
    assert.equal((await podsOf('count')).length, 5);
    assert.ok((await podsOf('count')).every(({ metadata }) => !metadata!.finalizers?.includes(TRACKING)));
    await eventEmitted('count', 'Completed');
  });

  it('reports ready pods, and replaces a deleted one', async () => {
    await make('ready', { completions: 2, parallelism: 2 });
    const [first, second] = await running('ready', 2);
    await world.bind(second!, 'n1');
    await world.setPod(second!, {});
    await world.until('ready', async () => {
      const { ready, active } = await status('ready');
      return ready === 1 && active === 2;
    });
    await world.finishPod(first!);
    await world.until('replaced', async () => {
      const list = live(await podsOf('ready'));
      return (
        list.length === 2 &&
        !list.some(({ metadata }) => metadata!.uid === first!.metadata!.uid) &&
        (await status('ready')).failed === 1
      );
    });
    await patch('ready', { parallelism: 1 });
    const [left] = await running('ready', 1);
    assert.equal(left!.metadata!.uid, second!.metadata!.uid);
    await world.pass(500);
    // A surplus pod does not count as failed.
    assert.equal((await status('ready')).failed, 1);
  });

  it('fails after backoffLimit failures, with growing delays', async () => {
    await make('backoff', { backoffLimit: 1 });
    await end((await running('backoff', 1))[0]!, 1);
    await world.until('counted', async () => (await status('backoff')).failed === 1);
    await world.pass(2_000);
    assert.equal(live(await podsOf('backoff')).length, 0);
    await world.pass(9_000);
    await end((await running('backoff', 1))[0]!, 1);
    await world.until(
      'failed',
      async () =>
        (await conditions('backoff')) === 'FailureTarget:BackoffLimitExceeded Failed:BackoffLimitExceeded',
    );
    assert.equal((await status('backoff')).failed, 2);
    assert.equal(await message('backoff', 'Failed'), 'Job has reached the specified backoff limit');
    await eventEmitted('backoff', 'BackoffLimitExceeded');
  });

  it('fails at activeDeadlineSeconds, and deletes its pods', async () => {
    await make('deadline', { activeDeadlineSeconds: 5, parallelism: 2, completions: 2 });
    await running('deadline', 2);
    await world.pass(6_000);
    await world.until(
      'failed',
      async () => (await conditions('deadline')) === 'FailureTarget:DeadlineExceeded Failed:DeadlineExceeded',
    );
    await world.until('pods gone', async () => (await podsOf('deadline')).length === 0);
    assert.equal((await status('deadline')).failed, 2);
    assert.equal(await message('deadline', 'Failed'), 'Job was active longer than specified deadline');
  });

  it('suspends and resumes, with a new start time', async () => {
    await make('suspend', { suspend: true, activeDeadlineSeconds: 5 });
    await world.until('suspended', async () => (await conditions('suspend')) === 'Suspended:JobSuspended');
    assert.equal((await status('suspend')).startTime, undefined);
    await eventEmitted('suspend', 'Suspended');
    await world.pass(6_000);
    assert.equal((await podsOf('suspend')).length, 0);
    await patch('suspend', { suspend: false });
    await running('suspend', 1);
    await world.until(
      'resumed',
      async () =>
        (await status('suspend')).conditions?.[0]?.reason === 'JobResumed' &&
        (await status('suspend')).startTime,
    );
    await eventEmitted('suspend', 'Resumed');
    await patch('suspend', { suspend: true });
    await world.until('gone', async () => (await podsOf('suspend')).length === 0);
    await world.pass(6_000);
    await patch('suspend', { suspend: false });
    await running('suspend', 1);
    await world.until('resumed', async () => (await conditions('suspend')) === '');
    assert.equal((await status('suspend')).failed, undefined);
  });

  it('runs one pod for each index', async () => {
    await make('indexed', { completions: 3, parallelism: 3, completionMode: 'Indexed' });
    const all = await running('indexed', 3);
    const byIndex = (index: number): Pod =>
      all.find(({ metadata }) => metadata!.annotations![INDEX] === String(index))!;
    assert.match(byIndex(1).metadata!.name!, /^work-1-[a-z0-9]{5}$/);
    assert.equal(byIndex(1).spec!.hostname, 'work-1');
    assert.equal(byIndex(2).spec!.containers[0]!.env![0]!.name, 'JOB_COMPLETION_INDEX');
    await end(byIndex(0), 0);
    await end(byIndex(2), 0);
    await world.until('two', async () => (await status('indexed')).completedIndexes === '0,2');
    await end(byIndex(1), 0);
    await world.until('complete', async () =>
      (await conditions('indexed')).includes('Complete:CompletionsReached'),
    );
    assert.equal((await status('indexed')).completedIndexes, '0-2');
    assert.equal((await status('indexed')).succeeded, 3);
  });

  it('fails single indexes at backoffLimitPerIndex, and the job when all others are done', async () => {
    await make('perindex', {
      completions: 2,
      parallelism: 2,
      completionMode: 'Indexed',
      backoffLimitPerIndex: 1,
    });
    const [zero, one] = (await running('perindex', 2)).sort((a, b) =>
      a.metadata!.annotations![INDEX]! < b.metadata!.annotations![INDEX]! ? -1 : 1,
    );
    assert.equal(zero!.metadata!.annotations![INDEX_FAILURES], '0');
    await end(zero!, 1);
    await end(one!, 0);
    await world.pass(11_000);
    const [again] = await running('perindex', 1);
    assert.equal(again!.metadata!.annotations![INDEX_FAILURES], '1');
    await end(again!, 1);
    await world.until(
      'failed',
      async () => (await conditions('perindex')) === 'FailureTarget:FailedIndexes Failed:FailedIndexes',
    );
    const { failedIndexes, completedIndexes, failed, succeeded } = await status('perindex');
    assert.deepEqual(
      { failedIndexes, completedIndexes, failed, succeeded },
      { failedIndexes: '0', completedIndexes: '1', failed: 2, succeeded: 1 },
    );
  });

  it('applies the pod failure policy', async () => {
    const podFailurePolicy = {
      rules: [
        { action: 'Ignore', onPodConditions: [{ type: 'DisruptionTarget', status: 'True' }] },
        { action: 'FailJob', onExitCodes: { operator: 'In', values: [42] } },
      ],
    };
    await make('policy', { completions: 2, parallelism: 2, backoffLimit: 0, podFailurePolicy });
    const [first] = await running('policy', 2);
    await world.setPod(first!, {
      phase: 'Failed',
      ready: false,
      exitCode: 137,
      extra: { conditions: [{ type: 'DisruptionTarget', status: 'True' }] },
    });
    await world.pass(11_000);
    const [, bad] = await running('policy', 2);
    assert.equal((await status('policy')).failed, undefined);
    await end(bad!, 42);
    await world.until('pods gone', async () => live(await podsOf('policy')).length === 0);
    await world.until(
      'failed',
      async () => (await conditions('policy')) === 'FailureTarget:PodFailurePolicy Failed:PodFailurePolicy',
    );
    assert.equal(
      await message('policy', 'Failed'),
      `Container c for pod policy/${bad!.metadata!.name} failed with exit code 42 matching FailJob rule at index 1`,
    );
  });

  it('completes by the success policy, and stops the remaining pods', async () => {
    await make('success', {
      completions: 3,
      parallelism: 3,
      completionMode: 'Indexed',
      successPolicy: { rules: [{ succeededIndexes: '1' }] },
    });
    const leader = (await running('success', 3)).find(
      ({ metadata }) => metadata!.annotations![INDEX] === '1',
    )!;
    await end(leader, 0);
    await world.until(
      'complete',
      async () => (await conditions('success')) === 'SuccessCriteriaMet:SuccessPolicy Complete:SuccessPolicy',
    );
    assert.equal(await message('success', 'Complete'), 'Matched rules at index 0');
    assert.equal(live(await podsOf('success')).length, 0);
    assert.equal((await status('success')).completedIndexes, '1');
    // Stopped pods do not count as failed.
    assert.equal((await status('success')).failed, undefined);
  });

  it('removes the finalizers of the pods of a job that is being deleted', async () => {
    await make('deleted', { podReplacementPolicy: 'Failed' });
    const [pod] = await running('deleted', 1);
    await world.api.delete(jobs, { name: 'work', namespace: 'deleted' }, { propagationPolicy: 'Foreground' });
    await world.until(
      'free',
      async () =>
        !(
          await world.api.get(pods, { name: pod!.metadata!.name!, namespace: 'deleted' })
        ).metadata.finalizers?.includes(TRACKING),
    );
  });

  it('a work queue completes when one pod succeeded and all have ended', async () => {
    await make('queue', { parallelism: 2 });
    const [first, second] = await running('queue', 2);
    await end(first!, 0);
    await world.pass(500);
    assert.equal(live(await podsOf('queue')).length, 1);
    assert.equal(await conditions('queue'), '');
    await end(second!, 0);
    await world.until('complete', async () => (await conditions('queue')).includes('Complete'));
    assert.equal((await status('queue')).succeeded, 2);
  });

  it('removes the finalizers of orphaned pods, and ignores jobs of other managers', async () => {
    await make('orphan');
    const [pod] = await running('orphan', 1);
    await world.api.delete(jobs, { name: 'work', namespace: 'orphan' }, { propagationPolicy: 'Background' });
    await world.until(
      'free',
      async () =>
        !(
          await world.api.get(pods, { name: pod!.metadata!.name!, namespace: 'orphan' })
        ).metadata.finalizers?.includes(TRACKING),
    );
    await make('foreign', { managedBy: 'example.com/other' });
    await world.pass(500);
    assert.equal((await podsOf('foreign')).length, 0);
    assert.deepEqual(await status('foreign'), {});
  });

  it('completes at once with zero completions', async () => {
    await make('none', { completions: 0 });
    await world.until('complete', async () =>
      (await conditions('none')).includes('Complete:CompletionsReached'),
    );
    assert.equal((await podsOf('none')).length, 0);
  });
});
