/** Queries and answers, after the tables of the Kubernetes DNS-based service discovery specification 1.1.0 and, where it does not specify, CoreDNS. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { EndpointSlice, Service } from '#api/types.ts';
import { answer, soa, type ClusterView } from './records.ts';

function service(name: string, spec: NonNullable<Service['spec']>): Service {
  return { metadata: { name, namespace: 'default' }, spec };
}

function slice(
  of: string,
  endpoints: NonNullable<EndpointSlice['endpoints']>,
  ports: NonNullable<EndpointSlice['ports']> = [{ name: 'http', port: 8080, protocol: 'TCP' }],
): EndpointSlice {
  return {
    metadata: { name: `${of}-1`, namespace: 'default', labels: { 'kubernetes.io/service-name': of } },
    addressType: 'IPv4',
    endpoints,
    ports,
  };
}

const ready = { ready: true };
const all: Record<string, { readonly service: Service; readonly slices: readonly EndpointSlice[] }> = {
  web: {
    service: service('web', {
      clusterIP: '10.96.0.20',
      clusterIPs: ['10.96.0.20'],
      ports: [
        { name: 'http', port: 80, protocol: 'TCP' },
        { name: 'admin', port: 81, protocol: 'TCP' },
      ],
    }),
    slices: [slice('web', [{ addresses: ['10.244.0.9'], conditions: ready }])],
  },
  db: {
    service: service('db', { clusterIP: 'None', ports: [{ name: 'http', port: 80, protocol: 'TCP' }] }),
    slices: [
      slice('db', [
        { addresses: ['10.244.0.5'], hostname: 'db-0', conditions: ready },
        { addresses: ['10.244.0.6'], conditions: ready },
        { addresses: ['10.244.0.7'], conditions: { ready: false } },
      ]),
    ],
  },
  early: {
    service: service('early', { clusterIP: 'None', publishNotReadyAddresses: true }),
    slices: [slice('early', [{ addresses: ['10.244.0.8'], conditions: { ready: false } }])],
  },
  empty: { service: service('empty', { clusterIP: 'None' }), slices: [] },
  dual: {
    service: service('dual', {
      clusterIP: '10.96.0.30',
      clusterIPs: ['10.96.0.30', 'fd00::30'],
      ports: [{ name: 'dns', port: 53, protocol: 'UDP' }],
    }),
    slices: [],
  },
  six: {
    service: service('six', { clusterIP: 'None', ipFamilies: ['IPv6', 'IPv4'] }),
    slices: [
      {
        ...slice('six', [
          { addresses: ['fd00::5'], hostname: 'six-0', conditions: ready },
          { addresses: ['fd00::6'], conditions: ready },
        ]),
        addressType: 'IPv6',
      },
      slice('six', [{ addresses: ['10.244.0.15'], hostname: 'six-0', conditions: ready }]),
    ],
  },
  away: { service: service('away', { type: 'ExternalName', externalName: 'www.example.com.' }), slices: [] },
};

/** Of fd00::LAST, which has four digits. */
function sixArpa(last: string): string {
  return `${[...`fd00${'0'.repeat(24)}${last}`].toReversed().join('.')}.ip6.arpa`;
}

const view: ClusterView = {
  service: (namespace, name) => (namespace === 'default' ? all[name]?.service : undefined),
  slices: (_namespace, name) => all[name]?.slices ?? [],
  namespaceExists: (name) => name === 'default',
  servicesByIP: (ip) =>
    Object.values(all)
      .map((one) => one.service)
      .filter((one) => one.spec?.clusterIPs?.includes(ip)),
  slicesByIP: (ip) =>
    Object.values(all)
      .flatMap((one) => one.slices)
      .filter((one) => one.endpoints?.some((endpoint) => endpoint.addresses.includes(ip))),
};

/** 'A 10.96.0.20', 'SRV 0 50 80 target'; 'nothing' = the name exists, without this type. */
function ask(name: string, type: string): string[] | string {
  const found = answer({ name, type }, { view, domain: 'cluster.local' });
  if (found.kind !== 'answer') return found.kind;
  const text = found.records.map((record) => {
    if (record.type === 'SRV')
      return `SRV ${record.data.priority} ${record.data.weight} ${record.data.port} ${record.data.target}`;
    return record.type === 'SOA' ? `SOA ${record.data.mname}` : `${record.type} ${record.data}`;
  });
  return text.length === 0 ? 'nothing' : text;
}

