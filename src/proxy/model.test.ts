import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { EndpointSlice, Service } from '#api/types.ts';
import { serviceHealth, servicePorts, type ServicePortModel } from './model.ts';

type Spec = NonNullable<Service['spec']>;
type Endpoints = NonNullable<EndpointSlice['endpoints']>;

function service(spec: Partial<Spec>, status?: Service['status']): Service {
  return {
    metadata: { name: 'web', namespace: 'shop' },
    spec: {
      clusterIP: '10.96.0.20',
      clusterIPs: ['10.96.0.20'],
      ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
      ...spec,
    },
    ...(status ? { status } : {}),
  };
}

function slice(
  endpoints: Endpoints,
  ports: NonNullable<EndpointSlice['ports']> = [{ name: 'http', port: 8080, protocol: 'TCP' }],
  addressType = 'IPv4',
): EndpointSlice {
  return { metadata: { name: 'web-1', namespace: 'shop' }, addressType, endpoints, ports };
}

function portsOf(one: Service, slices: readonly EndpointSlice[]): ServicePortModel[] {
  return servicePorts(one, { family: 'IPv4', slicesOf: () => slices, nodeName: 'here' });
}

function targets(list: ServicePortModel['clusterEndpoints'] | undefined): string[] {
  return (list ?? []).map((target) => `${target.ip}:${target.port}`);
}

const here = { nodeName: 'here' };
const there = { nodeName: 'there' };
const ready = { conditions: { ready: true } };
const ending = { conditions: { ready: false, serving: true, terminating: true } };
const broken = { conditions: { ready: false, serving: false, terminating: true } };

