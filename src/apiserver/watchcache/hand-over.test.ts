/** Which objects of writers become the cache's own parsed form: those that no other server can have written too. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Stored } from '#machinery/object.ts';
import { serializedHead, serializeObject } from '#machinery/serialize.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { createMemoryStore } from '#storage/drivers/memory.ts';
import type { Store } from '#storage/store.ts';
import { WatchCache } from './watch-cache.ts';

const KEY = '/registry/configmaps/default/a';
const KIND = { kind: 'ConfigMap', apiVersion: 'v1' };

function objectOf(k: string): Stored {
  return { ...KIND, metadata: { name: 'a', uid: 'u' }, data: { k } } as unknown as Stored;
}

/** Returns whether the objects of a create and of an update are those of the cache. */
async function handedOver(store: Store): Promise<{ readonly create: boolean; readonly update: boolean }> {
  const cache = new WatchCache({ store, clock: realClock, log: silentLogger });
  const resource = cache.add('/registry/configmaps/', {
    fieldsOf: () => ({}),
    itemHead: serializedHead(KIND),
  });
  await cache.start();
  const put = async (object: Stored, expected: number): Promise<boolean> => {
    const value = serializeObject(object);
    cache.handOver(value, object);
    const { modRevision } = await store.put(KEY, value, { expected });
    cache.forget(value);
    const entry = resource.entries.get(KEY)!;
    assert.equal(entry.revision, modRevision);
    const parsed = resource.parsed.of(entry);
    assert.deepEqual(
      { ...parsed, metadata: { ...parsed.metadata, resourceVersion: undefined } },
      {
        ...object,
        metadata: { ...object.metadata, resourceVersion: undefined },
      },
    );
    return parsed === object;
  };
  const create = await put(objectOf('1'), 0);
  const update = await put(objectOf('2'), store.revision);
  cache.stop();
  await store.close();
  return { create, update };
}

test('of a store that nobody else writes, every object is handed over', async () => {
  assert.deepEqual(await handedOver(createMemoryStore()), { create: true, update: true });
});

test("of a shared store, only created ones: their uid is nobody else's, where the bytes of an update may be", async () => {
  const store = createMemoryStore();
  const shared = new Proxy(store, {
    get(target, name) {
      if (name === 'newestRevision') return () => Promise.resolve(target.revision);
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
  assert.deepEqual(await handedOver(shared), { create: true, update: false });
});
