/** An API server over upstream's bytes: everything is as over its own, and what lies in the store is upstream's form. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { isProtobuf } from '#machinery/codec/protobuf.ts';
import { serializeObject } from '#machinery/serialize.ts';
import { createMemoryStore } from '#storage/drivers/memory.ts';
import type { Store, StoreEvent } from '#storage/store.ts';
import { startTestServer, type TestServer } from '../testing/server.ts';
import { CodecStore } from './codec-store.ts';

const MAPS = '/api/v1/namespaces/default/configmaps';

describe('a server on upstream bytes', () => {
  let raw: Store;
  let server: TestServer;
  before(async () => {
    raw = createMemoryStore();
    server = await startTestServer({ store: new CodecStore(raw) });
    await server.request('POST /api/v1/namespaces', { body: { metadata: { name: 'default' } } });
  });
  after(() => server.stop());

  test('objects are created, read, updated, watched and deleted', async () => {
    const watch = await server.watch(`${MAPS}?watch=1&resourceVersion=0`);
    const made = await server.request(`POST ${MAPS}`, {
      body: { metadata: { name: 'a' }, data: { k: 'é' } },
    });
    assert.equal(made.status, 201, made.text);
    assert.deepEqual((await server.request(`GET ${MAPS}/a`)).body, made.body);
    const stored = (await raw.get('/registry/configmaps/default/a'))!.value;
    assert.ok(isProtobuf(stored));
    assert.ok(!stored.includes(made.body.metadata.resourceVersion + '"'));
    const changed = await server.request(`PUT ${MAPS}/a`, { body: { ...made.body, data: { k: '2' } } });
    assert.equal(changed.status, 200, changed.text);
    assert.equal((await server.request(`PUT ${MAPS}/a`, { body: made.body })).status, 409);
    const old = await server.request(
      `GET ${MAPS}?resourceVersion=${made.body.metadata.resourceVersion}&resourceVersionMatch=Exact`,
    );
    assert.deepEqual(old.body.items[0].data, { k: 'é' });
    assert.equal((await server.request(`DELETE ${MAPS}/a`)).status, 200);
    const seen = [await watch.next(), await watch.next(), await watch.next()];
    assert.deepEqual(
      seen.map(({ type, object }) => [type, (object as { data?: { k: string } }).data?.k]),
      [
        ['ADDED', 'é'],
        ['MODIFIED', '2'],
        ['DELETED', '2'],
      ],
    );
    watch.close();
  });

  test("the event of one's own write has one's own bytes, unless other ones are read back", async () => {
    const store = new CodecStore(raw);
    const seen = new Map<string, Buffer>();
    const watch = store.watch({
      prefix: '/registry/configmaps/own/',
      afterRevision: raw.revision,
      onEvents: (events) => events.forEach(({ key, value }) => seen.set(key.slice(-1), value!.value)),
    });
    const put = async (name: string, fields: object, decoded = true): Promise<Buffer> => {
      const object = { kind: 'ConfigMap', apiVersion: 'v1', metadata: { name }, ...fields };
      const value = serializeObject(object);
      await store.put(`/registry/configmaps/own/${name}`, value, decoded ? { decoded: object } : {});
      return value;
    };
    assert.equal(await put('a', { data: { k: 'v' } }), seen.get('a'));
    const unknown = await put('b', { data: { k: 'v' } }, false);
    assert.notEqual(unknown, seen.get('b'));
    assert.deepEqual(unknown, seen.get('b'));
    await put('c', { data: {} });
    assert.equal(JSON.parse(seen.get('c')!.toString()).data, undefined);
    watch.stop();
  });

  test('custom resources and their definitions stay JSON', async () => {
    const definition = {
      metadata: { name: 'widgets.a.io' },
      spec: {
        group: 'a.io',
        names: { plural: 'widgets', kind: 'Widget', singular: 'widget', listKind: 'WidgetList' },
        scope: 'Namespaced',
        versions: [
          { name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } },
        ],
      },
    };
    const path = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
    assert.equal((await server.request(`POST ${path}`, { body: definition })).status, 201);
    const widgets = '/apis/a.io/v1/namespaces/default/widgets';
    while ((await server.request(`GET ${widgets}`)).status !== 200)
      await new Promise((resolve) => setTimeout(resolve, 10));
    const body = { apiVersion: 'a.io/v1', kind: 'Widget', metadata: { name: 'w' } };
    assert.equal((await server.request(`POST ${widgets}`, { body })).status, 201);
    for (const key of [
      '/registry/a.io/widgets/default/w',
      '/registry/apiextensions.k8s.io/customresourcedefinitions/widgets.a.io',
    ])
      assert.equal((await raw.get(key))!.value.toString('utf8', 0, 1), '{', key);
  });

  test('bytes that nobody can read make one object unreadable, not the server', async () => {
    await raw.put('/registry/configmaps/default/broken', Buffer.from('k8s\0\xff\xff\xff', 'latin1'));
    const { status, text } = await server.request(`GET ${MAPS}/broken`);
    assert.equal(status, 500);
    assert.match(text, /no object can be decoded from the stored bytes/);
    assert.equal(
      (await server.request(`POST ${MAPS}`, { body: { metadata: { name: 'fine' } } })).status,
      201,
    );
  });

  test('what was there before is decoded where it is asked for', async () => {
    const store = new CodecStore(raw);
    const since = raw.revision;
    await server.request(`POST ${MAPS}`, { body: { metadata: { name: 'p' }, data: { n: '1' } } });
    await server.request(`DELETE ${MAPS}/p`);
    const events = await new Promise<StoreEvent[]>((resolve) => {
      const all: StoreEvent[] = [];
      store.watch({
        prefix: '/registry/configmaps/',
        afterRevision: since,
        onEvents: (batch) => void (all.push(...batch), all.length >= 2 && resolve(all)),
      });
    });
    assert.equal(JSON.parse(events[1]!.previous!.value.toString()).data.n, '1');
    assert.equal(events[1]!.previous!.unreadable, undefined);
  });

  test('which node ports are taken, and which servers live, is kept as upstream keeps it', async () => {
    const store = new CodecStore(raw);
    for (const [key, object] of [
      ['/registry/ranges/servicenodeports', { kind: 'RangeAllocation', range: '30000-32767', data: 'AQI=' }],
      [
        '/registry/masterleases/10.0.0.1',
        { kind: 'Endpoints', subsets: [{ addresses: [{ ip: '10.0.0.1' }] }] },
      ],
    ] as const) {
      await store.put(key, Buffer.from(JSON.stringify({ apiVersion: 'v1', metadata: {}, ...object })));
      assert.ok(isProtobuf((await raw.get(key))!.value));
      const { metadata: _, apiVersion, ...read } = JSON.parse((await store.get(key))!.value.toString());
      assert.deepEqual([apiVersion, read], ['v1', object]);
    }
  });

  test('JSON of a built-in kind is stale: a storage migration rewrites it', async () => {
    const store = new CodecStore(raw);
    const key = '/registry/configmaps/default/json';
    await raw.put(key, Buffer.from('{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"json"}}'));
    assert.equal(await store.isStale(key), true);
    await store.put(key, (await store.get(key))!.value);
    assert.equal(await store.isStale(key), false);
    assert.equal(await store.isStale('/registry/configmaps/default/none'), false);
  });
});
