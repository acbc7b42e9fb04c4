import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { createLifecycle, type LifecycleEntry } from './lifecycle.ts';

describe('lifecycle', () => {
  let clock: FakeClock;
  let did: string[];
  let fail: Record<string, (error: Error) => void>;

  beforeEach(() => {
    clock = new FakeClock();
    did = [];
    fail = {};
  });

  function entry(
    name: string,
    {
      start = () => Promise.resolve(),
      stop = () => Promise.resolve(),
      ...rest
    }: Partial<LifecycleEntry> & { start?: () => Promise<void>; stop?: () => Promise<void> } = {},
  ): LifecycleEntry {
    return {
      name,
      create: () => ({
        name,
        start: async () => {
          did.push(`start ${name}`);
          await start();
        },
        stop: async () => {
          did.push(`stop ${name}`);
          await stop();
        },
        onFailure(callback) {
          fail[name] = callback;
        },
      }),
      ...rest,
    };
  }

  const open = (entries: LifecycleEntry[]): ReturnType<typeof createLifecycle> =>
    createLifecycle(entries, { clock, log: silentLogger });
  const states = (lifecycle: ReturnType<typeof createLifecycle>): string =>
    lifecycle
      .report()
      .map(({ state }) => state)
      .join();

  it('starts in order and stops in reverse', async () => {
    const lifecycle = open([entry('a'), entry('b')]);
    await lifecycle.start();
    assert.equal(lifecycle.state, 'running');
    await lifecycle.stop();
    await lifecycle.stop();
    assert.deepEqual(did, ['start a', 'start b', 'stop b', 'stop a']);
    assert.equal(states(lifecycle), 'stopped,stopped');
  });

  it('leaves nothing behind when one cannot start', async () => {
    const lifecycle = open([
      entry('a'),
      entry('b', { start: () => Promise.reject(new Error('port is taken')) }),
      entry('c'),
    ]);
    await assert.rejects(lifecycle.start(), /port is taken/);
    assert.deepEqual(did, ['start a', 'start b', 'stop b', 'stop a']);
    assert.equal(lifecycle.state, 'stopped');
    assert.equal(states(lifecycle), 'stopped,failed,stopped');
  });

  it('bounds a start and a stop that hang', async () => {
    const never = (): Promise<void> => new Promise(() => {});
    const hanging = open([entry('a', { start: never, stop: never })]);
    const rejected = assert.rejects(hanging.start(), /a is not at work after 60000 ms/);
    await clock.advance(60_000);
    await clock.advance(30_000);
    await rejected;
    assert.equal(hanging.state, 'stopped');
  });

  it('restarts a component that fails, with backoff, and not one that must not', async () => {
    const lifecycle = open([entry('a'), entry('b', { restart: 'never' })]);
    await lifecycle.start();
    fail['a']!(new Error('thread died'));
    fail['b']!(new Error('gone'));
    await clock.advance(999);
    assert.equal(states(lifecycle), 'restarting,failed');
    await clock.advance(1);
    assert.equal(states(lifecycle), 'running,failed');
    assert.deepEqual(lifecycle.report()[0]!.restarts, 1);
    assert.equal(lifecycle.report()[0]!.error, 'thread died');
    await lifecycle.stop();
    assert.equal(did.filter((what) => what === 'start a').length, 2);
  });

  it('stops also while starting, and while waiting to restart', async () => {
    const gate = Promise.withResolvers<void>();
    const lifecycle = open([entry('a', { start: () => gate.promise }), entry('b')]);
    const started = assert.rejects(lifecycle.start(), /stopping/);
    const stopped = lifecycle.stop();
    gate.resolve();
    await Promise.all([started, stopped]);
    assert.deepEqual(did, ['start a', 'stop a']);

    const other = open([entry('c')]);
    await other.start();
    fail['c']!(new Error('died'));
    await other.stop();
    assert.equal(states(other), 'stopped');
  });
});
