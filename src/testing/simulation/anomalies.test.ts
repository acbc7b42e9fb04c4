/** Faults that watch caches on etcd are known to have had, by upstream's issue, each brought about in a small world. Those of a cache alone: apiserver/watchcache/anomalies.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StoreWatch, WatchOptions } from '#storage/store.ts';
import type { StoreLayer } from './api-server.ts';
import { seenObject } from './history.ts';
import { SmallWorld, type SmallWatch, type SmallWorldOptions } from './small-world.ts';
import { MAPS } from './workload.ts';

async function startWorld(options: SmallWorldOptions = {}): Promise<SmallWorld> {
  const small = new SmallWorld(options);
  await small.start();
  return small;
}

/** The store's watch never tells of deletes, as etcd did for watches that were behind at a compaction. */
const losesDeletes: StoreLayer = (store) =>
  new Proxy(store, {
    get(target, name) {
      const value = Reflect.get(target, name) as unknown;
      if (name !== 'watch') return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      return (options: WatchOptions): StoreWatch =>
        target.watch({
          ...options,
          onEvents: (events) => {
            const told = events.filter(({ type }) => type !== 'delete');
            if (told.length > 0) options.onEvents(told);
          },
        });
    },
  });

test('etcd#17529: a delete that etcd does not tell of is found by comparison with the store, and watches begin anew', async () => {
  const small = await startWorld({ servers: 2, layers: [losesDeletes] });
  await small.write(0, 'gone', '1');
  await small.write(0, 'stays', '1');
  const watch = small.watch(1, 'resourceVersion=0');
  await small.until(() => watch.objects.length === 2, 'both objects');
  assert.equal((await small.request(0, `DELETE ${MAPS}/gone`)).status, 200);
  assert.equal((await small.request(1, `GET ${MAPS}/gone`)).status, 200, 'the delete was told');
  await small.world.run(6 * 60_000);
  assert.equal((await small.request(1, `GET ${MAPS}/gone`)).status, 404);
  assert.equal((await small.request(1, `GET ${MAPS}?resourceVersion=0`)).body.items.length, 1);
  assert.ok(watch.isOver, 'the watch that missed it goes on');
  small.stop();
});

test('kubernetes#123676: resourceVersion=0 is answered without etcd, a consistent list is not', async () => {
  const small = await startWorld();
  await small.write(0, 'a', '1');
  small.cutOff(small.servers[0]!);
  const any = await small.request(0, `GET ${MAPS}?resourceVersion=0`);
  assert.deepEqual([any.status, any.body.items.length], [200, 1]);
  const consistent = await small.request(0, `GET ${MAPS}?timeout=5s`);
  assert.ok(consistent.status >= 500, String(consistent.status));
  small.restore(small.servers[0]!);
  assert.equal((await small.request(0, `GET ${MAPS}`)).status, 200);
  small.stop();
});

test('kubernetes#59848: who has seen a revision at one server never gets an older state by it at another', async () => {
  const small = await startWorld({ servers: 2 });
  await small.write(0, 'a', 'old');
  assert.equal((await small.request(1, `GET ${MAPS}/a`)).status, 200);
  small.cutOff(small.servers[1]!);
  const seen = await small.write(0, 'a', 'new');
  for (const target of [
    `${MAPS}/a?resourceVersion=${seen}`,
    `${MAPS}?resourceVersion=${seen}`,
    `${MAPS}/a`,
  ]) {
    const joint = target.includes('?') ? '&' : '?';
    const { status, body } = await small.request(1, `GET ${target}${joint}timeout=5s`);
    assert.ok(status >= 500, `${target}: ${status} ${JSON.stringify(body)}`);
  }
  const watch = small.watch(1, `resourceVersion=${seen}`);
  small.restore(small.servers[1]!);
  const later = await small.write(0, 'a', 'newer');
  await small.until(() => watch.revision === later, 'the newer state');
  assert.deepEqual(
    watch.objects.map(({ revision }) => revision),
    [later],
  );
  small.stop();
});

test('kubernetes#97294: the first answer of a server that just started is not stale', async () => {
  const small = new SmallWorld({ servers: 2 });
  const [first, second] = small.servers;
  await small.start([first!]);
  for (let i = 0; i < 20; i++) {
    second!.boot();
    // While it fills its cache.
    const revision = await small.write(0, 'a', String(i));
    await small.until(() => second!.isServing, 'the second server');
    const list = await small.request(1, `GET ${MAPS}`);
    assert.deepEqual(
      list.body.items.map(seenObject).map((one: { revision: number }) => one.revision),
      [revision],
    );
    assert.ok(Number(list.body.metadata.resourceVersion) >= revision);
    second!.kill();
  }
  small.stop();
});

