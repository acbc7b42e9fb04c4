import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { EndpointSlice } from '#api/types.ts';
import { endpoints, endpointSlices, services } from '#client/refs.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { endpointSliceMirroringController } from './endpointslicemirroring-controller.ts';

describe('endpointslice-mirroring-controller', () => {
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld([endpointSliceMirroringController]);
    await world.namespace('mirror');
  });
  after(() => world.stop());

  const slices = async (service: string): Promise<EndpointSlice[]> =>
    (
      await world.api.list(endpointSlices, {
        namespace: 'mirror',
        labelSelector: `kubernetes.io/service-name=${service}`,
      })
    ).items;
  const subsets = [
    {
      addresses: [{ ip: '192.0.2.1' }, { ip: '2001:db8::1' }],
      notReadyAddresses: [{ ip: '192.0.2.2' }],
      ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
    },
  ];
  const service = (name: string, spec: object = {}) =>
    world.api.create(services, {
      metadata: { name, namespace: 'mirror' },
      spec: { ports: [{ port: 80 }], ...spec },
    });

  it('mirrors manually managed Endpoints, follows changes, and deletes the slices with them', async () => {
    await service('db');
    await world.api.create(endpoints, {
      metadata: { name: 'db', namespace: 'mirror', labels: { team: 'a' } },
      subsets,
    });
    const all = await world.until('both families', async () => {
      const list = await slices('db');
      return list.length === 2 && list;
    });
    const four = all.find(({ addressType }) => addressType === 'IPv4')!;
    assert.deepEqual(
      four.endpoints!.map(({ addresses, conditions }) => [addresses[0], conditions!.ready]),
      [
        ['192.0.2.1', true],
        ['192.0.2.2', false],
      ],
    );
    assert.deepEqual(four.ports, [{ name: 'http', port: 80, protocol: 'TCP' }]);
    assert.equal(
      four.metadata!.labels!['endpointslice.kubernetes.io/managed-by'],
      'endpointslicemirroring-controller.k8s.io',
    );
    assert.equal(four.metadata!.labels!['team'], 'a');
    assert.equal(four.metadata!.ownerReferences![0]!.kind, 'Endpoints');
    const merge = (subset: object): Promise<unknown> =>
      world.api.patch(
        endpoints,
        { name: 'db', namespace: 'mirror' },
        { type: 'merge', patch: { subsets: [subset] } },
      );
    await merge({ addresses: [{ ip: '192.0.2.9' }], ports: [{ port: 81 }] });
    await world.until('followed', async () => {
      const list = await slices('db');
      return (
        list.length === 1 &&
        list[0]!.endpoints![0]!.addresses[0] === '192.0.2.9' &&
        list[0]!.ports![0]!.port === 81
      );
    });
    const [{ metadata } = {}] = await slices('db');
    await world.pass(500);
    assert.equal((await slices('db'))[0]!.metadata!.resourceVersion, metadata!.resourceVersion);
    await world.api.delete(endpoints, { name: 'db', namespace: 'mirror' });
    await world.until('gone', async () => (await slices('db')).length === 0);
  });

  it('ignores Endpoints that must not be mirrored', async () => {
    await service('selecting', { selector: { app: 'web' } });
    await world.api.create(endpoints, { metadata: { name: 'selecting', namespace: 'mirror' }, subsets });
    await service('skipped');
    await world.api.create(endpoints, {
      metadata: {
        name: 'skipped',
        namespace: 'mirror',
        labels: { 'endpointslice.kubernetes.io/skip-mirror': 'true' },
      },
      subsets,
    });
    await world.api.create(endpoints, { metadata: { name: 'no-service', namespace: 'mirror' }, subsets });
    await world.pass(500);
    for (const name of ['selecting', 'skipped', 'no-service']) assert.equal((await slices(name)).length, 0);
    await service('no-service');
    await world.until('a service came', async () => (await slices('no-service')).length === 2);
    await world.api.patch(
      endpoints,
      { name: 'no-service', namespace: 'mirror' },
      {
        type: 'merge',
        patch: { metadata: { labels: { 'endpointslice.kubernetes.io/skip-mirror': 'true' } } },
      },
    );
    await world.until('skipped now', async () => (await slices('no-service')).length === 0);
  });
});
