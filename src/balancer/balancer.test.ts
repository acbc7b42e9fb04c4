/** The balancer over fake API servers on loopback: which server a connection goes to, and what happens to it when the server fails. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import * as https from 'node:https';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, test } from 'node:test';
import * as tls from 'node:tls';
import type { EndpointSlice } from '#api/types.ts';
import { createClient } from '#client/create.ts';
import { createDirectTransport } from '#client/direct.ts';
import { createHttpsTransport } from '#client/https.ts';
import { endpointSlices } from '#client/refs.ts';
import { createFakeApi } from '#client/testing/fake-api.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { startTestApi } from '#testing/start-test-api.ts';
import { formatAddress, type Address } from './address.ts';
import { createBalancer, type Balancer, type BalancerOptions } from './balancer.ts';
import { authority, freePort, startFakeServer, type FakeServer } from './testing/fake-server.ts';

const dir = mkdtempSync(join(tmpdir(), 'capstan-balancer-'));
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
after(() => rmSync(dir, { recursive: true, force: true }));

async function servers(...names: string[]): Promise<FakeServer[]> {
  const started = await Promise.all(names.map((name) => startFakeServer(name)));
  for (const server of started) cleanups.push(() => server.stop().catch(() => {}));
  return started;
}

async function balance(seeds: readonly Address[], options: Partial<BalancerOptions> = {}): Promise<Balancer> {
  const balancer = createBalancer({
    clock: realClock,
    log: silentLogger,
    random: Math.random,
    listen: [{ host: '127.0.0.1', port: 0 }],
    seeds,
    resolve: () => Promise.reject(new Error('no names here')),
    trust: () => ({ ca: authority.cert, serverName: '127.0.0.1' }),
    ...options,
  });
  cleanups.push(() => balancer.stop());
  await balancer.start();
  return balancer;
}

async function eventually(
  what: string,
  holds: () => boolean | Promise<boolean>,
  withinMs = 10_000,
): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`${what} did not happen within ${withinMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function isReady(balancer: Balancer, ...some: readonly FakeServer[]): () => boolean {
  return () =>
    some.every(({ address }) =>
      balancer.servers.some(({ key, health }) => key === formatAddress(address) && health === 'ready'),
    );
}

/** The name of the server that answers, on a connection of its own. */
function ask(balancer: Balancer): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = https.get(
      { host: '127.0.0.1', port: balancer.ports[0], ca: authority.cert, agent: false, timeout: 5_000 },
      (response) => {
        response.setEncoding('utf8').once('data', resolve);
      },
    );
    request.on('error', reject);
    request.on('timeout', () => request.destroy(new Error('no answer')));
  });
}

/** A TLS connection that stays. */
async function hold(balancer: Balancer): Promise<tls.TLSSocket> {
  const socket = tls.connect({ host: '127.0.0.1', port: balancer.ports[0]!, ca: authority.cert });
  socket.on('error', () => {});
  await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
  cleanups.push(async () => socket.destroy());
  return socket;
}

function counted(balancer: Balancer, series: string): number {
  const line = balancer
    .metrics()
    .split('\n')
    .find((text) => text.startsWith(`${series} `));
  return Number(line?.split(' ').at(-1) ?? 0);
}

test('the server of this machine comes first', async () => {
  // Their addresses are all of this machine, so the first one counts.
  const [a, b, c] = (await servers('a', 'b', 'c')) as [FakeServer, FakeServer, FakeServer];
  const balancer = await balance([a.address, b.address, c.address]);
  await eventually('all are ready', isReady(balancer, a, b, c));
  assert.deepEqual(await Promise.all([ask(balancer), ask(balancer), ask(balancer)]), ['a', 'a', 'a']);
});

test('a server that dies is ejected, and clients go elsewhere at once', async () => {
  const [a, b] = (await servers('a', 'b')) as [FakeServer, FakeServer];
  const balancer = await balance([a.address, b.address]);
  await eventually('both are ready', isReady(balancer, a, b));
  await a.stop();
  assert.equal(await ask(balancer), 'b', 'the refused dial goes on to the next server');
  await eventually('a is ejected', () => !isReady(balancer, a)());
  await a.restart();
  await eventually('a is admitted again', isReady(balancer, a));
  assert.equal(await ask(balancer), 'a');
});

test('connections to a server that fails its check are cut, and only those', async () => {
  const [a, b] = (await servers('a', 'b')) as [FakeServer, FakeServer];
  const balancer = await balance([a.address, b.address]);
  await eventually('both are ready', isReady(balancer, a, b));
  const first = await hold(balancer);
  a.readyz = 500;
  await new Promise((resolve) => first.once('close', resolve));
  const second = await hold(balancer);
  assert.equal(await ask(balancer), 'b');
  assert.equal(second.destroyed, false);
  assert.equal(
    counted(balancer, `capstan_balancer_connections_cut_total{server="${formatAddress(a.address)}"}`),
    1,
  );
  assert.equal(counted(balancer, `capstan_balancer_server_ready{server="${formatAddress(a.address)}"}`), 0);
});

