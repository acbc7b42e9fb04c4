/** Labels and taints against a real API server. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { nodes } from '#client/refs.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { configureNode } from './configure.ts';

let cluster: TestApi;
before(async () => {
  cluster = await startTestApi();
  await cluster.api.create(nodes, {
    metadata: { name: 'w', labels: { theirs: 'x' } },
    spec: { taints: [{ key: 'theirs', effect: 'NoSchedule' }] },
  });
});
after(() => cluster.stop());

const node = () => cluster.api.get(nodes, { name: 'w' });
const own = async (): Promise<Record<string, string>> => {
  const { labels = {} } = (await node()).metadata;
  return Object.fromEntries(Object.entries(labels).filter(([key]) => !key.startsWith('kubernetes.io/')));
};
const configure = async (labels: Record<string, string>, dryRun = false): Promise<string[]> =>
  (await configureNode(cluster.api, { name: 'w', labels }, { dryRun })).map(({ change }) => change);

test('labels are added, changed and removed; those of others stay', async () => {
  assert.deepEqual(await configure({ disk: 'ssd', zone: 'a' }, true), ['label disk=ssd', 'label zone=a']);
  assert.deepEqual(await own(), { theirs: 'x' }, 'nothing was changed');
  await configure({ disk: 'ssd', zone: 'a' });
  assert.deepEqual(await own(), { theirs: 'x', disk: 'ssd', zone: 'a' });
  const { resourceVersion } = (await node()).metadata;
  assert.deepEqual(await configure({ disk: 'ssd', zone: 'a' }), []);
  assert.equal((await node()).metadata.resourceVersion, resourceVersion, 'again writes nothing');
  await cluster.api.patch(
    nodes,
    { name: 'w' },
    { type: 'merge', patch: { metadata: { labels: { disk: 'hdd' } } } },
  );
  assert.deepEqual(await configure({ disk: 'ssd' }), ['label disk=ssd', 'label zone removed']);
  assert.deepEqual(await own(), { theirs: 'x', disk: 'ssd' });
  assert.deepEqual(await configure({}), ['label disk removed']);
  assert.deepEqual(await own(), { theirs: 'x' });
});

test('taints are set and removed; those of others stay', async () => {
  const taints = [{ key: 'batch', value: 'x', effect: 'NoExecute' as const }];
  const taint = (more: object): Promise<unknown> =>
    configureNode(cluster.api, { name: 'w', labels: {}, ...more }, { dryRun: false });
  const keys = async (): Promise<(string | undefined)[]> =>
    ((await node()).spec?.taints ?? [])
      .map(({ key }) => key)
      .filter((key) => !key?.includes('kubernetes.io'));
  assert.deepEqual(await taint({ taints }), [{ object: 'node w', change: 'taint batch=x:NoExecute' }]);
  assert.deepEqual(await keys(), ['theirs', 'batch']);
  assert.deepEqual(await taint({ taints }), []);
  assert.deepEqual(await taint({}), [{ object: 'node w', change: 'taint batch:NoExecute removed' }]);
  assert.deepEqual(await keys(), ['theirs']);
  assert.deepEqual(await taint({}), []);
});
