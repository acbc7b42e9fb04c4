/**
 * The API server under h2load (TLS, HTTP/2, one request at a time on each connection), every write durable in lmdb before it is
 * answered. Beside it, in the same run, a bare Node server: the ceiling of one process on this machine; and, where --upstream names a directory with
 * kube-apiserver and etcd, those. Without them ratios are to what upstream's 1.36 did on another machine of two cores. Requests carry a bearer token of a
 * user who may do all by RBAC.
 *
 *   node bench/apiserver.ts [--seconds=2] [--only=gets] [--upstream=DIR] [--etcd] [--no-bare] [--heavy] [--creates] [--cpu-prof=DIR]
 *
 * --creates: creates of further kinds, too.
 *
 * --etcd, with --upstream: both servers on the same etcd process, under prefixes of their own, and the bare server too, which then does nothing but one
 * transaction for a put and a share of a linearizable read for a get. Processor time of upstream then includes etcd's, which stands apart for the others.
 */
import { execFile, fork, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { NODE_FLAGS } from '#deploy/daemon.ts';
import { selfSigned } from './self-signed.ts';
import { Upstream, type Usage } from './upstream.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '2' },
    only: { type: 'string' },
    'no-bare': { type: 'boolean' },
    upstream: { type: 'string' },
    etcd: { type: 'boolean' },
    heavy: { type: 'boolean' },
    creates: { type: 'boolean' },
    'cpu-prof': { type: 'string' },
  },
});
const run = promisify(execFile);

interface Case {
  readonly name: string;
  readonly path: string;
  readonly connections: number;
  readonly upstreamPerSecond: number;
  readonly body?: object;
  readonly bare?: string;
  /** As clients in Go and JavaScript ask for lists. */
  readonly gzip?: boolean;
  /** Instead of a duration: enough that the case after it has what it counts on. */
  readonly requests?: number;
}

const padding = (length: number): string => 'x'.repeat(length);
const CONFIG_MAP = {
  kind: 'ConfigMap',
  apiVersion: 'v1',
  metadata: { generateName: 'bench-', labels: { app: 'bench' } },
  data: { value: padding(800) },
};
/** What a Deployment makes of one plain container; --heavy: two containers with eight variables each and a long annotation. */
const PLAIN_POD = {
  kind: 'Pod',
  apiVersion: 'v1',
  metadata: {
    generateName: 'bench-6d4cf56db6-',
    labels: { app: 'bench', 'pod-template-hash': '6d4cf56db6' },
  },
  spec: {
    containers: [
      {
        name: 'main',
        image: 'registry.example.com/library/image:1.2.3',
        ports: [{ containerPort: 8080 }],
        env: [{ name: 'LOG_LEVEL', value: 'info' }],
        resources: { requests: { cpu: '100m', memory: '128Mi' }, limits: { memory: '256Mi' } },
      },
    ],
  },
};
const HEAVY_POD = {
  kind: 'Pod',
  apiVersion: 'v1',
  metadata: {
    generateName: 'bench-',
    labels: { app: 'bench', 'pod-template-hash': 'abcdef' },
    annotations: { note: padding(700) },
  },
  spec: {
    containers: ['one', 'two'].map((name) => ({
      name,
      image: 'registry.example.com/library/image:1.2.3',
      ports: [{ containerPort: 8080 }],
      env: Array.from({ length: 8 }, (_, i) => ({ name: `VARIABLE_${i}`, value: padding(40) })),
      resources: { requests: { cpu: '100m', memory: '128Mi' }, limits: { cpu: '1', memory: '256Mi' } },
      readinessProbe: { httpGet: { path: '/healthz', port: 8080 } },
    })),
  },
};
const POD = values.heavy ? HEAVY_POD : PLAIN_POD;
const SECRET = {
  kind: 'Secret',
  apiVersion: 'v1',
  metadata: { generateName: 'bench-', labels: { app: 'bench' } },
  data: { value: Buffer.from(padding(300)).toString('base64') },
};
const DEPLOYMENT = {
  kind: 'Deployment',
  apiVersion: 'apps/v1',
  metadata: { generateName: 'bench-', labels: { app: 'bench' } },
  spec: {
    replicas: 3,
    selector: { matchLabels: { app: 'bench' } },
    template: { metadata: { labels: { app: 'bench' } }, spec: POD.spec },
  },
};

const BINDING = {
  kind: 'ClusterRoleBinding',
  apiVersion: 'rbac.authorization.k8s.io/v1',
  metadata: { name: 'bench' },
  roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
  subjects: [{ kind: 'Group', apiGroup: 'rbac.authorization.k8s.io', name: 'bench-admins' }],
};

