import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dataDir, type ClusterSettings } from '#deploy/data-dir.ts';
import { newNetworks, requireNetworks, type NetworkOptions } from './networks.ts';

const dir = dataDir('/nowhere');
const STORED: ClusterSettings = {
  format: 1,
  id: '00000000',
  httpsPort: 6443,
  bindAddress: '127.0.0.1',
  runtime: 'simulated',
  nodes: 300,
  podCIDR: '10.128.0.0/9',
  serviceCIDR: '10.96.0.0/16',
};

function problem(given: NetworkOptions, stored?: ClusterSettings): string {
  try {
    requireNetworks(given, { dir, stored });
    return '';
  } catch (error) {
    return (error as Error).message;
  }
}

test('ranges that no cluster can have are refused in a sentence', () => {
  for (const [given, expected] of [
    [{ podNetworkCidr: '' }, '--pod-network-cidr is empty; it should be a range of addresses.'],
    [
      { podNetworkCidr: '10.0.0.0' },
      '--pod-network-cidr has "10.0.0.0"; it should be a range like 10.96.0.0/12.',
    ],
    [
      { podNetworkCidr: '10.0.0.0/16,10.1.0.0/16' },
      '--pod-network-cidr is "10.0.0.0/16,10.1.0.0/16"; it should be one (IPv4 or IPv6) CIDR or two CIDRs from each family for dual-stack networking.',
    ],
    [
      { podNetworkCidr: 'fd00::/80' },
      '--pod-network-cidr has "fd00::/80": the size of pod subnet with mask 80 is smaller than the size of node subnet with mask 64.',
    ],
    [
      { serviceCidr: 'fd00::/48' },
      '--service-cidr has "fd00::/48"; its prefix should have 8 to 30 bits, of an IPv6 range 64 to 126.',
    ],
    [
      { podNetworkCidr: '10.1.0.0/16', serviceCidr: '10.1.4.0/24' },
      '--service-cidr has "10.1.4.0/24", which overlaps with the range of pods 10.1.0.0/16: they should have no address in common.',
    ],
    [
      { podNetworkCidr: '10.1.0.0/16', serviceCidr: 'fd00::/112' },
      '--service-cidr has "fd00::/112", but no pod has an IPv6 address: the ranges of pods (10.1.0.0/16) should have that family too.',
    ],
    [
      { serviceCidr: '10.0.0.0/8' },
      '--service-cidr contains all default ranges: give --pod-network-cidr too, a range that has no address in common with it.',
    ],
    [
      { podNetworkCidr: 'fd00::/56', advertiseAddress: '192.0.2.7' },
      '--advertise-address is 192.0.2.7; it should be an IPv6 address, as the first range of Services is fd00:10:96::/112.',
    ],
  ] as const)
    assert.equal(problem(given), expected);
});

test('of a cluster that is there they are the same', () => {
  assert.equal(problem({}, STORED), '');
  assert.equal(problem({ podNetworkCidr: '10.244.0.0/16', serviceCidr: '10.96.0.0/16' }, STORED), '');
  assert.match(
    problem({ serviceCidr: '10.97.0.0/16' }, STORED),
    /The cluster in \/nowhere has --service-cidr 10\.96\.0\.0\/16; that cannot be changed\. Use another --data-dir/,
  );
  assert.match(
    problem({ podNetworkCidr: '10.1.0.0/16,fd00::/56' }, STORED),
    /has --pod-network-cidr 10\.128/,
  );
});

test('of a new cluster with simulated nodes', async () => {
  const made = (given: NetworkOptions): ReturnType<typeof newNetworks> =>
    newNetworks({ ...given, id: '00000000', dir, runtime: 'simulated', nodes: 300 });
  assert.deepEqual(await made({}), { podCIDR: '10.128.0.0/9', serviceCIDR: '10.96.0.0/16' });
  assert.deepEqual(await made({ podNetworkCidr: '10.244.0.0/16,fd00:10:244::/56' }), {
    podCIDR: '10.128.0.0/9,fd00:10:244::/48',
    serviceCIDR: '10.96.0.0/16,fd00:10:96::/112',
  });
  assert.deepEqual(await made({ podNetworkCidr: 'fd01:2::/48' }), {
    podCIDR: 'fd01:2::/48',
    serviceCIDR: 'fd00:10:96::/112',
  });
});