describe('which endpoints take the connections', () => {
  const cases: readonly {
    readonly name: string;
    readonly spec?: Partial<Spec>;
    readonly endpoints: Endpoints;
    readonly cluster: string[];
    readonly external?: string[];
  }[] = [
    {
      name: 'those that are ready',
      endpoints: [
        { addresses: ['10.0.0.1'], ...ready },
        { addresses: ['10.0.0.2'], conditions: { ready: false } },
      ],
      cluster: ['10.0.0.1:8080'],
    },
    {
      name: 'those of which nothing is known',
      endpoints: [{ addresses: ['10.0.0.1'] }],
      cluster: ['10.0.0.1:8080'],
    },
    {
      name: 'those that end and still serve, when no other is ready',
      endpoints: [
        { addresses: ['10.0.0.1'], ...ending },
        { addresses: ['10.0.0.2'], ...broken },
      ],
      cluster: ['10.0.0.1:8080'],
    },
    {
      name: 'none that ends while another is ready',
      endpoints: [
        { addresses: ['10.0.0.1'], ...ending },
        { addresses: ['10.0.0.2'], ...ready },
      ],
      cluster: ['10.0.0.2:8080'],
    },
    {
      name: 'local ones, for outside traffic of policy Local',
      spec: {
        type: 'NodePort',
        externalTrafficPolicy: 'Local',
        ports: [{ name: 'http', port: 80, nodePort: 30080, protocol: 'TCP' }],
      },
      endpoints: [
        { addresses: ['10.0.0.1'], ...here, ...ready },
        { addresses: ['10.0.0.2'], ...there, ...ready },
      ],
      cluster: ['10.0.0.1:8080', '10.0.0.2:8080'],
      external: ['10.0.0.1:8080'],
    },
    {
      name: 'a local one that ends rather than a ready one elsewhere, for policy Local',
      spec: {
        type: 'NodePort',
        externalTrafficPolicy: 'Local',
        ports: [{ name: 'http', port: 80, nodePort: 30080, protocol: 'TCP' }],
      },
      endpoints: [
        { addresses: ['10.0.0.1'], ...here, ...ending },
        { addresses: ['10.0.0.2'], ...there, ...ready },
      ],
      cluster: ['10.0.0.2:8080'],
      external: ['10.0.0.1:8080'],
    },
    {
      name: 'local ones, for inside traffic of policy Local',
      spec: { internalTrafficPolicy: 'Local' },
      endpoints: [
        { addresses: ['10.0.0.1'], ...here, ...ready },
        { addresses: ['10.0.0.2'], ...there, ...ready },
      ],
      cluster: ['10.0.0.1:8080'],
      external: ['10.0.0.1:8080', '10.0.0.2:8080'],
    },
  ];
  for (const one of cases)
    it(one.name, () => {
      const [port] = portsOf(service(one.spec ?? {}), [slice(one.endpoints)]);
      assert.deepEqual(targets(port?.clusterEndpoints), one.cluster);
      assert.deepEqual(targets(port?.externalEndpoints), one.external ?? one.cluster);
    });

  it('those that hints say are near, unless one has none or none is here', () => {
    const at = (
      ip: string,
      { node = '', zone = '' }: { node?: string; zone?: string },
      ok = true,
    ): Endpoints[0] => ({
      addresses: [ip],
      conditions: { ready: ok },
      hints: {
        ...(node ? { forNodes: [{ name: node }] } : {}),
        ...(zone ? { forZones: [{ name: zone }] } : {}),
      },
    });
    const hinted: readonly (readonly [string, Endpoints, string[], string?])[] = [
      [
        'this node',
        [at('10.0.0.1', { node: 'here', zone: 'z' }), at('10.0.0.2', { node: 'there', zone: 'z' })],
        ['10.0.0.1'],
      ],
      [
        'this zone, as none is for this node',
        [at('10.0.0.1', { node: 'there', zone: 'z' }), at('10.0.0.2', { node: 'there', zone: 'y' })],
        ['10.0.0.1'],
      ],
      [
        'no zone of theirs',
        [at('10.0.0.1', { zone: 'x' }), at('10.0.0.2', { zone: 'y' })],
        ['10.0.0.1', '10.0.0.2'],
      ],
      [
        'this node has no zone',
        [at('10.0.0.1', { zone: 'z' }), at('10.0.0.2', { zone: 'y' })],
        ['10.0.0.1', '10.0.0.2'],
        '',
      ],
      ['one without', [at('10.0.0.1', { zone: 'z' }), at('10.0.0.2', {})], ['10.0.0.1', '10.0.0.2']],
      [
        'one without, that is not ready',
        [at('10.0.0.1', { zone: 'z' }), at('10.0.0.2', { zone: 'y' }), at('10.0.0.3', {}, false)],
        ['10.0.0.1'],
      ],
    ];
    for (const [what, endpoints, expected, zone = 'z'] of hinted) {
      const [port] = servicePorts(service({}), {
        family: 'IPv4',
        slicesOf: () => [slice(endpoints)],
        nodeName: 'here',
        zone,
      });
      assert.deepEqual(
        port?.clusterEndpoints.map((target) => target.ip),
        expected,
        what,
      );
    }
  });

  it('each port its own, by name and protocol, once each over all slices that are not for DNS alone', () => {
    const two = service({
      ports: [
        { name: 'dns', port: 53, protocol: 'UDP' },
        { name: 'dns-tcp', port: 53, protocol: 'TCP' },
      ],
    });
    const slices = [
      slice(
        [{ addresses: ['10.0.0.1'], ...ready }],
        [
          { name: 'dns', port: 1053, protocol: 'UDP' },
          { name: 'dns-tcp', port: 2053, protocol: 'TCP' },
        ],
      ),
      slice(
        [
          { addresses: ['10.0.0.1'], conditions: { ready: false } },
          { addresses: ['10.0.0.2'], ...ready },
        ],
        [{ name: 'dns', port: 1053, protocol: 'UDP' }],
      ),
      slice([{ addresses: ['fd00::1'], ...ready }], undefined, 'IPv6'),
      {
        ...slice([{ addresses: ['10.0.0.3'], ...ready }], [{ name: 'dns', port: 1053, protocol: 'UDP' }]),
        metadata: { labels: { 'service.kubernetes.io/headless': '' } },
      },
    ];
    assert.deepEqual(
      portsOf(two, slices).map((port) => [port.key, port.protocol, targets(port.clusterEndpoints)]),
      [
        ['shop/web:dns', 'udp', ['10.0.0.1:1053', '10.0.0.2:1053']],
        ['shop/web:dns-tcp', 'tcp', ['10.0.0.1:2053']],
      ],
    );
  });
});