const CASES: readonly Case[] = [
  {
    name: 'ConfigMap creates (1 kB)',
    path: '/api/v1/namespaces/default/configmaps',
    connections: 16,
    upstreamPerSecond: 1850,
    body: CONFIG_MAP,
    bare: '/put',
  },
  {
    name: 'Pod creates',
    path: '/api/v1/namespaces/pods/pods',
    connections: 16,
    upstreamPerSecond: 1240,
    body: POD,
    bare: '/put',
  },
  {
    name: 'gets',
    path: '/api/v1/namespaces/lists/configmaps/fixed',
    connections: 16,
    upstreamPerSecond: 4340,
    bare: '/get',
  },
  {
    name: 'lists of 500 ConfigMaps',
    path: '/api/v1/namespaces/lists/configmaps',
    connections: 4,
    upstreamPerSecond: 198,
    bare: '/list',
  },
  {
    name: 'lists of 6,000 Pods',
    path: '/api/v1/namespaces/many/pods',
    connections: 2,
    upstreamPerSecond: 9.2,
    bare: '/long',
  },
  {
    name: 'lists of 500 in gzip',
    path: '/api/v1/namespaces/lists/configmaps',
    connections: 4,
    upstreamPerSecond: NaN,
    gzip: true,
  },
  {
    name: 'lists of 6,000 in gzip',
    path: '/api/v1/namespaces/many/pods',
    connections: 2,
    upstreamPerSecond: NaN,
    gzip: true,
  },
];

/** With --creates, after the others: they change what the figures of memory are about. */
const MORE_CREATES: readonly Case[] = [
  {
    name: 'Secret creates',
    path: '/api/v1/namespaces/default/secrets',
    connections: 16,
    upstreamPerSecond: NaN,
    body: SECRET,
  },
  {
    name: 'Deployment creates',
    path: '/apis/apps/v1/namespaces/pods/deployments',
    connections: 16,
    upstreamPerSecond: NaN,
    body: DEPLOYMENT,
  },
];

/** What the bare server answers for lists: as much as 500 ConfigMaps and 6,000 pods come to. */
const LIST_BYTES = 350_000,
  LONG_BYTES = values.heavy ? 42_000_000 : 15_000_000;

const directory = mkdtempSync(join(tmpdir(), 'capstan-bench-'));
const children: Server[] = [];
/** Whose etcd all are on, with --etcd. */
let sharedEtcd: Upstream | undefined;

/** What is loaded. */
type Server = Child | Upstream;

class Child {
  readonly #process: ChildProcess;
  /** startMs: from the start of the process to /readyz. */
  readonly ready: Promise<{ readonly port: number; readonly startMs: number }>;

  constructor(
    kind: 'api' | 'bare',
    options: {
      readonly dir: string;
      readonly cert: string;
      readonly key: string;
      readonly etcd?: string | undefined;
    },
  ) {
    const startedMs = performance.now();
    const profile =
      kind === 'api' && values['cpu-prof'] ? ['--cpu-prof', `--cpu-prof-dir=${values['cpu-prof']}`] : [];
    this.#process = fork(new URL('./apiserver-server.ts', import.meta.url), {
      execArgv: [...NODE_FLAGS, ...profile],
      // As the launcher sets it.
      env: {
        NODE_COMPILE_CACHE: join(import.meta.dirname, '../.cache/compile'),
        ...process.env,
        BENCH_CONFIG: JSON.stringify({ kind, listBytes: LIST_BYTES, longBytes: LONG_BYTES, ...options }),
      },
    });
    this.ready = (this.#answer('ready') as Promise<{ port: number }>).then(({ port }) => ({
      port,
      startMs: performance.now() - startedMs,
    }));
    children.push(this);
  }

  #answer(type: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const ended = (code: number | null): void => reject(new Error(`the server ended with code ${code}`));
      const hear = (message: { readonly type: string }): void => {
        if (message.type !== type) return;
        this.#process.off('message', hear).off('exit', ended);
        resolve(message);
      };
      this.#process.on('message', hear).on('exit', ended);
    });
  }

  /** 'resident 120 MB (heap 30 of 40, buffers 20)' */
  async memory(): Promise<string> {
    const answer = this.#answer('memory') as Promise<NodeJS.MemoryUsage>;
    this.#process.send('memory');
    const { rss, heapUsed, heapTotal, arrayBuffers } = await answer;
    const mb = (bytes: number): string => String(Math.round(bytes / 2 ** 20));
    return `resident ${mb(rss)} MB (heap ${mb(heapUsed)} of ${mb(heapTotal)}, buffers ${mb(arrayBuffers)})`;
  }

  /** Since this was last asked. Processor time, unlike a rate, hardly depends on what else the machine does. */
  async usage(): Promise<Usage> {
    const answer = this.#answer('cpu') as Promise<Usage>;
    this.#process.send('cpu');
    return answer;
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null) return;
    const gone = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.send('stop');
    await gone;
  }
}

