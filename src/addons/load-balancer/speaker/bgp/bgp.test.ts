import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { EndpointSlice, Service } from '#api/types.ts';
import type { Stored } from '#machinery/object.ts';
import type { IPAddressPool } from '../../api.ts';
import type { BFDProfile, BGPAdvertisement, BGPPeer, Community } from '../../bgp-api.ts';
import { readPool } from '../../pools.ts';
import { renderBirdConfig } from './bird-config.ts';
import { computeRoutes } from './routes.ts';
import { sessionOf, type BgpSession } from './sessions.ts';

const meta = (name: string): Stored['metadata'] => ({
  name,
  namespace: 'shop',
  uid: name,
  resourceVersion: '1',
});
const POOL = readPool({
  metadata: meta('public'),
  spec: { addresses: ['192.0.2.0/24', '2001:db8::/120'] },
} as Stored<IPAddressPool>);
const SERVICE: Stored<Service> = {
  metadata: meta('web'),
  spec: { type: 'LoadBalancer' },
  status: { loadBalancer: { ingress: [{ ip: '192.0.2.7' }, { ip: '2001:db8::7' }] } },
};
const COMMUNITIES: Stored<Community>[] = [
  { metadata: meta('c'), spec: { communities: [{ name: 'ours', value: '64512:100' }] } },
];

const advertisement = (name: string, spec: BGPAdvertisement['spec']): Stored<BGPAdvertisement> => ({
  metadata: meta(name),
  ...(spec ? { spec } : {}),
});
const slice = (nodeName: string, serving = true): EndpointSlice => ({
  addressType: 'IPv4',
  endpoints: [{ addresses: ['10.244.0.5'], nodeName, conditions: { serving } }],
});

interface Given {
  readonly advertisements: readonly Stored<BGPAdvertisement>[];
  readonly service?: Stored<Service>;
  readonly slices?: readonly EndpointSlice[];
}

function routes({ advertisements, service = SERVICE, slices = [slice('n2')] }: Given) {
  const { ofPeer, problems } = computeRoutes({
    node: { metadata: meta('n1') },
    services: [service],
    slicesOf: () => slices,
    pools: [POOL],
    advertisements,
    communities: COMMUNITIES,
    peers: ['a', 'b'],
  });
  const text = [...ofPeer].flatMap(([peer, prefixes]) =>
    [...prefixes].map(
      ([prefix, { localPref, communities }]) => `${peer} ${prefix} ${localPref ?? '-'} ${communities.join()}`,
    ),
  );
  return { text, problems: Object.fromEntries(problems) };
}

function session(spec: Partial<BGPPeer['spec']>, secretPassword?: string): ReturnType<typeof sessionOf> {
  const peer = { metadata: meta('p'), spec: { myASN: 1, peerASN: 2, peerAddress: '10.0.0.1', ...spec } };
  const profiles: Stored<BFDProfile>[] = [{ metadata: meta('fast'), spec: { receiveInterval: 50 } }];
  return sessionOf(peer, { profiles, secretPassword, routes: new Map() });
}