test('a server that takes connections but does not answer is ejected by the timeout of its check', async () => {
  const [a, b] = (await servers('a', 'b')) as [FakeServer, FakeServer];
  const balancer = await balance([a.address, b.address]);
  await eventually('both are ready', isReady(balancer, a, b));
  const held = await hold(balancer);
  a.readyz = 0;
  await new Promise((resolve) => held.once('close', resolve));
  assert.equal(await ask(balancer), 'b');
});

test('a server that leaves its clients waiting is checked again soon after it was suspected and found ready', async () => {
  const [stalled, other] = (await servers('stalled', 'other')) as [FakeServer, FakeServer];
  // Regular checks come only once.
  const after: typeof realClock.after = (ms, callback) =>
    ms === 1_000 ? { cancel: () => {} } : realClock.after(ms, callback);
  const balancer = await balance([stalled.address, other.address], { clock: { ...realClock, after } });
  await eventually('both are ready', isReady(balancer, stalled, other));
  const client = await hold(balancer);
  const before = stalled.checks;
  client.write('GET / HTTP/1.1\r\n');
  await eventually('it is suspected, and ready', () => stalled.checks > before);
  stalled.readyz = 500;
  await eventually('it is ejected', () => {
    client.write('x: a header that has no end\r\n');
    return balancer.servers.some(({ health, problem }) => health === 'ejected' && problem.includes('500'));
  });
});

test('when none is ready all are tried, and no connection is cut', async () => {
  const [a] = (await servers('a')) as [FakeServer];
  const balancer = await balance([a.address]);
  await eventually('a is ready', isReady(balancer, a));
  const held = await hold(balancer);
  a.readyz = 500;
  await eventually('a is ejected', () => !isReady(balancer, a)());
  assert.equal(await ask(balancer), 'a');
  assert.equal(held.destroyed, false);
});

test('all servers die and come back', async () => {
  const both = (await servers('a', 'b')) as [FakeServer, FakeServer];
  const balancer = await balance(both.map(({ address }) => address));
  await eventually('both are ready', isReady(balancer, ...both));
  await Promise.all(both.map((server) => server.stop()));
  await assert.rejects(ask(balancer));
  assert.equal(counted(balancer, 'capstan_balancer_connections_rejected_total{reason="no_server"}'), 1);
  await Promise.all(both.map((server) => server.restart()));
  await eventually('both are ready again', isReady(balancer, ...both));
  assert.match(await ask(balancer), /^[ab]$/);
});

test('a server of another cluster is not used', async () => {
  const [a] = (await servers('a')) as [FakeServer];
  const balancer = await balance([a.address], {
    trust: () => ({ ca: authority.cert, serverName: '127.0.0.2' }),
  });
  await eventually('a is ejected', () => balancer.servers[0]?.health === 'ejected');
  assert.match(balancer.servers[0]!.problem, /127\.0\.0\.2/);
});

test('the slice names the servers, the list is kept on disk, and leads to them when the seed is gone', async () => {
  const [seed, a] = (await servers('seed', 'a')) as [FakeServer, FakeServer];
  const listFile = join(dir, 'api-servers.json');
  const fake = createFakeApi();
  const api = createClient(createDirectTransport(fake.handler, { user: { name: 'balancer', groups: [] } }), {
    userAgent: 'test',
  });
  cleanups.push(() => api.close());
  await api.create(endpointSlices, {
    metadata: { name: 'kubernetes', namespace: 'default' },
    addressType: 'IPv4',
    endpoints: [{ addresses: [a.address.host], conditions: { ready: true } }],
    ports: [{ name: 'https', port: a.address.port, protocol: 'TCP' }],
  });
  const balancer = await balance([seed.address], { api, listFile });
  await eventually('both are ready', isReady(balancer, seed, a));
  assert.deepEqual(JSON.parse(readFileSync(listFile, 'utf8')).servers, [formatAddress(a.address)]);
  await balancer.stop();
  await seed.stop();

  const again = await balance([seed.address], { listFile });
  await eventually('a is ready', isReady(again, a));
  assert.equal(await ask(again), 'a');
});

