/**
 * Updates, patches and server-side applies under h2load, beside creates of the same run: two loads at once write two contents in turn to the
 * same 200 ConfigMaps and Deployments, so that nearly every request changes its object. Each is durable before it is answered. With --upstream, a directory
 * with kube-apiserver and etcd, those are loaded in turn with ours.
 *
 *   node bench/writes.ts [--seconds=3] [--upstream=DIR]     needs h2load (Debian: nghttp2-client)
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { selfSigned } from './self-signed.ts';
import { forkApiServer } from './shared.ts';
import { Upstream } from './upstream.ts';

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '3' }, upstream: { type: 'string' } },
});
const run = promisify(execFile);
const directory = mkdtempSync(join(tmpdir(), 'capstan-bench-'));
const OBJECTS = 200;
const CONNECTIONS = 16;
/** A share of the requests. */
const MOST_CONFLICTS = 0.05;
/** In turn with upstream, each --seconds long. */
const ROUNDS = values.upstream ? 3 : 1;

const configMap = (value: string): object => ({
  kind: 'ConfigMap',
  apiVersion: 'v1',
  metadata: { labels: { app: 'bench' } },
  data: { value: value.repeat(800), other: 'same' },
});
const deployment = (image: string): object => ({
  kind: 'Deployment',
  apiVersion: 'apps/v1',
  spec: {
    replicas: 2,
    selector: { matchLabels: { app: 'bench' } },
    template: {
      metadata: { labels: { app: 'bench' } },
      spec: {
        containers: [
          { name: 'main', image, env: [{ name: 'LEVEL', value: image }], ports: [{ containerPort: 8080 }] },
        ],
      },
    },
  },
});

interface Case {
  readonly name: string;
  readonly method: string;
  readonly type: string;
  readonly path: string;
  readonly bodies: (object | undefined)[];
  /** Bodies name their objects: each load asks for its own. */ readonly each?: boolean;
}

const MAPS = '/api/v1/namespaces/default/configmaps',
  DEPLOYMENTS = '/apis/apps/v1/namespaces/default/deployments';
const CASES: readonly Case[] = [
  {
    name: 'creates of ConfigMaps',
    method: 'POST',
    type: 'application/json',
    path: MAPS,
    bodies: [
      { ...configMap('a'), metadata: { generateName: 'new-' } },
      { ...configMap('b'), metadata: { generateName: 'new-' } },
    ],
  },
  {
    name: 'updates of ConfigMaps',
    method: 'PUT',
    type: 'application/json',
    path: MAPS,
    bodies: Array.from({ length: 16 }, (_, i) => ({
      ...configMap(String.fromCharCode(97 + i)),
      metadata: { name: `bench-${i % 8}` },
    })),
    each: true,
  },
  {
    name: 'merge patches of ConfigMaps',
    method: 'PATCH',
    type: 'application/merge-patch+json',
    path: MAPS,
    bodies: [{ data: { value: 'a' } }, { data: { value: 'b' } }],
  },
  {
    name: 'strategic patches of Deployments',
    method: 'PATCH',
    type: 'application/strategic-merge-patch+json',
    path: DEPLOYMENTS,
    bodies: [
      { spec: { template: { spec: { containers: [{ name: 'main', image: 'a' }] } } } },
      { spec: { template: { spec: { containers: [{ name: 'main', image: 'b' }] } } } },
    ],
  },
  {
    name: 'applies of ConfigMaps',
    method: 'PATCH',
    type: 'application/apply-patch+yaml',
    path: MAPS,
    bodies: ['x', 'y'].map((value) => configMap(value)),
  },
  {
    name: 'applies of Deployments',
    method: 'PATCH',
    type: 'application/apply-patch+yaml',
    path: DEPLOYMENTS,
    bodies: [deployment('c'), deployment('d')],
  },
];

const tls = await selfSigned();
const server = forkApiServer({ dir: join(directory, 'api'), ...tls });

async function request(
  port: number,
  { method, path, body }: { readonly method: string; readonly path: string; readonly body: object },
): Promise<void> {
  const file = join(directory, 'one.json');
  writeFileSync(file, JSON.stringify(body));
  await run('curl', [
    '-sfk',
    '-X',
    method,
    '-H',
    'authorization: Bearer root',
    '-H',
    'content-type: application/json',
    '-d',
    `@${file}`,
    '-o',
    '/dev/null',
    `https://127.0.0.1:${port}${path}`,
  ]);
}

