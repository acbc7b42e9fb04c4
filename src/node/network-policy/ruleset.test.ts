import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { NetworkPolicy, Pod } from '#api/types.ts';
import { seededRandom, type Random } from '#stdx/random.ts';
import type { ClusterNetworkPolicy } from './cluster-network-policy.ts';
import { compileClusterNetworkPolicy } from './compile-cluster-network-policy.ts';
import { compileNetworkPolicy } from './compile-network-policy.ts';
import { indexedPod } from './pod-index.ts';
import { emptyPolicyContent, Ruleset } from './ruleset.ts';
import { evaluate } from './testing/evaluate.ts';
import {
  pick,
  randomClusterPolicy,
  randomLabels,
  randomPolicy,
  type RandomPlan,
} from './testing/random-world.ts';
import { isAllowed, type World } from './testing/reachability.ts';
import { policyDifference } from './table.ts';

function pod(
  name: string,
  more: {
    ip?: string;
    ips?: string[];
    node?: string;
    labels?: Record<string, string>;
    created?: string;
    phase?: string;
    namespace?: string;
    hostNetwork?: boolean;
  } = {},
): Pod {
  const ips = more.ips ?? (more.ip ? [more.ip] : []);
  return {
    metadata: {
      name,
      namespace: more.namespace ?? 'default',
      uid: `uid-${name}`,
      labels: more.labels ?? { app: name },
      creationTimestamp: more.created ?? '2026-01-01T00:00:00Z',
    },
    spec: {
      nodeName: more.node ?? 'n1',
      hostNetwork: more.hostNetwork ?? false,
      containers: [{ name: 'c', ports: [{ name: 'http', containerPort: 8080 }] }],
    },
    status: { phase: more.phase ?? 'Running', podIPs: ips.map((ip) => ({ ip })) },
  };
}

function policy(name: string, spec: NonNullable<NetworkPolicy['spec']>): NetworkPolicy {
  return { metadata: { name, namespace: 'default' }, spec };
}

function rulesetOf(pods: readonly Pod[], policies: readonly NetworkPolicy[]): Ruleset {
  const ruleset = new Ruleset({ podCIDRs: () => ['10.244.0.0/24'] });
  ruleset.setNamespace('default', { 'kubernetes.io/metadata.name': 'default' });
  for (const one of policies)
    ruleset.setPolicy(`${one.metadata?.namespace}/${one.metadata?.name}`, compileNetworkPolicy(one));
  for (const one of pods) set(ruleset, one);
  return ruleset;
}

function set(ruleset: Ruleset, one: Pod): void {
  ruleset.setPod(one.metadata?.uid ?? '', { pod: indexedPod(one), isLocal: one.spec?.nodeName === 'n1' });
}

const tcp = (saddr: string, daddr: string, dport = 8080) =>
  ({ family: 'ip', saddr, daddr, protocol: 'tcp', dport }) as const;

