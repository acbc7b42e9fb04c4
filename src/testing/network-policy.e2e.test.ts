/**
 * NetworkPolicies on real containers, with the real kubectl: upstream's matrix of network policies in our words. One cluster of both address families; a
 * server and clients in two namespaces, told apart by labels; each case applies policies, waits until what they forbid fails and what they allow works, and
 * deletes them. Cases are of IPv4 unless their attempts say ipv6.
 */
import assert from 'node:assert/strict';
import { containersMissing } from './real-containers.ts';
import { spawnSync } from 'node:child_process';
import { isIPv4, isIPv6 } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { containerdDir } from '#cmd/node/containerd-dir.ts';
import { dataDir } from '#deploy/data-dir.ts';
import { containerdLayout } from '#node/containerd/layout.ts';
import { buildBusyboxImage, BUSYBOX } from './busybox.ts';
import { capstan, testCluster, until, type TestCluster } from './cluster.ts';
import { foreignTools } from './foreign-tools.ts';

const tools = foreignTools(35);
const missing = containersMissing || ('missing' in tools && tools.missing);

type Spec = object;
interface Case {
  readonly name: string;
  /** In namespace shop, where the server is. */
  readonly policies: readonly Spec[];
  /** 'CLIENT PORT': clients are shop/a, shop/b, other/a. */
  readonly allowed: readonly string[];
  readonly denied: readonly string[];
}

const SERVER = { matchLabels: { app: 'server' } };
const A = { podSelector: { matchLabels: { app: 'a' } } };
const OTHER = { namespaceSelector: { matchLabels: { team: 'other' } } };
const ingress = (...rules: object[]): Spec => ({
  podSelector: SERVER,
  policyTypes: ['Ingress'],
  ingress: rules,
});
const egress = (app: string, ...rules: object[]): Spec => ({
  podSelector: { matchLabels: { app } },
  policyTypes: ['Egress'],
  egress: rules,
});
const ALL = ['shop/a 80', 'shop/b 80', 'other/a 80'];

