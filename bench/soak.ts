/**
 * Whether memory comes back: the API server is filled under load (creates, lists in every form, watches), everything is deleted, and its memory is read
 * until some time after. Rounds repeat that, so that growth from one to the next shows a leak. Says only what the kernel and V8 report.
 *
 *   node bench/soak.ts [--objects=20000] [--rounds=2] [--settle=60] [--json]     needs h2load (Debian: nghttp2-client)
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { selfSigned } from './self-signed.ts';
import { forkApiServer } from './shared.ts';

const { values } = parseArgs({
  options: {
    objects: { type: 'string', default: '20000' },
    rounds: { type: 'string', default: '2' },
    settle: { type: 'string', default: '60' },
    json: { type: 'boolean', default: false },
  },
});
const run = promisify(execFile);
const directory = mkdtempSync(join(tmpdir(), 'capstan-soak-'));
const OBJECTS = Number(values.objects);
const READINGS_MS = [1_000, 5_000, 15_000, 30_000, 60_000, 120_000, 300_000];
/** curl waits no longer for the deletion of a whole collection. */
const DELETE_TIMEOUT_SECONDS = 300;
const WATCHERS = 50;

const MAPS = '/api/v1/namespaces/default/configmaps';
const PODS = '/api/v1/namespaces/default/pods';

/** Bodies of several sizes, since allocators keep a list for each. */
const CONFIG_MAP_BYTES = [300, 1_000, 4_000, 20_000];

interface Memory {
  readonly rss: number;
  readonly anonymous: number;
  readonly heapTotal: number;
  readonly heapUsed: number;
  readonly external: number;
  readonly arrayBuffers: number;
}

interface Reading extends Memory {
  readonly when: string;
}

const tls = await selfSigned();
const server = forkApiServer({ dir: join(directory, 'api'), ...tls });
const readings: Reading[] = [];

async function read(when: string, pid: number): Promise<void> {
  const memory = await server.answer<NodeJS.MemoryUsage>('memory', 'memory');
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const anonymous = Number(/RssAnon:\s+(\d+)/.exec(status)?.[1]) * 1024;
  const reading = { when, ...memory, anonymous };
  readings.push(reading);
  if (!values.json) console.log(line(reading));
}

function line({ when, rss, anonymous, heapTotal, heapUsed, external, arrayBuffers }: Reading): string {
  const mb = (bytes: number): string => (bytes / 1e6).toFixed(0).padStart(6);
  const rest = anonymous - heapTotal - arrayBuffers;
  return `${when.padEnd(34)}${[rss, anonymous, heapTotal, heapUsed, external, arrayBuffers, rest].map(mb).join('')}`;
}

async function request(port: number, { method, path, body }: Request): Promise<void> {
  const file = join(directory, 'one.json');
  if (body) writeFileSync(file, JSON.stringify(body));
  await run('curl', [
    '-sfk',
    '--max-time',
    String(DELETE_TIMEOUT_SECONDS),
    '-X',
    method,
    '-o',
    '/dev/null',
    '-H',
    'authorization: Bearer root',
    ...(body ? ['-H', 'content-type: application/json', '-d', `@${file}`] : []),
    `https://127.0.0.1:${port}${path}`,
  ]);
}

interface Request {
  readonly method: string;
  readonly path: string;
  readonly body?: object;
}

interface Load {
  readonly path: string;
  readonly count: number;
  readonly connections: number;
  readonly body?: object;
  readonly headers?: readonly string[];
}

/** Answers per second. */
async function load(port: number, { path, count, connections, body, headers = [] }: Load): Promise<number> {
  const file = join(directory, `body-${Math.random()}.json`);
  if (body) writeFileSync(file, JSON.stringify(body));
  const { stdout } = await run(
    'h2load',
    [
      '-n',
      String(count),
      '-c',
      String(connections),
      '-m',
      '1',
      '-t',
      '1',
      '-H',
      'authorization: Bearer root',
      '-H',
      'content-type: application/json',
      ...headers.flatMap((header) => ['-H', header]),
      ...(body ? ['-d', file] : []),
      `https://127.0.0.1:${port}${path}`,
    ],
    { maxBuffer: 2 ** 24 },
  );
  const codes = /status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx/.exec(stdout);
  if (Number(codes?.[1]) !== count) throw new Error(`requests of ${path} failed:\n${stdout}`);
  return Number(/finished in [^,]+, ([\d.]+) req\/s/.exec(stdout)?.[1]);
}