interface Load {
  readonly token?: string;
  readonly path: string;
  readonly connections: number;
  readonly body?: object | undefined;
  readonly requests?: number | undefined;
  readonly gzip?: boolean | undefined;
}

/** Processor time is that of one request. */
interface Rate extends Usage {
  /** Of etcd, where it is that of --etcd. */
  readonly etcdMicroseconds: number;
  readonly perSecond: number;
  readonly bytes: number;
}

async function load(
  child: Server,
  { path, connections, body, requests, gzip, token = 'bench' }: Load,
): Promise<Rate> {
  const { port } = await child.ready;
  const file = join(directory, 'body.json');
  if (body) writeFileSync(file, JSON.stringify(body));
  const amount = requests === undefined ? ['-D', values.seconds] : ['-n', String(requests)];
  await child.usage();
  sharedEtcd?.etcdUsage();
  const { stdout } = await run(
    'h2load',
    [
      ...amount,
      '-c',
      String(connections),
      '-m',
      '1',
      '-t',
      '1',
      '-H',
      `authorization: Bearer ${token}`,
      ...(body ? ['-d', file, '-H', 'content-type: application/json'] : []),
      ...(gzip ? ['-H', 'accept-encoding: gzip'] : []),
      `https://127.0.0.1:${port}${path}`,
    ],
    { maxBuffer: 2 ** 24 },
  );
  const failed = /(\d+) failed, (\d+) errored/.exec(stdout),
    codes = /status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx/.exec(stdout);
  if (Number(failed?.[1]) > 0 || Number(codes?.[3]) > 0 || Number(codes?.[4]) > 0)
    throw new Error(`requests of ${path} failed:\n${stdout}`);
  const done = Number(/(\d+) succeeded/.exec(stdout)?.[1] ?? NaN);
  const usage = await child.usage();
  return {
    perSecond: Number(/finished in [^,]+, ([\d.]+) req\/s/.exec(stdout)?.[1] ?? NaN),
    ...usage,
    cpuMicroseconds: usage.cpuMicroseconds / done,
    etcdMicroseconds: (sharedEtcd?.etcdUsage() ?? 0) / done,
    bytes: dataBytes(stdout) / done,
  };
}

/** Each round is --seconds long. */
const ROUNDS = 4;

function together(rates: readonly Rate[]): Rate {
  const mean = (of: (rate: Rate) => number): number =>
    rates.reduce((sum, rate) => sum + of(rate), 0) / rates.length;
  return {
    perSecond: mean((rate) => rate.perSecond),
    cpuMicroseconds: mean((rate) => rate.cpuMicroseconds),
    etcdMicroseconds: mean((rate) => rate.etcdMicroseconds),
    bytes: mean((rate) => rate.bytes),
    longestDelayMs: Math.max(...rates.map((rate) => rate.longestDelayMs)),
  };
}

/** Of the bodies, from 'traffic: 3.18MB (3338240) total, …, 3.01MB (3160000) data'. */
function dataBytes(stdout: string): number {
  return Number(/\((\d+)\) data/.exec(stdout)?.[1] ?? NaN);
}

/** Namespaces and objects that the cases count on. */
async function fill(server: Server): Promise<void> {
  await load(server, {
    path: '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings',
    connections: 1,
    requests: 1,
    token: 'root',
    body: BINDING,
  });
  for (const name of ['lists', 'many', 'pods']) {
    await load(server, {
      path: '/api/v1/namespaces',
      connections: 1,
      requests: 1,
      body: { kind: 'Namespace', apiVersion: 'v1', metadata: { name } },
    });
    // Which the controller of service accounts would make; pods are refused without.
    await load(server, {
      path: `/api/v1/namespaces/${name}/serviceaccounts`,
      connections: 1,
      requests: 1,
      body: { kind: 'ServiceAccount', apiVersion: 'v1', metadata: { name: 'default' } },
    });
  }
  await load(server, {
    path: '/api/v1/namespaces/lists/configmaps',
    connections: 1,
    requests: 1,
    body: { ...CONFIG_MAP, metadata: { name: 'fixed' }, data: { value: padding(800) } },
  });
  await load(server, {
    path: '/api/v1/namespaces/lists/configmaps',
    connections: 16,
    requests: 499,
    body: { ...CONFIG_MAP, data: { value: padding(350) } },
  });
  await load(server, { path: '/api/v1/namespaces/many/pods', connections: 16, requests: 6000, body: POD });
  await load(server, {
    path: '/api/v1/namespaces/default/configmaps',
    connections: 16,
    requests: 9500,
    body: CONFIG_MAP,
  });
  if (values.creates) await fillOtherKinds(server);
}