test('a server that leaves the list keeps its connections and gets no more', async () => {
  const [a, b] = (await servers('a', 'b')) as [FakeServer, FakeServer];
  const fake = createFakeApi();
  const api = createClient(createDirectTransport(fake.handler, { user: { name: 'balancer', groups: [] } }), {
    userAgent: 'test',
  });
  cleanups.push(() => api.close());
  const slice = (...listed: readonly FakeServer[]): Omit<EndpointSlice, 'metadata'> => ({
    addressType: 'IPv4',
    endpoints: [{ addresses: ['127.0.0.1'], conditions: { ready: true } }],
    ports: listed.map(({ address }) => ({ name: 'https', port: address.port, protocol: 'TCP' })),
  });
  await api.create(endpointSlices, {
    metadata: { name: 'kubernetes', namespace: 'default' },
    ...slice(a),
  });
  const balancer = await balance([], { api });
  await eventually('a is ready', isReady(balancer, a));
  const held = await hold(balancer);
  await api.patch(
    endpointSlices,
    { name: 'kubernetes', namespace: 'default' },
    {
      type: 'merge',
      patch: slice(b),
    },
  );
  await eventually('b is ready', isReady(balancer, b));
  assert.equal(await ask(balancer), 'b');
  assert.equal(held.destroyed, false);
  held.destroy();
  await eventually('a is forgotten', () => balancer.servers.length === 1);
});

test('a damaged list is kept beside and not used', async () => {
  const [a] = (await servers('a')) as [FakeServer];
  const listFile = join(dir, 'damaged.json');
  writeFileSync(listFile, '{"apiVersion":"balancer.capstan.dev/v1","servers":["10.0.0.');
  const balancer = await balance([a.address], { listFile });
  await eventually('a is ready', isReady(balancer, a));
  assert.deepEqual(
    balancer.servers.map(({ key }) => key),
    [formatAddress(a.address)],
  );
  assert.equal(existsSync(`${listFile}.damaged`), true);
});

test('a name among the seeds is resolved, and leads nowhere while it cannot be', async () => {
  const [a] = (await servers('a')) as [FakeServer];
  let known = false;
  const balancer = await balance([{ host: 'api.example.org', port: a.address.port }], {
    resolve: async () => {
      if (!known) throw new Error('ENOTFOUND');
      return ['127.0.0.1'];
    },
  });
  assert.deepEqual(balancer.servers, []);
  await assert.rejects(ask(balancer));
  known = true;
  await eventually('a is ready', isReady(balancer, a));
  assert.equal(await ask(balancer), 'a');
});

test('connections beyond the limit are closed and counted', async () => {
  const [a] = (await servers('a')) as [FakeServer];
  const balancer = await balance([a.address], { maxConnections: 1 });
  await eventually('a is ready', isReady(balancer, a));
  await hold(balancer);
  await assert.rejects(ask(balancer));
  assert.equal(counted(balancer, 'capstan_balancer_connections_rejected_total{reason="limit"}'), 1);
});

test('a reader that does not read stops the server, not the balancer', async () => {
  const chunk = Buffer.alloc(64 * 1024);
  const taken = new Map<Socket, number>();
  const upstream = createServer((socket: Socket) => {
    const more = (): void => {
      while (socket.writable && socket.write(chunk))
        taken.set(socket, (taken.get(socket) ?? 0) + chunk.length);
    };
    socket.on('drain', more).on('error', () => {});
    more();
  });
  await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve));
  cleanups.push(async () => upstream.close());
  const { port } = upstream.address() as AddressInfo;
  // It fails its check, being no TLS server, and is tried all the same.
  const balancer = await balance([{ host: '127.0.0.1', port }]);
  const client = connect({ host: '127.0.0.1', port: balancer.ports[0]! });
  client.pause();
  cleanups.push(async () => client.destroy());
  // The connections of the checks are short; this one stays.
  const most = (): number => Math.max(0, ...taken.values());
  let before = 0;
  await eventually('the server waits', async () => {
    if (most() === before && before > 0) return true;
    before = most();
    await new Promise((resolve) => setTimeout(resolve, 300));
    return false;
  });
  assert.ok(most() < 64 * 1024 * 1024, `${most()} bytes were taken from the server`);
});

test('a real API server passes the check, and names the servers through the balancer', async () => {
  const port = await freePort();
  const world = await startTestApi({ port, advertiseAddress: '192.0.2.7' });
  cleanups.push(() => world.stop());
  const ca = world.pki.ca.certificatePem;
  const balancer = await balance([{ host: '127.0.0.1', port }], {
    trust: () => ({ ca, serverName: '127.0.0.1' }),
  });
  await eventually('it is ready', () => balancer.servers[0]?.health === 'ready');
  const transport = createHttpsTransport({
    server: `https://127.0.0.1:${balancer.ports[0]}`,
    ca,
    cert: world.pki.clients.admin.certificatePem,
    key: world.pki.clients.admin.keyPem,
  });
  const api = createClient(transport, { userAgent: 'test' });
  cleanups.push(async () => {
    await api.close();
    await transport.close();
  });
  balancer.follow(api);
  await eventually('the slice is read', () =>
    balancer.servers.some(({ address }) => address.host === '192.0.2.7'),
  );
});
