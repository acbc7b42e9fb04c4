import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NodeStatus } from '#api/types.ts';
import { newNode } from './node-registration.ts';
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
  memory: { totalBytes: 2 ** 30, availableBytes: 2 ** 30 },
  disk: { capacityBytes: 100, availableBytes: 100, inodes: 0, inodesFree: 0 },
  processes: { limit: 100, running: 1 },
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
