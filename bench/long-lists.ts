/**
 * What a list of very many pods does to everybody else: while clients list them all, in every view and encoding, another asks for one small object again
 * and again, and how long its answers take is measured. One process serves (bench/apiserver-server.ts), this one asks.
 *
 *   node bench/long-lists.ts [--pods=50000] [--lists=3]     lists: of each view, one after the other
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type ClientHttp2Session } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { selfSigned } from './self-signed.ts';
import { forkApiServer } from './shared.ts';

const { values } = parseArgs({
  options: { pods: { type: 'string', default: '50000' }, lists: { type: 'string', default: '3' } },
});
const pods = Number(values.pods),
  lists = Number(values.lists);
const WRITERS = 64;
const PODS = '/api/v1/namespaces/default/pods';
const META = ';g=meta.k8s.io;v=v1';

const VIEWS: readonly {
  readonly name: string;
  readonly path?: string;
  readonly headers?: Record<string, string>;
}[] = [
  { name: 'JSON' },
  { name: 'JSON in gzip', headers: { 'accept-encoding': 'gzip' } },
  { name: 'protobuf', headers: { accept: 'application/vnd.kubernetes.protobuf' } },
  {
    name: 'protobuf in gzip',
    headers: { accept: 'application/vnd.kubernetes.protobuf', 'accept-encoding': 'gzip' },
  },
  { name: 'Table', headers: { accept: `application/json;as=Table${META}` } },
  {
    name: 'PartialObjectMetadata',
    headers: { accept: `application/json;as=PartialObjectMetadataList${META}` },
  },
  { name: 'label selector, a tenth', path: `${PODS}?labelSelector=part%3D3` },
  { name: 'field selector, none', path: `${PODS}?fieldSelector=spec.nodeName%3Dnowhere` },
  { name: 'pages of 500', path: `${PODS}?limit=500` },
  {
    name: 'watch with initial events',
    path: `${PODS}?watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=5`,
  },
];

const directory = mkdtempSync(join(tmpdir(), 'capstan-bench-'));
const server = forkApiServer({ dir: join(directory, 'api'), ...(await selfSigned()) });

interface Asked {
  readonly headers?: Record<string, string>;
  readonly body?: object;
}

/** How many bytes came, and how they began. */
function ask(
  session: ClientHttp2Session,
  target: string,
  { headers = {}, body }: Asked = {},
): Promise<{ readonly status: number; readonly bytes: number; readonly start: string }> {
  return new Promise((resolve, reject) => {
    const stream = session.request({
      ':method': body ? 'POST' : 'GET',
      ':path': target,
      authorization: 'Bearer root',
      ...(body ? { 'content-type': 'application/json' } : {}),
      ...headers,
    });
    let status = 0,
      bytes = 0,
      start = '';
    stream.on('response', (answered) => (status = Number(answered[':status'])));
    stream.on('data', (chunk: Buffer) => {
      if (bytes === 0) start = chunk.toString('latin1', 0, 600);
      bytes += chunk.length;
    });
    stream.on('end', () => resolve({ status, bytes, start })).on('error', reject);
    stream.end(body ? JSON.stringify(body) : undefined);
  });
}

function pod(number: number): object {
  return {
    kind: 'Pod',
    apiVersion: 'v1',
    metadata: {
      name: `pod-${String(number).padStart(6, '0')}`,
      labels: { app: 'bench', part: String(number % 10) },
    },
    spec: {
      containers: [
        {
          name: 'main',
          image: 'registry.example.com/library/image:1.2.3',
          env: [{ name: 'LOG_LEVEL', value: 'info' }],
          resources: { requests: { cpu: '100m', memory: '128Mi' } },
        },
      ],
    },
  };
}

async function listAll(
  session: ClientHttp2Session,
  { path = PODS, headers = {} }: { readonly path?: string; readonly headers?: Record<string, string> },
): Promise<number> {
  let bytes = 0,
    next = path;
  for (;;) {
    const one = await ask(session, next, { headers });
    if (one.status !== 200) throw new Error(`${next}: ${one.status} ${one.start}`);
    bytes += one.bytes;
    const token = path.includes('limit=') ? /"continue":"([^"]+)"/.exec(one.start)?.[1] : undefined;
    if (token === undefined) return bytes;
    next = `${path}&continue=${token}`;
  }
}

try {
  const { port } = await server.answer<{ readonly port: number }>('ready');
  const open = (): ClientHttp2Session =>
    connect(`https://127.0.0.1:${port}`, {
      rejectUnauthorized: false,
      settings: { initialWindowSize: 2 ** 24 },
    });
  const [lister, prober] = [open(), open()];
  await ask(lister, '/api/v1/namespaces/default/serviceaccounts', {
    body: { kind: 'ServiceAccount', apiVersion: 'v1', metadata: { name: 'default' } },
  });
  await ask(lister, '/api/v1/namespaces/default/configmaps', {
    body: { kind: 'ConfigMap', apiVersion: 'v1', metadata: { name: 'small' } },
  });
  let made = 0;
  await Promise.all(
    Array.from({ length: WRITERS }, async () => {
      while (made < pods) {
        const { status, start } = await ask(lister, PODS, { body: pod(made++) });
        if (status !== 201) throw new Error(`a pod was not created: ${status} ${start}`);
      }
    }),
  );
  for (const view of VIEWS) {
    let running = true;
    const waits: number[] = [];
    await server.answer('cpu', 'cpu');
    const probing = (async () => {
      while (running) {
        const startMs = performance.now();
        await ask(prober, '/api/v1/namespaces/default/configmaps/small');
        waits.push(performance.now() - startMs);
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    })();
    const startMs = performance.now();
    let bytes = 0;
    for (let i = 0; i < lists; i++) bytes = await listAll(lister, view);
    const tookMs = (performance.now() - startMs) / lists;
    running = false;
    await probing;
    const { longestDelayMs, cpuMicroseconds } = await server.answer<{
      readonly longestDelayMs: number;
      readonly cpuMicroseconds: number;
    }>('cpu', 'cpu');
    waits.sort((a, b) => a - b);
    const percentile = (p: number): string =>
      (waits[Math.min(waits.length - 1, Math.floor(waits.length * p))] ?? NaN).toFixed(1);
    console.log(
      `${view.name.padEnd(26)} ${tookMs.toFixed(0).padStart(6)} ms a list of ${(bytes / 1e6).toFixed(1)} MB, ${(cpuMicroseconds / lists / 1000).toFixed(0)} ms of CPU; others wait p50 ${percentile(0.5)}, p99 ${percentile(0.99)}, at most ${percentile(1)} ms; loop held up ≤ ${longestDelayMs.toFixed(0)} ms`,
    );
  }
  lister.destroy();
  prober.destroy();
} finally {
  server.stop();
  rmSync(directory, { recursive: true, force: true });
}
