/** Rounds of work: one at a time, each resting as long as it says, until they are stopped. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { realClock } from '#stdx/clock.ts';
import { Rounds } from './rounds.ts';

test('rounds follow each other until they are stopped, which waits for the one under way', async () => {
  const { promise: third, resolve: reached } = Promise.withResolvers<void>();
  const { promise: gate, resolve: open } = Promise.withResolvers<void>();
  const rounds = new Rounds(realClock);
  let begun = 0,
    ended = 0;
  rounds.start(
    async () => {
      begun += 1;
      if (begun === 3) {
        reached();
        await gate;
      }
      ended += 1;
      return 1;
    },
    { firstMs: 1 },
  );
  await third;
  const stopping = rounds.stop();
  assert.ok(rounds.stopped);
  assert.deepEqual([begun, ended], [3, 2]);
  open();
  await stopping;
  assert.deepEqual([begun, ended], [3, 3]);
});

test('a rest ends when they are stopped; the first round may be at once', async () => {
  const { promise: ran, resolve } = Promise.withResolvers<void>();
  const rounds = new Rounds(realClock);
  rounds.start(async () => {
    resolve();
    return 3_600_000;
  });
  await ran;
  await rounds.stop();
});
