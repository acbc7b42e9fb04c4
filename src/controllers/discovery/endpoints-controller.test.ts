import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { EndpointSubset, Pod } from '#api/types.ts';
import { endpoints, pods, services } from '#client/refs.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { packSubsets, truncateSubsets } from './endpoint-subsets.ts';
import { endpointsController } from './endpoints-controller.ts';

describe('packSubsets', () => {
  it('merges ports of the same addresses, and separates different ones', () => {
    const at = (ip: string, port: number, ready = true) => ({
      address: { ip },
      ready,
      port: { port, protocol: 'TCP' },
    });
    assert.deepEqual(
      packSubsets([at('10.0.0.10', 80), at('10.0.0.9', 80), at('10.0.0.9', 443), at('10.0.0.10', 443)]),
      [
        {
          addresses: [{ ip: '10.0.0.9' }, { ip: '10.0.0.10' }],
          ports: [
            { port: 443, protocol: 'TCP' },
            { port: 80, protocol: 'TCP' },
          ],
        },
      ],
    );
    assert.equal(packSubsets([at('10.0.0.1', 80), at('10.0.0.2', 80, false), at('10.0.0.2', 81)]).length, 2);
  });

  it('keeps ready addresses when there are too many', () => {
    const { subsets, truncated } = truncateSubsets(
      [
        { addresses: [{ ip: '1' }], notReadyAddresses: [{ ip: '2' }], ports: [] },
        { addresses: [{ ip: '3' }], ports: [] },
      ],
      2,
    );
    assert.equal(truncated, true);
    assert.deepEqual(subsets, [
      { addresses: [{ ip: '1' }], ports: [] },
      { addresses: [{ ip: '3' }], ports: [] },
    ]);
  });
});

describe('endpoints-controller', () => {
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld([endpointsController]);
    await world.namespace('ep');
  });
  after(() => world.stop());

  const subsets = async (): Promise<EndpointSubset[] | undefined> =>
    (await world.find(endpoints, { name: 'web', namespace: 'ep' }))?.subsets;
  const pod = async (name: string, podIP: string): Promise<Pod> => {
    const created = await world.api.create(pods, {
      metadata: { name, namespace: 'ep', labels: { app: 'web' } },
      spec: { containers: [{ name: 'c', image: 'i' }], nodeName: 'n1' },
    });
    return world.setPod(created, { podIP, ready: false });
  };

  it('follows the pods of a service, and deletes its Endpoints with the service', async () => {
    await world.node('n1');
    await world.api.create(services, {
      metadata: { name: 'web', namespace: 'ep', labels: { team: 'a' } },
      spec: { selector: { app: 'web' }, ports: [{ port: 80, targetPort: 8080 }] },
    });
    const one = await pod('a', '10.244.0.2');
    await world.until(
      'not ready',
      async () => (await subsets())?.[0]?.notReadyAddresses?.[0]?.ip === '10.244.0.2',
    );
    await world.setPod(one, { podIP: '10.244.0.2' });
    await world.until('ready', async () => (await subsets())?.[0]?.addresses?.length === 1);
    const object = await world.api.get(endpoints, { name: 'web', namespace: 'ep' });
    assert.deepEqual(object.metadata.labels, {
      team: 'a',
      'endpoints.kubernetes.io/managed-by': 'endpoint-controller',
    });
    assert.deepEqual(object.subsets, [
      {
        addresses: [
          {
            ip: '10.244.0.2',
            nodeName: 'n1',
            targetRef: { kind: 'Pod', namespace: 'ep', name: 'a', uid: one.metadata!.uid },
          },
        ],
        ports: [{ port: 8080, protocol: 'TCP' }],
      },
    ]);
    await world.api.delete(pods, { name: 'a', namespace: 'ep' });
    await world.until('terminating pods are not shown', async () => !(await subsets())?.length);
    const { metadata } = await world.api.get(endpoints, { name: 'web', namespace: 'ep' });
    await world.pass(300);
    assert.equal(
      (await world.api.get(endpoints, { name: 'web', namespace: 'ep' })).metadata.resourceVersion,
      metadata.resourceVersion,
    );
    await world.api.delete(services, { name: 'web', namespace: 'ep' });
    await world.until('gone', async () => !(await world.find(endpoints, { name: 'web', namespace: 'ep' })));
  });

  it('ignores Endpoints of others', async () => {
    await world.api.create(endpoints, {
      metadata: { name: 'mine', namespace: 'ep' },
      subsets: [{ addresses: [{ ip: '192.0.2.1' }], ports: [{ port: 1 }] }],
    });
    await world.api.create(services, {
      metadata: { name: 'manual', namespace: 'ep' },
      spec: { ports: [{ port: 80 }] },
    });
    await world.pass(500);
    assert.ok(await world.find(endpoints, { name: 'mine', namespace: 'ep' }));
    assert.equal(await world.find(endpoints, { name: 'manual', namespace: 'ep' }), undefined);
  });
});
