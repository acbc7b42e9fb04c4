import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { EndpointSlice, Service } from '#api/types.ts';
import type { Stored } from '#machinery/object.ts';
import type { IPAddressPool, L2Advertisement } from '../api.ts';
import { readPool } from '../pools.ts';
import { electAnnouncements, poolsOfNode } from './elect.ts';

const meta = (name: string, labels = {}): Stored['metadata'] => ({
  name,
  labels,
  namespace: 'shop',
  uid: name,
  resourceVersion: '1',
});
const pool = readPool({
  metadata: meta('public'),
  spec: { addresses: ['192.0.2.0/24'] },
} as Stored<IPAddressPool>);
const service = (name: string, ip: string, spec: object = {}): Stored<Service> => ({
  metadata: meta(name),
  spec: { type: 'LoadBalancer', ...spec },
  status: { loadBalancer: { ingress: [{ ip }] } },
});
const advertisement = (spec: L2Advertisement['spec']): Stored<L2Advertisement> => ({
  metadata: meta('l2'),
  spec,
});

function owners(
  nodes: readonly string[],
  services: readonly Stored<Service>[],
  slices: EndpointSlice[] = [],
) {
  return new Map(
    nodes.flatMap((node) =>
      electAnnouncements({
        node,
        services,
        slicesOf: () => slices,
        pools: [pool],
        advertisements: [],
        announcersOf: () => nodes,
      }).map(({ address }) => [address, node] as const),
    ),
  );
}

it('each address has one node, and a node that leaves moves no address of others', () => {
  const services = Array.from({ length: 60 }, (_, index) => service(`s${index}`, `192.0.2.${index}`));
  const before = owners(['a', 'b', 'c'], services);
  assert.equal(before.size, 60);
  assert.equal(new Set(before.values()).size, 3);
  const after = owners(['a', 'b'], services);
  for (const [address, node] of before) if (node !== 'c') assert.equal(after.get(address), node);
});

it('policy Local: nodes with endpoints that serve; none, where there is none', () => {
  const local = [service('web', '192.0.2.1', { externalTrafficPolicy: 'Local' })];
  const slice = (nodeName: string, serving: boolean): EndpointSlice => ({
    addressType: 'IPv4',
    endpoints: [{ addresses: ['10.0.0.1'], nodeName, conditions: { serving } }],
  });
  assert.deepEqual(
    [...owners(['a', 'b', 'c'], local, [slice('b', true), slice('c', false)])],
    [['192.0.2.1', 'b']],
  );
  assert.deepEqual([...owners(['a', 'b'], local)], []);
  const six = { ...slice('a', true), addressType: 'IPv6' };
  assert.deepEqual(
    [...owners(['a', 'b'], local, [six])],
    [],
    'an endpoint of the other family serves nobody',
  );
});

it('advertisements say which nodes announce a pool', () => {
  const on = (labels: object, advertisements: Stored<L2Advertisement>[]): string[] =>
    poolsOfNode({ metadata: meta('n', labels) }, { pools: [pool], advertisements, routed: [] });
  assert.deepEqual(on({}, []), ['public']);
  const edge = advertisement({
    ipAddressPools: ['public'],
    nodeSelectors: [{ matchLabels: { edge: 'yes' } }],
  });
  assert.deepEqual(on({}, [edge]), []);
  assert.deepEqual(on({ edge: 'yes' }, [edge]), ['public']);
  assert.deepEqual(on({}, [advertisement({ ipAddressPools: ['other'] })]), ['public']);
  assert.deepEqual(on({ 'node.kubernetes.io/exclude-from-external-load-balancers': '' }, []), []);
});

it('a pool that is announced by BGP is announced to the segment only where an L2Advertisement says so', () => {
  const on = (advertisements: Stored<L2Advertisement>[]): string[] =>
    poolsOfNode(
      { metadata: meta('n') },
      { pools: [pool], advertisements, routed: [{ spec: { ipAddressPools: ['public'] } }] },
    );
  assert.deepEqual(on([]), []);
  assert.deepEqual(on([advertisement({})]), ['public']);
});
