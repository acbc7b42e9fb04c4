import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Pod } from '#api/types.ts';
import { configMaps, deployments, pods, resourceQuotas, services } from '#client/refs.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { quotaTarget, resourceQuotaController } from './resourcequota-controller.ts';

describe('resourcequota-controller', () => {
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld([resourceQuotaController]);
  });
  after(() => world.stop());

  const pod = (namespace: string, name: string, cpu = '100m'): Promise<Pod> =>
    world.api.create(pods, {
      metadata: { name, namespace },
      spec: {
        containers: [{ name: 'c', image: 'i', resources: { requests: { cpu } } }],
        terminationGracePeriodSeconds: 0,
      },
    });
  const quota = async (namespace: string, hard: Record<string, string>, spec: object = {}): Promise<void> => {
    await world.api.create(resourceQuotas, { metadata: { name: 'q', namespace }, spec: { hard, ...spec } });
  };
  const used = async (namespace: string): Promise<Record<string, string> | undefined> =>
    (await world.api.get(resourceQuotas, { name: 'q', namespace })).status?.used;
  const usedIs = (namespace: string, wanted: Record<string, string>): Promise<true> =>
    world.until(JSON.stringify(wanted), async () => {
      assert.deepEqual(await used(namespace), wanted);
      return true;
    });

  it('counts existing objects, and subtracts deleted and finished ones', async () => {
    await world.namespace('counted');
    const first = await pod('counted', 'a');
    await world.api.create(configMaps, { metadata: { name: 'c', namespace: 'counted' } });
    await world.api.create(services, {
      metadata: { name: 's', namespace: 'counted' },
      spec: {
        type: 'NodePort',
        ports: [{ port: 80 }, { name: 'b', port: 81 }].map((port, index) => ({ name: `p${index}`, ...port })),
      },
    });
    await quota('counted', {
      pods: '3',
      'requests.cpu': '1',
      'count/configmaps': '9',
      'services.nodeports': '4',
      'count/deployments.apps': '1',
      'count/nothing.example.com': '1',
    });
    await usedIs('counted', {
      pods: '1',
      'requests.cpu': '100m',
      'count/configmaps': '1',
      'services.nodeports': '2',
      'count/deployments.apps': '0',
    });
    await pod('counted', 'b');
    await pod('counted', 'c', '200m');
    await assert.rejects(pod('counted', 'd'), /exceeded quota/);
    await usedIs('counted', {
      pods: '3',
      'requests.cpu': '400m',
      'count/configmaps': '1',
      'services.nodeports': '2',
      'count/deployments.apps': '0',
    });
    await world.setPod(first, { phase: 'Succeeded' });
    await world.until('ended', async () => (await used('counted'))!['pods'] === '2');
    await world.finishPod({ metadata: { name: 'c', namespace: 'counted' } } as Pod);
    await world.until('gone', async () => (await used('counted'))!['requests.cpu'] === '100m');
    await pod('counted', 'd');
    await world.api.delete(configMaps, { name: 'c', namespace: 'counted' });
    await world.until('config map', async () => (await used('counted'))!['count/configmaps'] === '0');
    const template = { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'i' }] } };
    await world.api.create(deployments, {
      metadata: { name: 'd', namespace: 'counted' },
      spec: { selector: { matchLabels: { a: 'b' } }, template },
    });
    await world.api.delete(deployments, { name: 'd', namespace: 'counted' });
    await world.until('deployment', async () => (await used('counted'))!['count/deployments.apps'] === '0');
  });

  it('follows changes of spec.hard, and writes nothing without a change', async () => {
    await world.namespace('hard');
    await quota('hard', { pods: '1' });
    await usedIs('hard', { pods: '0' });
    await world.api.patch(
      resourceQuotas,
      { name: 'q', namespace: 'hard' },
      { type: 'merge', patch: { spec: { hard: { pods: '2', secrets: '5' } } } },
    );
    await usedIs('hard', { pods: '0', secrets: '0' });
    const { status, metadata } = await world.api.get(resourceQuotas, { name: 'q', namespace: 'hard' });
    assert.deepEqual(status!.hard, { pods: '2', secrets: '5' });
    await world.clock.advance(700_000);
    await world.pass(200);
    assert.equal(
      (await world.api.get(resourceQuotas, { name: 'q', namespace: 'hard' })).metadata.resourceVersion,
      metadata.resourceVersion,
    );
  });

  it('counts only objects in its scopes', async () => {
    await world.namespace('scoped');
    await quota('scoped', { pods: '5' }, { scopes: ['BestEffort'] });
    await pod('scoped', 'a');
    await world.api.create(pods, {
      metadata: { name: 'b', namespace: 'scoped' },
      spec: { containers: [{ name: 'c', image: 'i' }] },
    });
    await world.pass(1_000);
    await usedIs('scoped', { pods: '1' });
  });

  it('subtracts objects that an update moves out of its scopes', async () => {
    await world.namespace('moved');
    await quota('moved', { pods: '5' }, { scopes: ['NotTerminating'] });
    await usedIs('moved', { pods: '0' });
    await pod('moved', 'a');
    await usedIs('moved', { pods: '1' });
    await world.api.patch(
      pods,
      { name: 'a', namespace: 'moved' },
      { type: 'merge', patch: { spec: { activeDeadlineSeconds: 3600 } } },
    );
    await usedIs('moved', { pods: '0' });
  });

  it('never exceeds the quota under concurrent creation', async () => {
    await world.namespace('burst');
    await quota('burst', { pods: '5' });
    await usedIs('burst', { pods: '0' });
    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, (_, index) => pod('burst', `p${index}`)),
    );
    assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 5);
    await world.pass(3_000);
    await usedIs('burst', { pods: '5' });
  });

  it('maps resource names to the resources that they count', () => {
    const target = (name: string): string => {
      const found = quotaTarget(name);
      return found ? `${found.resource}.${found.group}` : '';
    };
    assert.deepEqual(
      [
        'requests.storage',
        'gold.storageclass.storage.k8s.io/requests.storage',
        'requests.nvidia.com/gpu',
        'limits.cpu',
        'count/jobs.batch',
        'services.loadbalancers',
        'odd',
      ].map(target),
      ['persistentvolumeclaims.', 'persistentvolumeclaims.', 'pods.', 'pods.', 'jobs.batch', 'services.', ''],
    );
  });
});
