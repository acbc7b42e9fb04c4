import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { KubeObject } from '#machinery/object.ts';
import {
  namespaces,
  nodes,
  persistentVolumeClaims,
  persistentVolumes,
  pods,
  volumeAttributesClasses,
} from '#client/refs.ts';
import { namespaceController } from '../core/namespace-controller.ts';
import { startTestWorld } from '../testing/world.ts';
import { persistentVolumeClaimProtectionController } from './persistentvolumeclaim-protection-controller.ts';
import { persistentVolumeProtectionController } from './persistentvolume-protection-controller.ts';
import { volumeAttributesClassProtectionController } from './volumeattributesclass-protection-controller.ts';

const claim = (name: string, more: object = {}): KubeObject => ({
  metadata: { name, namespace: 'shop' },
  spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } }, ...more },
});

it('a deleted claim is kept while a pod on a node uses it, and removed with the pod', async (t) => {
  const world = await startTestWorld([persistentVolumeClaimProtectionController]);
  t.after(() => world.stop());
  await world.namespace('shop');
  await world.api.create(nodes, { metadata: { name: 'n1' } });
  for (const name of ['used', 'unused', 'waiting'])
    await world.api.create(persistentVolumeClaims, claim(name));
  const podOf = (name: string): KubeObject => ({
    metadata: { name, namespace: 'shop' },
    spec: {
      containers: [{ name: 'c', image: 'i' }],
      volumes: [{ name: 'v', persistentVolumeClaim: { claimName: name } }],
    },
  });
  const user = await world.api.create(pods, podOf('used'));
  await world.api.create(pods, podOf('waiting'));
  await world.bind(user, 'n1');
  await world.pass(100);
  const find = (name: string) => world.find(persistentVolumeClaims, { name, namespace: 'shop' });
  for (const name of ['used', 'unused', 'waiting'])
    await world.api.delete(persistentVolumeClaims, { name, namespace: 'shop' });
  for (const name of ['unused', 'waiting'])
    await world.until(`${name} gone`, async () => !(await find(name)));
  const held = await find('used');
  assert.ok(held?.metadata?.deletionTimestamp);
  assert.deepEqual(held.metadata.finalizers, ['kubernetes.io/pvc-protection']);
  await world.setPod(user, { phase: 'Succeeded', ready: false, exitCode: 0 });
  await world.pass(1_000);
  assert.ok(await find('used'), 'a pod that ended may be looked at yet');
  await world.finishPod(user);
  await world.until('gone', async () => !(await find('used')));
});

it('a claim without the finalizer gets it back; a namespace with claims can be deleted', async (t) => {
  const world = await startTestWorld([persistentVolumeClaimProtectionController, namespaceController]);
  t.after(() => world.stop());
  await world.namespace('shop');
  await world.api.create(persistentVolumeClaims, claim('a'));
  await world.api.patch(
    persistentVolumeClaims,
    { name: 'a', namespace: 'shop' },
    { type: 'merge', patch: { metadata: { finalizers: null } } },
  );
  await world.until(
    'protected again',
    async () =>
      (await world.find(persistentVolumeClaims, { name: 'a', namespace: 'shop' }))?.metadata?.finalizers
        ?.length === 1,
  );
  await world.api.delete(namespaces, { name: 'shop' });
  await world.until('gone', async () => !(await world.find(namespaces, { name: 'shop' })));
});

it('a deleted volume is kept while it is bound, a class while a claim uses it', async (t) => {
  const world = await startTestWorld([
    persistentVolumeProtectionController,
    volumeAttributesClassProtectionController,
    persistentVolumeClaimProtectionController,
  ]);
  t.after(() => world.stop());
  await world.namespace('shop');
  await world.api.create(persistentVolumes, {
    metadata: { name: 'v' },
    spec: { capacity: { storage: '1Gi' }, accessModes: ['ReadWriteOnce'], hostPath: { path: '/x' } },
  });
  await world.api.patch(
    persistentVolumes,
    { name: 'v' },
    { type: 'merge', subresource: 'status', patch: { status: { phase: 'Bound' } } },
  );
  await world.api.create(volumeAttributesClasses, {
    metadata: { name: 'fast' },
    driverName: 'd.example',
    parameters: { a: 'b' },
  });
  await world.api.create(persistentVolumeClaims, claim('c', { volumeAttributesClassName: 'fast' }));
  await world.pass(100);
  await world.api.delete(persistentVolumes, { name: 'v' });
  await world.api.delete(volumeAttributesClasses, { name: 'fast' });
  await world.pass(1_000);
  assert.ok((await world.find(persistentVolumes, { name: 'v' }))?.metadata?.deletionTimestamp);
  assert.ok((await world.find(volumeAttributesClasses, { name: 'fast' }))?.metadata?.deletionTimestamp);
  await world.api.patch(
    persistentVolumes,
    { name: 'v' },
    { type: 'merge', subresource: 'status', patch: { status: { phase: 'Released' } } },
  );
  await world.until('volume gone', async () => !(await world.find(persistentVolumes, { name: 'v' })));
  await world.api.delete(persistentVolumeClaims, { name: 'c', namespace: 'shop' });
  await world.until('class gone', async () => !(await world.find(volumeAttributesClasses, { name: 'fast' })));
});
