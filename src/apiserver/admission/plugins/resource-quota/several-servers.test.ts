/** Two API servers on one real etcd charge the same quota: what is used never exceeds what is allowed. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { StoreError, type Store } from '#storage/store.ts';
import type { TestResponse, TestServer } from '../../../testing/server.ts';
import { someEtcd, startSharedEtcd, type SharedEtcd } from '../../../testing/shared-etcd.ts';
import { resourceQuota } from './resource-quota.ts';

const IN_RED = '/api/v1/namespaces/red';
const HARD = { 'count/configmaps': '20' };
const OPTIONS = { admission: () => [resourceQuota()] };

const program = someEtcd();

describe('a quota that two API servers charge', { skip: program ? false : 'no etcd here' }, () => {
  let shared: SharedEtcd;
  let one: TestServer;
  let two: TestServer;
  before(async () => {
    shared = await startSharedEtcd(program!);
    [one, two] = await Promise.all([shared.start(OPTIONS), shared.start(OPTIONS)]);
    await one.request('POST /api/v1/namespaces', { body: { metadata: { name: 'red' } } });
    await two.request(`POST ${IN_RED}/resourcequotas`, {
      body: { metadata: { name: 'few' }, spec: { hard: HARD } },
    });
    await setUsed(0);
  });
  after(async () => {
    await Promise.all([one.stop(), two.stop()]);
    await shared.close();
  });

  const patch = { 'content-type': 'application/merge-patch+json' };
  /** What the resourcequota controller does. */
  const setUsed = async (count: number): Promise<void> => {
    const status = { hard: HARD, used: { 'count/configmaps': String(count) } };
    const answer = await one.request(`PATCH ${IN_RED}/resourcequotas/few/status`, {
      body: { status },
      headers: patch,
    });
    assert.equal(answer.status, 200, answer.text);
  };
  const used = async (): Promise<string> =>
    (await one.request(`GET ${IN_RED}/resourcequotas/few`)).body.status.used['count/configmaps'];
  const create = (server: TestServer, name: string): Promise<TestResponse> =>
    server.request(`POST ${IN_RED}/configmaps`, { body: { metadata: { name } } });
  const count = async (): Promise<number> =>
    (await two.request(`GET ${IN_RED}/configmaps`)).body.items.length;

  test('a flood of both stops at the limit', async () => {
    const answers = await Promise.all(
      Array.from({ length: 80 }, (_, i) => create(i % 2 ? one : two, `m${i}`)),
    );
    const made = answers.filter(({ status }) => status === 201).length;
    const refused = answers.filter(({ status }) => status !== 201);
    // Under load some give up on conflicts before the quota is used up: that is a refusal too.
    assert.ok(made <= 20, refused.map(({ text }) => text).join('\n'));
    for (const { status, text } of refused) {
      assert.equal(status, 403);
      assert.match(
        text,
        /exceeded quota: few, requested: count\/configmaps=1, used: count\/configmaps=20|could not be updated: too many conflicts/,
      );
    }
    for (let i = made; i < 20; i++) assert.equal((await create(i % 2 ? one : two, `rest${i}`)).status, 201);
    for (const server of [one, two])
      assert.match(
        (await create(server, 'more')).text,
        /exceeded quota: few, requested: count\/configmaps=1, used: count\/configmaps=20/,
      );
    assert.equal(await count(), 20);
    assert.equal(await used(), '20');
  });

  test('a quota that one has just set holds at the other at once', async () => {
    await one.request(`DELETE ${IN_RED}/configmaps`);
    for (let i = 0; i < 10; i++) {
      await setUsed(20);
      assert.equal((await create(two, `late${i}`)).status, 403);
      await setUsed(19);
      assert.equal((await create(two, `early${i}`)).status, 201);
    }
  });

  test('a write whose outcome nobody knows stays charged; one that failed is given back', async () => {
    await setUsed(10);
    for (const [code, expected] of [
      ['unavailable', '11'],
      ['too-large', '11'],
    ] as const) {
      const failing = await shared.start({ ...OPTIONS, store: failsAt(await shared.openStore(), code) });
      const answer = await create(failing, `failing-${code}`);
      assert.ok(answer.status >= 400, answer.text);
      assert.equal(await used(), expected);
      await failing.stop();
    }
  });
});

function failsAt(store: Store, code: 'unavailable' | 'too-large'): Store {
  return new Proxy(store, {
    get(target, name) {
      if (name === 'put')
        return (...args: Parameters<Store['put']>) =>
          args[0].startsWith('/registry/configmaps/red/')
            ? Promise.reject(new StoreError(code, 'refused'))
            : target.put(...args);
      const value = Reflect.get(target, name, target) as unknown;
      return typeof value === 'function' ? (value as () => unknown).bind(target) : value;
    },
  });
}
