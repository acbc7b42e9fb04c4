import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Service } from '#api/types.ts';
import { findConflicts } from './service-conflicts.ts';

const service = (name: string, spec: object): Service => ({ metadata: { name }, spec }) as Service;
const nodePort = (name: string, ...ports: number[]): Service =>
  service(name, { type: 'NodePort', ports: ports.map((one) => ({ port: 80, nodePort: one })) });
const ranges = { cidrs: ['10.96.0.0/16', 'fd00:10:96::/112'], ports: { from: 30_000, to: 30_100 } };
const found = (...services: Service[]): string[] =>
  findConflicts(services, ranges).map(
    ({ service: { metadata }, reason, message }) => `${metadata?.name} ${reason}: ${message}`,
  );

test('a cluster IP outside of every ServiceCIDR', () => {
  assert.deepEqual(
    found(
      service('a', { clusterIP: '10.96.0.7', clusterIPs: ['10.96.0.7', 'fd00:10:96::7'] }),
      service('b', { clusterIP: '10.97.0.7', clusterIPs: ['10.97.0.7', 'fd00:10:97::7'] }),
      service('headless', { clusterIP: 'None', clusterIPs: ['None'] }),
    ),
    [
      'b ClusterIPOutOfRange: Cluster IP [IPv4]: 10.97.0.7 is not within any configured Service CIDR; please recreate service',
      'b ClusterIPOutOfRange: Cluster IP [IPv6]: fd00:10:97::7 is not within any configured Service CIDR; please recreate service',
    ],
  );
  assert.deepEqual(findConflicts([service('b', { clusterIP: '10.97.0.7' })], { ...ranges, cidrs: [] }), []);
});

test('a node port outside of the range, and one that two Services have; protocols of one Service may share it', () => {
  assert.deepEqual(found(nodePort('a', 30_001, 30_001), nodePort('b', 30_001), nodePort('c', 31_000)), [
    'b PortAlreadyAllocated: Port 30001 was assigned to multiple services; please recreate service',
    'c PortOutOfRange: Port 31000 is not within the port range 30000-30100; please recreate service',
  ]);
});
