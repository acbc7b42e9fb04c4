/**
 * Debian's Prometheus scrapes every component of a real cluster over TLS with a token, and each expression of testdata/monitoring-expressions.yaml,
 * which are those of the kubernetes-mixin in our words, must find a series. Components run as programs of their own.
 */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import * as dnsPacket from 'dns-packet';
import { parse } from 'yaml';
import type { Client, ResourceRef } from '#client/client.ts';
import { createClient } from '#client/create.ts';
import { createKubeconfigTransport } from '#client/kubeconfig.ts';
import { nodes, pods, serviceAccounts } from '#client/refs.ts';
import { newClusterId } from '#deploy/data-dir.ts';
import { claimNetworks, releaseNetworks } from '#deploy/networks.ts';
import { missingPackages } from '#deploy/packages/debian.ts';
import type { KubeObject } from '#machinery/object.ts';
import { buildBusyboxImage } from './busybox.ts';
import { freePort, runCommand, until } from './cluster.ts';
import { withoutPorts } from './quiet-ports.ts';

const CAPSTAN = new URL('../../capstan', import.meta.url).pathname;
const PROMETHEUS = '/usr/bin/prometheus';
const EXPRESSIONS = new URL('./testdata/monitoring-expressions.yaml', import.meta.url);
const FIND_MS = 45_000;
const SETTLED = { interval: '1s', evaluateAfterMs: 8_000 };

const obstacle =
  process.getuid?.() !== 0
    ? 'needs root'
    : missingPackages().length > 0
      ? `needs ${missingPackages().join(' ')}`
      : existsSync(PROMETHEUS)
        ? false
        : 'needs prometheus';

const rbac = (plural: string, kind: string): ResourceRef => ({
  group: 'rbac.authorization.k8s.io',
  version: 'v1',
  plural,
  kind,
  namespaced: false,
});

