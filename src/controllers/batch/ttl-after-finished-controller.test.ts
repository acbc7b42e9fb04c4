import assert from 'node:assert/strict';
import { it } from 'node:test';
import { jobs, pods } from '#client/refs.ts';
import { startTestWorld } from '../testing/world.ts';
import { jobController } from './job-controller.ts';
import { ttlAfterFinishedController } from './ttl-after-finished-controller.ts';

it('deletes a finished job when its TTL expires, also when the TTL was set late', async (t) => {
  const world = await startTestWorld([jobController, ttlAfterFinishedController]);
  t.after(() => world.stop());
  await world.namespace('ttl');
  const template = { spec: { containers: [{ name: 'c', image: 'work:1' }], restartPolicy: 'Never' } };
  await world.api.create(jobs, {
    metadata: { name: 'short', namespace: 'ttl' },
    spec: { template, ttlSecondsAfterFinished: 10 },
  });
  await world.api.create(jobs, { metadata: { name: 'kept', namespace: 'ttl' }, spec: { template } });
  const all = await world.until('pods', async () => {
    const { items } = await world.api.list(pods, { namespace: 'ttl' });
    return items.length === 2 && items;
  });
  await world.pass(15_000);
  for (const pod of all) await world.setPod(pod, { phase: 'Succeeded', ready: false, exitCode: 0 });
  const find = (name: string) => world.find(jobs, { name, namespace: 'ttl' });
  for (const name of ['short', 'kept'])
    await world.until('complete', async () => (await find(name))?.status?.completionTime);
  await world.pass(5_000);
  assert.equal((await find('short'))?.metadata?.deletionTimestamp, undefined);
  await world.pass(6_000);
  // Foreground deletion: the garbage collector, which does not run here, would finish it.
  await world.until('deleted', async () => (await find('short'))?.metadata?.deletionTimestamp);
  assert.deepEqual((await find('short'))!.metadata!.finalizers, ['foregroundDeletion']);
  assert.equal((await find('kept'))!.metadata!.deletionTimestamp, undefined);
  await world.api.patch(
    jobs,
    { name: 'kept', namespace: 'ttl' },
    { type: 'merge', patch: { spec: { ttlSecondsAfterFinished: 0 } } },
  );
  await world.until('deleted', async () => (await find('kept'))?.metadata?.deletionTimestamp);
});
