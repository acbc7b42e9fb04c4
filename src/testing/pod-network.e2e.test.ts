/**
 * Pods with real containers on two machines, which are network namespaces: node IPAM gives each node its range, VXLAN leads between them, and Services
 * and node ports work from each of them. The control plane runs outside.
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
const missing =
  !canHaveNamespaces() || !existsSync('/usr/bin/containerd') || !existsSync('/bin/busybox')
    ? 'needs root, ip netns, and the Debian packages containerd and busybox-static'
    : false;

interface Answer {
  readonly spec?: {
    readonly podCIDRs?: readonly string[];
    readonly clusterIP?: string;
    readonly ports?: readonly { readonly nodePort?: number }[];
  };
  readonly status?: {
    readonly podIP?: string;
    readonly phase?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  };
}

describe('pods on two machines', { skip: missing }, () => {
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
    const send = body ? ['--header', 'content-type: application/json', '--data', JSON.stringify(body)] : [];
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

  function namespaceOfPod(address: string): string {
    const found = readdirSync('/run/netns').find(
      (name) =>
        name.startsWith('cni-') &&
        lan.enter(name).run('ip', 'address', 'show', 'dev', 'eth0').includes(` ${address}/`),
    );
    assert.ok(found, `no namespace has ${address}`);
    return found;
  }

  before(async () => {
    lan = createLan(`pe${process.pid}`, SUBNET);
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
      '10.244.0.0/16',
    );
    const image = await buildBusyboxImage();
    for (const name of ['a', 'b']) {
      const machine = lan.machine(name, `${SUBNET}.${name === 'a' ? 1 : 2}`);
      machine.run('ip', 'route', 'add', 'default', 'via', SERVER);
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
        machine.address,
        '--pod-network',
        'vxlan',
      );
      start(machine, `proxy-${name}`, 'proxy', '--kubeconfig', kubeconfig('kube-proxy'), '--node-name', name);
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

  it('reach each other, services and node ports, from each machine', { timeout: 120_000 }, async () => {
    const podIPs = new Map<string, string>();
    for (const name of ['a', 'b'])
      await until(
        `pod ${name}`,
        () => {
          const { status } = api('GET', `/api/v1/namespaces/default/pods/${name}`);
          if (status?.phase === 'Running' && status.podIP) podIPs.set(name, status.podIP);
          return podIPs.has(name);
        },
        60_000,
      );
    const ranges = ['a', 'b'].map((name) => api('GET', `/api/v1/nodes/${name}`).spec?.podCIDRs?.join());
    assert.deepEqual(ranges.toSorted(), ['10.244.0.0/24', '10.244.1.0/24']);

    const [podA, podB] = ['a', 'b'].map((name) => namespaceOfPod(podIPs.get(name)!)) as [string, string];
    await until(
      'a pod of a reaches one of b',
      () => ask(podA, `http://${podIPs.get('b')}:8080/`) === 'b',
      30_000,
    );
    assert.equal(ask(podB, `http://${podIPs.get('a')}:8080/`), 'a');
    assert.match(lan.enter(podA).run('ip', 'link', 'show', 'dev', 'eth0'), /mtu 1450/);

    // Its only endpoint is on b.
    const service = api('POST', '/api/v1/namespaces/default/services', {
      metadata: { name: 'web' },
      spec: { type: 'NodePort', selector: { at: 'b' }, ports: [{ port: 80, targetPort: 8080 }] },
    });
    const clusterIP = service.spec?.clusterIP;
    const nodePort = service.spec?.ports?.[0]?.nodePort;
    const [a, b] = machines as [LanMachine, LanMachine];
    await until('the service answers a pod of a', () => ask(podA, `http://${clusterIP}/`) === 'b', 30_000);
    for (const [from, url] of [
      [podB, `http://${clusterIP}/`],
      [a.name, `http://${clusterIP}/`],
      [b.name, `http://${clusterIP}/`],
      [lan.outside.name, `http://${a.address}:${nodePort}/`],
      [lan.outside.name, `http://${b.address}:${nodePort}/`],
      [podA, `http://${b.address}:${nodePort}/`],
    ] as const)
      await until(`${from} reaches ${url}`, () => ask(from, url) === 'b', 10_000);
  });
});
