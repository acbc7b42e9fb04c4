import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { failsWith, storageSuite, type StoreGaps } from '../../storage.suite.ts';
import type { Store, StoreEvent } from '../../store.ts';
import { openEtcdStore } from './etcd-store.ts';
import { installedEtcd, openRebased, startEtcd, unpackedEtcd35, type TestEtcd } from './test-etcd.ts';

const GAPS: StoreGaps = {
  unorderedKeys: 'etcd orders concurrent writes to different keys itself',
  serverClock: 'leases end by the clock of etcd, in whole seconds',
  ownCompaction: 'etcd keeps no bytes or ages of revisions: compaction is by interval',
  uncountedKeys: 'etcd counts keys only when asked',
};

for (const { version, program, reason } of [
  { version: '3.5', program: unpackedEtcd35(), reason: "Debian 13's etcd-server cannot be had here" },
  { version: '3.4', program: installedEtcd(), reason: 'no etcd is installed' },
]) {
  if (!program) {
    test(`etcd ${version}`, { skip: reason }, () => {});
    continue;
  }
  describe(`on etcd ${version}`, () => {
    let etcd: Promise<TestEtcd> | undefined;
    let opened = 0;
    const start = (): Promise<TestEtcd> => (etcd ??= startEtcd(program));
    after(async () => (await etcd)?.close());
    storageSuite(
      `etcd ${version}`,
      async () => {
        const store = await openRebased((await start()).options, `/suite-${++opened}`);
        return { store, dispose: () => store.close() };
      },
      version.startsWith('3.4')
        ? { ...GAPS, ownWrites: "on 3.4 a watch's progress is reported by a write, which takes a revision" }
        : GAPS,
    );

    test('keys with a time to live share a lease and expire by ordinary events', async () => {
      const store = await openRebased((await start()).options, `/leases-${++opened}`);
      const seen: StoreEvent[] = [];
      const { promise, resolve } = Promise.withResolvers<void>();
      store.watch({
        prefix: '/',
        afterRevision: 0,
        onEvents: (events) => {
          seen.push(...events);
          if (seen.length === 5) resolve();
        },
      });
      await Promise.all(['/a', '/b'].map((key) => store.put(key, Buffer.from('1'), { ttlSeconds: 1 })));
      await store.put('/a', Buffer.from('2'));
      await store.put('/b', Buffer.from('2'), { ttlSeconds: 1 });
      await promise;
      assert.deepEqual([seen[4]!.type, seen[4]!.key], ['delete', '/b']);
      assert.equal((await store.get('/a'))?.value.toString(), '2');
      await store.close();
    });

    test('the event of a write has the very bytes that were put, those of another the same ones', async () => {
      const keyPrefix = `/own-${++opened}`;
      const [one, other] = [
        await openEtcdStore({ ...(await start()).options, keyPrefix }),
        await openEtcdStore({ ...(await start()).options, keyPrefix }),
      ];
      const value = Buffer.from('own');
      const values: Buffer[][] = [[], []];
      const otherSaw = Promise.withResolvers<void>();
      const follow = (store: Store, into: Buffer[], done = (): void => {}): void =>
        void store.watch({
          prefix: '/',
          afterRevision: one.revision,
          onEvents: (events) => {
            into.push(...events.map((event) => event.value!.value));
            done();
          },
        });
      follow(one, values[0]!);
      follow(other, values[1]!, () => otherSaw.resolve());
      await one.put('/a', value, { expected: 0 });
      await otherSaw.promise;
      assert.equal(values[0]![0], value);
      assert.notEqual(values[1]![0], value);
      assert.deepEqual(values[1]![0], value);
      await Promise.all([one.close(), other.close()]);
    });

    test('a write that nobody answered is resolved by the history of its key', async () => {
      const { options, pause, goOn } = await start();
      const store = await openEtcdStore({
        ...options,
        callTimeoutMs: 1000,
        keyPrefix: `/unknown-${++opened}`,
      });
      const first = await store.put('/a', Buffer.from('1'));
      await pause();
      // Longer than a call may take, so that its outcome is unknown; etcd carries it out when it goes on.
      setTimeout(goOn, 1500);
      const second = await store
        .put('/a', Buffer.from('2'), { expected: first.modRevision })
        .catch((error: unknown) => error);
      const stored = await store.get('/a');
      if (second instanceof Error) failsWith('unavailable')(second);
      else assert.deepEqual(second, stored);
      assert.ok(stored!.modRevision <= first.modRevision + 1, 'it was sent once');
      await store.close();
    });
  });
}

test('no member is one clear error', async () => {
  await assert.rejects(openEtcdStore({ endpoints: ['http://127.0.0.1:1'] }), (error: Error) => {
    failsWith('unavailable')(error);
    assert.match(
      error.message,
      /no member of etcd can be reached \(http:\/\/127\.0\.0\.1:1: nothing listens there\)/,
    );
    return true;
  });
});
