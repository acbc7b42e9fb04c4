import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import { nodes } from '#client/refs.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { until } from '#testing/cluster.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { keepControlPlaneLabel } from './control-plane-label.ts';

let test: TestApi;
before(async () => {
  test = await startTestApi();
});
after(() => test.stop());

it("labels the machine's own node, again when it is recreated, and no other", async () => {
  const end = new AbortController();
  keepControlPlaneLabel({
    api: test.api,
    clock: realClock,
    log: silentLogger,
    nodeName: 'own',
    signal: end.signal,
  });
  const isLabelled = async (name: string): Promise<boolean> =>
    'node-role.kubernetes.io/control-plane' in ((await test.api.get(nodes, { name })).metadata?.labels ?? {});
  await test.api.create(nodes, { metadata: { name: 'other' } });
  await test.api.create(nodes, { metadata: { name: 'own' } });
  await until('the label', () => isLabelled('own'));
  await test.api.delete(nodes, { name: 'own' });
  const { spec } = await test.api.create(nodes, { metadata: { name: 'own' } });
  await until('the label of the new one', () => isLabelled('own'));
  assert.deepEqual(spec?.taints?.filter(({ key }) => key.includes('control-plane')) ?? [], []);
  assert.equal(await isLabelled('other'), false);
  end.abort();
});
