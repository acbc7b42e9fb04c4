/**
 * What bench/apiserver.ts and bench/admission.ts load: the API server of `capstan apiserver` over an lmdb store or etcd, or a bare HTTP/2 server over
 * either, in a process of its own.
 */
import { writeFileSync } from 'node:fs';
import { createSecureServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { open } from 'lmdb';
import { Freshness } from '#apiserver/watchcache/freshness.ts';
import { composeApiServer } from '#cmd/apiserver/compose.ts';
import { ensurePki } from '#deploy/pki/pki.ts';
import type { Http2Request, Http2Response } from '#http2/exchange.ts';
import { Http2Connection } from '#http2/connection.ts';
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
  /** Nodes are objects only: there is nobody to ask for their usage. */
  readonly hasNoAgents?: boolean;
  /** URL of an etcd member; absent: the lmdb store in dir. */
  readonly etcd?: string;
  /** Default: /capstan, apart from /registry, where upstream's server on the same etcd keeps its objects. */
  readonly etcdPrefix?: string;
}

const config = JSON.parse(process.env['BENCH_CONFIG']!) as Config;
const etcdPrefix = config.etcdPrefix ?? '/capstan';

const MAX_BARE_BODY_BYTES = 1024 * 1024;

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
      ...(config.hasNoAgents ? { resourceMetrics: { isOff: true } } : {}),
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

/**
 * The bound of one process on etcd: our HTTP/2 over TLS, and for a put one transaction that creates a key, for a get the share of a linearizable read.
 * No API and no watch.
 */
async function startBareOnEtcd(endpoint: string): Promise<void> {
  const log = createLogger({ level: 'warn' });
  const store = await openEtcdStore({ endpoints: [endpoint], keyPrefix: `${etcdPrefix}-bare`, log });
  const freshness = new Freshness({
    newest: () => store.newestRevision!(),
    reached: () => Infinity,
    requestProgress: () => {},
    clock: realClock,
  });
  const ready = Buffer.alloc(1100, 'x');
  let next = 0;
  const handler = async (request: Http2Request): Promise<Http2Response> => {
    const headers = { 'content-type': 'application/json' };
    if (request.method !== 'POST') {
      await freshness.caughtUp();
      return { status: 200, headers, body: ready };
    }
    const body = await request.body(MAX_BARE_BODY_BYTES);
    await store.put(`/bare/${process.pid}/${next++}`, body, { expected: 0 });
    return { status: 201, headers, body };
  };
  const server = createTlsServer({
    cert: config.cert,
    key: config.key,
    ALPNProtocols: ['h2'],
    noDelay: true,
  });
  server.on('secureConnection', (socket) => {
    socket.on('error', () => socket.destroy());
    new Http2Connection(socket, {
      handler,
      log,
      remoteAddress: '',
      maxConcurrentStreams: 250,
      maxHeaderBytes: 65_536,
      idleMs: 60_000,
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  process.on('message', (message) => {
    if (message === 'stop') void store.close().then(() => process.exit(0));
  });
  process.send!({ type: 'ready', port: (server.address() as AddressInfo).port });
}

if (config.kind === 'api') await startApi();
else if (config.etcd) await startBareOnEtcd(config.etcd);
else await startBare();
