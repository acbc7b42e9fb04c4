import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Pod } from '#api/types.ts';
import {
  configMaps,
  deployments,
  endpoints,
  endpointSlices,
  namespaces,
  nodes,
  pods,
  replicaSets,
  serviceAccounts,
  services,
} from '#client/refs.ts';
import { controllers } from './list.ts';
import { startTestWorld, type TestWorld } from './testing/world.ts';

describe('all controllers together', () => {
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld(
      controllers({ clusterCIDR: '10.244.0.0/16', rootCA: 'PEM' }).filter(
        ({ featureGate }) => featureGate === undefined,
      ),
    );
  });
  after(() => world.stop());

  it('bring up a deployment behind a service, and delete all of it with its namespace', async () => {
    await world.api.create(nodes, { metadata: { name: 'n1' } });
    const condition = { type: 'Ready', status: 'True' };
    await world.until('node reports', async () => {
      const node = await world.api.get(nodes, { name: 'n1' });
      return world.api.updateStatus(nodes, {
        ...node,
        status: {
          ...node.status,
          conditions: [condition],
          capacity: { cpu: '4', memory: '8Gi', pods: '110' },
        },
      });
    });
    const node = await world.until('node is open', async () => {
      const now = await world.api.get(nodes, { name: 'n1' });
      return now.spec?.podCIDR && !now.spec.taints?.length && now;
    });
    assert.equal(node.spec!.podCIDR, '10.244.0.0/24');

    await world.api.create(namespaces, { metadata: { name: 'shop' } });
    await world.until(
      'namespace is furnished',
      async () =>
        (await world.find(serviceAccounts, { name: 'default', namespace: 'shop' })) &&
        world.find(configMaps, { name: 'kube-root-ca.crt', namespace: 'shop' }),
    );
    const template = {
      metadata: { labels: { app: 'web' } },
      spec: { containers: [{ name: 'c', image: 'web:1' }], terminationGracePeriodSeconds: 0 },
    };
    await world.api.create(deployments, {
      metadata: { name: 'web', namespace: 'shop' },
      spec: { replicas: 2, selector: { matchLabels: { app: 'web' } }, template },
    });
    await world.api.create(services, {
      metadata: { name: 'web', namespace: 'shop' },
      spec: { selector: { app: 'web' }, ports: [{ port: 80 }] },
    });
    const podsOf = async (): Promise<Pod[]> => (await world.api.list(pods, { namespace: 'shop' })).items;
    const [first, second] = await world.until('pods', async () => {
      const list = await podsOf();
      return list.length === 2 && list;
    });
    for (const [index, pod] of [first!, second!].entries()) {
      await world.bind(pod, 'n1');
      await world.setPod(pod, { podIP: `10.244.0.${index + 2}` });
    }
    await world.until(
      'deployment is there',
      async () =>
        (await world.api.get(deployments, { name: 'web', namespace: 'shop' })).status?.availableReplicas ===
        2,
    );
    await world.until('endpoints are ready', async () => {
      const slices = (await world.api.list(endpointSlices, { namespace: 'shop' })).items;
      return (
        slices.length === 1 &&
        slices[0]!.endpoints!.filter(({ conditions }) => conditions?.ready).length === 2
      );
    });
    await world.until(
      'endpoints object',
      async () =>
        (await world.api.get(endpoints, { name: 'web', namespace: 'shop' })).subsets?.[0]?.addresses
          ?.length === 2,
    );

    await world.api.delete(
      deployments,
      { name: 'web', namespace: 'shop' },
      { propagationPolicy: 'Foreground' },
    );
    await world.api.delete(services, { name: 'web', namespace: 'shop' });
    /** Plays the kubelet. */
    const finishPods = async (): Promise<void> => {
      for (const pod of await podsOf()) if (pod.metadata?.deletionTimestamp) await world.finishPod(pod);
    };
    await world.until('collected', async () => {
      await finishPods();
      const left = [
        ...(await podsOf()),
        ...(await world.api.list(replicaSets, { namespace: 'shop' })).items,
        ...(await world.api.list(endpointSlices, { namespace: 'shop' })).items,
      ];
      return left.length === 0 && !(await world.find(deployments, { name: 'web', namespace: 'shop' }));
    });
    await world.api.delete(namespaces, { name: 'shop' });
    await world.until('namespace is gone', async () => !(await world.find(namespaces, { name: 'shop' })));
  });
});
