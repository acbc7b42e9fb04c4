import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { CALM_MS, LONGEST_MS, Patience, SHORTEST_MS, SLOW_MS } from './patience.ts';

function world(): { readonly clock: FakeClock; readonly patience: Patience } {
  const clock = new FakeClock();
  return { clock, patience: new Patience(clock) };
}

test('servers that were only slow get more time, up to a bound', async () => {
  const { clock, patience } = world();
  const allowed: number[] = [];
  for (let round = 0; round < 6; round += 1) {
    patience.late('a');
    await clock.advance(1_000);
    patience.answered('a');
    allowed.push(patience.timeoutMs);
  }
  assert.deepEqual(allowed, [3_000, 6_000, LONGEST_MS, LONGEST_MS, LONGEST_MS, LONGEST_MS]);
});

test('servers that were late at once double it once', async () => {
  const { clock, patience } = world();
  for (const server of ['a', 'b', 'c']) patience.late(server);
  await clock.advance(1_000);
  for (const server of ['a', 'b', 'c']) patience.answered(server);
  assert.equal(patience.timeoutMs, 2 * SHORTEST_MS);
});

test('a server that was stopped changes nothing', async () => {
  const { clock, patience } = world();
  patience.late('a');
  await clock.advance(SLOW_MS);
  patience.answered('a');
  patience.answered('never-late');
  assert.equal(patience.timeoutMs, SHORTEST_MS);
});

test('each quiet minute halves it', async () => {
  const { clock, patience } = world();
  for (let round = 0; round < 3; round += 1) {
    patience.late('a');
    await clock.advance(1);
    patience.answered('a');
  }
  await clock.advance(CALM_MS - 1);
  assert.equal(patience.timeoutMs, LONGEST_MS);
  await clock.advance(1);
  assert.equal(patience.timeoutMs, LONGEST_MS / 2);
  await clock.advance(10 * CALM_MS);
  assert.equal(patience.timeoutMs, SHORTEST_MS);
});
