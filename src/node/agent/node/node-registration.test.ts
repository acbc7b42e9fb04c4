/** The Node that an agent registers; and its registration with a real API server. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { NodeStatus } from '#api/types.ts';
import { nodes } from '#client/refs.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { newNode, NodeRegistration } from './node-registration.ts';
import { nodeStatus } from './node-status.ts';

const FACTS = {
  before: undefined,
  nowMs: 0,
  nodeName: 'n',
  addresses: ['192.0.2.1'],
  kubeletPort: 10_250,
  capacity: {},
  allocatable: {},
  systemInfo: {} as NonNullable<NodeStatus['nodeInfo']>,
  images: [],
  pressures: [],
  problem: undefined,
  volumesInUse: [],
};

test('a new Node has the providerID and the taints that it is given', () => {
  const taints = [{ key: 'a', effect: 'NoSchedule' }];
  const { spec } = newNode({ nodeName: 'n', podCIDRs: [], labels: {}, taints, providerID: 'cloud://1' });
  assert.deepEqual(spec, { taints, providerID: 'cloud://1' });
});

test('with an external cloud provider the addresses that are there stay', () => {
  const cloud = [{ type: 'ExternalIP', address: '203.0.113.9' }];
  const own = [
    { type: 'InternalIP', address: '192.0.2.1' },
    { type: 'Hostname', address: 'n' },
  ];
  const before: NodeStatus = { addresses: cloud };
  assert.deepEqual(nodeStatus({ ...FACTS, before, externalCloudProvider: true }).addresses, cloud);
  assert.deepEqual(nodeStatus({ ...FACTS, externalCloudProvider: true }).addresses, own);
  assert.deepEqual(nodeStatus({ ...FACTS, before }).addresses, own);
});

let cluster: TestApi;
before(async () => {
  cluster = await startTestApi();
});
after(() => cluster.stop());

async function register(addresses: readonly string[]): Promise<readonly (string | undefined)[]> {
  const registration = new NodeRegistration({
    api: cluster.api,
    clock: realClock,
    log: silentLogger,
    nodeName: 'n1',
    podCIDRs: undefined,
    labels: {},
    taints: [],
    measure: () =>
      Promise.resolve({ addresses: addresses.map((address) => ({ type: 'InternalIP', address })) }),
  });
  const stopped = setTimeout(() => void registration.stop(), 5_000);
  await registration.start();
  clearTimeout(stopped);
  await registration.stop();
  const { status } = await cluster.api.get(nodes, { name: 'n1' });
  return status?.addresses?.map(({ address }) => address) ?? [];
}

test('a node with addresses of both families registers again, also with others', async () => {
  const both = ['192.0.2.7', '2001:db8::7'];
  assert.deepEqual(await register(both), both);
  assert.deepEqual(await register(both), both);
  assert.deepEqual(await register(['192.0.2.8', '2001:db8::7']), ['192.0.2.8', '2001:db8::7']);
  assert.deepEqual(await register(['192.0.2.8']), ['192.0.2.8']);
});
