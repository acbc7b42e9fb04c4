import assert from 'node:assert/strict';
import { test } from 'node:test';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { createMemoryStore } from '#storage/drivers/memory.ts';
import type { Store } from '#storage/store.ts';
import { ConsistencyChecker } from './consistency.ts';
import type { ResourceCache } from './resource-cache.ts';
import { WatchCache } from './watch-cache.ts';

const PREFIX = '/registry/things/';

interface World {
  readonly store: Store;
  readonly cache: WatchCache;
  readonly things: ResourceCache;
  readonly checker: ConsistencyChecker;
  readonly told: string[];
  put(name: string): Promise<unknown>;
}

/** keep: events of these keys reach the cache. */
async function world({ keep = () => true }: { keep?: (key: string) => boolean } = {}): Promise<World> {
  const store = createMemoryStore();
  // A store that loses events, which is what the check is for.
  const lossy = new Proxy(store, {
    get(target, name) {
      if (name === 'watch')
        return (options: Parameters<Store['watch']>[0]) =>
          target.watch({
            ...options,
            onEvents: (events) => options.onEvents(events.filter(({ key }) => keep(key))),
          });
      const value = Reflect.get(target, name) as unknown;
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
  const cache = new WatchCache({ store: lossy, clock: realClock, log: silentLogger });
  const things = cache.add(PREFIX, { fieldsOf: () => ({}), itemHead: undefined });
  await cache.start();
  const told: string[] = [];
  const checker = new ConsistencyChecker({
    store,
    cache,
    clock: realClock,
    log: silentLogger,
    computeLabels: () => 'group="",resource="things"',
    onDifference: (message) => told.push(message),
  });
  const put = (name: string): Promise<unknown> =>
    store.put(PREFIX + name, Buffer.from(`{"kind":"Thing","apiVersion":"v1","metadata":{"name":"${name}"}}`));
  return { store, cache, things, checker, told, put };
}

test('a cache that holds what the store holds', async () => {
  const { cache, checker, put, store, told } = await world();
  await Promise.all(['a', 'b', 'c'].map(put));
  await store.delete(`${PREFIX}b`);
  // Writes go on meanwhile.
  await Promise.all([checker.round(), put('d'), store.delete(`${PREFIX}a`)]);
  assert.deepEqual(told, []);
  assert.match(
    checker.metrics(),
    /consistency_checks_total\{group="",resource="things",status="success"\} 1/,
  );
  cache.stop();
});

test('a missed create, update and delete are told, and the cache is filled anew', async () => {
  let deaf = false;
  const { cache, things, checker, put, store, told } = await world({ keep: () => !deaf });
  await Promise.all(['gone', 'changed', 'same'].map(put));
  deaf = true;
  await put('new');
  await put('changed');
  await store.delete(`${PREFIX}gone`);
  deaf = false;
  await put('late');
  await checker.round();
  assert.equal(told.length, 1);
  assert.match(told[0]!, /new is absent, stored at 4/);
  assert.match(told[0]!, /changed is 2, stored at 5/);
  assert.match(told[0]!, /gone is 1, not stored/);
  assert.match(checker.metrics(), /status="failure"\} 1/);
  while (!cache.live) await new Promise((resolve) => setTimeout(resolve, 10));
  await checker.round();
  assert.equal(told.length, 1, 'it is right again');
  assert.equal(things.entries.get(`${PREFIX}gone`), undefined);
  cache.stop();
});
