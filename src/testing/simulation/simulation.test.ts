/**
 * Several API servers on etcd under faults, one world a seed: some in every gate, and those that failed once.
 * CAPSTAN_SEED=n runs that one; CAPSTAN_SIM_SEEDS=1000 so many, from CAPSTAN_SEED or 1 on. See docs/designs/0003-simulation.md.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keepFailure, keptSeeds, wantedSeeds } from './seeds.ts';
import { simulate } from './simulation.ts';

async function failures(seeds: readonly number[]): Promise<string[]> {
  const found: string[] = [];
  for (const seed of seeds) {
    const failure = keepFailure(await simulate({ seed }));
    if (failure !== undefined) found.push(failure);
  }
  return found;
}

const wanted = wantedSeeds();

test(`worlds of ${wanted.length} seeds from ${wanted[0]} on: nothing is lost, stale, missed, doubled or reordered`, async () => {
  const found = await failures(wanted);
  assert.equal(found.length, 0, found.join('\n\n'));
});

test('worlds of the seeds that failed once', async () => {
  const found = await failures(keptSeeds());
  assert.equal(found.length, 0, found.join('\n\n'));
});

test('one seed is one history, to the last answer', async () => {
  const [once, again, other] = [
    await simulate({ seed: 5 }),
    await simulate({ seed: 5 }),
    await simulate({ seed: 6 }),
  ];
  assert.deepEqual(again.trace, once.trace);
  assert.deepEqual(again.history, once.history);
  assert.notDeepEqual(other.history, once.history);
});

test('a world without faults leaves no question open', async () => {
  const { breaches, history, counts } = await simulate({ seed: 1, faults: /^$/ });
  assert.deepEqual(breaches, []);
  assert.deepEqual(
    history.writes.filter(({ outcome }) => outcome.kind === 'unknown'),
    [],
  );
  for (const [what, count] of Object.entries(counts))
    if (what !== 'unknown' && what !== 'expired') assert.ok(count > 0, `no ${what}`);
});
