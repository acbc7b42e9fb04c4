/** Addons as Secrets of a real API server. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { clusterRoleBindings, secrets } from '#client/refs.ts';
import type { JsonObject } from '#machinery/json.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { configureAddons, listAddons } from './configure-addons.ts';

let cluster: TestApi;
before(async () => {
  cluster = await startTestApi();
});
after(() => cluster.stop());

test('addons are added, changed and removed as Secrets', async () => {
  const object = (x: string): JsonObject =>
    ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' }, data: { x } }) as unknown as JsonObject;
  const addons = async (list: readonly { name: string; objects: JsonObject[] }[], dryRun = false) =>
    (await configureAddons(cluster.api, list, { dryRun })).map(
      ({ object: what, change }) => `${what} ${change}`,
    );
  const one = { name: 'one', objects: [object('1')] };
  assert.deepEqual(await addons([one], true), ['addon one added: 1 objects']);
  assert.deepEqual(await listAddons(cluster.api), []);
  await addons([one]);
  assert.deepEqual(await listAddons(cluster.api), [
    { name: 'one', ready: false, message: 'not yet applied' },
  ]);
  assert.ok(await cluster.api.get(clusterRoleBindings, { name: 'capstan:addon-controller' }));
  assert.deepEqual(await addons([one]), []);
  assert.deepEqual(await addons([{ name: 'one', objects: [object('2')] }]), ['addon one changed: 1 objects']);
  const { labels } = (await cluster.api.get(secrets, { name: 'capstan-addon-one', namespace: 'kube-system' }))
    .metadata;
  assert.match(labels?.['applyset.kubernetes.io/id'] ?? '', /^applyset-[A-Za-z0-9_-]{43}-v1$/);
  assert.deepEqual(await addons([]), ['addon one removed']);
  assert.deepEqual(await listAddons(cluster.api), []);
});
