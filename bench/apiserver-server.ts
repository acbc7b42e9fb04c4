/** What bench/apiserver.ts and bench/admission.ts load: the API server of `capstan apiserver` over an lmdb store, or a bare HTTP/2 server over lmdb, in a process of its own. */
import { writeFileSync } from 'node:fs';
import { createSecureServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { open } from 'lmdb';
import { composeApiServer } from '#cmd/apiserver/compose.ts';
import { ensurePki } from '#deploy/pki/pki.ts';
import { realClock } from '#stdx/clock.ts';
import { createLogger } from '#stdx/log.ts';
import { releaseMemoryWhenQuiet } from '#stdx/memory-release.ts';
import { openEtcdStore } from '#storage/drivers/etcd/etcd-store.ts';
import { openStore } from '#storage/drivers/index.ts';
import { TOKENS, freePort } from './shared.ts';

interface Config {
  readonly kind: 'api' | 'bare';
  readonly dir: string;
  readonly cert: string;
  readonly key: string;
  readonly listBytes: number;
  readonly longBytes: number;
  readonly disabledPlugins?: readonly string[];
  /** URL of an etcd member; absent: the lmdb store in dir. */
  readonly etcd?: string;
  /** Default: /capstan, apart from /registry, where upstream's server on the same etcd keeps its objects. */
  readonly etcdPrefix?: string;
}

const config = JSON.parse(process.env['BENCH_CONFIG']!) as Config;
const etcdPrefix = config.etcdPrefix ?? '/capstan';

/** Processor time and the longest hold-up of the event loop since the last question. */
let lastCpu = process.cpuUsage();
const delays = monitorEventLoopDelay({ resolution: 5 });
delays.enable();
process.on('message', (message) => {
  if (message !== 'cpu') return;
  const { user, system } = process.cpuUsage(lastCpu);
  lastCpu = process.cpuUsage();
  process.send!({ type: 'cpu', cpuMicroseconds: user + system, longestDelayMs: delays.max / 1e6 });
  delays.reset();
});

/** As `capstan apiserver` composes it: certificates, all authenticators, Node and RBAC, every admission plugin. */
async function startApi(): Promise<void> {
  const tokenFile = `${config.dir}.tokens`;
  writeFileSync(tokenFile, TOKENS);
  const pki = await ensurePki({
    dir: join(config.dir, 'pki'),
    nowMs: Date.now(),
    apiServer: { hostName: 'localhost', serviceIP: '10.96.0.1', bindAddresses: ['127.0.0.1'] },
  });
  const log = createLogger({ level: 'warn' });
  const store = config.etcd
    ? await openEtcdStore({ endpoints: [config.etcd], keyPrefix: etcdPrefix, replaces: '/registry', log })
    : await openStore({ driver: 'lmdb', dir: join(config.dir, 'store'), log });
  const port = await freePort();
  const server = await composeApiServer({
    store,
    // As upstream keeps them: protobuf.
    ...(config.etcd ? { etcdPrefix } : {}),
    pki,
    settings: {
      authentication: { tokenFile },
      ...(config.disabledPlugins ? { admission: { disabled: config.disabledPlugins } } : {}),
    },
    serviceCIDR: '10.96.0.0/16',
    listen: ['127.0.0.1'],
    port,
    advertiseAddress: '127.0.0.1',
    clock: realClock,
    log,
  });
  await server.ready();
  // As in `capstan apiserver`.
  releaseMemoryWhenQuiet({ clock: realClock, log, trims: true });
  process.send!({ type: 'ready', port, pid: process.pid });
  process.on('message', (message) => {
    if (message === 'memory') process.send!({ type: 'memory', ...process.memoryUsage() });
    if (message === 'stop')
      void server
        .stop()
        .then(() => store.close())
        .then(() => process.exit(0));
  });
}

/** The ceiling (puts resolve once synced, as the store's do): reads a body, puts it durably, answers it; answers ready bytes. No API at all. */
async function startBare(): Promise<void> {
  const database = open({
    path: config.dir,
    encoding: 'binary',
    keyEncoding: 'uint32',
    overlappingSync: false,
  });
  const bodies: Readonly<Record<string, Buffer>> = {
    '/get': Buffer.alloc(1100, 'x'),
    '/list': Buffer.alloc(config.listBytes, 'x'),
    '/long': Buffer.alloc(config.longBytes, 'x'),
  };
  let next = 0;
  const server = createSecureServer({ cert: config.cert, key: config.key });
  server.on('stream', (stream, headers) => {
    if (headers[':method'] !== 'POST') {
      stream.respond({ ':status': 200, 'content-type': 'application/json' });
      stream.end(bodies[headers[':path'] ?? ''] ?? bodies['/get']);
      return;
    }
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () => {
      const body = Buffer.concat(chunks);
      void database.put(next++, body).then(() => {
        if (stream.destroyed) return;
        stream.respond({ ':status': 201, 'content-type': 'application/json' });
        stream.end(body);
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  process.on('message', (message) => {
    if (message === 'stop') void database.close().then(() => process.exit(0));
  });
  const { port } = server.address() as AddressInfo;
  process.send!({ type: 'ready', port });
}

await (config.kind === 'api' ? startApi() : startBare());
