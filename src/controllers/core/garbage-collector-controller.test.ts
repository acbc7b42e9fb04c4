import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { ConfigMap } from '#api/types.ts';
import { formatApiVersion, type KubeObject, type OwnerReference } from '#machinery/object.ts';
import type { ResourceRef } from '#client/client.ts';
import { configMaps, customResourceDefinitions, namespaces, secrets } from '#client/refs.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { garbageCollectorController } from './garbage-collector-controller.ts';

describe('garbage-collector-controller', () => {
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld([garbageCollectorController]);
    await world.namespace('gc');
    await world.namespace('other');
  });
  after(() => world.stop());

  const refTo = (
    owner: KubeObject,
    { kind = 'ConfigMap', block = true }: { kind?: string; block?: boolean } = {},
  ): OwnerReference => ({
    apiVersion: 'v1',
    kind,
    name: owner.metadata!.name!,
    uid: owner.metadata!.uid!,
    blockOwnerDeletion: block,
  });
  const make = (
    name: string,
    {
      owners = [],
      finalizers = [],
      namespace = 'gc',
    }: { owners?: OwnerReference[]; finalizers?: string[]; namespace?: string } = {},
  ): Promise<ConfigMap> =>
    world.api.create(configMaps, { metadata: { name, namespace, ownerReferences: owners, finalizers } });
  const find = (name: string): Promise<ConfigMap | undefined> =>
    world.find(configMaps, { name, namespace: 'gc' });
  const gone = (name: string): Promise<true> =>
    world.until(`${name} is gone`, async () => !(await find(name)));
  const remove = (name: string, propagationPolicy: 'Orphan' | 'Background' | 'Foreground'): Promise<void> =>
    world.api.delete(configMaps, { name, namespace: 'gc' }, { propagationPolicy });
  const release = async (name: string): Promise<void> => {
    const finalizers = (await find(name))!.metadata!.finalizers!.filter(
      (finalizer) => finalizer !== 'test/hold',
    );
    await world.api.patch(
      configMaps,
      { name, namespace: 'gc' },
      { type: 'merge', patch: { metadata: { finalizers } } },
    );
  };

  it('deletes dependents of all generations in the background', async () => {
    const top = await make('top');
    const middle = await make('middle', { owners: [refTo(top)] });
    await make('bottom', { owners: [refTo(middle)] });
    await world.pass(200);
    await remove('top', 'Background');
    await gone('bottom');
    assert.equal(await find('middle'), undefined);
  });

  it('keeps an object with another owner, and removes the dangling reference', async () => {
    const first = await make('first');
    const second = await make('second');
    await make('shared', { owners: [refTo(first), refTo(second)] });
    await remove('first', 'Background');
    await world.until(
      'one owner',
      async () => (await find('shared'))!.metadata!.ownerReferences!.length === 1,
    );
    assert.equal((await find('shared'))!.metadata!.ownerReferences![0]!.name, 'second');
    await remove('second', 'Background');
    await gone('shared');
  });

  it('deletes a foreground-deleted owner last', async () => {
    const owner = await make('fg');
    const child = await make('fg-child', { owners: [refTo(owner)], finalizers: ['test/hold'] });
    await make('fg-grandchild', { owners: [refTo(child)], finalizers: ['test/hold'] });
    await make('fg-free', { owners: [refTo(owner, { block: false })], finalizers: ['test/hold'] });
    await remove('fg', 'Foreground');
    await world.until(
      'grandchild deleted',
      async () => (await find('fg-grandchild'))!.metadata!.deletionTimestamp,
    );
    assert.ok((await find('fg'))!.metadata!.deletionTimestamp);
    await release('fg-child');
    await world.pass(500);
    assert.ok(await find('fg'));
    await release('fg-grandchild');
    await gone('fg');
    await world.until(
      'the free one goes after it',
      async () => (await find('fg-free'))!.metadata!.deletionTimestamp,
    );
    await release('fg-free');
    await gone('fg-free');
  });

  it('orphans dependents', async () => {
    const owner = await make('parent');
    await make('orphan', { owners: [refTo(owner)] });
    await world.pass(200);
    await remove('parent', 'Orphan');
    await gone('parent');
    assert.equal((await find('orphan'))!.metadata!.ownerReferences, undefined);
  });

  it('treats references with another uid or namespace as absent', async () => {
    const real = await make('real');
    await make('liar', { owners: [{ ...refTo(real), uid: 'no-such-uid' }] });
    await gone('liar');
    const elsewhere = await make('elsewhere', { namespace: 'other' });
    await make('stranger', { owners: [refTo(elsewhere)] });
    await gone('stranger');
    assert.ok(await world.find(configMaps, { name: 'elsewhere', namespace: 'other' }));
    const namespace = await world.api.get(namespaces, { name: 'gc' });
    await make('of-namespace', { owners: [refTo(namespace, { kind: 'Namespace' })] });
    await make('unknown', {
      owners: [{ apiVersion: 'nowhere.example/v1', kind: 'Thing', name: 'x', uid: 'y' }],
    });
    await world.pass(500);
    assert.ok(await find('of-namespace'));
    assert.ok(await find('unknown'));
  });

  it('breaks a cycle of blocking owners', async () => {
    const a = await make('circle-a');
    const b = await make('circle-b', { owners: [refTo(a)] });
    await world.api.patch(
      configMaps,
      { name: 'circle-a', namespace: 'gc' },
      { type: 'merge', patch: { metadata: { ownerReferences: [refTo(b)] } } },
    );
    await remove('circle-a', 'Foreground');
    await gone('circle-a');
    await gone('circle-b');
  });

  it('collects custom resources', async (t) => {
    await world.api.create(customResourceDefinitions, {
      metadata: { name: 'widgets.example.com' },
      spec: {
        group: 'example.com',
        scope: 'Namespaced',
        names: { plural: 'widgets', singular: 'widget', kind: 'Widget', listKind: 'WidgetList' },
        versions: [
          {
            name: 'v1',
            served: true,
            storage: true,
            schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
          },
        ],
      },
    });
    const widgets: ResourceRef = {
      group: 'example.com',
      version: 'v1',
      plural: 'widgets',
      kind: 'Widget',
      namespaced: true,
    };
    await world.pass(1_000);
    const definition = await world.api.get(customResourceDefinitions, { name: 'widgets.example.com' });
    if (
      !definition.status?.conditions?.some(({ type, status }) => type === 'Established' && status === 'True')
    )
      return t.skip('this API server does not serve custom resources');
    const widget = await world.until('served', () =>
      world.api.create(widgets, { metadata: { name: 'w', namespace: 'gc' } }),
    );
    const owner = {
      apiVersion: formatApiVersion(widgets),
      kind: 'Widget',
      name: 'w',
      uid: widget.metadata.uid,
    };
    await world.api.create(secrets, {
      metadata: { name: 'of-w', namespace: 'gc', ownerReferences: [owner] },
    });
    await world.pass(500);
    assert.ok(await world.find(secrets, { name: 'of-w', namespace: 'gc' }));
    await world.api.delete(widgets, { name: 'w', namespace: 'gc' });
    await world.until(
      'secret gone',
      async () => !(await world.find(secrets, { name: 'of-w', namespace: 'gc' })),
    );
  });
});
