import assert from 'node:assert/strict';
import { it } from 'node:test';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { createLogger } from '#stdx/log.ts';
import { createMemoryStore } from './drivers/memory.ts';
import { StoreError, type Store } from './store.ts';
import { watchWrites, type WatchedStore } from './writability.ts';

interface Setup {
  readonly store: WatchedStore;
  readonly clock: FakeClock;
  readonly logged: string[];
  /** The error of writes, if any. */
  refuse(error: StoreError | undefined): void;
}

function setup(): Setup {
  const memory = createMemoryStore({});
  const clock = new FakeClock();
  const logged: string[] = [];
  let refusal: StoreError | undefined;
  const disk: Store = Object.create(memory, {
    put: {
      value: (...words: Parameters<Store['put']>) =>
        refusal ? Promise.reject(refusal) : memory.put(...words),
    },
  }) as Store;
  const log = createLogger({ write: (line) => void logged.push(line.replace(/^\S+ /, '').trim()) });
  return {
    store: watchWrites(disk, { clock, log }),
    clock,
    logged,
    refuse(error) {
      refusal = error;
    },
  };
}

const FULL = new StoreError('no-space', 'the disk of /store is full');
const put = (store: Store): Promise<unknown> => store.put('key', Buffer.from('value'));

it('detects a store that is not writable, logs it once, and recovers by a probe', async () => {
  const { store, clock, logged, refuse } = setup();
  store.probeBy(async () => void (await put(store)));
  await put(store);
  assert.equal(store.writeProblem, undefined);
  refuse(FULL);
  for (let i = 0; i < 3; i++) await assert.rejects(put(store), FULL);
  assert.equal(store.writeProblem, FULL.message);
  await clock.advance(20_000);
  assert.equal(store.writeProblem, FULL.message);
  refuse(undefined);
  await clock.advance(5_000);
  assert.equal(store.writeProblem, undefined);
  assert.deepEqual(logged, [
    `ERROR the store is not writable error="${FULL.message}"`,
    'INFO  store is writable again',
  ]);
});

it('errors of a request do not count as failures of the store', async () => {
  const { store, logged, refuse } = setup();
  for (const code of ['conflict', 'not-found', 'too-large'] as const) {
    refuse(new StoreError(code, 'no'));
    await assert.rejects(put(store));
  }
  assert.deepEqual([store.writeProblem, logged], [undefined, []]);
});

it('stops its probes', async () => {
  const { store, clock, refuse } = setup();
  let probes = 0;
  store.probeBy(async () => void probes++);
  refuse(FULL);
  await assert.rejects(put(store));
  store.stopProbing();
  await clock.advance(60_000);
  assert.equal(probes, 0);
});
