import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EndpointSlice } from '#api/types.ts';
import { create, update } from '../testing/write-case.ts';

const PATH = 'discovery.k8s.io/endpointslices';
const slice = (endpoint: object = {}, more: object = {}): object => ({
  metadata: { name: 'e', namespace: 'default' },
  addressType: 'IPv4',
  endpoints: [{ addresses: ['10.0.0.1'], ...endpoint }],
  ...more,
});
const names = (count: number): object[] => Array.from({ length: count }, (_, i) => ({ name: `n${i}` }));

const refused: readonly (readonly [what: string, slice: object, ...errors: string[]])[] = [
  [
    'hints',
    slice({ hints: { forZones: names(9), forNodes: [{ name: 'a' }, { name: 'a' }, { name: 'B' }] } }),
    'endpoints[0].hints.forZones: Too many: 9: must have at most 8 items',
    'endpoints[0].hints.forNodes[1].name: Duplicate value: "a"',
    "endpoints[0].hints.forNodes[2].name: Invalid value: \"B\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
  ],
  [
    'ports',
    slice(
      {},
      {
        ports: [
          { name: 'a', port: 1 },
          { name: 'a', port: 0, protocol: 'X' },
        ],
      },
    ),
    'ports[1].name: Duplicate value: "a"',
    'ports[1].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"',
  ],
  [
    'domain names',
    slice({ addresses: ['a.example.com.', '', 'a', 'A.b'] }, { addressType: 'FQDN' }),
    'endpoints[0].addresses[1]: Required value',
    'endpoints[0].addresses[2]: Invalid value: "a": should be a domain with at least two segments separated by dots',
    "endpoints[0].addresses[3]: Invalid value: \"A.b\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
  ],
  [
    'address types',
    slice({ addresses: [] }, { addressType: '' }),
    'addressType: Required value',
    'endpoints[0].addresses: Required value: must contain at least 1 address',
  ],
];

for (const [what, object, ...errors] of refused)
  test(`endpoint slice: ${what}`, () => assert.deepEqual(create(PATH, object).errors, errors));

test('endpoint slice: drops the topology of the older version', () => {
  const { object } = create<EndpointSlice>(
    PATH,
    slice({ deprecatedTopology: { 'kubernetes.io/hostname': 'n', other: 'x' } }),
  );
  assert.deepEqual(object.endpoints, [{ addresses: ['10.0.0.1'], nodeName: 'n' }]);
});

test('endpoint slice: labels count as a change', () => {
  const { object } = create<EndpointSlice>(PATH, slice());
  const generation = (change: (next: EndpointSlice) => void): number | undefined =>
    update<EndpointSlice>(PATH, object, change).object.metadata?.generation;
  assert.deepEqual(
    [
      generation((next) => {
        next.metadata!.labels = { a: 'b' };
      }),
      generation((next) => {
        next.endpoints = [];
      }),
      generation((next) => {
        next.metadata!.annotations = { a: 'b' };
      }),
    ],
    [2, 2, 1],
  );
  assert.deepEqual(
    update<EndpointSlice>(PATH, object, (next) => {
      next.addressType = 'IPv6';
      next.endpoints = [];
    }).errors,
    ['addressType: Invalid value: "IPv6": field is immutable'],
  );
});
