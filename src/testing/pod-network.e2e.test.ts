/**
 * Pods with real containers of both address families on two machines, which are network namespaces: node IPAM gives each node its ranges, VXLAN leads between
 * them, and Services, node ports and DNS work from each of them, in both families. The control plane runs outside.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import { buildBusyboxImage } from './busybox.ts';
import { until } from './cluster.ts';
import { canHaveNamespaces, createLan, type Lan, type LanMachine } from './lan.ts';

const CAPSTAN = resolve(import.meta.dirname, '../../capstan');
const SUBNET = '10.216.0';
const SERVER = `${SUBNET}.254`;
const SUBNET_6 = 'fd16::';
const POD_RANGES = '10.244.0.0/16,fd00:244::/56';
const SERVICE_RANGES = '10.96.0.0/16,fd00:96::/112';
const DNS = `${SERVER}:10053`;
const DNS_SERVICE = '10.96.0.10';
const missing =
  !canHaveNamespaces() || !existsSync('/usr/bin/containerd') || !existsSync('/bin/busybox')
    ? 'needs root, ip netns, and the Debian packages containerd and busybox-static'
    : false;

interface Answer {
  readonly spec?: {
    readonly podCIDRs?: readonly string[];
    readonly clusterIPs?: readonly string[];
    readonly ipFamilies?: readonly string[];
    readonly ports?: readonly { readonly nodePort?: number }[];
  };
  readonly status?: {
    readonly podIP?: string;
    readonly podIPs?: readonly { readonly ip: string }[];
    readonly hostIPs?: readonly { readonly ip: string }[];
    readonly addresses?: readonly { readonly type: string; readonly address: string }[];
    readonly phase?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  };
}

describe('pods of both families on two machines', { skip: missing }, () => {
  const base = mkdtempSync(join(tmpdir(), 'capstan-podnet-'));
  let lan: Lan;
  const machines: LanMachine[] = [];
  const nameOf = (machine: LanMachine): string => machine.name.split('-').at(-1)!;

  /** In a namespace, with its output in a file that is printed when something fails. */
  function start(machine: LanMachine, name: string, ...words: readonly string[]): void {
    const child = machine.start([CAPSTAN, ...words], { keepsSys: true });
    const file = join(base, `${name}.log`);
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (text: Buffer) => writeFileSync(file, text, { flag: 'a' }));
  }

  function kubeconfig(name: string): string {
    const path = join(base, 'api', name === 'admin' ? 'admin.kubeconfig' : `kubeconfigs/${name}.kubeconfig`);
    const copy = join(base, `${name}.kubeconfig`);
    writeFileSync(copy, readFileSync(path, 'utf8').replace(/https:\/\/[^\s"]+/, `https://${SERVER}:6443`));
    return copy;
  }

  function api(method: string, path: string, body?: object): Answer {
    const curl = [
      'curl',
      '--silent',
      '--show-error',
      '--fail-with-body',
      '--max-time',
      '10',
      '--cacert',
      join(base, 'ca'),
      '--cert',
      join(base, 'cert'),
      '--key',
      join(base, 'key'),
    ];
    const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json';
    const send = body ? ['--header', `content-type: ${type}`, '--data', JSON.stringify(body)] : [];
    return JSON.parse(
      lan.outside.run(...curl, ...send, '--request', method, `https://${SERVER}:6443${path}`),
    ) as Answer;
  }

  /** What a web server answers, asked from a namespace; '' when nothing does. */
  function ask(namespace: string, url: string): string {
    const asker: Pick<LanMachine, 'run'> = namespace.startsWith('cni-')
      ? lan.enter(namespace)
      : (machines.find(({ name }) => name === namespace) ?? lan.outside);
    try {
      return asker.run('curl', '--silent', '--max-time', '2', url).trim();
    } catch {
      return '';
    }
  }

  /** Answers of the cluster DNS, sorted; the code of an error. */
  function resolveName(name: string, type: string, server = DNS): string {
    const script = `const r = new (require('dns').promises.Resolver)(); r.setServers([${JSON.stringify(server)}]);
      r.resolve(${JSON.stringify(name)}, ${JSON.stringify(type)}).then((found) => console.log(found.sort().join()), (error) => console.log(error.code));`;
    return lan.outside.run(process.execPath, '-e', script).trim();
  }

  const addressesOf = (machine: LanMachine): string[] => [
    machine.address,
    `${SUBNET_6}${machine.address.split('.').at(-1)}`,
  ];

  function namespaceOfPod(address: string): string {
    const found = readdirSync('/run/netns').find(
      (name) =>
        name.startsWith('cni-') && lan.enter(name).run('ip', '-brief', 'address').includes(` ${address}/`),
    );
    assert.ok(found, `no namespace has ${address}`);
    return found;
  }

  before(async () => {
    lan = createLan(`pe${process.pid}`, SUBNET);
    lan.outside.run('ip', 'address', 'add', `${SUBNET_6}254/64`, 'dev', 'segment', 'nodad');
    start(
      lan.outside,
      'apiserver',
      'apiserver',
      '--data-dir',
      join(base, 'api'),
      '--bind-address',
      '0.0.0.0',
      '--secure-port',
      '6443',
      '--advertise-address',
      SERVER,
      '--service-cluster-ip-range',
      SERVICE_RANGES,
    );
    await until('the API server', () => existsSync(join(base, 'api/kubeconfigs/dns.kubeconfig')), 60_000);
    const { options } = resolveContext(loadKubeconfig({ path: kubeconfig('admin') }));
    for (const [name, value, file] of [
      ['ca', options.ca, options.caFile],
      ['cert', options.cert, options.certFile],
      ['key', options.key, options.keyFile],
    ] as const)
      writeFileSync(join(base, name), value ?? readFileSync(file!));
    const role = 'capstan:node-pod-network';
    api('POST', '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings', {
      metadata: { name: role },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: role },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'Group', name: 'system:nodes' }],
    });
    start(
      lan.outside,
      'controllers',
      'controller-manager',
      '--kubeconfig',
      kubeconfig('controller-manager'),
      '--cluster-cidr',
      POD_RANGES,
    );
    start(
      lan.outside,
      'dns',
      'dns',
      '--kubeconfig',
      kubeconfig('dns'),
      '--listen',
      DNS,
      '--publish',
      DNS_SERVICE,
    );
    const image = await buildBusyboxImage();
    for (const name of ['a', 'b']) {
      const machine = lan.machine(name, `${SUBNET}.${name === 'a' ? 1 : 2}`);
      machine.run('ip', 'route', 'add', 'default', 'via', SERVER);
      machine.run('ip', 'address', 'add', `${addressesOf(machine)[1]}/64`, 'dev', 'eth0', 'nodad');
      machine.run('ip', 'route', 'add', 'default', 'via', `${SUBNET_6}254`);
      machines.push(machine);
      const dir = join(base, name);
      start(
        machine,
        `node-${name}`,
        'node',
        '--kubeconfig',
        kubeconfig('admin'),
        '--data-dir',
        dir,
        '--node-name',
        name,
        '--node-ip',
        addressesOf(machine).join(),
        '--cluster-cidr',
        POD_RANGES,
        '--pod-network',
        'vxlan',
      );
      start(
        machine,
        `proxy-${name}`,
        'proxy',
        '--kubeconfig',
        // That of b may serve DNS, as one with the credentials of its node.
        kubeconfig(name === 'b' ? 'admin' : 'kube-proxy'),
        '--node-name',
        name,
        '--cluster-cidr',
        POD_RANGES,
      );
    }
    for (const name of ['a', 'b']) {
      await until(
        `node ${name}`,
        () => {
          try {
            return (
              api('GET', `/api/v1/nodes/${name}`).status?.conditions?.some(
                ({ type, status }) => type === 'Ready' && status === 'True',
              ) === true
            );
          } catch {
            return false;
          }
        },
        90_000,
      );
      const load = machines
        .find((machine) => nameOf(machine) === name)!
        .start([CAPSTAN, 'image', 'load', image.path, '--data-dir', join(base, name)], { keepsSys: true });
      assert.deepEqual(await once(load, 'exit'), [0, null]);
      api('POST', '/api/v1/namespaces/default/pods', {
        metadata: { name, labels: { app: 'web', at: name } },
        spec: {
          nodeName: name,
          terminationGracePeriodSeconds: 0,
          containers: [
            {
              name: 'web',
              image: image.name,
              imagePullPolicy: 'Never',
              command: [
                'sh',
                '-c',
                `mkdir -p /tmp/www; echo ${name} > /tmp/www/index.html; httpd -f -p 8080 -h /tmp/www`,
              ],
            },
          ],
        },
      });
    }
    rmSync(dirname(image.path), { recursive: true });
  });

  after(async () => {
    try {
      for (const machine of machines) {
        const reset = machine.start([CAPSTAN, 'reset', '--data-dir', join(base, nameOf(machine)), '--yes'], {
          keepsSys: true,
        });
        await once(reset, 'exit');
      }
    } finally {
      await lan.close();
      rmSync(base, { recursive: true, force: true });
    }
  });

  const podIPs = new Map<string, readonly string[]>();
  let podA = '';
  let podB = '';
  const reaches = (from: string, url: string): Promise<unknown> =>
    until(`${from} reaches ${url}`, () => ask(from, url) === 'b', 30_000);
  const urlOf = (ip: string, port = 80): string => `http://${ip.includes(':') ? `[${ip}]` : ip}:${port}/`;

  it('have addresses of both families, and reach each other', { timeout: 120_000 }, async () => {
    for (const name of ['a', 'b'])
      await until(
        `pod ${name}`,
        () => {
          const { status } = api('GET', `/api/v1/namespaces/default/pods/${name}`);
          if (status?.phase === 'Running') podIPs.set(name, status.podIPs?.map(({ ip }) => ip) ?? []);
          return podIPs.has(name);
        },
        60_000,
      );
    const [a, b] = machines as [LanMachine, LanMachine];
    const nodeOf = (machine: LanMachine): Answer => api('GET', `/api/v1/nodes/${nameOf(machine)}`);
    assert.deepEqual([a, b].map((machine) => nodeOf(machine).spec?.podCIDRs?.join()).toSorted(), [
      '10.244.0.0/24,fd00:244::/64',
      '10.244.1.0/24,fd00:244:0:1::/64',
    ]);
    assert.deepEqual(
      nodeOf(a).status?.addresses?.flatMap(({ type, address }) => (type === 'InternalIP' ? [address] : [])),
      addressesOf(a),
    );
    const { status } = api('GET', '/api/v1/namespaces/default/pods/a');
    assert.deepEqual(
      status?.hostIPs?.map(({ ip }) => ip),
      addressesOf(a),
    );
    assert.match(podIPs.get('a')!.join(), /^10\.244\.[01]\.\d+,fd00:244:/);

    [podA, podB] = ['a', 'b'].map((name) => namespaceOfPod(podIPs.get(name)![0]!)) as [string, string];
    for (const ip of podIPs.get('b')!) await reaches(podA, urlOf(ip, 8080));
    for (const ip of podIPs.get('a')!) assert.equal(ask(podB, urlOf(ip, 8080)), 'a');
    assert.match(lan.enter(podA).run('ip', 'link', 'show', 'dev', 'eth0'), /mtu 1450/);
  });

  it('reach services and node ports of both families, from each machine', { timeout: 120_000 }, async () => {
    const [a, b] = machines as [LanMachine, LanMachine];
    // Its only endpoint is on b.
    const { spec } = api('POST', '/api/v1/namespaces/default/services', {
      metadata: { name: 'web' },
      spec: {
        type: 'NodePort',
        ipFamilyPolicy: 'PreferDualStack',
        selector: { at: 'b' },
        ports: [{ port: 80, targetPort: 8080 }],
      },
    });
    assert.deepEqual(spec?.ipFamilies, ['IPv4', 'IPv6']);
    assert.match(spec?.clusterIPs?.join() ?? '', /^10\.96\.\d+\.\d+,fd00:96::[0-9a-f]+$/);
    const nodePort = spec?.ports?.[0]?.nodePort;
    for (const from of [podA, podB, a.name, b.name])
      for (const ip of spec?.clusterIPs ?? []) await reaches(from, urlOf(ip));
    for (const machine of [a, b])
      for (const ip of addressesOf(machine)) await reaches(lan.outside.name, urlOf(ip, nodePort));
    for (const ip of addressesOf(b)) await reaches(podA, urlOf(ip, nodePort));

    const name = 'web.default.svc.cluster.local';
    await until('the DNS', () => resolveName(name, 'A') === spec?.clusterIPs?.[0], 30_000);
    assert.equal(resolveName(name, 'AAAA'), spec?.clusterIPs?.[1]);
  });

  it('have two DNS servers, since there are two nodes', { timeout: 60_000 }, async () => {
    const b = machines[1]!;
    await until(
      'b serves DNS',
      () => {
        try {
          const path = '/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/kube-dns-nodes';
          return JSON.stringify(api('GET', path)).includes(`"addresses":["${b.address}"],`);
        } catch {
          return false;
        }
      },
      40_000,
    );
    assert.equal(resolveName('kube-dns.kube-system.svc.cluster.local', 'A', `${b.address}:53`), DNS_SERVICE);
  });

  it('follow a Service from one family to both, and back', { timeout: 120_000 }, async () => {
    const path = '/api/v1/namespaces/default/services';
    const ports = [{ port: 80, targetPort: 8080 }];
    const one = api('POST', path, { metadata: { name: 'change' }, spec: { selector: { at: 'b' }, ports } });
    assert.equal(one.spec?.clusterIPs?.length, 1);
    const to = (ipFamilyPolicy: string): Answer =>
      api('PATCH', `${path}/change`, { spec: { ipFamilyPolicy } });
    const both = to('RequireDualStack').spec?.clusterIPs ?? [];
    assert.deepEqual([both.length, both[0]], [2, one.spec?.clusterIPs?.[0]]);
    for (const ip of both) await reaches(podA, urlOf(ip));
    const kept = to('SingleStack').spec;
    assert.deepEqual([kept?.clusterIPs, kept?.ipFamilies], [[both[0]], ['IPv4']]);
    await until('the second address is of nobody', () => ask(podA, urlOf(both[1]!)) === '', 30_000);
    await reaches(podA, urlOf(both[0]!));

    const headless = { clusterIP: 'None', ipFamilyPolicy: 'RequireDualStack', selector: { at: 'b' }, ports };
    api('POST', path, { metadata: { name: 'bare' }, spec: headless });
    const name = 'bare.default.svc.cluster.local';
    const [four = '', six = ''] = podIPs.get('b')!;
    await until(
      'headless A and AAAA',
      () => resolveName(name, 'A') === four && resolveName(name, 'AAAA') === six,
      30_000,
    );
  });
});
