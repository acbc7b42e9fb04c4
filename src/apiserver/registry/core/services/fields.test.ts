import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ServiceSpec } from '#api/types.ts';
import { keepAllocated, keepInStep } from './fields.ts';

const stored = {
  type: 'NodePort',
  clusterIP: '10.96.0.7',
  clusterIPs: ['10.96.0.7'],
  ports: [
    { port: 80, name: 'a', nodePort: 30001 },
    { port: 81, name: 'b', nodePort: 30002 },
  ],
} as ServiceSpec;

const cases: readonly (readonly [what: string, given: object, completed: object])[] = [
  [
    'no error',
    { type: 'ClusterIP' },
    { type: 'ClusterIP', clusterIP: '10.96.0.7', clusterIPs: ['10.96.0.7'] },
  ],
  [
    'the older field alone',
    { type: 'ClusterIP', clusterIP: '10.96.0.8' },
    { type: 'ClusterIP', clusterIP: '10.96.0.8', clusterIPs: ['10.96.0.8'] },
  ],
  [
    'both',
    { type: 'ClusterIP', clusterIP: '10.96.0.8', clusterIPs: ['10.96.0.9'] },
    { type: 'ClusterIP', clusterIP: '10.96.0.8', clusterIPs: ['10.96.0.9'] },
  ],
  ['no address any more', { type: 'ExternalName' }, { type: 'ExternalName' }],
  ['an address that is to go', { type: 'ExternalName', clusterIPs: ['10.96.0.7'] }, { type: 'ExternalName' }],
  [
    'node ports by name, none twice',
    {
      type: 'NodePort',
      ports: [
        { port: 1, name: 'b' },
        { port: 2, name: 'a' },
        { port: 3, name: 'c', nodePort: 30001 },
      ],
    },
    {
      type: 'NodePort',
      clusterIP: '10.96.0.7',
      clusterIPs: ['10.96.0.7'],
      ports: [
        { port: 1, name: 'b', nodePort: 30002 },
        { port: 2, name: 'a' },
        { port: 3, name: 'c', nodePort: 30001 },
      ],
    },
  ],
];

for (const [what, given, completed] of cases) {
  test(`an update of a Service is completed: ${what}`, () => {
    const spec = structuredClone(given) as ServiceSpec;
    keepAllocated(spec, stored);
    keepInStep(spec, stored);
    assert.deepEqual(spec, completed);
  });
}