describe('observing a real cluster with Prometheus', { skip: obstacle }, () => {
  const claimId = newClusterId();
  const children: ChildProcess[] = [];
  let base: string;
  let api: Client;
  let prometheus: string;

  function start(...words: string[]): void {
    const log = join(base, 'logs', `${words[0]}.log`);
    const child = spawn('sh', ['-c', 'exec "$0" "$@" > "$LOG" 2>&1', CAPSTAN, ...words], {
      env: { ...process.env, LOG: log },
      stdio: 'ignore',
    });
    children.push(child);
  }

  before(async () => {
    base = mkdtempSync(join(tmpdir(), 'capstan-observing-'));
    mkdirSync(join(base, 'logs'));
    const { podCIDR } = await claimNetworks({ id: claimId, dataDir: base });
    const kubeconfig = (name: string): string => join(base, 'api/kubeconfigs', `${name}.kubeconfig`);
    const admin = join(base, 'api/admin.kubeconfig');
    const ports = await Promise.all(Array.from({ length: 7 }, freePort));
    const [server, manager, scheduler, proxy, dnsMetrics, dns, prometheusPort] = ports as [
      number,
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    start('apiserver', '--data-dir', join(base, 'api'), '--secure-port', String(server));
    await until('the API server', () => existsSync(kubeconfig('dns')));
    api = createClient(createKubeconfigTransport({ path: admin }), { userAgent: 'test' });
    const loopback = ['--bind-address', '127.0.0.1', '--secure-port'];
    start(
      'controller-manager',
      '--kubeconfig',
      kubeconfig('controller-manager'),
      '--cluster-cidr',
      podCIDR,
      ...loopback,
      String(manager),
    );
    start('scheduler', '--kubeconfig', kubeconfig('scheduler'), ...loopback, String(scheduler));
    start(
      'node',
      '--kubeconfig',
      admin,
      '--data-dir',
      join(base, 'node'),
      '--node-name',
      'watched',
      '--pod-cidr',
      podCIDR.replace('/16', '/24'),
    );
    start(
      ...withoutPorts([
        'proxy',
        '--kubeconfig',
        kubeconfig('kube-proxy'),
        '--cluster-cidr',
        podCIDR,
        '--node-name',
        'watched',
      ]).filter((word) => !word.startsWith('--metrics')),
      '--metrics-bind-address',
      `127.0.0.1:${proxy}`,
    );
    start(
      ...withoutPorts(['dns', '--kubeconfig', kubeconfig('dns'), '--listen', `127.0.0.1:${dns}`]).filter(
        (word) => !word.startsWith('--metrics'),
      ),
      '--metrics-bind-address',
      `127.0.0.1:${dnsMetrics}`,
    );
    await until('the node', async () =>
      (await api.get(nodes, { name: 'watched' })).status?.conditions?.some(
        ({ type, status }) => type === 'Ready' && status === 'True',
      ),
    );
    await runPod(api, { node: join(base, 'node') });
    await ask(dns);
    const token = await monitoringToken(api);
    const node = await api.get(nodes, { name: 'watched' });
    const address = node.status?.addresses?.find(({ type }) => type === 'InternalIP')?.address ?? '';
    const kubelet = `${address}:${node.status?.daemonEndpoints?.kubeletEndpoint?.Port ?? 10250}`;
    writeFileSync(join(base, 'token'), token);
    writeFileSync(
      join(base, 'prometheus.yml'),
      JSON.stringify({
        global: { scrape_interval: SETTLED.interval, scrape_timeout: SETTLED.interval },
        scrape_configs: [
          job('kube-apiserver', `127.0.0.1:${server}`),
          job('kube-controller-manager', `127.0.0.1:${manager}`),
          job('kube-scheduler', `127.0.0.1:${scheduler}`),
          job('kubelet', kubelet),
          job('kubelet', kubelet, '/metrics/cadvisor'),
          job('kube-proxy', `127.0.0.1:${proxy}`),
          job('coredns', `127.0.0.1:${dnsMetrics}`),
        ],
      }),
    );
    prometheus = `http://127.0.0.1:${prometheusPort}`;
    children.push(
      spawn(
        PROMETHEUS,
        [
          `--config.file=${join(base, 'prometheus.yml')}`,
          `--storage.tsdb.path=${join(base, 'tsdb')}`,
          `--web.listen-address=127.0.0.1:${prometheusPort}`,
        ],
        { stdio: 'ignore' },
      ),
    );
    await until('Prometheus', async () => (await fetch(`${prometheus}/-/ready`).catch(() => undefined))?.ok);
    await new Promise((resolve) => setTimeout(resolve, SETTLED.evaluateAfterMs));
  });

  /** TLS is verified by nobody where certificates are self-signed: the token is what counts here. */
  function job(name: string, target: string, path = '/metrics'): object {
    return {
      job_name: path === '/metrics' ? name : `${name}${path}`,
      scheme: 'https',
      metrics_path: path,
      tls_config: { insecure_skip_verify: true },
      authorization: { type: 'Bearer', credentials_file: join(base, 'token') },
      static_configs: [{ targets: [target], labels: { metrics_path: path } }],
      relabel_configs: [{ target_label: 'job', replacement: name }],
    };
  }

  after(async () => {
    await api?.close();
    for (const child of children) child.kill('SIGKILL');
    if (existsSync(join(base, 'node')))
      await runCommand([CAPSTAN, 'reset', '--yes', '--data-dir', join(base, 'node')]);
    releaseNetworks(claimId);
    if (process.env['KEEP'] !== '1') rmSync(base, { recursive: true, force: true });
  });

  async function finds(expression: string): Promise<string | undefined> {
    const response = await fetch(`${prometheus}/api/v1/query?query=${encodeURIComponent(expression)}`);
    const answer = (await response.json()) as {
      readonly error?: string;
      readonly data?: { readonly result: readonly unknown[] };
    };
    if (answer.error !== undefined) return answer.error;
    return (answer.data?.result.length ?? 0) > 0 ? undefined : 'no series';
  }

  const { expressions } = parse(readFileSync(EXPRESSIONS, 'utf8')) as {
    readonly expressions: Readonly<Record<string, readonly string[]>>;
  };

  for (const [component, list] of Object.entries(expressions))
    it(component, { timeout: FIND_MS * 2 }, async () => {
      const deadline = Date.now() + FIND_MS;
      let missing: (readonly [expression: string, why: string])[] = [];
      do {
        const outcomes = await Promise.all(list.map(async (one) => [one, await finds(one)] as const));
        missing = outcomes.flatMap(([one, why]) => (why === undefined ? [] : [[one, why] as const]));
        if (missing.length > 0) await new Promise((resolve) => setTimeout(resolve, 1_000));
      } while (missing.length > 0 && Date.now() < deadline);
      assert.deepEqual(missing, []);
    });
});

/** A pod with a limit that is placed by the scheduler and has volumes, so that all there is to count is counted. */
async function runPod(api: Client, { node }: { readonly node: string }): Promise<void> {
  const image = await buildBusyboxImage();
  const loaded = await runCommand([CAPSTAN, 'image', 'load', image.path, '--data-dir', node]);
  assert.equal(loaded.code, 0, loaded.stderr);
  rmSync(dirname(image.path), { recursive: true });
  await api.create(pods, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'watched', namespace: 'default' },
    spec: {
      terminationGracePeriodSeconds: 0,
      containers: [
        {
          name: 'main',
          image: image.name,
          imagePullPolicy: 'Never',
          command: ['sleep', '1000'],
          resources: { limits: { cpu: '200m', memory: '64Mi' } },
          volumeMounts: [{ name: 'scratch', mountPath: '/scratch' }],
        },
      ],
      volumes: [{ name: 'scratch', emptyDir: {} }],
    },
  });
  await until(
    'the pod',
    async () => (await api.get(pods, { name: 'watched', namespace: 'default' })).status?.phase === 'Running',
  );
}

async function ask(port: number): Promise<void> {
  const query = dnsPacket.encode({
    type: 'query',
    id: 7,
    questions: [{ type: 'A', name: 'kubernetes.default.svc.cluster.local' }],
  });
  const socket = createSocket('udp4');
  await until(
    'an answer of DNS',
    () =>
      new Promise<boolean>((resolve) => {
        socket.once('message', () => resolve(true));
        socket.send(query, port, '127.0.0.1');
        setTimeout(() => resolve(false), 500);
      }),
  );
  socket.close();
}

/** Who may see metrics: the paths by upstream's system:monitoring, the kubelets' as a subresource of nodes. */
async function monitoringToken(api: Client): Promise<string> {
  const account = { namespace: 'default', name: 'prometheus' };
  await api.create(serviceAccounts, { metadata: account });
  await api.create(rbac('clusterroles', 'ClusterRole'), {
    metadata: { name: 'prometheus' },
    rules: [{ apiGroups: [''], resources: ['nodes/metrics'], verbs: ['get'] }],
  } as KubeObject);
  for (const name of ['prometheus', 'system:monitoring'])
    await api.create(rbac('clusterrolebindings', 'ClusterRoleBinding'), {
      metadata: { name: `prometheus-${name.replace(':', '-')}` },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
      subjects: [{ kind: 'ServiceAccount', ...account }],
    } as KubeObject);
  const answer = await api.createSubresource(serviceAccounts, account, {
    subresource: 'token',
    body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} } as KubeObject,
  });
  return (answer as { readonly status?: { readonly token?: string } }).status?.token ?? '';
}
