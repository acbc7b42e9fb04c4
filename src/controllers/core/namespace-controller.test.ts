import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { configMaps, deployments, namespaces, pods, services } from '#client/refs.ts';
import type { ResourceRef } from '#client/client.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { namespaceController } from './namespace-controller.ts';

const spec = { containers: [{ name: 'c', image: 'web:1' }] };

describe('namespace-controller', () => {
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld([namespaceController]);
  });
  after(() => world.stop());

  it('deletes the contents and then the namespace, in less than a second', async () => {
    await world.namespace('full');
    const template = { metadata: { labels: { a: 'b' } }, spec };
    await world.api.create(configMaps, { metadata: { name: 'a', namespace: 'full' } });
    await world.api.create(services, {
      metadata: { name: 'a', namespace: 'full' },
      spec: { ports: [{ port: 80 }] },
    });
    await world.api.create(deployments, {
      metadata: { name: 'a', namespace: 'full' },
      spec: { selector: { matchLabels: { a: 'b' } }, template },
    });
    await world.api.create(pods, { metadata: { name: 'a', namespace: 'full' }, spec });
    await world.namespace('other');
    await world.api.create(configMaps, { metadata: { name: 'kept', namespace: 'other' } });
    await world.api.delete(namespaces, { name: 'full' });
    const startMs = world.clock.now();
    await world.until('gone', async () => !(await world.find(namespaces, { name: 'full' })));
    assert.ok(world.clock.now() - startMs < 1_000);
    for (const resource of [configMaps, services, deployments, pods] as ResourceRef[])
      assert.deepEqual((await world.api.list(resource, { namespace: 'full' })).items, []);
    await world.api.get(configMaps, { name: 'kept', namespace: 'other' });
  });

  it('reports remaining content in conditions', async () => {
    await world.namespace('held');
    await world.api.create(configMaps, {
      metadata: { name: 'a', namespace: 'held', finalizers: ['test.example/hold'] },
    });
    await world.api.delete(namespaces, { name: 'held' });
    const { conditions } = await world.until('conditions', async () => {
      const { status } = await world.api.get(namespaces, { name: 'held' });
      return status?.conditions && status;
    });
    const text = (type: string): string | undefined =>
      conditions!.find((condition) => condition.type === type && condition.status === 'True')?.message;
    assert.equal(
      text('NamespaceContentRemaining'),
      'Some resources are remaining: configmaps. has 1 resource instances',
    );
    assert.equal(
      text('NamespaceFinalizersRemaining'),
      'Some content in the namespace has finalizers remaining: test.example/hold in 1 resource instances',
    );
    await world.api.patch(
      configMaps,
      { name: 'a', namespace: 'held' },
      { type: 'merge', patch: { metadata: { finalizers: null } } },
    );
    await world.until('gone', async () => !(await world.find(namespaces, { name: 'held' })));
  });
});
