/** Quotas of trees on a real API server: charged at admission, counted by their controller. After HNC's scenarios for them. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import {
  hierarchicalResourceQuotas,
  hierarchyConfigurations,
  subnamespaceAnchors,
} from '#addons/hierarchy/api.ts';
import { enableHierarchy } from '#addons/hierarchy/enable.ts';
import { hierarchicalQuotaController } from '#addons/hierarchy/hierarchical-quota-controller.ts';
import { hierarchyController } from '#addons/hierarchy/hierarchy-controller.ts';
import type { Client } from '#client/client.ts';
import {
  customResourceDefinitions,
  namespaces,
  persistentVolumeClaims,
  pods,
  resourceQuotas,
  secrets,
} from '#client/refs.ts';
import { namespaceController } from '#controllers/core/namespace-controller.ts';
import { resourceQuotaController } from '#controllers/core/resourcequota-controller.ts';
import { startTestWorld, type TestWorld } from '#controllers/testing/world.ts';
import { realClock } from '#stdx/clock.ts';

const SHADOW = 'hrq.hnc.x-k8s.io';

describe('quotas of trees of namespaces', () => {
  let world: TestWorld;
  let api: Client;
  before(async () => {
    world = await startTestWorld([
      hierarchyController,
      hierarchicalQuotaController,
      namespaceController,
      resourceQuotaController,
    ]);
    ({ api } = world);
    await enableHierarchy({ api, clock: realClock, signal: AbortSignal.timeout(20_000) });
  });
  after(() => world?.stop());

  type Amounts = Record<string, string>;
  async function setQuota(name: string, namespace: string, hard: Amounts): Promise<void> {
    const metadata = { name, namespace };
    const patch = {
      apiVersion: 'hnc.x-k8s.io/v1alpha2',
      kind: 'HierarchicalResourceQuota',
      metadata,
      spec: { hard },
    };
    await api.patch(hierarchicalResourceQuotas, metadata, {
      type: 'apply',
      patch,
      fieldManager: 't',
      force: true,
    });
    await world.until(`${name} counted`, async () => {
      const { status } = await api.get(hierarchicalResourceQuotas, metadata);
      return Object.keys(hard).every(
        (one) => status?.used?.[one] !== undefined && status.hard?.[one] === hard[one],
      );
    });
  }
  const used = (name: string, namespace: string, wanted: Amounts): Promise<unknown> =>
    world.until(`${name} in ${namespace} uses ${JSON.stringify(wanted)}`, async () => {
      const { status } = await api.get(hierarchicalResourceQuotas, { name, namespace });
      assert.deepEqual(status?.used, wanted);
      return true;
    });
  const limited = (namespace: string, wanted: Amounts | undefined): Promise<unknown> =>
    world.until(`${namespace} has ${JSON.stringify(wanted)}`, async () => {
      const found = await world.find(resourceQuotas, { name: SHADOW, namespace });
      assert.deepEqual(found?.spec?.hard, wanted);
      return true;
    });
  async function subnamespace(name: string, parent: string): Promise<void> {
    await api.create(subnamespaceAnchors, { metadata: { name, namespace: parent } });
    await world.until(`namespace ${name}`, () => world.find(namespaces, { name }));
  }
  async function setParent(namespace: string, parent: string): Promise<void> {
    const name = { name: 'hierarchy', namespace };
    const patch = {
      apiVersion: 'hnc.x-k8s.io/v1alpha2',
      kind: 'HierarchyConfiguration',
      metadata: name,
      spec: { parent },
    };
    await api.patch(hierarchyConfigurations, name, { type: 'apply', patch, fieldManager: 't', force: true });
  }
  const claim = (name: string, namespace: string): Promise<unknown> =>
    api.create(persistentVolumeClaims, {
      metadata: { name, namespace },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
    });
  const secret = (name: string, namespace: string): Promise<unknown> =>
    api.create(secrets, { metadata: { name, namespace } });
  const pod = (
    name: string,
    namespace: string,
    [cpu, memory]: readonly [string, string],
  ): Promise<unknown> => {
    const resources = { requests: { cpu, memory }, limits: { cpu, memory } };
    return api.create(pods, {
      metadata: { name, namespace },
      spec: { containers: [{ name: 'c', image: 'i', resources }], automountServiceAccountToken: false },
    });
  };

  it('limits each namespace of the tree by the strictest of its ancestors', async () => {
    await world.namespace('li-a');
    await subnamespace('li-b', 'li-a');
    await setQuota('all', 'li-a', { persistentvolumeclaims: '3' });
    await setQuota('own', 'li-b', { secrets: '2', persistentvolumeclaims: '5' });
    await limited('li-a', { persistentvolumeclaims: '3' });
    await limited('li-b', { persistentvolumeclaims: '3', secrets: '2' });
    await setQuota('all', 'li-a', { persistentvolumeclaims: '2', secrets: '1' });
    await limited('li-b', { persistentvolumeclaims: '2', secrets: '1' });
    await api.delete(resourceQuotas, { name: SHADOW, namespace: 'li-b' });
    await limited('li-b', { persistentvolumeclaims: '2', secrets: '1' });
    await api.delete(hierarchicalResourceQuotas, { name: 'all', namespace: 'li-a' });
    await limited('li-a', undefined);
    await limited('li-b', { persistentvolumeclaims: '5', secrets: '2' });
    await assert.rejects(
      setQuota('bad', 'li-a', { persistentvolumeclaims: '3', foobar: '1' }),
      /HierarchicalResourceQuota\.hnc\.x-k8s\.io "bad" is invalid: .*spec\.hard\[foobar\]: Invalid value: "foobar": must be a standard resource for quota/,
    );
    await assert.rejects(setQuota('bad', 'li-a', { secrets: 'many' }), /must be a quantity/);
  });

  it('counts what descendants use and stop using, and admits no more', async () => {
    await world.namespace('us-a');
    await subnamespace('us-b', 'us-a');
    await setQuota('few', 'us-a', { secrets: '2' });
    await secret('one', 'us-b');
    const { status } = await api.get(hierarchicalResourceQuotas, { name: 'few', namespace: 'us-a' });
    assert.deepEqual(status?.used, { secrets: '1' });
    await secret('two', 'us-a');
    for (const namespace of ['us-a', 'us-b'])
      await assert.rejects(
        secret('three', namespace),
        /secrets "three" is forbidden: exceeded hierarchical quota in namespace "us-a": "few", requested: secrets=1, used: secrets=2, limited: secrets=2/,
      );
    // The refused request was charged to its own namespace first, and given back.
    const shadow = await api.get(resourceQuotas, { name: SHADOW, namespace: 'us-b' });
    assert.deepEqual(shadow.status?.used, { secrets: '1' });
    await used('few', 'us-a', { secrets: '2' });
    const shown = await api.get(hierarchicalResourceQuotas, { name: 'few', namespace: 'us-a' });
    assert.equal(shown.status?.requestsSummary, 'secrets: 2/2');
    await api.delete(secrets, { name: 'one', namespace: 'us-b' });
    await used('few', 'us-a', { secrets: '1' });
    await secret('three', 'us-b');
    await api.delete(subnamespaceAnchors, { name: 'us-b', namespace: 'us-a' });
    await used('few', 'us-a', { secrets: '1' });
    await world.until('gone', async () => !(await world.find(namespaces, { name: 'us-b' })));
  });

  it('follows namespaces that are moved', async () => {
    for (const name of ['mo-a', 'mo-b', 'mo-c']) await world.namespace(name);
    await setParent('mo-b', 'mo-a');
    await setQuota('a', 'mo-a', { persistentvolumeclaims: '5', secrets: '5' });
    await setQuota('b', 'mo-b', { persistentvolumeclaims: '3' });
    await setQuota('c', 'mo-c', { persistentvolumeclaims: '1' });
    await claim('b', 'mo-b');
    await secret('b', 'mo-b');
    await claim('c', 'mo-c');
    await secret('c', 'mo-c');
    await setParent('mo-c', 'mo-b');
    await used('a', 'mo-a', { persistentvolumeclaims: '2', secrets: '2' });
    await used('b', 'mo-b', { persistentvolumeclaims: '2' });
    await used('c', 'mo-c', { persistentvolumeclaims: '1' });
    await setParent('mo-c', '');
    await used('a', 'mo-a', { persistentvolumeclaims: '1', secrets: '1' });
    await used('b', 'mo-b', { persistentvolumeclaims: '1' });
    await limited('mo-c', { persistentvolumeclaims: '1' });
  });

  it('leaves what is over a new quota, and takes no more', async () => {
    await world.namespace('ov-a');
    await subnamespace('ov-b', 'ov-a');
    await claim('a', 'ov-a');
    await claim('b', 'ov-b');
    await setQuota('one', 'ov-a', { persistentvolumeclaims: '1' });
    await used('one', 'ov-a', { persistentvolumeclaims: '2' });
    await assert.rejects(claim('c', 'ov-b'), /exceeded/);
    await secret('s', 'ov-b');
  });

  it('counts processors and memory of pods', async () => {
    for (const name of ['po-a', 'po-b', 'po-c']) await world.namespace(name);
    for (const name of ['po-b', 'po-c']) await setParent(name, 'po-a');
    await setQuota('size', 'po-a', { memory: '200Mi', cpu: '300m', 'limits.cpu': '1' });
    await pod('one', 'po-b', ['150m', '100Mi']);
    await used('size', 'po-a', { cpu: '150m', memory: '100Mi', 'limits.cpu': '150m' });
    for (const size of [
      ['250m', '100Mi'],
      ['150m', '150Mi'],
      ['250m', '150Mi'],
    ] as const)
      await assert.rejects(
        pod('two', 'po-c', size),
        /exceeded hierarchical quota in namespace "po-a": "size"/,
      );
    await assert.rejects(
      api.create(pods, {
        metadata: { name: 'x', namespace: 'po-c' },
        spec: { containers: [{ name: 'c', image: 'i' }] },
      }),
      /must specify cpu for: c/,
    );
    await pod('two', 'po-c', ['150m', '100Mi']);
    await world.until('summary', async () => {
      const { status } = await api.get(hierarchicalResourceQuotas, { name: 'size', namespace: 'po-a' });
      assert.equal(status?.requestsSummary, 'cpu: 300m/300m, memory: 200Mi/200Mi');
      assert.equal(status.limitsSummary, 'limits.cpu: 300m/1');
      return true;
    });
  });

  it('holds under many writers in all namespaces of a tree', async () => {
    for (const name of ['ma-a', 'ma-b', 'ma-c']) await world.namespace(name);
    for (const name of ['ma-b', 'ma-c']) await setParent(name, 'ma-a');
    await setQuota('ten', 'ma-a', { secrets: '10' });
    const asked = Array.from({ length: 60 }, (_, i) => secret(`s${i}`, ['ma-a', 'ma-b', 'ma-c'][i % 3]!));
    const made = (await Promise.allSettled(asked)).filter(({ status }) => status === 'fulfilled').length;
    assert.equal(made, 10);
    await used('ten', 'ma-a', { secrets: '10' });
  });

  it('limits nothing any more without the definition', async () => {
    await world.namespace('de-a');
    await setQuota('none', 'de-a', { secrets: '0' });
    await assert.rejects(secret('s', 'de-a'), /exceeded/);
    await api.delete(customResourceDefinitions, { name: 'hierarchicalresourcequotas.hnc.x-k8s.io' });
    await limited('de-a', undefined);
    await secret('s', 'de-a');
  });
});
