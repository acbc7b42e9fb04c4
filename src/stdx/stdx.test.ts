import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Backoff, pollDelayMs, backoffMs } from './backoff.ts';
import { FakeClock } from './testing/fake-clock.ts';
import { KeyedMutex } from './keyed-mutex.ts';
import { Lru } from './lru.ts';
import { randomSuffix, safeEncode, seededRandom, shuffled } from './random.ts';

test('a fake clock runs timers in order of time, also those made while it advances', async () => {
  const clock = new FakeClock(1000);
  const ran: string[] = [];
  clock.after(20, () => ran.push('b'));
  clock.after(10, () => {
    ran.push('a');
    clock.after(5, () => ran.push('a2'));
  });
  clock.after(20, () => ran.push('c'));
  clock.after(15, () => ran.push('never')).cancel();
  await clock.advance(20);
  assert.deepEqual(ran, ['a', 'a2', 'b', 'c']);
  assert.equal(clock.now(), 1020);
  assert.equal(clock.pending, 0);
});

test('a loop of sleeps advances as with a real clock', async () => {
  const clock = new FakeClock();
  const stop = new AbortController();
  let turns = 0;
  const loop = (async () => {
    for (;;) {
      await clock.sleep(100, stop.signal);
      turns++;
    }
  })();
  await clock.advance(1000);
  assert.equal(turns, 10);
  stop.abort(new Error('stopped'));
  await assert.rejects(loop, /stopped/);
  assert.equal(clock.pending, 0);
});

test('backoff grows to its cap and jitter stays within its share', () => {
  const backoff = new Backoff({ initialMs: 10, maximumMs: 100 });
  assert.deepEqual(
    Array.from({ length: 6 }, () => backoff.nextMs()),
    [10, 20, 40, 80, 100, 100],
  );
  backoff.reset();
  assert.equal(backoff.nextMs(), 10);
  fc.assert(
    fc.property(fc.nat(2000), fc.nat(), (attempt, seed) => {
      const ms = backoffMs(attempt, {
        initialMs: 10,
        maximumMs: 100,
        jitter: 0.5,
        random: seededRandom(seed),
      });
      return ms >= 10 && ms < 150;
    }),
  );
});

test('serialises work of one key, and runs different keys concurrently', async () => {
  const mutex = new KeyedMutex();
  const log: string[] = [];
  const gate = Promise.withResolvers<void>();
  const first = mutex.run('a', async () => {
    await gate.promise;
    log.push('a1');
  });
  const second = mutex.run('a', () => void log.push('a2'));
  await mutex.run('b', () => void log.push('b'));
  gate.resolve();
  await Promise.all([first, second]);
  await assert.rejects(
    mutex.run('a', () => {
      throw new Error('boom');
    }),
    /boom/,
  );
  assert.deepEqual(log, ['b', 'a1', 'a2']);
  assert.equal(mutex.size, 0);
});

test('an LRU map evicts the least recently used and expired entries', () => {
  const clock = new FakeClock();
  const map = new Lru<string, number>({ maximum: 2, ttlMs: 100, clock });
  map.set('a', 1);
  map.set('b', 2);
  assert.equal(map.get('a'), 1);
  map.set('c', 3);
  assert.equal(map.get('b'), undefined);
  clock.advanceSync(100);
  assert.equal(map.get('a'), undefined);
  assert.equal(map.has('c'), false);
});

test('suffixes use the alphabet, and are reproducible by seed', () => {
  assert.equal(randomSuffix(5, seededRandom(7)), randomSuffix(5, seededRandom(7)));
  fc.assert(
    fc.property(fc.nat(), (seed) =>
      /^[bcdfghjklmnpqrstvwxz2456789]{5}$/.test(randomSuffix(5, seededRandom(seed))),
    ),
  );
  assert.match(safeEncode('5f8c77b9d'), /^[bcdfghjklmnpqrstvwxz2456789]{9}$/);
  assert.deepEqual(shuffled([1, 2, 3, 4], seededRandom(1)).toSorted(), [1, 2, 3, 4]);
});

test('looking costs a fortieth of what it waits for, within bounds', () => {
  const bounds = { minimumMs: 50, maximumMs: 5_000 };
  assert.deepEqual(
    [0, 1_000, 10_000, 100_000, 1_000_000].map((elapsedMs) => pollDelayMs(elapsedMs, bounds)),
    [50, 50, 250, 2_500, 5_000],
  );
});
