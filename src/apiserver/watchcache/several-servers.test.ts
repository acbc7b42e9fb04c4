/** Two API servers in this process on one real etcd: what is acknowledged by one is what the other answers. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { openEtcdStore } from '#storage/drivers/etcd/etcd-store.ts';
import { installedEtcd, startEtcd, unpackedEtcd35, type TestEtcd } from '#storage/drivers/etcd/test-etcd.ts';
import type { Store, WatchOptions } from '#storage/store.ts';
import { namespaceLifecycle } from '../admission/plugins/namespace-lifecycle.ts';
import { startTestServer, type TestServer } from '../testing/server.ts';

const MAPS = '/api/v1/namespaces/default/configmaps';

for (const { version, program } of [
  { version: '3.5', program: unpackedEtcd35() },
  { version: '3.4', program: installedEtcd() },
])
  describe(`two API servers on etcd ${version}`, { skip: program ? false : 'it cannot be had here' }, () => {
    let etcd: TestEtcd;
    let one: TestServer;
    let two: TestServer;
    const start = async (): Promise<TestServer> =>
      startTestServer({
        store: await openEtcdStore({ ...etcd.options, keyPrefix: '/east', replaces: '/registry' }),
      });
    before(async () => {
      etcd = await startEtcd(program!);
      [one, two] = await Promise.all([start(), start()]);
      const made = await one.request('POST /api/v1/namespaces', { body: { metadata: { name: 'default' } } });
      assert.equal(made.status, 201, made.text);
    });
    after(async () => {
      await Promise.all([one.stop(), two.stop()]);
      await etcd.close();
    });

    test('what one acknowledged the other reads, lists and refuses to create', async () => {
      for (let i = 0; i < 30; i++) {
        const [writer, reader] = i % 2 === 0 ? [one, two] : [two, one];
        const body = { metadata: { name: `m${i}` }, data: { i: String(i) } };
        const made = await writer.request(`POST ${MAPS}`, { body });
        assert.equal(made.status, 201, made.text);
        const read = await reader.request(`GET ${MAPS}/m${i}`);
        assert.deepEqual(read.body, made.body);
        assert.equal((await reader.request(`GET ${MAPS}`)).body.items.length, i + 1);
        assert.equal((await reader.request(`POST ${MAPS}`, { body })).status, 409);
      }
      for (let i = 0; i < 30; i++) {
        const [writer, reader] = i % 2 === 0 ? [one, two] : [two, one];
        assert.equal((await writer.request(`DELETE ${MAPS}/m${i}`)).status, 200);
        assert.equal((await reader.request(`GET ${MAPS}/m${i}`)).status, 404);
        assert.equal((await reader.request(`DELETE ${MAPS}/m${i}`)).status, 404);
      }
    });

    test('a create that is refused by what a server knew before is tried again with what the other acknowledged', async () => {
      const store = await openEtcdStore({ ...etcd.options, keyPrefix: '/east', replaces: '/registry' });
      const late = new LateStore(store);
      const behind = await startTestServer({ store: late.store, admission: () => [namespaceLifecycle] });
      try {
        // It has caught up just now, and need not ask before it admits.
        assert.equal((await behind.request(`GET ${MAPS}`)).status, 200);
        late.holdUntilAsked();
        const namespace = await one.request('POST /api/v1/namespaces', {
          body: { metadata: { name: 'new' } },
        });
        assert.equal(namespace.status, 201, namespace.text);
        const path = '/api/v1/namespaces/new/configmaps';
        const body = { metadata: { name: 'at-once' }, data: { key: 'value' } };
        const made = await behind.request(`POST ${path}`, { body });
        assert.deepEqual([made.status, made.body.data], [201, body.data], made.text);
        assert.ok(late.questions > 0);
        const again = await behind.request(`POST ${path}`, { body });
        assert.deepEqual([again.status, again.body.reason], [409, 'AlreadyExists']);
        const nowhere = await behind.request('POST /api/v1/namespaces/nowhere/configmaps', { body });
        assert.deepEqual([nowhere.status, nowhere.body.reason], [404, 'NotFound']);
        assert.deepEqual((await one.request(`GET ${path}/at-once`)).body, made.body);
      } finally {
        await behind.stop();
      }
    });

    test('a revision that other keys have raised is reached though nothing is served of it', async () => {
      const other = await openEtcdStore(etcd.options);
      await other.put('/elsewhere', Buffer.from('x'));
      assert.equal((await two.request(`GET ${MAPS}`)).status, 200);
      await other.close();
    });

    test('updates of both to one object are all there, and an old resourceVersion is refused', async () => {
      await one.request(`POST ${MAPS}`, { body: { metadata: { name: 'shared' } } });
      const old = (await two.request(`GET ${MAPS}/shared`)).body;
      const patched = await Promise.all(
        Array.from({ length: 20 }, (_, i) =>
          (i % 2 ? one : two).request(`PATCH ${MAPS}/shared`, {
            body: { data: { [`k${i}`]: 'v' } },
            headers: { 'content-type': 'application/merge-patch+json' },
          }),
        ),
      );
      for (const { status, text } of patched) assert.equal(status, 200, text);
      const now = await one.request(`GET ${MAPS}/shared`);
      assert.equal(Object.keys(now.body.data).length, 20);
      assert.equal((await two.request(`PUT ${MAPS}/shared`, { body: old })).status, 409);
    });

    test('watches on both see the same events in one order, each once', async () => {
      const watches = await Promise.all(
        [one, two].map((server) => server.watch(`${MAPS}?watch=1&resourceVersion=0&labelSelector=watched`)),
      );
      const names = Array.from({ length: 40 }, (_, i) => `w${i}`);
      await Promise.all(
        names.map((name, i) =>
          (i % 2 ? one : two).request(`POST ${MAPS}`, {
            body: { metadata: { name, labels: { watched: '' } } },
          }),
        ),
      );
      const seen = await Promise.all(
        watches.map(async (watch) => {
          const events = [];
          for (let i = 0; i < names.length; i++) events.push(await watch.next());
          return events.map(({ object }) => [
            object.metadata!.name,
            Number(object.metadata!.resourceVersion),
          ]);
        }),
      );
      assert.deepEqual(seen[0], seen[1]);
      assert.deepEqual(new Set(seen[0]!.map(([name]) => name)), new Set(names));
      const revisions = seen[0]!.map(([, revision]) => Number(revision));
      assert.deepEqual(
        revisions,
        revisions.toSorted((a, b) => a - b),
      );
      for (const watch of watches) watch.close();
    });

    test('a watch resumed at a server that started later has what happened before, read from the log of its resource alone', async () => {
      const before = (await one.request(`GET ${MAPS}`)).body.metadata.resourceVersion;
      const secret = { metadata: { name: 'another-resource' } };
      assert.equal(
        (await one.request('POST /api/v1/namespaces/default/secrets', { body: secret })).status,
        201,
      );
      for (const name of ['first', 'second'])
        assert.equal((await one.request(`POST ${MAPS}`, { body: { metadata: { name } } })).status, 201);
      const last = { metadata: { name: 'last-of-another-resource' } };
      assert.equal(
        (await one.request('POST /api/v1/namespaces/default/secrets', { body: last })).status,
        201,
      );
      const store = await openEtcdStore({ ...etcd.options, keyPrefix: '/east', replaces: '/registry' });
      const watched: string[] = [];
      const later = await startTestServer({
        store: withChanged(store, {
          watch(options) {
            watched.push(options.prefix);
            return store.watch(options);
          },
        }),
      });
      try {
        watched.length = 0;
        const watch = await later.watch(`${MAPS}?watch=1&resourceVersion=${before}`);
        const names = [await watch.next(), await watch.next()].map(({ object }) => object.metadata!.name);
        assert.deepEqual(names, ['first', 'second']);
        assert.deepEqual(watched, ['/registry/configmaps/']);
        watch.close();
      } finally {
        await later.stop();
      }
    });

    test('etcd stalls: reads without resourceVersion wait for it, others are answered', async () => {
      await one.request(`POST ${MAPS}`, { body: { metadata: { name: 'kept' } } });
      await two.request(`GET ${MAPS}/kept`);
      await etcd.pause();
      const asked = two.request(`GET ${MAPS}/kept`);
      assert.equal((await two.request(`GET ${MAPS}/kept?resourceVersion=0`)).status, 200);
      etcd.goOn();
      assert.equal((await asked).status, 200);
    });

    test('one ends, the other goes on', async () => {
      await one.stop();
      const made = await two.request(`POST ${MAPS}`, { body: { metadata: { name: 'after' } } });
      assert.equal(made.status, 201, made.text);
      one = await start();
      assert.equal((await one.request(`GET ${MAPS}/after`)).status, 200);
    });
  });

function withChanged(inner: Store, changed: Partial<Store>): Store {
  return new Proxy(inner, {
    get(target, key: keyof Store) {
      const value: unknown = changed[key] ?? Reflect.get(target, key, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

/** A store whose watches deliver nothing until its newest revision is asked for. */
class LateStore {
  questions = 0;
  readonly store: Store;
  #held: (() => void)[] | undefined;

  constructor(inner: Store) {
    const changed: Partial<Store> = {
      watch: (options) => inner.watch(this.#delayed(options)),
      newestRevision: () => {
        this.questions++;
        const held = this.#held ?? [];
        this.#held = undefined;
        for (const deliver of held) deliver();
        return inner.newestRevision!();
      },
    };
    this.store = withChanged(inner, changed);
  }

  holdUntilAsked(): void {
    this.questions = 0;
    this.#held = [];
  }

  #delayed(options: WatchOptions): WatchOptions {
    const later = (deliver: () => void): void => {
      if (this.#held) this.#held.push(deliver);
      else deliver();
    };
    return {
      ...options,
      onEvents: (events) => later(() => options.onEvents(events)),
      onReached: (revision) => later(() => options.onReached?.(revision)),
    };
  }
}
