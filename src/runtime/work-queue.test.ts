import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { createWorkQueue } from './work-queue.ts';

describe('work queue', () => {
  it('returns each waiting key once, in order', async () => {
    const queue = createWorkQueue();
    for (const key of ['a', 'b', 'a', 'c', 'b']) queue.add(key);
    assert.equal(queue.length, 3);
    assert.deepEqual([await queue.get(), await queue.get(), await queue.get()], ['a', 'b', 'c']);
  });

  it('queues a key that was added during its processing again afterwards, and not before', async () => {
    const queue = createWorkQueue();
    queue.add('a');
    await queue.get();
    queue.add('a');
    queue.add('a');
    assert.equal(queue.length, 0);
    queue.done('a');
    assert.equal(await queue.get(), 'a');
    queue.done('a');
    assert.equal(queue.length, 0);
    assert.throws(() => queue.done('a'), /given back once/);
  });

  it('wakes a waiting worker, and all of them on shutdown', async () => {
    const queue = createWorkQueue();
    const [first, second] = [queue.get(), queue.get()];
    queue.add('a');
    assert.equal(await first, 'a');
    queue.shutDown();
    assert.equal(await second, undefined);
    queue.add('b');
    assert.equal(await queue.get(), undefined);
    let idle = false;
    void queue.idle().then(() => {
      idle = true;
    });
    queue.done('a');
    await queue.idle();
    assert.equal(idle, true);
  });

  it('delays, keeping the earlier of two times', async () => {
    const clock = new FakeClock();
    const queue = createWorkQueue({ clock });
    queue.addAfter('a', 100);
    queue.addAfter('a', 50);
    queue.addAfter('a', 200);
    await clock.advance(49);
    assert.equal(queue.length, 0);
    await clock.advance(1);
    assert.equal(queue.length, 1);
    await clock.advance(500);
    assert.equal(queue.length, 1);
    assert.equal(clock.pending, 0);
  });

  it('backs off from 5 ms to 1,000 s per key, until forget()', () => {
    const queue = createWorkQueue({ clock: new FakeClock() });
    const delays = Array.from({ length: 30 }, () => queue.addRateLimited('a'));
    assert.deepEqual(delays.slice(0, 4), [5, 10, 20, 40]);
    assert.equal(delays.at(-1), 1_000_000);
    assert.equal(queue.retries('a'), 30);
    assert.equal(queue.addRateLimited('b'), 5);
    queue.forget('a');
    assert.equal(queue.addRateLimited('a'), 5);
  });

  it('limits the rate of all retries together', () => {
    const queue = createWorkQueue({ clock: new FakeClock(), overall: { perSecond: 10, burst: 100 } });
    const delays = Array.from({ length: 102 }, (_, index) => queue.addRateLimited(`k${index}`));
    assert.equal(delays[99], 5);
    assert.equal(delays[100], 100);
    assert.equal(delays[101], 200);
  });
});
