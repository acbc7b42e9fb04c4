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

function addresses(
  changes: Partial<ClusterSettings>,
  ...hostAddresses: readonly string[]
): readonly string[] {
  const { advertise, node } = addressesOf({ ...SETTINGS, ...changes }, { hostAddresses, machine });
  return [advertise, ...node];
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

const DUAL = {
  runtime: 'cri',
  podCIDR: '10.244.0.0/16,fd00:10:244::/56',
  serviceCIDR: '10.96.0.0/16,fd00:10:96::/112',
} as const;
const SIX = { runtime: 'cri', podCIDR: 'fd00:10:244::/56', serviceCIDR: 'fd00:10:96::/112' } as const;

test('each family has its share, gateway, node address and address of the Service', () => {
  assert.deepEqual(addressesOf({ ...SETTINGS, ...DUAL }, { hostAddresses: ['198.51.100.7'], machine }), {
    nodePodCIDRs: ['10.244.0.0/24', 'fd00:10:244::/64'],
    gateways: ['10.244.0.1', 'fd00:10:244::1'],
    advertise: '10.244.0.1',
    node: ['198.51.100.7', 'fd00:10:244::1'],
    service: ['10.96.0.1', 'fd00:10:96::1'],
    dns: '10.96.0.10',
  });
});

test("the API server's address for pods is of the family of the first range of Services", () => {
  const hosts = ['198.51.100.7', '2001:db8::7'];
  assert.deepEqual(addresses(SIX, ...hosts), ['fd00:10:244::1', '2001:db8::7']);
  assert.deepEqual(addresses({ ...SIX, bindAddress: '::' }, ...hosts), ['2001:db8::7', '2001:db8::7']);
  assert.equal(
    addresses({ ...SIX, bindAddress: '0.0.0.0' }, ...hosts)[0],
    'fd00:10:244::1',
    'not listened on',
  );
  assert.equal(addresses({ ...SIX, bindAddress: '192.0.2.7' }, ...hosts)[0], 'fd00:10:244::1');
  assert.equal(addresses({ ...SIX, advertiseAddress: '2001:db8::9' })[0], '2001:db8::9');
  assert.equal(addresses({ ...SIX, runtime: 'simulated', bindAddress: '::' })[0], '127.0.0.1');
  const reversed = { ...DUAL, serviceCIDR: 'fd00:10:96::/112,10.96.0.0/16' };
  assert.deepEqual(addresses(reversed, ...hosts), ['fd00:10:244::1', ...hosts]);
});