async function load(port: number, { bodies, method, path, type, each = false }: Case): Promise<number> {
  const urisOf = (names: readonly number[]): string =>
    names
      .map(
        (i) =>
          `https://127.0.0.1:${port}${path}${method === 'POST' ? '' : `/bench-${i}?fieldManager=bench&force=true`.replace(method === 'PATCH' && type.includes('apply') ? '' : '&force=true', '')}`,
      )
      .join('\n');
  const all = Array.from({ length: OBJECTS }, (_, i) => i);
  const rates = await Promise.all(
    bodies.map(async (body, index) => {
      const file = join(directory, `body-${index}.json`),
        uris = join(directory, `uris-${index}`);
      writeFileSync(uris, urisOf(each ? [index % 8] : all));
      writeFileSync(file, JSON.stringify(body));
      const { stdout } = await run(
        'h2load',
        [
          '-D',
          values.seconds,
          '-c',
          String(CONNECTIONS / bodies.length),
          '-m',
          '1',
          '-t',
          '1',
          '-H',
          'authorization: Bearer bench',
          '-H',
          `:method: ${method}`,
          '-H',
          `content-type: ${type}`,
          '-d',
          file,
          '-i',
          uris,
        ],
        { maxBuffer: 2 ** 24 },
      );
      const codes = /status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx/.exec(stdout);
      const done = Number(codes?.[1]),
        failed = Number(codes?.[3]) + Number(codes?.[4]);
      // Two who patch the same object at once may both be sent away: a conflict.
      if (!(done > 0) || failed > done * MOST_CONFLICTS)
        throw new Error(`requests of ${path} failed:\n${stdout}`);
      return (Number(/finished in [^,]+, ([\d.]+) req\/s/.exec(stdout)?.[1]) * done) / (done + failed);
    }),
  );
  return rates.reduce((sum, rate) => sum + rate, 0);
}

/** What the cases change. */
async function fill(port: number): Promise<void> {
  await request(port, {
    method: 'POST',
    path: '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings',
    body: {
      kind: 'ClusterRoleBinding',
      apiVersion: 'rbac.authorization.k8s.io/v1',
      metadata: { name: 'bench' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
      subjects: [{ kind: 'Group', apiGroup: 'rbac.authorization.k8s.io', name: 'bench-admins' }],
    },
  });
  for (let i = 0; i < OBJECTS; i++) {
    await request(port, {
      method: 'POST',
      path: MAPS,
      body: { ...configMap('a'), metadata: { name: `bench-${i}` } },
    });
    await request(port, {
      method: 'POST',
      path: DEPLOYMENTS,
      body: { ...deployment('a'), metadata: { name: `bench-${i}` } },
    });
  }
}

interface Measured {
  readonly perSecond: number;
  readonly cpuMicroseconds: number;
}

/** usage: processor time in µs since it was last asked. */
async function measure(
  port: number,
  one: Case,
  usage: () => Promise<{ readonly cpuMicroseconds: number }>,
): Promise<Measured> {
  await usage();
  const perSecond = await load(port, one);
  return { perSecond, cpuMicroseconds: (await usage()).cpuMicroseconds / perSecond / Number(values.seconds) };
}

function mean(measured: readonly Measured[]): Measured {
  const of = (pick: (one: Measured) => number): number =>
    measured.reduce((sum, one) => sum + pick(one), 0) / measured.length;
  return {
    perSecond: of(({ perSecond }) => perSecond),
    cpuMicroseconds: of(({ cpuMicroseconds }) => cpuMicroseconds),
  };
}

const upstream = values.upstream
  ? new Upstream({ binaries: values.upstream, dir: join(directory, 'upstream'), ...tls })
  : undefined;
try {
  const { port } = await server.answer<{ readonly port: number }>('ready');
  await fill(port);
  const upstreamPort = (await upstream?.ready)?.port;
  if (upstreamPort !== undefined) await fill(upstreamPort);
  for (const one of CASES) {
    const ours: Measured[] = [],
      theirs: Measured[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      ours.push(
        await measure(port, one, () => server.answer<{ readonly cpuMicroseconds: number }>('cpu', 'cpu')),
      );
      if (upstream && upstreamPort !== undefined)
        theirs.push(await measure(upstreamPort, one, () => upstream.usage()));
    }
    const { perSecond, cpuMicroseconds } = mean(ours),
      other = theirs.length > 0 ? mean(theirs) : undefined;
    console.log(
      `${one.name.padEnd(34)}${perSecond.toFixed(0).padStart(6)}/s  ${cpuMicroseconds.toFixed(0)} µs of CPU each${other ? `  ${(perSecond / other.perSecond).toFixed(2)}x upstream (here: ${other.perSecond.toFixed(0)}/s, ${other.cpuMicroseconds.toFixed(0)} µs)` : ''}`,
    );
  }
} finally {
  await upstream?.stop();
  server.stop();
  rmSync(directory, { recursive: true, force: true });
}
