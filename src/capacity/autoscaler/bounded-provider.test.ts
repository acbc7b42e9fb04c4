/** Calls that hang are given up, and nothing is changed by an instance that may not lead any more. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { boundedProvider } from './bounded-provider.ts';
import type { NodeProvider } from './provider.ts';

function provider(calls: string[]): NodeProvider {
  const note = (call: string) => () => Promise.resolve(void calls.push(call));
  return {
    name: 'noting',
    refresh: () => new Promise(() => {}),
    groups: () => Promise.resolve([]),
    groupOf: () => Promise.resolve(undefined),
    targetSize: () => Promise.resolve(1),
    instances: () => Promise.resolve([]),
    template: () => Promise.resolve(undefined),
    increase: note('increase'),
    deleteNodes: note('deleteNodes'),
    decreaseTarget: note('decreaseTarget'),
    close: () => Promise.resolve(),
  };
}

it('a call that hangs fails in time, and leaves no timer behind', async () => {
  const clock = new FakeClock();
  const bounded = boundedProvider(provider([]), { clock, timeoutMs: 5_000, mayWrite: () => true });
  const hanging = assert.rejects(bounded.refresh(), {
    code: 'timeout',
    message: 'noting: refresh did not answer within 5 s',
  });
  assert.equal(await bounded.targetSize('a'), 1);
  await clock.advance(5_000);
  await hanging;
  assert.equal(clock.pending, 0);
});

it('changes are not sent once the lease may be over, and reads are', async () => {
  const calls: string[] = [];
  let leads = true;
  const clock = new FakeClock();
  const bounded = boundedProvider(provider(calls), { clock, timeoutMs: 5_000, mayWrite: () => leads });
  await bounded.increase('a', 1);
  leads = false;
  for (const change of [
    () => bounded.increase('a', 1),
    () => bounded.deleteNodes('a', []),
    () => bounded.decreaseTarget('a', -1),
  ])
    await assert.rejects(change(), /was not sent: the lease of leader election may be over/);
  assert.equal(await bounded.targetSize('a'), 1);
  assert.deepEqual(calls, ['increase']);
});
