import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Client } from '#client/client.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { findResourceOfKind } from './discovery.ts';

const DEPLOYMENT = { apiVersion: 'apps/v1', kind: 'Deployment' };

/** An API that counts its discovery; kinds are added by the test. */
function discovered(): { api: Client; kinds: Set<string>; reads: () => number; fail: (on: boolean) => void } {
  const kinds = new Set(['Deployment']);
  let reads = 0,
    fails = false;
  const request = ({ path }: { path: string }): Promise<object> => {
    if (path === '/apis') reads++;
    const resources = [...kinds].map((kind) => ({
      resource: `${kind.toLowerCase()}s`,
      responseKind: { kind },
      scope: 'Namespaced',
      verbs: ['get'],
    }));
    const items =
      path === '/apis' ? [{ metadata: { name: 'apps' }, versions: [{ version: 'v1', resources }] }] : [];
    const body = Buffer.from(JSON.stringify({ kind: 'APIGroupDiscoveryList', items }));
    return Promise.resolve({ status: fails ? 503 : 200, headers: {}, bytes: () => Promise.resolve(body) });
  };
  const api = { transport: { request } } as unknown as Client;
  return { api, kinds, reads: () => reads, fail: (on) => void (fails = on) };
}

test('many look-ups share one discovery, for half a minute', async () => {
  const clock = new FakeClock();
  const { api, reads } = discovered();
  const found = await Promise.all(
    Array.from({ length: 100 }, () => findResourceOfKind(api, DEPLOYMENT, clock)),
  );
  assert.equal(
    found.every((one) => one?.plural === 'deployments'),
    true,
  );
  assert.equal(reads(), 1);
  await clock.advance(29_999);
  await findResourceOfKind(api, DEPLOYMENT, clock);
  assert.equal(reads(), 1);
  await clock.advance(1);
  await findResourceOfKind(api, DEPLOYMENT, clock);
  assert.equal(reads(), 2);
});

test('a kind that is not there is looked for again, at most once a second', async () => {
  const clock = new FakeClock();
  const { api, kinds, reads } = discovered();
  const find = () => findResourceOfKind(api, { apiVersion: 'apps/v1', kind: 'Widget' }, clock);
  assert.equal(await find(), undefined);
  kinds.add('Widget');
  for (let index = 0; index < 10; index++) assert.equal(await find(), undefined);
  assert.equal(reads(), 1);
  await clock.advance(1_000);
  assert.equal((await find())?.plural, 'widgets');
  assert.equal(reads(), 2);
});

test('a failed discovery is not kept', async () => {
  const clock = new FakeClock();
  const { api, fail } = discovered();
  fail(true);
  await assert.rejects(findResourceOfKind(api, DEPLOYMENT, clock), /discovery of \/api/);
  fail(false);
  assert.equal((await findResourceOfKind(api, DEPLOYMENT, clock))?.plural, 'deployments');
});
