import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { ASK_MS, LOST, STALL_MS, Stalls } from './stalls.ts';

const GRACE_MS = 150;

class World {
  readonly clock = new FakeClock();
  readonly asked: PromiseWithResolvers<void>[] = [];
  readonly stalls = new Stalls({
    clock: this.clock,
    ask: () => {
      const one = Promise.withResolvers<void>();
      this.asked.push(one);
      return one.promise;
    },
  });

  /** Advances, and lets what follows from it happen. */
  async pass(ms: number): Promise<void> {
    await this.clock.advance(ms);
    for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
  }
}

test('a write that is answered in time asks for nothing', async () => {
  const world = new World();
  const { stalls, asked } = world;
  assert.equal(await stalls.follow(Promise.resolve('written')), 'written');
  await world.pass(STALL_MS * 4);
  assert.equal(stalls.held, undefined);
  assert.equal(asked.length, 0);
});

test('a write under way while the leader changes is lost; further ones wait for the new leader', async () => {
  const world = new World();
  const { stalls, asked } = world;
  stalls.saw(7);
  const followed = stalls.follow(new Promise<never>(() => {}));
  await world.pass(STALL_MS);
  const { held } = stalls;
  assert.ok(held);
  stalls.saw(8);
  asked[0]!.resolve();
  await held;
  await world.pass(GRACE_MS);
  assert.equal(await followed, LOST);
  assert.equal(stalls.held, undefined);
});

test('a write that the new leader answers is not lost', async () => {
  const world = new World();
  const { stalls, asked } = world;
  const answer = Promise.withResolvers<string>();
  const followed = stalls.follow(answer.promise);
  await world.pass(STALL_MS);
  stalls.saw(2);
  asked[0]!.resolve();
  await world.pass(GRACE_MS / 2);
  answer.resolve('written');
  assert.equal(await followed, 'written');
});

test('a slow disk loses nothing: the leader is the same', async () => {
  const world = new World();
  const { stalls, asked } = world;
  stalls.saw(3);
  const answer = Promise.withResolvers<string>();
  const followed = stalls.follow(answer.promise);
  for (let turn = 0; turn < 5; turn += 1) {
    await world.pass(STALL_MS);
    await world.pass(0);
    asked.at(-1)!.resolve();
    await world.pass(0);
  }
  assert.ok(asked.length > 1);
  answer.resolve('written');
  assert.equal(await followed, 'written');
});

test('writes are held for a bounded time where nobody answers', async () => {
  const world = new World();
  const { stalls } = world;
  const answer = Promise.withResolvers<string>();
  const followed = stalls.follow(answer.promise);
  await world.pass(STALL_MS);
  assert.ok(stalls.held);
  await world.pass(ASK_MS);
  assert.equal(stalls.held, undefined);
  answer.reject(new Error('refused'));
  await assert.rejects(followed, /refused/);
});

test('a remainder that only rounding leaves does not stop the clock', { timeout: 10_000 }, async () => {
  const world = new World();
  const { stalls, asked } = world;
  // So much of this number is lost when 250 is added and taken away again.
  await world.pass(6.4);
  void stalls.follow(new Promise<never>(() => {}));
  await world.pass(STALL_MS + 1);
  assert.equal(asked.length, 1);
});