describe('rules of network policies', () => {
  it('are those of the design', () => {
    const content = rulesetOf(
      [pod('web', { ip: '10.244.0.5' }), pod('shop', { ip: '10.244.1.7', node: 'n2' })],
      [
        policy('web', {
          podSelector: { matchLabels: { app: 'web' } },
          ingress: [
            {
              from: [
                { podSelector: { matchLabels: { app: 'shop' } } },
                { ipBlock: { cidr: '192.0.2.0/24', except: ['192.0.2.128/25'] } },
              ],
              ports: [{ port: 'http' }, { port: 8443, endPort: 8445 }, { port: 8445, endPort: 8450 }],
            },
          ],
        }),
      ],
    ).content();
    const { script } = policyDifference('t', { from: emptyPolicyContent(), to: content });
    assert.deepEqual(
      script
        .replaceAll(/(peers|ports|np-in|pod-in)-[0-9a-f]{16}/g, '$1-X')
        .trim()
        .split('\n'),
      [
        'add set inet t peers-X-ip { type ipv4_addr; }',
        'add set inet t peers-X-ip6 { type ipv6_addr; }',
        'add set inet t ports-X-ip { type ipv4_addr . inet_proto . inet_service; }',
        'add set inet t ports-X-ip6 { type ipv6_addr . inet_proto . inet_service; }',
        'add chain inet t np-in-X',
        'add chain inet t pod-in-X',
        'flush chain inet t unknown-egress',
        'add rule inet t unknown-egress ip saddr 10.244.0.0/24 ip saddr != @known-ip counter drop comment "no known pod"',
        'flush chain inet t unknown-ingress',
        'add rule inet t unknown-ingress ip daddr 10.244.0.0/24 ip daddr != @known-ip counter drop comment "no known pod"',
        'flush chain inet t link-local',
        'add rule inet t link-local ip6 saddr fe80::/10 counter drop',
        'add rule inet t link-local ip6 daddr fe80::/10 counter drop',
        'flush chain inet t np-in-X',
        'add rule inet t np-in-X ip saddr @peers-X-ip tcp dport { 8443-8450 } accept',
        'add rule inet t np-in-X ip saddr @peers-X-ip ip daddr . meta l4proto . th dport @ports-X-ip accept',
        'add rule inet t np-in-X ip6 saddr @peers-X-ip6 tcp dport { 8443-8450 } accept',
        'add rule inet t np-in-X ip6 saddr @peers-X-ip6 ip6 daddr . meta l4proto . th dport @ports-X-ip6 accept',
        'add rule inet t np-in-X ip saddr { 192.0.2.0-192.0.2.127 } tcp dport { 8443-8450 } accept',
        'add rule inet t np-in-X ip saddr { 192.0.2.0-192.0.2.127 } ip daddr . meta l4proto . th dport @ports-X-ip accept',
        'flush chain inet t pod-in-X',
        'add rule inet t pod-in-X jump np-in-X comment "default/web"',
        'add rule inet t pod-in-X counter drop comment "default/web"',
        'add element inet t known-ip { 10.244.0.5 }',
        'add element inet t self-ip { 10.244.0.5 . 10.244.0.5 }',
        'add element inet t ingress-ip { 10.244.0.5 : goto pod-in-X }',
        'add element inet t peers-X-ip { 10.244.1.7 }',
        'add element inet t ports-X-ip { 10.244.0.5 . tcp . 8080, 10.244.1.7 . tcp . 8080 }',
      ],
    );
  });

  it('change by elements alone when a peer comes', () => {
    const web = policy('web', {
      podSelector: {},
      ingress: [{ from: [{ podSelector: { matchLabels: { app: 'shop' } } }] }],
    });
    const ruleset = rulesetOf([pod('web', { ip: '10.244.0.5' })], [web]);
    const from = ruleset.content();
    set(ruleset, pod('shop', { ip: '10.244.1.7', node: 'n2' }));
    const { script } = policyDifference('t', { from, to: ruleset.content() });
    assert.match(script, /^add element inet t peers-[0-9a-f]+-ip \{ 10\.244\.1\.7 \}\n$/);
  });

  it('drop what a pod of this node sends before it is known, while there are policies', () => {
    const ruleset = rulesetOf(
      [pod('web', { ip: '10.244.0.5' })],
      [policy('p', { podSelector: { matchLabels: { a: 'b' } } })],
    );
    const isolated = ruleset.content();
    assert.equal(evaluate(isolated, { direction: 'egress', ...tcp('10.244.0.9', '10.244.1.7') }), 'drop');
    assert.equal(evaluate(isolated, { direction: 'ingress', ...tcp('10.244.1.7', '10.244.0.9') }), 'drop');
    assert.equal(evaluate(isolated, { direction: 'egress', ...tcp('10.244.0.5', '10.244.1.7') }), 'accept');
    ruleset.setPolicy('default/p', undefined);
    assert.equal(
      evaluate(ruleset.content(), { direction: 'egress', ...tcp('10.244.0.9', '10.244.1.7') }),
      'accept',
    );
  });

  it('take an address for the newest pod that has it, and for none that ended', () => {
    const onlyShop = policy('web', {
      podSelector: { matchLabels: { app: 'web' } },
      ingress: [{ from: [{ podSelector: { matchLabels: { app: 'shop' } } }] }],
    });
    const ruleset = rulesetOf(
      [pod('web', { ip: '10.244.0.5' }), pod('shop', { ip: '10.244.1.7', node: 'n2' })],
      [onlyShop],
    );
    const allowed = (): string =>
      evaluate(ruleset.content(), { direction: 'ingress', ...tcp('10.244.1.7', '10.244.0.5') });
    assert.equal(allowed(), 'accept');
    set(ruleset, pod('other', { ip: '10.244.1.7', node: 'n2', created: '2026-01-02T00:00:00Z' }));
    assert.equal(allowed(), 'drop', "the address is another pod's");
    ruleset.setPod('uid-other', { pod: undefined, isLocal: false });
    assert.equal(allowed(), 'accept', 'the other pod is gone');
    set(ruleset, pod('shop', { ip: '10.244.1.7', node: 'n2', phase: 'Succeeded' }));
    assert.equal(allowed(), 'drop', 'the pod has ended');
  });

  it('let a pod reach itself', () => {
    const content = rulesetOf(
      [pod('web', { ip: '10.244.0.5' })],
      [policy('none', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] })],
    ).content();
    for (const direction of ['egress', 'ingress'] as const)
      assert.equal(evaluate(content, { direction: direction, ...tcp('10.244.0.5', '10.244.0.5') }), 'accept');
  });

  it('agree with the text of the API in random clusters, also after random changes', () => {
    for (let seed = 1; seed <= 200; seed++) check(seed);
  });
});

const NAMESPACES = ['default', 'x', 'y'];
const PLAN: RandomPlan = {
  blocks: [
    { cidr: '10.244.0.0/24', except: ['10.244.0.4/30', '10.244.0.6/32'] },
    { cidr: 'fd00::/120', except: ['fd00::8/125'] },
    { cidr: '0.0.0.0/0' },
  ],
  networks: [['10.244.0.0/29'], ['0.0.0.0/0', '::/0'], ['fd00::/125', '10.244.0.8/29']],
  ports: [80, 8080],
};

