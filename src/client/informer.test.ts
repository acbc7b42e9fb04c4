import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { KubeObject } from '#machinery/object.ts';
import { StatusError, statusErrors } from '#machinery/errors.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import type { Client, Informer, ResourceRef } from './client.ts';
import { createClient } from './create.ts';
import { createDirectTransport } from './direct.ts';
import { createFakeApi, type FakeApi } from './testing/fake-api.ts';

interface Thing extends KubeObject {
  spec?: { color?: string };
}
const things: ResourceRef<Thing> = {
  group: '',
  version: 'v1',
  plural: 'configmaps',
  kind: 'ConfigMap',
  namespaced: true,
};

function thing(name: string, extra: Partial<Thing> = {}): Thing {
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    ...extra,
    metadata: { name, namespace: 'default', ...extra.metadata },
  };
}

/** Waits for a state over turns of the event loop; the fake clock stands still. */
async function until(what: string, condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 1_000; turn += 1) {
    if (condition()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.fail(`never came true: ${what}`);
}

describe('informer', () => {
  let fake: FakeApi;
  let clock: FakeClock;
  let api: Client;
  let seen: string[];

  beforeEach(() => {
    fake = createFakeApi();
    clock = new FakeClock();
    api = createClient(
      createDirectTransport((request) => fake.handler(request)),
      { userAgent: 'test', clock, random: () => 0 },
    );
    seen = [];
  });
  afterEach(() => api.close());

  function record(informer: Informer<Thing>): void {
    informer.subscribe({
      added: (object) => seen.push(`+${object.metadata?.name}`),
      updated: (object, previous) =>
        seen.push(`~${object.metadata?.name} ${previous.spec?.color}>${object.spec?.color}`),
      deleted: (object) => seen.push(`-${object.metadata?.name}`),
    });
  }

  it('lists, then follows changes in order', async () => {
    await api.create(things, thing('a', { spec: { color: 'red' } }));
    const informer = api.informer(things);
    record(informer);
    await informer.synced();
    assert.deepEqual(seen, ['+a']);
    assert.equal(informer.get('default/a')?.kind, 'ConfigMap');
    await api.create(things, thing('b'));
    await api.patch(
      things,
      { name: 'a', namespace: 'default' },
      { type: 'merge', patch: { spec: { color: 'blue' } } },
    );
    await api.delete(things, { name: 'b', namespace: 'default' });
    await until('three changes', () => seen.length === 4);
    assert.deepEqual(seen, ['+a', '+b', '~a red>blue', '-b']);
    assert.equal(
      fake.requests.filter((request) => request.startsWith('GET') && !request.includes('watch')).join(),
      'GET /api/v1/configmaps?limit=500&resourceVersion=0',
    );
  });

  it('reads all pages', async () => {
    for (let index = 0; index < 1_201; index += 1) await api.create(things, thing(`t${index}`));
    const informer = api.informer(things);
    await informer.synced();
    assert.equal(informer.list().length, 1_201);
    assert.equal(fake.requests.filter((request) => request.includes('limit=500')).length, 3);
  });

  it('is shared for the same resource and selectors', () => {
    assert.equal(api.informer(things), api.informer(things, {}));
    assert.notEqual(api.informer(things), api.informer(things, { labelSelector: 'a=b' }));
  });

  it('drops managed fields', async () => {
    await api.create(things, thing('a', { metadata: { managedFields: [{ manager: 'x' }] } }));
    const informer = api.informer(things);
    await informer.synced();
    assert.equal(informer.get('default/a')?.metadata?.managedFields, undefined);
  });

  it('resumes from the last resource version, bookmarks included, when a watch ends', async () => {
    const informer = api.informer(things);
    record(informer);
    await informer.synced();
    await until('a watch', () => fake.openWatches === 1);
    await api.create({ ...things, plural: 'secrets', kind: 'Secret' }, thing('other'));
    fake.sendBookmarks();
    const { revision } = fake;
    await until('bookmark read', () => fake.openWatches === 1);
    await clock.advance(300_000);
    fake.endWatches();
    await until('a second watch', () => fake.openWatches === 1);
    assert.match(
      fake.requests.at(-1)!,
      new RegExp(`watch=true&resourceVersion=${revision}&allowWatchBookmarks=true&timeoutSeconds=300$`),
    );
    await api.create(things, thing('late'));
    await until('the change', () => seen.length === 1);
  });

  it('relists after 410 and reports the differences', async () => {
    await api.create(things, thing('stays', { spec: { color: 'red' } }));
    await api.create(things, thing('goes', { spec: { color: 'old' } }));
    await api.create(things, thing('reborn'));
    const informer = api.informer(things);
    record(informer);
    await informer.synced();
    await until('a watch', () => fake.openWatches === 1);
    seen.length = 0;

    fake.intercept = (request) =>
      request.query.includes('watch=true') ? statusErrors.unavailable('down') : undefined;
    await clock.advance(10_000);
    fake.endWatches();
    await api.patch(
      things,
      { name: 'stays', namespace: 'default' },
      { type: 'merge', patch: { spec: { color: 'blue' } } },
    );
    await api.delete(things, { name: 'goes', namespace: 'default' });
    await api.delete(things, { name: 'reborn', namespace: 'default' });
    await api.create(things, thing('reborn'));
    await api.create(things, thing('comes'));
    fake.compact();
    fake.intercept = undefined;
    await clock.advance(60_000);
    await until('a watch again', () => fake.openWatches === 1);
    assert.deepEqual([...seen].sort(), ['+comes', '+reborn', '-goes', '-reborn', '~stays red>blue']);
    assert.ok(seen.indexOf('-reborn') < seen.indexOf('+reborn'));
    assert.ok(fake.requests.includes('GET /api/v1/configmaps?limit=500'));
  });

  it('retries forever with exponential backoff, and syncs when the server is back', async () => {
    fake.intercept = () => statusErrors.forbidden({ group: '', resource: 'configmaps', name: '' }, 'no');
    const informer = api.informer(things);
    await clock.advance(100_000);
    // 0.8 s, 1.6, 3.2 … up to 30 s with no jitter.
    assert.equal(fake.requests.length, 8);
    assert.equal(informer.hasSynced, false);
    fake.intercept = undefined;
    await clock.advance(30_000);
    await until('synced', () => informer.hasSynced);
  });

  it('backs off between lists when every watch gets 410', async () => {
    const gone = Buffer.from(
      `${JSON.stringify({ type: 'ERROR', object: statusErrors.expired('too old').status })}\n`,
    );
    fake.intercept = (request) =>
      request.query.includes('watch=true') ? { status: 200, headers: {}, body: gone } : undefined;
    const informer = api.informer(things);
    await informer.synced();
    await clock.advance(10_000);
    const lists = fake.requests.filter((request) => !request.includes('watch=true')).length;
    // At 0 s twice, then after 0.8 s, 1.6 s more, 3.2 s more.
    assert.equal(lists, 5);
  });

  it('resumes the watch, without a list, when only the connection broke', async () => {
    const informer = api.informer(things);
    record(informer);
    await informer.synced();
    await until('a watch', () => fake.openWatches === 1);
    fake.intercept = () => {
      throw new Error('connection reset');
    };
    fake.endWatches();
    await clock.advance(5_000);
    await api.create(things, thing('a')).catch(() => {});
    fake.intercept = undefined;
    await api.create(things, thing('b'));
    await clock.advance(30_000);
    await until('the change', () => seen.length === 1);
    assert.equal(fake.requests.filter((request) => request.includes('limit=')).length, 1);
  });

  it("isolates handlers from each other's exceptions", async () => {
    const informer = api.informer(things);
    informer.subscribe({
      added: () => {
        throw new Error('mine');
      },
    });
    record(informer);
    await informer.synced();
    await api.create(things, thing('a'));
    await until('the other handler', () => seen.length === 1);
  });

  it('replays to a late subscriber, and stops calling an unsubscribed one', async () => {
    await api.create(things, thing('a'));
    const informer = api.informer(things);
    await informer.synced();
    const names: string[] = [];
    const unsubscribe = informer.subscribe({ added: (object) => names.push(object.metadata.name) });
    assert.deepEqual(names, ['a']);
    unsubscribe();
    record(informer);
    await api.create(things, thing('b'));
    await until('b', () => seen.includes('+b'));
    assert.deepEqual(names, ['a']);
  });

  it('keeps indexes up to date', async () => {
    await api.create(things, thing('a', { spec: { color: 'red' } }));
    await api.create(things, thing('b', { metadata: { namespace: 'other' }, spec: { color: 'red' } }));
    const informer = api.informer(things);
    await informer.synced();
    const byColor = (object: Thing): string[] => (object.spec?.color ? [object.spec.color] : []);
    informer.addIndex('color', byColor);
    informer.addIndex('color', byColor);
    assert.throws(() => informer.addIndex('color', () => []), /declared once/);
    assert.deepEqual(
      informer.byIndex('color', 'red').map((object) => object.metadata?.name),
      ['a', 'b'],
    );
    assert.deepEqual(
      informer.listNamespace('other').map((object) => object.metadata?.name),
      ['b'],
    );
    await api.patch(
      things,
      { name: 'a', namespace: 'default' },
      { type: 'merge', patch: { spec: { color: 'blue' } } },
    );
    await until('reindexed', () => informer.byIndex('color', 'blue').length === 1);
    assert.deepEqual(
      informer.byIndex('color', 'red').map((object) => object.metadata?.name),
      ['b'],
    );
    await api.delete(things, { name: 'b', namespace: 'other' });
    await until('gone', () => informer.byIndex('color', 'red').length === 0);
    assert.deepEqual(informer.listNamespace('other'), []);
  });

  it('stops with the client: watches end, waiters are rejected', async () => {
    fake.intercept = () => statusErrors.unavailable('down');
    const waiting = api.informer(things).synced();
    const close = api.close();
    await assert.rejects(waiting, /was stopped/);
    await close;
    assert.throws(() => api.informer(things), /closed/);
  });
});

describe('client', () => {
  it('retries when the server asks for it, a bounded number of times', async () => {
    const fake = createFakeApi();
    const clock = new FakeClock();
    const api = createClient(
      createDirectTransport((request) => fake.handler(request)),
      { userAgent: 'test', clock, maxRetries: 2 },
    );
    fake.intercept = () => statusErrors.tooManyRequests('slow down', 3);
    const refused = assert.rejects(
      api.list(things),
      (error) => error instanceof StatusError && error.code === 429,
    );
    await clock.advance(5_999);
    assert.equal(fake.requests.length, 2);
    await clock.advance(1);
    await refused;
    assert.equal(fake.requests.length, 3);
    fake.intercept = () => new StatusError({ ...statusErrors.unavailable('no').status });
    await assert.rejects(api.list(things), /no/);
    assert.equal(fake.requests.length, 4, 'without Retry-After there is no retry');
    await api.close();
  });

  it('times out without a response', async () => {
    const clock = new FakeClock();
    const api = createClient(
      createDirectTransport(() => new Promise(() => {})),
      { userAgent: 'test', clock, timeoutMs: 1_000 },
    );
    const late = assert.rejects(api.get(things, { name: 'a', namespace: 'b' }), /no answer within 1000 ms/);
    await clock.advance(1_000);
    await late;
    await api.close();
  });

  it('converts a response that is not from the API to a StatusError', async () => {
    const answer = { status: 502, headers: {}, body: Buffer.from('<html>bad gateway</html>') };
    const api = createClient(
      createDirectTransport(() => Promise.resolve(answer)),
      { userAgent: 'test' },
    );
    await assert.rejects(
      api.get(things, { name: 'a', namespace: 'b' }),
      (error) => error instanceof StatusError && error.code === 502 && error.message.includes('bad gateway'),
    );
    await assert.rejects(api.get(things, { name: 'a' }), /needs a namespace/);
    await api.close();
  });
});
