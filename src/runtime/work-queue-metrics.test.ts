import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { createWorkQueue } from './work-queue.ts';
import { WorkQueueFamilies } from './work-queue-metrics.ts';

test('counts as upstream', async () => {
  const clock = new FakeClock();
  const families = new WorkQueueFamilies();
  const queue = createWorkQueue({ clock, metrics: families.of('jobs') });
  families.track('jobs', queue);
  const value = (family: string): string | undefined =>
    families
      .render()
      .find((line) => line.startsWith(`${family}{name="jobs"} `))
      ?.split(' ')[1];
  assert.equal(value('workqueue_adds_total'), '0', 'a series before the first key');
  queue.add('a');
  queue.add('b');
  queue.add('b');
  assert.deepEqual([value('workqueue_adds_total'), value('workqueue_depth')], ['2', '2']);
  await clock.advance(1_000);
  assert.equal(await queue.get(), 'a');
  await clock.advance(2_000);
  assert.deepEqual(
    [
      value('workqueue_queue_duration_seconds_sum'),
      value('workqueue_unfinished_work_seconds'),
      value('workqueue_longest_running_processor_seconds'),
    ],
    ['1', '2', '2'],
  );
  queue.addRateLimited('a');
  queue.done('a');
  assert.deepEqual(
    [
      value('workqueue_work_duration_seconds_sum'),
      value('workqueue_retries_total'),
      value('workqueue_unfinished_work_seconds'),
    ],
    ['2', '1', '0'],
  );
  queue.shutDown();
});