describe('what a node says of its endpoints', () => {
  const local: Partial<Spec> = {
    type: 'LoadBalancer',
    externalTrafficPolicy: 'Local',
    healthCheckNodePort: 30100,
  };
  const endpoints: Endpoints = [
    { addresses: ['10.0.0.1'], ...here, ...ready },
    { addresses: ['10.0.0.1'], ...here, ...ready },
    { addresses: ['10.0.0.2'], ...here, ...ending },
    { addresses: ['10.0.0.3'], ...there, ...ready },
  ];
  const health = (spec: Partial<Spec>): unknown =>
    serviceHealth(service(spec), { slicesOf: () => [slice(endpoints)], nodeName: 'here' });

  it('those that are ready here, once each', () =>
    assert.deepEqual(health(local), { namespace: 'shop', name: 'web', port: 30100, localEndpoints: 1 }));
  it('nothing where nobody asks', () => {
    for (const spec of [
      { ...local, externalTrafficPolicy: 'Cluster' },
      { ...local, type: 'NodePort' },
      { ...local, healthCheckNodePort: 0 },
    ])
      assert.equal(health(spec), undefined);
  });
});

describe('by which addresses a service is reached', () => {
  it('none: headless, external names, other proxies, IPv6 only', () => {
    for (const spec of [
      { clusterIP: 'None', clusterIPs: ['None'] },
      { type: 'ExternalName', externalName: 'x' },
      { clusterIP: 'fd00::1', clusterIPs: ['fd00::1'] },
    ])
      assert.deepEqual(portsOf(service(spec), []), []);
    const foreign = service({});
    foreign.metadata = {
      ...foreign.metadata,
      labels: { 'service.kubernetes.io/service-proxy-name': 'other' },
    };
    assert.deepEqual(portsOf(foreign, []), []);
  });

  it('a load balancer, guarded where it says so', () => {
    const ingress = {
      loadBalancer: {
        ingress: [{ ip: '198.51.100.8' }, { ip: '198.51.100.9', ipMode: 'Proxy' }, { hostname: 'x' }],
      },
    };
    const [open] = portsOf(service({ type: 'LoadBalancer', externalIPs: ['192.0.2.7'] }, ingress), []);
    assert.deepEqual([open?.externalIPs, open?.guarded], [['192.0.2.7', '198.51.100.8'], undefined]);
    const [guarded] = portsOf(
      service({ type: 'LoadBalancer', loadBalancerSourceRanges: ['10.0.0.0/8'] }, ingress),
      [],
    );
    assert.deepEqual(guarded?.guarded, { ips: ['198.51.100.8'], ranges: ['10.0.0.0/8'] });
    assert.equal(
      portsOf(
        service({ type: 'LoadBalancer', loadBalancerSourceRanges: ['10.0.0.0/8', '0.0.0.0/0'] }, ingress),
        [],
      )[0]?.guarded,
      undefined,
    );
  });

  it('each family by its own addresses and endpoints, whatever their spelling', () => {
    const both = service(
      {
        type: 'LoadBalancer',
        clusterIPs: ['10.96.0.20', 'FD00:0::14'],
        externalIPs: ['192.0.2.7', '2001:db8::7'],
        loadBalancerSourceRanges: ['10.0.0.0/8', '2001:db8::/32'],
      },
      { loadBalancer: { ingress: [{ ip: '2001:db8:0::8' }] } },
    );
    const ports = [{ name: 'http', port: 8080, protocol: 'TCP' }];
    const slices = [
      slice([{ addresses: ['10.0.0.1'], ...ready }]),
      slice([{ addresses: ['fd00:1:0::1'], ...ready }], ports, 'IPv6'),
    ];
    const [six] = servicePorts(both, { family: 'IPv6', slicesOf: () => slices, nodeName: 'here' });
    assert.deepEqual(six?.clusterIPs, ['fd00::14']);
    assert.deepEqual(six?.externalIPs, ['2001:db8::7', '2001:db8::8']);
    assert.deepEqual(six?.guarded, { ips: ['2001:db8::8'], ranges: ['2001:db8::/32'] });
    assert.deepEqual(targets(six?.clusterEndpoints), ['fd00:1::1:8080']);
    const [four] = portsOf(both, slices);
    assert.deepEqual(
      [four?.clusterIPs, four?.externalIPs, four?.guarded, targets(four?.clusterEndpoints)],
      [['10.96.0.20'], ['192.0.2.7'], undefined, ['10.0.0.1:8080']],
    );
  });

  it('node ports only where the type has them; affinity of three hours unless told', () => {
    const ports = [{ name: 'http', port: 80, nodePort: 30080, protocol: 'TCP' }];
    assert.equal(portsOf(service({ ports }), [])[0]?.nodePort, undefined);
    assert.equal(portsOf(service({ type: 'NodePort', ports }), [])[0]?.nodePort, 30080);
    assert.equal(portsOf(service({ sessionAffinity: 'ClientIP' }), [])[0]?.affinitySeconds, 10_800);
  });
});