describe('routes to BGP peers', () => {
  it('are of the families that have endpoints, in order of the advertisements that select the pool', () => {
    assert.deepEqual(routes({ advertisements: [advertisement('x', undefined)] }).text, [
      'a 192.0.2.7/32 - ',
      'b 192.0.2.7/32 - ',
    ]);
    const more = [
      advertisement('x', { peers: ['a'], aggregationLength: 26, localPref: 100, communities: ['ours'] }),
      advertisement('y', {
        peers: ['a'],
        aggregationLength: 26,
        localPref: 50,
        communities: ['large:1:2:3'],
      }),
      advertisement('z', { ipAddressPools: ['other'] }),
    ];
    assert.deepEqual(routes({ advertisements: more }).text, ['a 192.0.2.0/26 100 64512:100,large:1:2:3']);
  });

  it('are none without an endpoint that serves, with the policy Local without one of the node', () => {
    const advertisements = [advertisement('x', { peers: ['a'] })];
    assert.deepEqual(routes({ advertisements, slices: [slice('n2', false)] }).text, []);
    const service = { ...SERVICE, spec: { ...SERVICE.spec, externalTrafficPolicy: 'Local' } };
    assert.deepEqual(routes({ advertisements, service }).text, []);
    assert.deepEqual(routes({ advertisements, service, slices: [slice('n1')] }).text, ['a 192.0.2.7/32 - ']);
  });

  it('are none where they would not be what the advertisement says', () => {
    assert.deepEqual(
      routes({
        advertisements: [
          advertisement('wide', { aggregationLength: 23 }),
          advertisement('odd', { communities: ['70000:1'] }),
        ],
      }),
      {
        text: [],
        problems: {
          wide: '192.0.2.0/23 is not whole in IPAddressPool public: its aggregation length is too short',
          odd: 'community "70000:1" is neither like 64512:100 or large:64512:1:2 nor the name of one of a Community',
        },
      },
    );
  });
});

describe('BGP sessions', () => {
  it('are refused with a sentence', () => {
    const cases: [Partial<BGPPeer['spec']>, RegExp][] = [
      [{ holdTime: '2s' }, /holdTime is "2s"; it should be 0s or at least 3s/],
      [{ holdTime: 'soon' }, /holdTime is "soon"; it should be a duration/],
      [{ keepaliveTime: '100s' }, /keepaliveTime is "100s"; it should be at most holdTime/],
      [{ dynamicASN: 'external' }, /one of peerASN and dynamicASN/],
      [{ peerASN: 1, ebgpMultiHop: true }, /ebgpMultiHop is set/],
      [{ routerID: '::1' }, /routerID is "::1"; it should be an IPv4 address/],
      [{ sourceAddress: 'eth0' }, /sourceAddress is "eth0"; it should be an IP address/],
      [{ bfdProfile: 'slow' }, /there is no BFDProfile of that name/],
      [{ passwordSecret: { name: 's' } }, /the Secret kube-system\/s cannot be read/],
      [{ password: 'a', passwordSecret: { name: 's' } }, /only one of password and passwordSecret/],
    ];
    for (const [spec, problem] of cases) {
      const found = session(spec);
      assert.match('problem' in found ? found.problem : '', problem);
    }
    const quoted = session({ passwordSecret: { name: 's' } }, 'a"; include "/etc/shadow');
    assert.match('problem' in quoted ? quoted.problem : '', /the password has a quote/);
  });

  it('are configured so that BIRD takes it', { skip: !existsSync('/usr/sbin/bird') && 'needs bird2' }, () => {
    const dir = mkdtempSync(join(tmpdir(), 'capstan-bird-'));
    try {
      const specs: Partial<BGPPeer['spec']>[] = [
        {},
        {
          holdTime: '0s',
          peerPort: 1790,
          sourceAddress: '10.0.0.2',
          routerID: '1.2.3.4',
          connectTime: '500ms',
        },
        { peerAddress: '2001:db8::1', dualStackAddressFamily: true, bfdProfile: 'fast', password: "it's; {" },
        { peerASN: 1, enableGracefulRestart: true },
        { peerASN: 0, dynamicASN: 'external', ebgpMultiHop: true },
      ];
      const attributes = { localPref: 7, communities: ['1:2', 'large:1:2:3'] };
      const sessions = specs.map((spec, index) => ({
        ...(session(spec) as BgpSession),
        name: `p${index}`,
        address: `10.0.0.${index + 1}`,
        routes: new Map([
          ['192.0.2.7/32', attributes],
          ['2001:db8::7/128', attributes],
        ]),
      }));
      const path = join(dir, 'bird.conf');
      for (const config of [sessions, []]) {
        writeFileSync(path, renderBirdConfig(config, { routerId: '10.0.0.9' }));
        const { status, stderr } = spawnSync('/usr/sbin/bird', ['-p', '-c', path], { encoding: 'utf8' });
        assert.equal(status, 0, stderr);
      }
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
});
