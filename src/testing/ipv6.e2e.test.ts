/** Clusters of IPv6 alone: `capstan init` and a control plane that joins, on machines (network namespaces) without IPv4, with real etcd and simulated nodes; and `capstan up`. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { BUSYBOX, buildBusyboxImage } from './busybox.ts';
import { capstan, runCommand, testCluster, until, type TestCluster } from './cluster.ts';
import { containersMissing } from './real-containers.ts';
import { etcdProgram } from './etcd-members.ts';
import { canHaveNamespaces, createLan, type Lan, type LanMachine } from './lan.ts';

const MAIN = resolve(import.meta.dirname, '../cli/main.ts');
const REQUEST = resolve(import.meta.dirname, 'api-request.ts');
const TIMEOUT_MS = 240_000;
const skip = !etcdProgram ? 'no etcd 3.5' : !canHaveNamespaces() && 'needs root and ip netns';

interface Item {
  readonly metadata: { readonly name: string };
  readonly spec?: { readonly podCIDRs?: readonly string[]; readonly clusterIPs?: readonly string[] };
  readonly endpoints?: readonly { readonly addresses: readonly string[] }[];
}

describe('a cluster of IPv6 alone', { skip }, () => {
  const base = mkdtempSync(join(tmpdir(), 'capstan-ipv6-'));
  let lan: Lan;
  const machines: LanMachine[] = [];

  before(() => {
    lan = createLan(`v6${process.pid}`, '10.219.0');
    lan.outside.run('ip', 'address', 'add', 'fd19::fe/64', 'dev', 'segment', 'nodad');
    for (const index of [1, 2]) {
      const machine = lan.machine(`m${index}`, `10.219.0.${index}`);
      machine.run('ip', '-4', 'address', 'flush', 'dev', 'eth0');
      machine.run('ip', 'address', 'add', `fd19::${index}/64`, 'dev', 'eth0', 'nodad');
      machine.run('ip', 'route', 'add', 'default', 'via', 'fd19::fe');
      machines.push(machine);
    }
  });
  after(async () => {
    for (const machine of machines)
      for (const pid of machine.pids())
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // It has ended.
        }
    await lan.close();
    rmSync(base, { recursive: true, force: true });
  });

  const inside = (index: number, words: readonly string[]): string[] => [
    'ip',
    'netns',
    'exec',
    machines[index]!.name,
    process.execPath,
    '--disable-warning=DEP0123',
    ...words,
  ];
  const rootfs = (index: number): string => join(base, `m${index + 1}`);
  const capstan = async (index: number, ...words: readonly string[]): Promise<string> => {
    const command = inside(index, [
      MAIN,
      ...words,
      '--runtime=simulated',
      '--ignore-preflight-errors=all',
      `--rootfs=${rootfs(index)}`,
      `--node-name=m${index + 1}`,
      `--etcd-binary=${etcdProgram}`,
    ]);
    const { code, stdout, stderr } = await runCommand(command, { timeoutMs: TIMEOUT_MS });
    assert.equal(code, 0, `${stdout}${stderr}`);
    return stdout;
  };
  const list = async (path: string): Promise<readonly Item[]> => {
    const kubeconfig = join(rootfs(1), 'etc/kubernetes/admin.conf');
    const request = inside(1, [REQUEST, kubeconfig, 'https://[::1]:7445', 'GET', path]);
    const { stdout } = await runCommand(request, { timeoutMs: 20_000 });
    return (JSON.parse(stdout.replace(/^\d+ /, '')) as { items: Item[] }).items;
  };

  it('begins, and is joined by a second control plane', { timeout: 2 * TIMEOUT_MS }, async () => {
    const printed = await capstan(
      0,
      'init',
      '--upload-certs',
      '--control-plane-endpoint=[fd19::1]:6443',
      '--pod-network-cidr=fd00:244::/56',
      '--service-cidr=fd00:96::/112',
    );
    const word = (pattern: RegExp): string => pattern.exec(printed)?.[1] ?? '';
    await capstan(
      1,
      'join',
      '[fd19::1]:6443',
      `--token=${word(/--token (\S+)/)}`,
      `--discovery-token-ca-cert-hash=${word(/(sha256:\S+)/)}`,
      '--control-plane',
      `--certificate-key=${word(/--certificate-key (\S+)/)}`,
    );
    const ranges = async (): Promise<readonly string[]> =>
      (await list('/api/v1/nodes')).flatMap(({ spec }) => spec?.podCIDRs ?? []);
    await until('both nodes have a range', async () => (await ranges()).length === 2, 60_000);
    assert.deepEqual((await ranges()).toSorted(), ['fd00:244:0:1::/64', 'fd00:244::/64']);
    const services = await list('/api/v1/services');
    assert.deepEqual(
      services.map(({ metadata, spec }) => [metadata.name, spec?.clusterIPs]),
      [
        ['kubernetes', ['fd00:96::1']],
        ['kube-dns', ['fd00:96::a']],
      ],
    );
    await until(
      'both servers are endpoints',
      async () => {
        const slices = await list('/apis/discovery.k8s.io/v1/namespaces/default/endpointslices');
        const found = slices.flatMap(({ endpoints = [] }) => endpoints.flatMap((one) => one.addresses));
        return found.toSorted().join() === 'fd19::1,fd19::2';
      },
      60_000,
    );
  });
});

describe('capstan up with IPv6 alone, in real containers', { skip: containersMissing }, () => {
  let cluster: TestCluster;
  const kubectl = async (words: readonly string[], input?: string): Promise<string> => {
    const { code, stdout, stderr } = await cluster.kubectl(words, { input });
    assert.equal(code, 0, stderr);
    return stdout.trim();
  };
  before(async () => {
    const share = (process.pid % 200).toString();
    const flags = [
      '--pod-network-cidr',
      `fd00:141:${share}::/64`,
      '--service-cidr',
      `fd00:142:${share}::/112`,
    ];
    cluster = await testCluster({ runtime: 'cri', flags });
    await cluster.up();
    const image = await buildBusyboxImage();
    const loaded = await capstan(['image', 'load', image.path, '--data-dir', cluster.dir]);
    assert.equal(loaded.code, 0, loaded.stderr);
  });
  after(() => cluster?.delete());

  it('pods have IPv6 addresses, and reach Services by their names', { timeout: TIMEOUT_MS }, async () => {
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'one', labels: { app: 'one' } },
      spec: {
        terminationGracePeriodSeconds: 0,
        containers: [
          {
            name: 'c',
            image: BUSYBOX,
            imagePullPolicy: 'IfNotPresent',
            command: ['sh', '-c', 'mkdir /tmp/w; echo ok >/tmp/w/index.html; httpd -f -p 80 -h /tmp/w'],
          },
        ],
      },
    };
    const spec = { selector: { app: 'one' }, ports: [{ port: 80 }] };
    const service = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'one' }, spec };
    await until('the service account', async () => {
      const { code } = await cluster.kubectl(['get', 'serviceaccount', 'default']);
      return code === 0;
    });
    await kubectl(
      ['apply', '-f', '-'],
      JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [pod, service] }),
    );
    await kubectl(['wait', 'pod/one', '--for=condition=Ready', '--timeout=60s']);
    const ips = await kubectl(['get', 'pod', 'one', '-o', 'jsonpath={.status.podIPs[*].ip}']);
    assert.match(ips, /^fd00:141:[^ ]+$/);
    const ask = async (host: string, port: number): Promise<string> => {
      const script = `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 ${host} ${port} | head -1`;
      return (await cluster.kubectl(['exec', 'one', '--', 'sh', '-c', script])).stdout.trim();
    };
    await until('the Service answers', async () => (await ask('one.default.svc', 80)).endsWith('200 OK'));
    const connect = 'nc -w 2 kubernetes 443 </dev/null';
    const connected = await cluster.kubectl(['exec', 'one', '--', 'sh', '-c', connect]);
    assert.equal(connected.code, 0, connected.stderr);
    assert.match(
      await kubectl(['get', 'service', 'kubernetes', '-o', 'jsonpath={.spec.clusterIPs}']),
      /^\["fd00:142:[0-9]+::1"\]$/,
    );
  });
});