test('kubernetes#123935: watches without a resourceVersion miss nothing between the objects there are and what follows', async () => {
  for (let seed = 1; seed <= 5; seed++) {
    const small = await startWorld({ servers: 2, seed });
    const watches: SmallWatch[] = [];
    for (let i = 0; i < 12; i++) {
      const writing = small.begin(0, `POST ${MAPS}`, {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: `m${i}` },
      });
      watches.push(small.watch(i % 2, i % 3 === 0 ? 'resourceVersion=0' : ''));
      assert.equal((await small.settle(writing)).status, 201);
    }
    const names = Array.from({ length: 12 }, (_, i) => `m${i}`).toSorted();
    await small.until(
      () => watches.every(({ events }) => events.length >= 12),
      'every object at every watch',
    );
    for (const { events } of watches)
      assert.deepEqual(events.map(({ object }) => object.metadata.name).toSorted(), names);
    small.stop();
  }
});

test('kine#577: progress that was not made is not believed', async () => {
  for (let seed = 1; seed <= 5; seed++) {
    const small = await startWorld({ servers: 2, seed, etcdVersion: '3.5.12' });
    const watch = small.watch(1, 'resourceVersion=0');
    for (let i = 0; i < 10; i++) {
      const revision = await small.write(0, 'a', String(i));
      const { body } = await small.request(1, `GET ${MAPS}/a`);
      assert.equal(Number(body.metadata.resourceVersion), revision);
      assert.equal((await small.request(1, `GET ${MAPS}`)).body.items.length, 1);
    }
    await small.until(() => watch.objects.length === 10, 'every state at the watch');
    small.stop();
  }
});

test('KEP-1904: a resource without writes moves on with bookmarks, and is resumed after compaction and restart', async () => {
  const small = await startWorld({ servers: 2 });
  const begin = await small.write(0, 'quiet', '1');
  const watch = small.watch(0, `resourceVersion=${begin}&allowWatchBookmarks=true`);
  for (let i = 0; i < 30; i++) {
    const object = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: `n${i}` } };
    assert.equal((await small.request(1, 'POST /api/v1/namespaces', object)).status, 201);
  }
  await small.world.run(130_000);
  const { state } = small.cluster.log;
  assert.equal(watch.events.at(-1)?.type, 'BOOKMARK');
  assert.ok(watch.revision >= state.revision - 1, `${watch.revision} of ${state.revision}`);
  small.cluster.log.propose({ compact: watch.revision }, () => {});
  await small.world.run(1_000);
  small.servers[0]!.kill();
  await small.start([small.servers[0]!]);
  const resumed = small.watch(0, `resourceVersion=${watch.revision}`);
  const tooOld = small.watch(0, `resourceVersion=${begin}`);
  const next = await small.write(1, 'quiet', '2');
  await small.until(() => resumed.revision === next, 'the next event');
  assert.deepEqual([resumed.events.length, resumed.events[0]?.type], [1, 'MODIFIED']);
  await small.until(() => tooOld.events.length > 0, 'the answer to what is too old');
  assert.deepEqual([tooOld.events[0]!.type, tooOld.events[0]!.object.code], ['ERROR', 410]);
  small.stop();
});

test('etcd without a leader for a while: watches go on where they were, and reads say why they wait', async () => {
  const small = await startWorld();
  const begin = await small.write(0, 'a', '1');
  const watch = small.watch(0, `resourceVersion=${begin}`);
  small.cluster.log.loseLeader();
  await small.world.run(8_000);
  const read = await small.request(0, `GET ${MAPS}/a?timeout=5s`);
  assert.equal(read.status, 503);
  assert.match(read.body.message, /the store is not available: .* no leader/);
  small.cluster.log.electLeader();
  const revision = await small.write(0, 'a', '2');
  await small.until(() => watch.revision === revision, 'the event after the election');
  assert.ok(!watch.isOver);
  assert.deepEqual(small.world.errors, []);
  small.stop();
});

test('a watch that resumes while etcd does not answer is refused with 503, not told that its revision is too old', async () => {
  const small = await startWorld();
  const begin = await small.write(0, 'a', '1');
  const revision = await small.write(0, 'a', '2');
  small.servers[0]!.kill();
  await small.start();
  small.cutOff(small.servers[0]!);
  const patient = small.watch(0, `resourceVersion=${begin}`);
  await small.world.run(5_000);
  small.restore(small.servers[0]!);
  await small.until(() => patient.revision === revision, 'what happened meanwhile');
  small.servers[0]!.kill();
  await small.start();
  small.cutOff(small.servers[0]!);
  const refused = small.watch(0, `resourceVersion=${begin}`);
  await small.world.run(12_000);
  assert.deepEqual([refused.events[0]?.type, refused.events[0]?.object.code], ['ERROR', 503]);
  small.stop();
});