function check(seed: number): void {
  const random = seededRandom(seed);
  const namespaces = new Map(NAMESPACES.map((name) => [name, randomLabels(random)]));
  const rulesets = ['n1', 'n2'].map((nodeName) => ({ nodeName, set: new Ruleset({ podCIDRs: () => [] }) }));
  const clusterPolicies = new Map<string, ClusterNetworkPolicy>();
  const pods = new Map<string, Pod>();
  const policies = new Map<string, NetworkPolicy>();
  for (const [name, labels] of namespaces)
    for (const { set: one } of rulesets) one.setNamespace(name, labels);
  for (let step = 0; step < 30; step++) {
    change({ random, rulesets, pods, policies, clusterPolicies, namespaces });
    if (step % 6 !== 5) continue;
    compare(
      {
        namespaces,
        pods: [...pods.values()],
        policies: [...policies.values()],
        clusterPolicies: [...clusterPolicies.values()],
      },
      { rulesets, seed },
    );
  }
}

interface NodeRules {
  readonly nodeName: string;
  readonly set: Ruleset;
}

interface Changing {
  readonly clusterPolicies: Map<string, ClusterNetworkPolicy>;
  readonly random: Random;
  readonly rulesets: readonly NodeRules[];
  readonly pods: Map<string, Pod>;
  readonly policies: Map<string, NetworkPolicy>;
  readonly namespaces: Map<string, Record<string, string>>;
}

function change({ random, rulesets, pods, policies, clusterPolicies, namespaces }: Changing): void {
  const namespace = pick(random, NAMESPACES);
  const name = `o${Math.floor(random() * 6)}`;
  const key = `${namespace}/${name}`;
  const what = random();
  if (what < 0.05) {
    namespaces.set(namespace, randomLabels(random));
    for (const { set: one } of rulesets) one.setNamespace(namespace, namespaces.get(namespace));
  } else if (what < 0.5) {
    const removes = random() < 0.2;
    const index = NAMESPACES.indexOf(namespace) * 6 + Number(name.slice(1)) + 2;
    const made = pod(name, {
      namespace,
      ips: [`10.244.0.${index}`, `fd00::${index.toString(16)}`],
      node: pick(random, ['n1', 'n2']),
      labels: randomLabels(random),
    });
    made.metadata!.uid = key;
    made.spec!.containers[0]!.ports = [
      {
        name: pick(random, ['http', 'dns']),
        containerPort: pick(random, [80, 8080]),
        protocol: pick(random, ['TCP', 'UDP', 'SCTP']),
      },
    ];
    if (removes) pods.delete(key);
    else pods.set(key, made);
    for (const { nodeName, set: one } of rulesets)
      one.setPod(made.metadata?.uid ?? '', {
        pod: removes ? undefined : indexedPod(made),
        isLocal: made.spec?.nodeName === nodeName,
      });
  } else if (what < 0.7) {
    const removes = random() < 0.3;
    // Priorities of their own: the API leaves equal ones open.
    const made = randomClusterPolicy(random, {
      name: key.replace('/', '-'),
      priority: NAMESPACES.indexOf(namespace) * 6 + Number(name.slice(1)),
      plan: PLAN,
    });
    if (removes) clusterPolicies.delete(key);
    else clusterPolicies.set(key, made);
    for (const { set: one } of rulesets)
      one.setPolicy(`/${key.replace('/', '-')}`, removes ? undefined : compileClusterNetworkPolicy(made));
  } else {
    const removes = random() < 0.3;
    const made = randomPolicy(random, { namespace, name, plan: PLAN });
    if (removes) policies.delete(key);
    else policies.set(key, made);
    for (const { set: one } of rulesets) one.setPolicy(key, removes ? undefined : compileNetworkPolicy(made));
  }
}

function compare(
  world: World,
  { rulesets, seed }: { readonly rulesets: readonly NodeRules[]; readonly seed: number },
): void {
  const contents = rulesets.map(({ set: one }) => one.content());
  const contentOf = (one: Pod) => contents[one.spec?.nodeName === 'n1' ? 0 : 1]!;
  for (const from of world.pods)
    for (const to of world.pods)
      for (const family of [0, 1])
        for (const protocol of ['TCP', 'UDP', 'SCTP'] as const)
          for (const port of [80, 8080]) {
            const source = from.status!.podIPs![family]!.ip!;
            const destination = to.status!.podIPs![family]!.ip!;
            const packet = {
              family: family === 0 ? 'ip' : 'ip6',
              saddr: source,
              daddr: destination,
              protocol: protocol.toLowerCase() as 'tcp' | 'udp' | 'sctp',
              dport: port,
            } as const;
            const found =
              evaluate(contentOf(from), { direction: 'egress', ...packet }) === 'accept' &&
              evaluate(contentOf(to), { direction: 'ingress', ...packet }) === 'accept';
            const wanted = isAllowed(world, { from, to, source, destination, protocol, port });
            if (found !== wanted)
              assert.fail(
                `seed ${seed}: ${JSON.stringify(packet)} is ${found ? 'accepted' : 'dropped'}; policies ${JSON.stringify([world.policies, world.clusterPolicies])}`,
              );
          }
}