function configMap(bytes: number): object {
  return {
    kind: 'ConfigMap',
    apiVersion: 'v1',
    metadata: { generateName: 'soak-' },
    data: { value: 'v'.repeat(bytes) },
  };
}

const POD = {
  kind: 'Pod',
  apiVersion: 'v1',
  metadata: { generateName: 'soak-', labels: { app: 'soak' } },
  spec: { containers: [{ name: 'main', image: 'soak', env: [{ name: 'LEVEL', value: 'info' }] }] },
};

/** Watches that see everything come and go, as controllers and nodes do. */
function watch(port: number): AbortController {
  const end = new AbortController();
  for (let i = 0; i < WATCHERS; i++)
    void run(
      'curl',
      [
        '-sNk',
        '-o',
        '/dev/null',
        '-H',
        'authorization: Bearer root',
        `https://127.0.0.1:${port}${i % 2 ? MAPS : PODS}?watch=1`,
      ],
      { signal: end.signal },
    ).catch(() => {});
  return end;
}

async function fillAndDelete(port: number): Promise<readonly string[]> {
  const watchers = watch(port);
  try {
    return await fillAndDeleteWatched(port);
  } finally {
    watchers.abort();
  }
}

async function fillAndDeleteWatched(port: number): Promise<readonly string[]> {
  const rates: string[] = [];
  const timed = async (name: string, one: Load): Promise<void> => {
    rates.push(`${name} ${(await load(port, one)).toFixed(0)}/s`);
  };
  for (const bytes of CONFIG_MAP_BYTES)
    await timed(`creates of ${bytes} B`, {
      path: MAPS,
      count: OBJECTS / 8,
      connections: 16,
      body: configMap(bytes),
    });
  await timed('creates of Pods', { path: PODS, count: OBJECTS / 2, connections: 16, body: POD });
  await timed('lists', { path: PODS, count: 20, connections: 4 });
  await timed('lists, gzip', { path: PODS, count: 100, connections: 4, headers: ['accept-encoding: gzip'] });
  await timed('lists as tables', {
    path: MAPS,
    count: 10,
    connections: 4,
    headers: ['accept: application/json;as=Table;v=v1;g=meta.k8s.io'],
  });
  await timed('lists, protobuf', {
    path: PODS,
    count: 20,
    connections: 4,
    headers: ['accept: application/vnd.kubernetes.protobuf'],
  });
  for (const path of [MAPS, `${PODS}?gracePeriodSeconds=0`]) await request(port, { method: 'DELETE', path });
  return rates;
}

try {
  const { port, pid } = await server.answer<{ readonly port: number; readonly pid: number }>('ready');
  if (!values.json) console.log(`${'MB'.padEnd(34)}   rss  anon  heap  used   ext  bufs  rest`);
  // Nobody runs the controller that makes it, and pods are refused without.
  await request(port, {
    method: 'POST',
    path: '/api/v1/namespaces/default/serviceaccounts',
    body: { metadata: { name: 'default' } },
  });
  await read('started', pid);
  for (let round = 1; round <= Number(values.rounds); round++) {
    const rates = await fillAndDelete(port);
    if (!values.json) console.log(rates.join(', '));
    await read(`round ${round}: all deleted`, pid);
    let waited = 0;
    for (const ms of READINGS_MS.filter((each) => each <= Number(values.settle) * 1_000)) {
      await new Promise((resolve) => setTimeout(resolve, ms - waited));
      waited = ms;
      await read(`round ${round}: ${ms / 1_000} s later`, pid);
    }
  }
  if (values.json) console.log(JSON.stringify(readings));
} finally {
  server.stop();
  rmSync(directory, { recursive: true, force: true });
}