const CASES: readonly Case[] = [
  { name: 'no policy: everything', policies: [], allowed: [...ALL, 'shop/a 81'], denied: [] },
  { name: 'default deny of ingress', policies: [ingress()], allowed: [], denied: ALL },
  {
    name: 'default deny by the empty selector',
    policies: [{ podSelector: {}, policyTypes: ['Ingress'] }],
    allowed: [],
    denied: ALL,
  },
  { name: 'an empty rule allows all', policies: [ingress({})], allowed: ALL, denied: [] },
  { name: 'allow all beats deny all', policies: [ingress(), ingress({})], allowed: ALL, denied: [] },
  {
    name: 'a pod selector is of the own namespace',
    policies: [ingress({ from: [A] })],
    allowed: ['shop/a 80'],
    denied: ['shop/b 80', 'other/a 80'],
  },
  {
    name: 'a namespace selector',
    policies: [ingress({ from: [OTHER] })],
    allowed: ['other/a 80'],
    denied: ['shop/a 80', 'shop/b 80'],
  },
  {
    name: 'a namespace by its name',
    policies: [
      ingress({ from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'shop' } } }] }),
    ],
    allowed: ['shop/a 80', 'shop/b 80'],
    denied: ['other/a 80'],
  },
  {
    name: 'namespace and pod selectors in one peer: both',
    policies: [ingress({ from: [{ ...OTHER, podSelector: { matchLabels: { app: 'b' } } }] })],
    allowed: [],
    denied: ALL,
  },
  {
    name: 'in two peers: either',
    policies: [ingress({ from: [OTHER, { podSelector: { matchLabels: { app: 'b' } } }] })],
    allowed: ['shop/b 80', 'other/a 80'],
    denied: ['shop/a 80'],
  },
  {
    name: 'a selector by expressions',
    policies: [
      ingress({
        from: [{ podSelector: { matchExpressions: [{ key: 'app', operator: 'NotIn', values: ['a'] }] } }],
      }),
    ],
    allowed: ['shop/b 80'],
    denied: ['shop/a 80', 'other/a 80'],
  },
  {
    name: 'all namespaces',
    policies: [ingress({ from: [{ namespaceSelector: {} }] })],
    allowed: ALL,
    denied: [],
  },
  {
    name: 'a port by number',
    policies: [ingress({ ports: [{ port: 80 }] })],
    allowed: ALL,
    denied: ['shop/a 81'],
  },
  {
    name: 'a port by name, resolved at the server',
    policies: [ingress({ ports: [{ port: 'second' }] })],
    allowed: ['shop/a 81', 'other/a 81'],
    denied: ['shop/a 80'],
  },
  {
    name: 'a range of ports',
    policies: [ingress({ ports: [{ port: 81, endPort: 90 }] })],
    allowed: ['shop/a 81'],
    denied: ['shop/a 80'],
  },
  {
    name: 'a port of another protocol',
    policies: [ingress({ ports: [{ port: 80, protocol: 'UDP' }] })],
    allowed: [],
    denied: ['shop/a 80'],
  },
  {
    name: 'peers and ports of one rule: both',
    policies: [ingress({ from: [A], ports: [{ port: 81 }] })],
    allowed: ['shop/a 81'],
    denied: ['shop/a 80', 'shop/b 81'],
  },
  {
    name: 'two rules: either',
    policies: [ingress({ from: [A], ports: [{ port: 80 }] }, { from: [OTHER], ports: [{ port: 81 }] })],
    allowed: ['shop/a 80', 'other/a 81'],
    denied: ['shop/a 81', 'other/a 80'],
  },
  {
    name: 'two policies add up',
    policies: [ingress({ from: [A] }), ingress({ from: [OTHER] })],
    allowed: ['shop/a 80', 'other/a 80'],
    denied: ['shop/b 80'],
  },
  {
    name: 'an address block',
    policies: [ingress({ from: [{ ipBlock: { cidr: '0.0.0.0/0' } }] })],
    allowed: ALL,
    denied: [],
  },
  {
    name: 'an address block with an exception',
    policies: [ingress({ from: [{ ipBlock: { cidr: '0.0.0.0/0', except: ['IP(shop/a)/32'] } }] })],
    allowed: ['shop/b 80', 'other/a 80'],
    denied: ['shop/a 80'],
  },
  {
    name: 'an exception that another rule allows',
    policies: [
      ingress({ from: [{ ipBlock: { cidr: '0.0.0.0/0', except: ['IP(shop/a)/32'] } }] }, { from: [A] }),
    ],
    allowed: ['shop/a 80', 'shop/b 80'],
    denied: [],
  },
  {
    name: 'default deny of egress, of one pod alone',
    policies: [egress('a')],
    allowed: ['shop/b 80', 'other/a 80'],
    denied: ['shop/a 80'],
  },
  {
    name: 'egress to pods by label',
    policies: [egress('a', { to: [{ podSelector: SERVER }] })],
    allowed: ['shop/a 80', 'shop/a 81'],
    denied: [],
  },
  {
    name: 'egress to a named port of the destination',
    policies: [egress('a', { ports: [{ port: 'second' }] })],
    allowed: ['shop/a 81'],
    denied: ['shop/a 80'],
  },
  {
    name: 'egress through a Service is judged at its endpoint',
    policies: [egress('a', { to: [{ podSelector: SERVER }], ports: [{ port: 80 }] })],
    allowed: ['shop/a service:8080'],
    denied: ['shop/a 81'],
  },
  {
    name: 'egress to the address of a Service alone is not to its endpoint',
    policies: [egress('a', { to: [{ ipBlock: { cidr: 'SERVICE/32' } }] })],
    allowed: [],
    denied: ['shop/a service:8080'],
  },
  {
    name: 'egress to a block with an exception',
    policies: [egress('a', { to: [{ ipBlock: { cidr: '0.0.0.0/0', except: ['IP(shop/server)/32'] } }] })],
    allowed: [],
    denied: ['shop/a 80'],
  },
  {
    name: 'both families: default deny of ingress',
    policies: [ingress()],
    allowed: [],
    denied: ['shop/a 80', 'shop/a ipv6:80', 'shop/a service-ipv6:8080'],
  },
  {
    name: 'both families: pods by label, through a Service too',
    policies: [ingress({ from: [A] })],
    allowed: ['shop/a 80', 'shop/a ipv6:80', 'shop/a service:8080', 'shop/a service-ipv6:8080'],
    denied: ['shop/b ipv6:80', 'shop/b service-ipv6:8080'],
  },
  {
    name: 'an address block of IPv6 says nothing of IPv4',
    policies: [ingress({ from: [{ ipBlock: { cidr: '::/0', except: ['IPV6(shop/b)/128'] } }] })],
    allowed: ['shop/a ipv6:80'],
    denied: ['shop/b ipv6:80', 'shop/a 80'],
  },
  {
    name: 'both directions: each end decides',
    policies: [ingress({ from: [A] }), egress('a')],
    allowed: [],
    denied: ['shop/a 80', 'shop/b 80'],
  },
];

