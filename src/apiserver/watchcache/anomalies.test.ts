/** Faults that watch caches are known to have had, by upstream's issue (those that need several servers or etcd: testing/simulation/anomalies.test.ts), and watches of the API judged by the oracle of the storage suite. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ResponseSink } from '#stdx/response-sink.ts';
import { createMemoryStore } from '#storage/drivers/memory.ts';
import type { Store, StoreWatch, WatchOptions } from '#storage/store.ts';
import { readTruth } from '#storage/testing/recorder.ts';
import { judgeWatch, type Delivery } from '#storage/testing/watch-oracle.ts';
import { startTestServer, type TestServer } from '../testing/server.ts';

const MAPS = '/api/v1/namespaces/default/configmaps';
const PREFIX = '/registry/configmaps/default/';

async function start(store: Store = createMemoryStore()): Promise<TestServer> {
  const server = await startTestServer({ store });
  await server.request('POST /api/v1/namespaces', { body: { metadata: { name: 'default' } } });
  return server;
}

async function create(server: TestServer, name: string): Promise<number> {
  const made = await server.request(`POST ${MAPS}`, { body: { metadata: { name } } });
  assert.equal(made.status, 201, made.text);
  return Number(made.body.metadata.resourceVersion);
}

test("kubernetes#123072: what is deleted while the store's watch is lost is gone from reads by name", async () => {
  const store = createMemoryStore();
  /** Ends the cache's watch as a store does that lost its connection, one for each that was opened. */
  const lose: (() => void)[] = [];
  const watchLosing = (options: WatchOptions): StoreWatch => {
    if (options.prefix !== '/registry/') return store.watch(options);
    let lost = false;
    lose.push(() => {
      lost = true;
      options.onClose?.(new Error('lost'));
    });
    return store.watch({ ...options, onEvents: (events) => lost || options.onEvents(events) });
  };
  const server = await start(
    new Proxy(store, {
      get(target, name) {
        const value = name === 'watch' ? watchLosing : (Reflect.get(target, name) as unknown);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    }),
  );
  await create(server, 'gone');
  for (const one of Array.from(lose)) one();
  const before = lose.length;
  await store.delete(`${PREFIX}gone`);
  while (lose.length === before) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal((await server.request(`GET ${MAPS}/gone`)).status, 404);
  assert.equal((await server.request(`GET ${MAPS}?resourceVersion=0`)).body.items.length, 0);
  await server.stop();
});

test('kubernetes#49956: a watch from the newest revision, of a resource without any event, misses nothing', async () => {
  const server = await start();
  const { metadata } = (await server.request(`GET ${MAPS}`)).body;
  const watch = await server.watch(`${MAPS}?watch=1&resourceVersion=${metadata.resourceVersion}`);
  const revision = await create(server, 'first');
  const { type, object } = await watch.next();
  assert.deepEqual([type, Number(object.metadata!.resourceVersion)], ['ADDED', revision]);
  watch.close();
  await server.stop();
});

test('kubernetes#91415: a watch from a revision that the window has forgotten gets every event, or 410', async () => {
  const store = createMemoryStore();
  const server = await start(store);
  const begin = await create(server, 'large');
  /** Their previous states are more than a window holds. */
  const revisions: number[] = [];
  for (let i = 0; i < 30; i++) {
    const body = { metadata: { name: 'large' }, data: { v: String(i).padEnd(500_000, '.') } };
    const { metadata } = (await server.request(`PUT ${MAPS}/large`, { body })).body;
    revisions.push(Number(metadata.resourceVersion));
  }
  const watch = await server.watch(`${MAPS}?watch=1&resourceVersion=${begin}`);
  const seen: number[] = [];
  for (const _ of revisions) seen.push(Number((await watch.next()).object.metadata!.resourceVersion));
  assert.deepEqual(seen, revisions);
  watch.close();
  await store.compact(revisions.at(-2)!);
  const late = await server.watch(`${MAPS}?watch=1&resourceVersion=${begin}`);
  const { type, object } = await late.next();
  assert.deepEqual([type, (object as { code?: number }).code], ['ERROR', 410]);
  await server.stop();
});

test('kubernetes#138728: a reader that takes no more of its initial events holds up nobody else', async () => {
  const server = await start();
  for (let i = 0; i < 300; i++) {
    const body = { metadata: { name: `m${i}` }, data: { v: '.'.repeat(2_000) } };
    assert.equal((await server.request(`POST ${MAPS}`, { body })).status, 201);
  }
  const stuck = new StuckSink();
  const { body } = await server.server.handler({
    method: 'GET',
    path: MAPS,
    query: 'watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true',
    headers: {},
    remoteAddress: '127.0.0.1',
    onAbort: () => {},
    body: () => Promise.resolve(Buffer.alloc(0)),
  });
  assert.ok(typeof body === 'function');
  body(stuck);
  const other = await server.watch(`${MAPS}?watch=1&resourceVersion=${server.store.revision}`);
  for (let i = 0; i < 20; i++) {
    const revision = await create(server, `later${i}`);
    assert.equal(Number((await other.next()).object.metadata!.resourceVersion), revision);
    assert.equal((await server.request(`GET ${MAPS}`)).body.items.length, 301 + i);
  }
  assert.ok(stuck.chunks > 0 && stuck.bytes < 300 * 2_000, `${stuck.bytes} bytes went to who takes no more`);
  other.close();
  await server.stop();
});

/** Of a client that reads nothing. */
class StuckSink implements ResponseSink {
  readonly closed = false;
  readonly bufferedBytes = 0;
  chunks = 0;
  bytes = 0;

  write(chunk: Buffer): boolean {
    this.chunks++;
    this.bytes += chunk.length;
    return false;
  }

  drained(): Promise<void> {
    return new Promise(() => {});
  }

  end(): void {}

  onClose(): void {}
}

test('watches of the API from many revisions are ordered, unique, reliable, resumable and filtered', async () => {
  const store = createMemoryStore();
  const server = await start(store);
  const base = store.revision;
  const revisions = [base];
  for (let i = 0; i < 30; i++) {
    revisions.push(await create(server, `m${i}`));
    if (i % 3 === 2) await server.request(`DELETE ${MAPS}/m${i - 1}`);
  }
  const truth = await readTruth(store, { prefix: PREFIX, after: base, upTo: store.revision });
  for (const afterRevision of revisions) {
    const count = truth.matching(PREFIX, { after: afterRevision, upTo: store.revision }).length;
    const watch = await server.watch(`${MAPS}?watch=1&resourceVersion=${afterRevision}`);
    const deliveries: Delivery[] = [];
    for (let i = 0; i < count; i++) {
      const { type, object } = await watch.next();
      const { name, resourceVersion } = object.metadata!;
      const isDelete = type === 'DELETED';
      const event = { key: `${PREFIX}${name}`, revision: Number(resourceVersion) };
      deliveries.push({ events: [{ ...event, type: isDelete ? 'delete' : 'put' }] });
    }
    watch.close();
    const untold = ['previous', 'created', 'atomic'] as const;
    const history = { name: `from ${afterRevision}`, prefix: PREFIX, afterRevision, deliveries, untold };
    assert.deepEqual(judgeWatch({ ...history, upTo: store.revision }, truth), []);
  }
  await server.stop();
});
