import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { defaultPlugins } from './plugins/list.ts';
import { SchedulingQueue } from './queue.ts';
import { pod } from './testing/snapshot.ts';

function queueWith(clock: FakeClock): SchedulingQueue {
  return new SchedulingQueue({ clock, plugins: defaultPlugins, onReady: () => {} });
}

describe('the scheduling queue', () => {
  it('pops by priority, then by age', async () => {
    const clock = new FakeClock();
    const queue = queueWith(clock);
    const [first, second, vip] = [pod('first'), pod('second'), pod('vip', { priority: 5 })];
    queue.set(first);
    await clock.advance(10);
    queue.set(second);
    queue.set(vip);
    assert.deepEqual(
      [queue.pop(), queue.pop(), queue.pop(), queue.pop()].map((popped) => popped?.pod.metadata?.name),
      ['vip', 'first', 'second', undefined],
    );
    queue.stop();
  });

  it('keeps an unschedulable pod until a relevant event, then waits out the backoff', async () => {
    const clock = new FakeClock();
    const queue = queueWith(clock);
    const waiting = pod('a');
    const uid = waiting.metadata?.uid ?? '';
    queue.set(waiting);
    queue.pop();
    queue.failed(uid, new Set(['NodeResourcesFit']));
    queue.event('claim-added');
    assert.equal(queue.placeOf(uid), 'unschedulable', 'an event that cannot help');
    queue.event('pod-deleted');
    assert.equal(queue.placeOf(uid), 'backoff');
    await clock.advance(1_000);
    assert.equal(queue.pop()?.attempts, 2);
    queue.stop();
  });

  it('handles an event that arrives while the pod is in flight', async () => {
    const clock = new FakeClock();
    const queue = queueWith(clock);
    const waiting = pod('a');
    queue.set(waiting);
    queue.pop();
    queue.event('node-added');
    queue.failed(waiting.metadata?.uid ?? '', new Set(['NodeResourcesFit']));
    await clock.advance(1_000);
    assert.equal(queue.activeSize, 1);
    queue.stop();
  });

  it('retries after five minutes, and with growing backoff after errors', async () => {
    const clock = new FakeClock();
    const queue = queueWith(clock);
    const [parked, failing] = [pod('parked'), pod('failing')];
    queue.set(parked);
    queue.pop();
    queue.failed(parked.metadata?.uid ?? '', new Set(['NodeAffinity']));
    queue.set(failing);
    for (const backoff of [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]) {
      assert.equal(queue.pop()?.pod.metadata?.name, 'failing');
      queue.failed(failing.metadata?.uid ?? '', new Set());
      await clock.advance(backoff - 1);
      assert.equal(queue.activeSize, 0);
      await clock.advance(1);
    }
    queue.remove(failing.metadata?.uid ?? '');
    await clock.advance(331_000);
    assert.equal(queue.pop()?.pod.metadata?.name, 'parked');
    queue.stop();
  });

  it('keeps gated pods until their gates are removed', () => {
    const queue = queueWith(new FakeClock());
    const gated = pod('a', { spec: { schedulingGates: [{ name: 'wait' }] } });
    queue.set({ ...gated, metadata: { ...gated.metadata, generation: 1 } });
    assert.equal(queue.pop(), undefined);
    queue.set({
      ...gated,
      metadata: { ...gated.metadata, generation: 2 },
      spec: { ...gated.spec, schedulingGates: [], containers: gated.spec?.containers ?? [] },
    });
    assert.equal(queue.pop()?.pod.metadata?.name, 'a');
    queue.stop();
  });
});
