import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ClusterSettings } from '#deploy/data-dir.ts';
import { addressesOf } from './addresses.ts';

const SETTINGS: ClusterSettings = {
  format: 1,
  id: '00000000',
  httpsPort: 6443,
  bindAddress: '127.0.0.1',
  runtime: 'simulated',
  nodes: 1,
  podCIDR: '10.244.0.0/16',
  serviceCIDR: '10.96.0.0/16',
};
const machine = ['127.0.0.1', '192.0.2.7'];

function addresses(changes: Partial<ClusterSettings>, hostAddress?: string): readonly string[] {
  const { advertise, node } = addressesOf({ ...SETTINGS, ...changes }, { hostAddress, machine });
  return [advertise, node];
}

test('the kubernetes Service leads to where the API server is reached, also with simulated nodes', () => {
  const everywhere = { bindAddress: '0.0.0.0' };
  assert.deepEqual(addresses(everywhere, '198.51.100.7'), ['198.51.100.7', '198.51.100.7']);
  assert.equal(addresses(everywhere)[0], '192.0.2.7');
  assert.equal(
    addresses({ ...everywhere, advertiseAddress: '203.0.113.9' }, '198.51.100.7')[0],
    '203.0.113.9',
  );
  assert.equal(addresses({}, '198.51.100.7')[0], '127.0.0.1');
});

test('with real nodes it is the bridge where nothing else is reached', () => {
  const real = { runtime: 'cri' } as const;
  assert.deepEqual(addresses(real, '198.51.100.7'), ['10.244.0.1', '198.51.100.7']);
  assert.deepEqual(addresses({ ...real, bindAddress: '0.0.0.0' }, '198.51.100.7'), [
    '198.51.100.7',
    '198.51.100.7',
  ]);
  assert.deepEqual(addresses({ ...real, bindAddress: '0.0.0.0' }), ['10.244.0.1', '10.244.0.1']);
  assert.deepEqual(addresses({ ...real, bindAddress: '192.0.2.7' }, '198.51.100.7'), [
    '192.0.2.7',
    '192.0.2.7',
  ]);
});
