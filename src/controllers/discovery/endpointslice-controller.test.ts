import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Endpoint, EndpointSlice, Pod, Service } from '#api/types.ts';
import { endpointSlices, nodes, pods, services } from '#client/refs.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { endpointSliceController } from './endpointslice-controller.ts';

describe('endpointslice-controller', () => {
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld([endpointSliceController]);
    await world.node('n1', (node) => {
      node.metadata!.labels!['topology.kubernetes.io/zone'] = 'west';
    });
  });
  after(() => world.stop());

  const slicesOf = async (namespace: string): Promise<EndpointSlice[]> =>
    (await world.api.list(endpointSlices, { namespace })).items;
  const endpointsOf = async (namespace: string): Promise<Endpoint[]> =>
    (await slicesOf(namespace)).flatMap(({ endpoints }) => endpoints ?? []);
  const service = (
    namespace: string,
    spec: Service['spec'] = {},
    labels: Record<string, string> = {},
  ): Promise<Service> =>
    world.api.create(services, {
      metadata: { name: 'web', namespace, labels },
      spec: { selector: { app: 'web' }, ports: [{ name: 'http', port: 80, targetPort: 'http' }], ...spec },
    });
  const pod = async (
    namespace: string,
    name: string,
    podIP: string,
    { ready = true, port = 8080, spec = {} }: { ready?: boolean; port?: number; spec?: object } = {},
  ): Promise<Pod> => {
    const created = await world.api.create(pods, {
      metadata: { name, namespace, labels: { app: 'web' } },
      spec: {
        containers: [{ name: 'c', image: 'i', ports: [{ name: 'http', containerPort: port }] }],
        terminationGracePeriodSeconds: 30,
        ...spec,
      },
    });
    await world.bind(created, 'n1');
    return world.setPod(created, { podIP, ready });
  };

  it('sets ready, serving and terminating', async () => {
    await world.namespace('life');
    await service('life', {}, { team: 'a' });
    const [placeholder] = await world.until('placeholder', async () => {
      const all = await slicesOf('life');
      return all.length === 1 && all;
    });
    assert.match(placeholder!.metadata!.name!, /^web-[a-z0-9]{5}$/);
    assert.deepEqual(placeholder!.metadata!.labels, {
      team: 'a',
      'kubernetes.io/service-name': 'web',
      'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
    });
    assert.equal(placeholder!.metadata!.ownerReferences![0]!.kind, 'Service');
    const first = await pod('life', 'a', '10.244.0.2', { ready: false });
    const shown = await world.until('not ready', async () => (await endpointsOf('life'))[0]);
    assert.deepEqual(shown, {
      addresses: ['10.244.0.2'],
      conditions: { ready: false, serving: false, terminating: false },
      nodeName: 'n1',
      zone: 'west',
      targetRef: { kind: 'Pod', namespace: 'life', name: 'a', uid: first.metadata!.uid },
    });
    await world.setPod(first, { podIP: '10.244.0.2' });
    await world.until('ready', async () => (await endpointsOf('life'))[0]?.conditions?.ready);
    const slices = await slicesOf('life');
    assert.equal(slices.length, 1);
    assert.equal(slices[0]!.metadata!.name, placeholder!.metadata!.name);
    assert.deepEqual(slices[0]!.ports, [{ name: 'http', port: 8080, protocol: 'TCP' }]);
    await world.api.delete(pods, { name: 'a', namespace: 'life' });
    await world.until('terminating', async () => (await endpointsOf('life'))[0]?.conditions?.terminating);
    assert.deepEqual((await endpointsOf('life'))[0]!.conditions, {
      ready: false,
      serving: true,
      terminating: true,
    });
    await world.finishPod(first);
    await world.until('gone', async () => (await endpointsOf('life')).length === 0);
    assert.equal((await slicesOf('life')).length, 1);
  });

  it('resolves named ports, which differ by pod', async () => {
    await world.namespace('named');
    await service('named');
    await pod('named', 'a', '10.244.0.3', { port: 8080 });
    await pod('named', 'b', '10.244.0.4', { port: 9090 });
    await world.until(
      'two slices',
      async () =>
        (await slicesOf('named'))
          .map(({ ports }) => ports?.[0]?.port)
          .sort()
          .join() === '8080,9090',
    );
    assert.equal((await endpointsOf('named')).length, 2);
  });

  it('publishes unready pods, and hostnames of a headless service', async () => {
    await world.namespace('headless');
    await service('headless', {
      clusterIP: 'None',
      publishNotReadyAddresses: true,
      trafficDistribution: 'PreferSameZone',
    });
    await pod('headless', 'a', '10.244.0.5', { ready: false, spec: { hostname: 'first', subdomain: 'web' } });
    const endpoint = await world.until('endpoint', async () => (await endpointsOf('headless'))[0]);
    assert.deepEqual(
      [endpoint.conditions, endpoint.hostname, endpoint.hints],
      [{ ready: true, serving: false, terminating: false }, 'first', { forZones: [{ name: 'west' }] }],
    );
    assert.equal((await slicesOf('headless'))[0]!.metadata!.labels!['service.kubernetes.io/headless'], '');
  });

  it('puts at most a hundred endpoints into a slice, and fills slices that have room', async () => {
    await world.namespace('many');
    await service('many');
    const all: Pod[] = [];
    for (let index = 0; index < 130; index++) all.push(await pod('many', `p${index}`, `10.244.1.${index}`));
    await world.until('all', async () => (await endpointsOf('many')).length === 130);
    assert.ok((await slicesOf('many')).every(({ endpoints }) => (endpoints ?? []).length <= 100));
    for (const one of all.slice(0, 60)) await world.finishPod(one);
    await world.until('fewer', async () => (await endpointsOf('many')).length === 70);
    await pod('many', 'again', '10.244.2.1');
    await world.until('one more', async () => (await endpointsOf('many')).length === 71);
    const addresses = (await endpointsOf('many')).map((endpoint) => endpoint.addresses[0]);
    assert.equal(new Set(addresses).size, 71);
  });

  it('writes nothing without a change, and reverts changes of others', async () => {
    await world.namespace('calm');
    await service('calm');
    const one = await pod('calm', 'a', '10.244.0.9');
    await world.until('ready', async () => (await endpointsOf('calm'))[0]?.conditions?.ready);
    const [slice] = await slicesOf('calm');
    await world.api.patch(
      pods,
      { name: 'a', namespace: 'calm' },
      { type: 'merge', patch: { metadata: { annotations: { note: 'x' } } } },
    );
    await world.setPod(one, { podIP: '10.244.0.9' });
    await world.pass(500);
    assert.equal((await slicesOf('calm'))[0]!.metadata!.resourceVersion, slice!.metadata!.resourceVersion);
    await world.api.delete(endpointSlices, { name: slice!.metadata!.name!, namespace: 'calm' });
    await world.until('restored', async () => (await endpointsOf('calm')).length === 1);
    await world.api.patch(
      services,
      { name: 'web', namespace: 'calm' },
      { type: 'merge', patch: { metadata: { labels: { team: 'b' } } } },
    );
    await world.until('labels', async () => (await slicesOf('calm'))[0]?.metadata?.labels?.['team'] === 'b');
    await world.api.patch(
      nodes,
      { name: 'n1' },
      { type: 'merge', patch: { metadata: { labels: { 'topology.kubernetes.io/zone': 'east' } } } },
    );
    await world.until('zone', async () => (await endpointsOf('calm'))[0]?.zone === 'east');
  });
});
