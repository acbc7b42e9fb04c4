/** The Store's whole contract holds for an encrypted one; and events keep their order where some of them have to wait for keys. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { createMemoryStore } from '#storage/drivers/memory.ts';
import { storageSuite } from '#storage/storage.suite.ts';
import type { StoreEvent } from '#storage/store.ts';
import { EncryptedStore, type StoredForm } from './encrypted-store.ts';
import { aesGcm } from './local-keys.ts';
import { TransformError, type Plain } from './transformer.ts';

const transformer = aesGcm({ name: 'k', secret: Buffer.alloc(32, 1) });
const late: StoredForm = {
  toStorage: (value, context) => transformer.toStorage(value, context),
  fromStorage: async (stored, context) => {
    await new Promise((resolve) => setImmediate(resolve));
    return transformer.fromStorage(stored, context);
  },
};

for (const [name, form] of [
  ['encrypted', transformer],
  ['encrypted, with keys that come late,', late],
] as const) {
  storageSuite(name, async (options) => {
    // At /v the suite writes as much as a driver takes, which leaves no room for what sealing adds.
    const store = new EncryptedStore(createMemoryStore(options), {
      formOf: (key) => (key === '/v' ? undefined : form),
    });
    return { store, dispose: () => store.close() };
  });
}

it("gives a writer's own bytes to watches, before the put resolves, in order with what waits", async () => {
  const inner = createMemoryStore({});
  let hold = Promise.withResolvers<void>();
  const store = new EncryptedStore(inner, {
    formOf: () => ({
      toStorage: (value, context) => transformer.toStorage(value, context),
      fromStorage: async (stored, context): Promise<Plain> => {
        await hold.promise;
        return transformer.fromStorage(stored, context);
      },
    }),
  });
  const seen: StoreEvent[] = [];
  store.watch({ prefix: '/', afterRevision: 0, onEvents: (events) => seen.push(...events) });
  const value = Buffer.from('own');
  await store.put('/a', value);
  assert.equal(seen[0]?.value?.value, value);
  // Another writer's: it has to be decrypted, which waits.
  await inner.put('/b', transformer.toStorage(Buffer.from('foreign'), '/b'));
  const own = store.put('/c', Buffer.from('later'));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(seen.length, 1);
  hold.resolve();
  await own;
  assert.deepEqual(
    seen.map(({ value: one }) => one?.value.toString()),
    ['own', 'foreign', 'later'],
  );
  hold = Promise.withResolvers<void>();
  await store.close();
});

it('marks what cannot be read, and says which is stale', async () => {
  const inner = createMemoryStore({});
  let stale = true;
  const store = new EncryptedStore(inner, {
    formOf: () => ({
      toStorage: (value) => value,
      fromStorage: (value) => {
        if (value[0] === 0x78) throw new TransformError('no key');
        return { value, stale };
      },
    }),
  });
  await store.put('/a', Buffer.from('abc'));
  await inner.put('/x', Buffer.from('xyz'));
  assert.deepEqual(
    (await store.list('/')).items.map(({ unreadable, value }) => unreadable ?? value.toString()),
    ['abc', 'no key'],
  );
  assert.equal((await store.get('/x'))?.unreadable, 'no key');
  assert.deepEqual(
    [await store.isStale('/a'), await store.isStale('/x'), await store.isStale('/none')],
    [true, false, false],
  );
  stale = false;
  assert.equal(await store.isStale('/a'), false);
  let closed: Error | undefined;
  store.watch({
    prefix: '/',
    afterRevision: inner.revision,
    onEvents: () => {},
    onClose: (error) => {
      closed = error;
    },
  });
  store.keysChanged();
  assert.match(closed?.message ?? '', /keys/);
  assert.equal((await store.delete('/x')).previous.unreadable, 'no key');
  await store.close();
});
