import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addressWarnings, rangeWarnings } from './address-warnings.ts';
import { create } from './testing/write-case.ts';

const FUTURE = 'is invalid: use';

const addresses: readonly (readonly [value: string, ...warnings: string[]])[] = [
  ['10.0.0.1'],
  ['fd00::1'],
  ['nothing'],
  ['10.0.0.01', `p: non-standard IP address "10.0.0.01" ${FUTURE} "10.0.0.1"`],
  ['::ffff:10.0.0.1', `p: non-standard IP address "::ffff:10.0.0.1" ${FUTURE} "10.0.0.1"`],
  ['FD00:0::1', 'p: IPv6 address "FD00:0::1" should be in RFC 5952 canonical format ("fd00::1")'],
];
for (const [value, ...warnings] of addresses)
  test(`address: ${value}`, () => assert.deepEqual(addressWarnings(value, 'p'), warnings));

const ranges: readonly (readonly [value: string, ...warnings: string[]])[] = [
  ['10.0.0.0/8'],
  ['fd00::/64'],
  ['nothing'],
  [
    '10.0.0.1/8',
    'p: CIDR value "10.0.0.1/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.0.0.1/32"?)',
  ],
  ['010.0.0.0/8', `p: non-standard CIDR value "010.0.0.0/8" ${FUTURE} "10.0.0.0/8"`],
  ['FD00::/64', 'p: IPv6 CIDR value "FD00::/64" should be in RFC 5952 canonical format ("fd00::/64")'],
];
for (const [value, ...warnings] of ranges)
  test(`range: ${value}`, () => assert.deepEqual(rangeWarnings(value, 'p'), warnings));

test('fields with warnings', () => {
  const meta = { name: 'x', namespace: 'default' };
  assert.deepEqual(
    create('services', {
      metadata: meta,
      spec: {
        type: 'LoadBalancer',
        ports: [{ port: 80 }],
        externalIPs: ['10.0.0.01'],
        loadBalancerSourceRanges: ['10.0.0.1/8'],
      },
    }).warnings.map((text) => text.split(':')[0]),
    [
      'spec.externalIPs[0]',
      'spec.externalIPs is deprecated and may no longer be implemented in some clusters',
      'spec.loadBalancerSourceRanges[0]',
    ],
  );
  assert.deepEqual(
    create('networking.k8s.io/networkpolicies', {
      metadata: meta,
      spec: {
        ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.1/8', except: ['010.1.0.0/16'] } }] }],
        egress: [{ to: [{ ipBlock: { cidr: '10.0.0.1/8' } }] }],
      },
    }).warnings.map((text) => text.split(':')[0]),
    [
      'spec.ingress[0].from[0].ipBlock.cidr',
      'spec.ingress[0].from[0].ipBlock.except[0]',
      'spec.egress[0].to[0].ipBlock.cidr',
    ],
  );
  assert.deepEqual(
    create('pods', {
      metadata: meta,
      spec: {
        containers: [{ name: 'c', image: 'c' }],
        hostAliases: [{ ip: '10.0.0.01' }],
        dnsConfig: { nameservers: ['FD00::1'] },
      },
    }).warnings.map((text) => text.split(':')[0]),
    ['spec.dnsConfig.nameservers[0]', 'spec.hostAliases[0].ip'],
  );
  assert.deepEqual(
    create('discovery.k8s.io/endpointslices', {
      metadata: meta,
      addressType: 'IPv6',
      endpoints: [{ addresses: ['FD00::1'] }],
    }).warnings.map((text) => text.split(':')[0]),
    ['endpoints[0].addresses[0]'],
  );
});
