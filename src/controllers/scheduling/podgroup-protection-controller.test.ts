/** PodGroups against a real API server with the gate GenericWorkload. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { PodGroup } from '#api/generated/types/scheduling-v1alpha2.ts';
import { servingFrom } from '#cmd/apiserver/flags/serving.ts';
import { nodes, podGroupsV1alpha2, pods } from '#client/refs.ts';
import { startTestWorld } from '../testing/world.ts';
import { podGroupProtectionController } from './podgroup-protection-controller.ts';

const serving = servingFrom({
  featureGates: 'GenericWorkload=true',
  runtimeConfig: 'scheduling.k8s.io/v1alpha2=true',
});

it('a deleted group is kept while a pod that is not over names it', async (t) => {
  const world = await startTestWorld([podGroupProtectionController], { serving });
  t.after(() => world.stop());
  await world.namespace('shop');
  await world.api.create(nodes, { metadata: { name: 'n1' } });
  for (const name of ['used', 'unused'])
    await world.api.create(podGroupsV1alpha2, {
      metadata: { name, namespace: 'shop' },
      spec: { schedulingPolicy: { gang: { minCount: 2 } } },
    });
  const pod = await world.api.create(pods, {
    metadata: { name: 'a', namespace: 'shop' },
    spec: { containers: [{ name: 'c', image: 'i' }], schedulingGroup: { podGroupName: 'used' } },
  });
  await world.bind(pod, 'n1');
  const find = (name: string): Promise<PodGroup | undefined> =>
    world.find(podGroupsV1alpha2, { name, namespace: 'shop' });
  assert.deepEqual((await find('used'))?.metadata?.finalizers, ['scheduling.k8s.io/podgroup-protection']);
  for (const name of ['used', 'unused'])
    await world.api.delete(podGroupsV1alpha2, { name, namespace: 'shop' });
  await world.until('unused is gone', async () => !(await find('unused')));
  await world.pass(1_000);
  assert.ok((await find('used'))?.metadata?.deletionTimestamp);
  await world.setPod(pod, { phase: 'Succeeded', ready: false, exitCode: 0 });
  await world.until('used is gone', async () => !(await find('used')));
});