const cases: readonly (readonly [name: string, type: string, expected: string[] | string])[] = [
  ['dns-version.cluster.local', 'TXT', ['TXT 1.1.0']],
  ['dns-version.cluster.local', 'A', 'nothing'],
  ['web.default.svc.cluster.local', 'A', ['A 10.96.0.20']],
  ['web.default.svc.cluster.local', 'AAAA', 'nothing'],
  ['web.default.svc.cluster.local', 'MX', 'nothing'],
  ['dual.default.svc.cluster.local', 'AAAA', ['AAAA fd00::30']],
  ['_http._tcp.web.default.svc.cluster.local', 'SRV', ['SRV 0 100 80 web.default.svc.cluster.local']],
  [
    '_dns._udp.dual.default.svc.cluster.local',
    'SRV',
    ['SRV 0 50 53 dual.default.svc.cluster.local', 'SRV 0 50 53 dual.default.svc.cluster.local'],
  ],
  ['_http._udp.web.default.svc.cluster.local', 'SRV', 'no-such-name'],
  ['_none._tcp.web.default.svc.cluster.local', 'SRV', 'no-such-name'],
  ['20.0.96.10.in-addr.arpa', 'PTR', ['PTR web.default.svc.cluster.local']],
  ['20.0.96.10.in-addr.arpa', 'A', 'nothing'],
  ['db.default.svc.cluster.local', 'A', ['A 10.244.0.5', 'A 10.244.0.6']],
  [
    '_http._tcp.db.default.svc.cluster.local',
    'SRV',
    [
      'SRV 0 50 8080 db-0.db.default.svc.cluster.local',
      'SRV 0 50 8080 10-244-0-6.db.default.svc.cluster.local',
    ],
  ],
  ['db-0.db.default.svc.cluster.local', 'A', ['A 10.244.0.5']],
  ['10-244-0-6.db.default.svc.cluster.local', 'A', ['A 10.244.0.6']],
  ['10-244-0-7.db.default.svc.cluster.local', 'A', 'no-such-name'],
  ['5.0.244.10.in-addr.arpa', 'PTR', ['PTR db-0.db.default.svc.cluster.local']],
  ['6.0.244.10.in-addr.arpa', 'PTR', ['PTR 10-244-0-6.db.default.svc.cluster.local']],
  ['10-244-0-9.web.default.svc.cluster.local', 'A', ['A 10.244.0.9']],
  ['early.default.svc.cluster.local', 'A', ['A 10.244.0.8']],
  ['empty.default.svc.cluster.local', 'A', 'no-such-name'],
  ['away.default.svc.cluster.local', 'A', ['CNAME www.example.com']],
  ['away.default.svc.cluster.local', 'CNAME', ['CNAME www.example.com']],
  ['away.default.svc.cluster.local', 'SRV', 'nothing'],
  ['10-1-2-3.default.pod.cluster.local', 'A', ['A 10.1.2.3']],
  ['10-1-2-3.default.pod.cluster.local', 'AAAA', 'nothing'],
  ['fd00--7.default.pod.cluster.local', 'AAAA', ['AAAA fd00::7']],
  ['10-1-2-300.default.pod.cluster.local', 'A', 'no-such-name'],
  ['10-1-2-3.nowhere.pod.cluster.local', 'A', 'no-such-name'],
  ['none.default.svc.cluster.local', 'A', 'no-such-name'],
  ['web.nowhere.svc.cluster.local', 'A', 'no-such-name'],
  ['default.svc.cluster.local', 'A', 'nothing'],
  ['nowhere.svc.cluster.local', 'A', 'no-such-name'],
  ['svc.cluster.local', 'A', 'nothing'],
  ['pod.cluster.local', 'A', 'nothing'],
  ['else.cluster.local', 'A', 'no-such-name'],
  ['cluster.local', 'SOA', ['SOA ns.dns.cluster.local']],
  ['cluster.local', 'NS', ['NS ns.dns.cluster.local']],
  ['ns.dns.cluster.local', 'A', 'nothing'],
  ['example.com', 'A', 'elsewhere'],
  ['notcluster.local', 'A', 'elsewhere'],
  [sixArpa('0030'), 'PTR', ['PTR dual.default.svc.cluster.local']],
  [sixArpa('0030'), 'AAAA', 'nothing'],
  [sixArpa('0005'), 'PTR', ['PTR six-0.six.default.svc.cluster.local']],
  [sixArpa('0006'), 'PTR', ['PTR fd00--6.six.default.svc.cluster.local']],
  [sixArpa('0031'), 'PTR', 'elsewhere'],
  ['0.d.f.ip6.arpa', 'PTR', 'elsewhere'],
  ['six.default.svc.cluster.local', 'A', ['A 10.244.0.15']],
  ['six.default.svc.cluster.local', 'AAAA', ['AAAA fd00::5', 'AAAA fd00::6']],
  ['six-0.six.default.svc.cluster.local', 'AAAA', ['AAAA fd00::5']],
  ['fd00--6.six.default.svc.cluster.local', 'AAAA', ['AAAA fd00::6']],
  ['1.0.0.127.in-addr.arpa', 'PTR', 'elsewhere'],
  ['in-addr.arpa', 'NS', 'elsewhere'],
];

describe('names of the cluster', () => {
  for (const [name, type, expected] of cases)
    it(`${type} ${name}`, () => assert.deepEqual(ask(name, type), expected));

  it('SRV answers include the addresses', () => {
    const found = answer(
      { name: '_http._tcp.db.default.svc.cluster.local', type: 'SRV' },
      { view, domain: 'cluster.local' },
    );
    assert.deepEqual(
      found.kind === 'answer' && found.additionals.map((record) => [record.name, record.data]),
      [
        ['db-0.db.default.svc.cluster.local', '10.244.0.5'],
        ['10-244-0-6.db.default.svc.cluster.local', '10.244.0.6'],
      ],
    );
  });

  it('answers have a short TTL', () => assert.equal(soa('cluster.local').ttl, 5));
});