/** As many as a server that has run for a while has seen of a kind, so that its code is compiled. */
async function fillOtherKinds(server: Server): Promise<void> {
  for (const { path, connections, body } of MORE_CREATES)
    await load(server, { path, connections, requests: 4000, body });
}

/** Lists cost etcd nothing but that share of a read. */
const BARE_ON_ETCD: ReadonlySet<string | undefined> = new Set(['/put', '/get']);

interface Compared {
  readonly api: Child;
  readonly bare: Child | undefined;
  readonly upstream: Upstream | undefined;
}

/** In turn, since machines that others use too are not equally fast from one second to the next. */
async function compare(
  { name, path, connections, upstreamPerSecond, body, gzip, ...one }: Case,
  { api, bare, upstream }: Compared,
): Promise<string> {
  const barePath = sharedEtcd && !BARE_ON_ETCD.has(one.bare) ? undefined : one.bare;
  const ours: Rate[] = [],
    ceilings: Rate[] = [],
    theirs: Rate[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    if (bare && barePath) ceilings.push(await load(bare, { path: barePath, connections, body }));
    ours.push(await load(api, { path, connections, body, gzip }));
    if (upstream) theirs.push(await load(upstream, { path, connections, body, gzip }));
  }
  const { perSecond, cpuMicroseconds, etcdMicroseconds, longestDelayMs, bytes } = together(ours);
  const andEtcd = (microseconds: number): string =>
    sharedEtcd ? ` (and ${microseconds.toFixed(0)} µs of etcd)` : '';
  const ceiling = ceilings.length > 0 ? together(ceilings) : undefined,
    other = theirs.length > 0 ? together(theirs) : undefined;
  const times = perSecond / (other?.perSecond ?? upstreamPerSecond);
  return [
    `${name.padEnd(26)}${perSecond.toFixed(0).padStart(6)}/s ${Number.isNaN(times) ? '' : `${times.toFixed(2).padStart(6)}x upstream`}${other ? ` (here: ${other.perSecond.toFixed(1)}/s, ${other.cpuMicroseconds.toFixed(0)} µs, ${other.bytes.toFixed(0)} bytes)` : ''}`,
    `${cpuMicroseconds.toFixed(0).padStart(6)} µs of CPU each${andEtcd(etcdMicroseconds)}, loop held up ≤ ${longestDelayMs.toFixed(0)} ms, ${bytes.toFixed(0)} bytes`,
    ...(ceiling
      ? [
          `bare server: ${ceiling.perSecond.toFixed(0)}/s, ${ceiling.cpuMicroseconds.toFixed(0)} µs${andEtcd(ceiling.etcdMicroseconds)}: ${((100 * perSecond) / ceiling.perSecond).toFixed(0)} %`,
        ]
      : []),
  ].join('  ');
}

try {
  if (values.etcd && !values.upstream)
    throw new Error('--etcd needs --upstream=DIR: the etcd of that directory serves both');
  const tls = await selfSigned();
  const dir = join(directory, 'api');
  const upstream = values.upstream
    ? new Upstream({ binaries: values.upstream, dir: join(directory, 'upstream'), ...tls })
    : undefined;
  const etcd = values.etcd ? (await upstream?.ready)?.etcd : undefined;
  if (etcd) sharedEtcd = upstream;
  const api = new Child('api', { dir, etcd, ...tls });
  console.log(
    `cold start to /readyz: ${(await api.ready).startMs.toFixed(0)} ms; idle: ${await api.memory()}`,
  );
  const bare = values['no-bare']
    ? undefined
    : new Child('bare', { dir: join(directory, 'bare'), etcd, ...tls });
  if (upstream) {
    children.push(upstream);
    console.log(
      `upstream: cold start to /readyz: ${(await upstream.ready).startMs.toFixed(0)} ms; idle: ${await upstream.memory()}`,
    );
    await fill(upstream);
    console.log(`upstream: after 10,000 ConfigMaps and 6,000 Pods: ${await upstream.memory()}`);
  }
  await fill(api);
  console.log(`after 10,000 ConfigMaps and 6,000 Pods: ${await api.memory()}`);
  for (const one of [...CASES, ...(values.creates ? MORE_CREATES : [])]) {
    if (values.only && !one.name.includes(values.only)) continue;
    console.log(await compare(one, { api, bare, upstream }));
  }
  console.log(`after all: ${await api.memory()}${upstream ? `; upstream: ${await upstream.memory()}` : ''}`);
  await api.stop();
  const warm = new Child('api', { dir, etcd, ...tls });
  const { startMs } = await warm.ready;
  console.log(`warm start over the filled store, to /readyz: ${startMs.toFixed(0)} ms`);
} finally {
  for (const child of children) await child.stop();
  rmSync(directory, { recursive: true, force: true });
}