describe('network policies on real containers', { skip: missing, timeout: 400_000 }, () => {
  let cluster: TestCluster;
  const addresses = new Map<string, string>();
  const addresses6 = new Map<string, string>();

  const kubectl = async (...words: string[]): Promise<string> => {
    const result = await cluster.kubectl(words);
    assert.equal(result.code, 0, `kubectl ${words.join(' ')}:\n${result.stdout}${result.stderr}`);
    return result.stdout.trim();
  };
  const apply = async (objects: readonly object[]): Promise<void> => {
    if (objects.length === 0) return;
    const input = JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects });
    const result = await cluster.kubectl(['apply', '-f', '-'], { input });
    assert.equal(result.code, 0, result.stderr);
    assert.doesNotMatch(result.stderr, /Warning/);
  };
  const pod = (key: string, command: string): object => {
    const [namespace, name] = key.split('/');
    return {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { namespace, name, labels: { app: name } },
      spec: {
        terminationGracePeriodSeconds: 0,
        containers: [
          {
            name: 'c',
            image: BUSYBOX,
            imagePullPolicy: 'IfNotPresent',
            command: ['sh', '-c', command],
            ports: [
              { name: 'first', containerPort: 80 },
              { name: 'second', containerPort: 81 },
            ],
          },
        ],
      },
    };
  };
  const policiesOf = (specs: readonly Spec[], kind: string): object[] =>
    specs.map((spec, index) => ({
      apiVersion: 'networking.k8s.io/v1',
      kind,
      metadata: { namespace: 'shop', name: `p${index}` },
      spec: JSON.parse(
        JSON.stringify(spec)
          .replaceAll(/IPV6\(([^)]*)\)/g, (_all, key: string) => addresses6.get(key)!)
          .replaceAll(/IP\(([^)]*)\)/g, (_all, key: string) => addresses.get(key)!)
          .replaceAll('SERVICE', addresses.get('service')!),
      ),
    }));

  /** attempt: 'CLIENT PORT', or PORT with 'ipv6:', 'service:' or 'service-ipv6:' before. */
  async function reaches(attempt: string): Promise<boolean> {
    const [client = '', where = ''] = attempt.split(' ');
    const [namespace = '', name = ''] = client.split('/');
    const [port = '', by = ''] = where.split(':').toReversed();
    const known = by.endsWith('ipv6') ? addresses6 : addresses;
    const target = `${known.get(by.startsWith('service') ? 'service' : 'shop/server')} ${port}`;
    const command = `printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | nc -w 1 ${target}`;
    const { stdout } = await cluster.kubectl(['exec', '-n', namespace, name, '--', 'sh', '-c', command]);
    return stdout.includes('200 OK');
  }

  /** The addresses that kubectl prints, one of each family. */
  async function note(key: string, ...words: string[]): Promise<void> {
    const [four = '', six = ''] = (await kubectl(...words)).split(' ');
    assert.ok(isIPv4(four) && isIPv6(six), `${key} has ${four} and ${six}`);
    addresses.set(key, four);
    addresses6.set(key, six);
  }

  before(async () => {
    if ('missing' in tools) return;
    const share = process.pid % 200;
    const flags = ['--pod-network-cidr', `10.140.${share}.0/24,fd00:140:${share}::/64`];
    cluster = await testCluster({ runtime: 'cri', kubectl: tools.kubectl, flags });
    await cluster.up();
    const image = await buildBusyboxImage();
    const loaded = await capstan(['image', 'load', image.path, '--data-dir', cluster.dir]);
    assert.equal(loaded.code, 0, loaded.stderr);
    const namespace = (name: string): object => ({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name, labels: { team: name } },
    });
    await apply([namespace('shop'), namespace('other')]);
    for (const name of ['shop', 'other'])
      await until('the service account', async () => {
        const { code } = await cluster.kubectl(['get', 'serviceaccount', 'default', '-n', name]);
        return code === 0;
      });
    const serve =
      'mkdir -p /tmp/w; echo ok >/tmp/w/index.html; httpd -p 81 -h /tmp/w; httpd -f -p 80 -h /tmp/w';
    await apply([
      pod('shop/server', serve),
      ...['shop/a', 'shop/b', 'other/a'].map((key) => pod(key, 'sleep 100000')),
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { namespace: 'shop', name: 'server' },
        spec: {
          ipFamilyPolicy: 'RequireDualStack',
          selector: { app: 'server' },
          ports: [{ port: 8080, targetPort: 80 }],
        },
      },
    ]);
    for (const key of ['shop/server', 'shop/a', 'shop/b', 'other/a']) {
      const [namespaceName = '', name = ''] = key.split('/');
      await kubectl('wait', '-n', namespaceName, `pod/${name}`, '--for=condition=Ready', '--timeout=60s');
      await note(key, 'get', '-n', namespaceName, 'pod', name, '-o', 'jsonpath={.status.podIPs[*].ip}');
    }
    await note('service', 'get', '-n', 'shop', 'service', 'server', '-o', 'jsonpath={.spec.clusterIPs[*]}');
  });

  after(async () => {
    await cluster?.delete();
  });

  for (const { name, policies, allowed, denied } of CASES)
    it(name, async () => {
      await apply(policiesOf(policies, 'NetworkPolicy'));
      for (const attempt of allowed) await until(`${attempt} is allowed`, () => reaches(attempt));
      await Promise.all(
        denied.map((attempt) => until(`${attempt} is denied`, async () => !(await reaches(attempt)))),
      );
      // The node itself reaches its pods, as the kubelet's probes.
      for (const known of [addresses, addresses6]) {
        const address = known.get('shop/server');
        const probe = spawnSync('bash', ['-c', `</dev/tcp/${address}/80`], { timeout: 5_000 });
        assert.equal(probe.status, 0, `the node reaches the server at ${address}`);
      }
      if (policies.length > 0) await kubectl('delete', 'networkpolicy', '-n', 'shop', '--all');
    });

  it('a pod under a policy sends nothing before it is in force', async () => {
    await apply(policiesOf([egress('early')], 'NetworkPolicy'));
    // The first command of the container is the attempt.
    await apply([
      {
        ...pod('shop/early', `nc -w 1 ${addresses.get('shop/server')} 80 </dev/null && exit 7; sleep 100000`),
      },
    ]);
    await kubectl('wait', '-n', 'shop', 'pod/early', '--for=condition=Ready', '--timeout=60s');
    await until('the attempt is over', async () =>
      (await kubectl('exec', '-n', 'shop', 'early', '--', 'ps')).includes('sleep'),
    );
    const restarts = await kubectl(
      'get',
      '-n',
      'shop',
      'pod',
      'early',
      '-o',
      'jsonpath={.status.containerStatuses[0].restartCount}',
    );
    assert.equal(restarts, '0');
    await kubectl('delete', 'networkpolicy', '-n', 'shop', '--all');
  });

  it('leaves no rules when the cluster is deleted', async () => {
    const layout = containerdLayout({ dir: containerdDir(dataDir(cluster.dir)) });
    const list = (): number | null => spawnSync('nft', ['list', 'table', 'inet', layout.policyTable]).status;
    assert.equal(list(), 0);
    await cluster.delete();
    assert.notEqual(list(), 0);
  });
});
