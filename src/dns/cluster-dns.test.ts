/** The server over real sockets on loopback: by node's own resolver, and by bytes. */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { Resolver } from 'node:dns/promises';
import { connect, createServer } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import * as dnsPacket from 'dns-packet';
import { createClient } from '#client/create.ts';
import type { Client } from '#client/client.ts';
import { createDirectTransport } from '#client/direct.ts';
import { createFakeApi } from '#client/testing/fake-api.ts';
import { endpointSlices, leases, namespaces, services } from '#client/refs.ts';
import { ENDPOINTS_RENEW_MS, LEASED_LABEL } from '#component-helpers/leased-endpoints.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { seededRandom } from '#stdx/random.ts';
import { createClusterDns, type ClusterDns, type ClusterDnsOptions } from './cluster-dns.ts';
import { startDnsServer, type DnsServer, type ListenAddress } from './server.ts';
import { withLength } from './wire.ts';

const LOOPBACK = { address: '127.0.0.1', port: 0 };
const BIG = 60;

interface Running {
  readonly dns: ClusterDns;
  readonly at: ListenAddress;
  readonly api: Client;
  readonly clock: FakeClock;
  readonly resolver: Resolver;
}

async function start(t: TestContext, options: Partial<ClusterDnsOptions> = {}): Promise<Running> {
  const clock = new FakeClock();
  const api = createClient(createDirectTransport(createFakeApi().handler), { userAgent: 'test', clock });
  await api.create(namespaces, { metadata: { name: 'default' } });
  await api.create(services, {
    metadata: { name: 'web', namespace: 'default' },
    spec: {
      clusterIP: '10.96.0.20',
      clusterIPs: ['10.96.0.20'],
      ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
    },
  });
  await api.create(services, {
    metadata: { name: 'big', namespace: 'default' },
    spec: { clusterIP: 'None' },
  });
  await api.create(services, {
    metadata: { name: 'away', namespace: 'default' },
    spec: { type: 'ExternalName', externalName: 'www.example.com' },
  });
  await api.create(services, {
    metadata: { name: 'near', namespace: 'default' },
    spec: { type: 'ExternalName', externalName: 'web.default.svc.cluster.local' },
  });
  await api.create(endpointSlices, {
    metadata: { name: 'big-1', namespace: 'default', labels: { 'kubernetes.io/service-name': 'big' } },
    addressType: 'IPv4',
    ports: [{ name: 'p', port: 1, protocol: 'TCP' }],
    endpoints: Array.from({ length: BIG }, (_, index) => ({
      addresses: [`10.244.1.${index + 1}`],
      conditions: { ready: true },
    })),
  });
  const dns = createClusterDns({
    api,
    clock,
    log: silentLogger,
    identity: 'test',
    listen: [LOOPBACK],
    upstream: [],
    upstreamTimeoutMs: 300,
    random: seededRandom(1),
    ...options,
  });
  t.after(async () => {
    await dns.stop();
    await api.close();
  });
  await dns.start();
  const [at] = dns.addresses;
  assert.ok(at);
  const resolver = new Resolver({ timeout: 2_000, tries: 1 });
  resolver.setServers([`${at.address}:${at.port}`]);
  return { dns, at, api, clock, resolver };
}

/** An upstream resolver: answers every A question with the address, and records the questions. */
async function other(
  t: TestContext,
  options: {
    readonly ip?: string;
    readonly code?: number;
    readonly many?: number;
    readonly silent?: boolean;
  } = {},
): Promise<{ readonly at: ListenAddress; readonly asked: string[] }> {
  const asked: string[] = [];
  const server: DnsServer = await startDnsServer({
    listen: LOOPBACK,
    log: silentLogger,
    handle: (query, { transport }) => {
      const packet = dnsPacket.decode(query);
      const [question] = packet.questions ?? [];
      asked.push(`${transport} ${question?.name}`);
      if (options.silent) return Promise.resolve(undefined);
      const answers = Array.from({ length: options.code ? 0 : (options.many ?? 1) }, (_, index) => ({
        type: 'A' as const,
        name: question?.name ?? '',
        ttl: 20,
        data: index === 0 ? (options.ip ?? '192.0.2.1') : `192.0.2.${index + 1}`,
      }));
      const whole = dnsPacket.encode({
        type: 'response',
        id: packet.id ?? 0,
        flags: 0x0180 | (options.code ?? 0),
        questions: packet.questions ?? [],
        answers,
      });
      return Promise.resolve(
        transport === 'udp' && whole.length > 512
          ? dnsPacket.encode({
              type: 'response',
              id: packet.id ?? 0,
              flags: 0x0380,
              questions: packet.questions ?? [],
            })
          : whole,
      );
    },
  });
  t.after(() => server.close());
  return { at: server.address, asked };
}

/** Sends one datagram and waits for the response; undefined after a timeout. */
function exchange(at: ListenAddress, query: Buffer, waitMs = 1_000): Promise<Buffer | undefined> {
  const socket = createSocket('udp4');
  const { promise, resolve, reject } = Promise.withResolvers<Buffer | undefined>();
  const timer = setTimeout(() => resolve(undefined), waitMs);
  socket.on('message', resolve);
  socket.on('error', reject);
  socket.send(query, at.port, at.address);
  return promise.finally(() => {
    clearTimeout(timer);
    socket.close();
  });
}

function question(
  name: string,
  options: {
    readonly type?: string;
    readonly additionals?: object[];
    readonly flags?: number;
    readonly questions?: object[];
  } = {},
): Buffer {
  return dnsPacket.encode({
    type: 'query',
    id: 4711,
    flags: options.flags ?? 0x0100,
    questions: (options.questions ?? [{ type: options.type ?? 'A', name, class: 'IN' }]) as never,
    additionals: (options.additionals ?? []) as never,
  });
}

const opt = (size: number, version = 0): object => ({
  type: 'OPT',
  name: '.',
  udpPayloadSize: size,
  ednsVersion: version,
  flags: 0,
  options: [],
});

async function asked(at: ListenAddress, query: Buffer): Promise<dnsPacket.DecodedPacket & { code: number }> {
  const response = await exchange(at, query);
  assert.ok(response, 'an answer');
  return { ...dnsPacket.decode(response), code: (response[3] ?? 0) & 15 };
}

describe('the cluster DNS', () => {
  it('answers for the cluster', async (t) => {
    const { resolver } = await start(t);
    assert.deepEqual(await resolver.resolve4('web.default.svc.cluster.local'), ['10.96.0.20']);
    assert.deepEqual(await resolver.resolve4('WEB.Default.svc.Cluster.local'), ['10.96.0.20']);
    assert.deepEqual(
      (await resolver.resolveSrv('_http._tcp.web.default.svc.cluster.local')).map(
        ({ name, port }) => `${name}:${port}`,
      ),
      ['web.default.svc.cluster.local:80'],
    );
    assert.deepEqual(await resolver.reverse('10.96.0.20'), ['web.default.svc.cluster.local']);
    assert.deepEqual(await resolver.resolveTxt('dns-version.cluster.local'), [['1.1.0']]);
    assert.deepEqual(await resolver.resolveNs('cluster.local'), ['ns.dns.cluster.local']);
    assert.equal((await resolver.resolveSoa('cluster.local')).minttl, 5);
    assert.deepEqual(await resolver.resolve4('near.default.svc.cluster.local'), ['10.96.0.20']);
  });

  it('distinguishes NXDOMAIN from NODATA, both with the SOA', async (t) => {
    const { at, resolver } = await start(t);
    await assert.rejects(resolver.resolve4('none.default.svc.cluster.local'), { code: 'ENOTFOUND' });
    await assert.rejects(resolver.resolve6('web.default.svc.cluster.local'), { code: 'ENODATA' });
    for (const [name, code] of [
      ['none.default.svc.cluster.local', 3],
      ['web.default.svc.cluster.local', 0],
    ] as const) {
      const response = await asked(at, question(name, { type: 'AAAA' }));
      assert.equal(response.code, code);
      assert.deepEqual(
        response.authorities?.map((record) => `${record.type} ${record.name}`),
        ['SOA cluster.local'],
      );
      assert.equal(response.flag_aa, true);
    }
  });

  it('follows changes in the API', async (t) => {
    const { api, resolver } = await start(t);
    const made = await api.create(services, {
      metadata: { name: 'new', namespace: 'default' },
      spec: { clusterIP: '10.96.0.40', clusterIPs: ['10.96.0.40'] },
    });
    while (!api.informer(services).get('default/new')) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(await resolver.resolve4('new.default.svc.cluster.local'), [made.spec?.clusterIP]);
  });

  it('truncates a long response over UDP, and returns all of it over TCP', async (t) => {
    const { at, resolver } = await start(t);
    const cut = await asked(at, question('big.default.svc.cluster.local'));
    assert.deepEqual([cut.flag_tc, cut.answers?.length, cut.authorities?.length], [true, 0, 0]);
    const whole = await asked(at, question('big.default.svc.cluster.local', { additionals: [opt(4096)] }));
    assert.deepEqual([whole.flag_tc, whole.answers?.length], [true, 0], 'never more than 1,232 bytes');
    assert.equal((await resolver.resolve4('big.default.svc.cluster.local')).length, BIG);
  });

  it('supports EDNS when the query has it', async (t) => {
    const { at } = await start(t);
    assert.deepEqual((await asked(at, question('web.default.svc.cluster.local'))).additionals, []);
    const response = await asked(at, question('web.default.svc.cluster.local', { additionals: [opt(1232)] }));
    assert.equal(response.additionals?.[0]?.type, 'OPT');
    const unknown = await asked(
      at,
      question('web.default.svc.cluster.local', { additionals: [opt(1232, 7)] }),
    );
    assert.deepEqual(
      [unknown.answers, (unknown.additionals?.[0] as { extendedRcode?: number } | undefined)?.extendedRcode],
      [[], 1],
    );
  });

  it('rejects several questions, other opcodes and malformed queries; ignores responses', async (t) => {
    const { at } = await start(t);
    const two = [
      { type: 'A', name: 'a.example' },
      { type: 'A', name: 'b.example' },
    ];
    assert.equal((await asked(at, question('', { questions: two }))).code, 1);
    assert.equal((await asked(at, question('', { questions: [] }))).code, 1);
    assert.equal((await asked(at, question('a.example', { flags: 0x2800 }))).code, 4);
    assert.equal(
      await exchange(at, dnsPacket.encode({ type: 'response', id: 1, questions: [] }), 200),
      undefined,
    );
    assert.equal(await exchange(at, Buffer.from('short'), 200), undefined);
  });

  it('accepts names of maximum length, and unusual bytes in them', async (t) => {
    const { at } = await start(t);
    const label = 'a'.repeat(63);
    assert.equal(
      (await asked(at, question(`${label}.${label}.${'b'.repeat(47)}.default.svc.cluster.local`))).code,
      3,
    );
    const odd = question('xxx.default.svc.cluster.local');
    odd.write('\xff.\x00', 13, 'latin1');
    const response = await exchange(at, odd);
    assert.equal((response?.[3] ?? 0) & 15, 3);
    assert.deepEqual(response?.subarray(12), odd.subarray(12), 'the question comes back byte by byte');
  });

  it('survives random bytes, by UDP and TCP', async (t) => {
    const { at, resolver } = await start(t, { upstream: [] });
    const random = seededRandom(20_261_124);
    const valid = question('web.default.svc.cluster.local', { additionals: [opt(1232)] });
    const junk = (): Buffer => {
      if (random() < 0.3)
        return Buffer.from(
          Array.from({ length: Math.floor(random() * 300) }, () => Math.floor(random() * 256)),
        );
      const bytes = Buffer.from(
        valid.subarray(0, random() < 0.3 ? Math.floor(random() * valid.length) : valid.length),
      );
      for (let flips = 1 + Math.floor(random() * 4); flips > 0 && bytes.length > 0; flips -= 1)
        bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
      return bytes;
    };
    const socket = createSocket('udp4');
    for (let round = 0; round < 2_000; round += 1) {
      socket.send(junk(), at.port, at.address);
      if (round % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    const tcp = connect(at.port, at.address).on('error', () => {});
    for (let round = 0; round < 500; round += 1) tcp.write(random() < 0.9 ? withLength(junk()) : junk());
    assert.deepEqual(await resolver.resolve4('web.default.svc.cluster.local'), ['10.96.0.20']);
    tcp.destroy();
    socket.close();
  });

  it('answers many questions on one TCP connection', async (t) => {
    const { at } = await start(t);
    const socket = connect(at.port, at.address);
    const many = 200;
    let received = Buffer.alloc(0);
    let answers = 0;
    const done = new Promise<void>((resolve, reject) => {
      socket.on('error', reject).on('data', (piece: Buffer) => {
        received = Buffer.concat([received, piece]);
        while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
          received = received.subarray(2 + received.readUInt16BE(0));
          answers += 1;
          if (answers === many) resolve();
        }
      });
    });
    socket.write(
      Buffer.concat(
        Array.from({ length: many }, () => withLength(question('web.default.svc.cluster.local'))),
      ),
    );
    await done;
    socket.destroy();
  });
});

describe('names outside the cluster', () => {
  it('are forwarded, cached for a while, and returned in the spelling of the query', async (t) => {
    const up = await other(t);
    const { resolver, clock, at } = await start(t, { upstream: [up.at] });
    assert.deepEqual(await resolver.resolve4('www.example.com'), ['192.0.2.1']);
    const response = await asked(at, question('WWW.example.COM'));
    assert.deepEqual([response.questions?.[0]?.name, response.id], ['WWW.example.COM', 4711]);
    assert.equal(up.asked.length, 1, 'the second time from memory');
    await clock.advance(21_000);
    await resolver.resolve4('www.example.com');
    assert.equal(up.asked.length, 2);
  });

  it('do not mix responses with and without EDNS', async (t) => {
    const up = await other(t);
    const { at } = await start(t, { upstream: [up.at] });
    await asked(at, question('www.example.com', { additionals: [opt(1232)] }));
    await asked(at, question('www.example.com'));
    assert.equal(up.asked.length, 2);
  });

  it('share one upstream query for concurrent questions', async (t) => {
    const up = await other(t);
    const { resolver } = await start(t, { upstream: [up.at] });
    await Promise.all(Array.from({ length: 20 }, () => resolver.resolve4('www.example.com')));
    assert.equal(up.asked.length, 1);
  });

  it('are queried over TCP when the response was truncated, and truncated again for UDP', async (t) => {
    const up = await other(t, { many: 80 });
    const { at, resolver } = await start(t, { upstream: [up.at] });
    assert.equal((await asked(at, question('many.example.com'))).flag_tc, true);
    assert.deepEqual(up.asked, ['udp many.example.com', 'tcp many.example.com']);
    assert.equal((await resolver.resolve4('many.example.com')).length, 80);
  });

  it('are forwarded to the next resolver when one refuses, times out or fails, and the failed one is avoided', async (t) => {
    const closed = await other(t);
    const refusing = { address: '127.0.0.1', port: await closedPort() };
    const silent = await other(t, { silent: true });
    const failing = await other(t, { code: 2 });
    const good = await other(t, { ip: '192.0.2.9' });
    const { resolver } = await start(t, { upstream: [refusing, silent.at, failing.at, good.at] });
    assert.deepEqual(await resolver.resolve4('one.example.com'), ['192.0.2.9']);
    assert.deepEqual(await resolver.resolve4('two.example.com'), ['192.0.2.9']);
    assert.equal(silent.asked.length, 1, 'not waited for a second time');
    assert.equal(closed.asked.length, 0);
  });

  it('fail at once without a resolver, and never loop back to this server', async (t) => {
    const { at } = await start(t);
    assert.equal((await asked(at, question('www.example.com'))).code, 2);
    const port = await closedPort();
    const own = { address: '127.0.0.1', port };
    const looped = await start(t, { listen: [own], upstream: [own] });
    assert.equal((await asked(looped.at, question('www.example.com'))).code, 2);
  });

  it('are resolved for an alias', async (t) => {
    const up = await other(t);
    const { at } = await start(t, { upstream: [up.at] });
    const response = await asked(at, question('away.default.svc.cluster.local'));
    assert.deepEqual(
      response.answers?.map((record) => `${record.type} ${(record as { data: string }).data}`),
      ['CNAME www.example.com', 'A 192.0.2.1'],
    );
  });

  it('are cancelled when the server stops', async (t) => {
    const silent = await other(t, { silent: true });
    const { dns, at } = await start(t, { upstream: [silent.at] });
    const waiting = exchange(at, question('www.example.com'), 600);
    while (silent.asked.length === 0) await new Promise((resolve) => setImmediate(resolve));
    await dns.stop();
    assert.equal(await waiting, undefined);
  });
});

describe('publishing', () => {
  it('maintains the Service and its slice', async (t) => {
    const { api, at } = await start(t, { publish: { serviceIP: '10.96.0.10' } });
    const name = { name: 'kube-dns', namespace: 'kube-system' };
    assert.equal((await api.get(services, name)).spec?.clusterIP, '10.96.0.10');
    const [slice] = (await api.list(endpointSlices, { namespace: 'kube-system' })).items;
    assert.deepEqual(
      [slice?.endpoints?.[0]?.addresses, slice?.ports?.map(({ port, protocol }) => `${port}/${protocol}`)],
      [['127.0.0.1'], [`${at.port}/UDP`, `${at.port}/TCP`]],
    );
    await api.delete(services, name);
    await api.delete(endpointSlices, { name: slice?.metadata?.name ?? '', namespace: 'kube-system' });
    for (;;) {
      const [found, slices] = [
        await api.get(services, name).catch(() => undefined),
        await api.list(endpointSlices, { namespace: 'kube-system' }),
      ];
      if (found && slices.items.length === 1) break;
      await new Promise((resolve) => setImmediate(resolve));
    }
  });

  it('renews a lease, and deletes its endpoints when it stops', async (t) => {
    const { dns, api, clock } = await start(t, { publish: { serviceIP: '10.96.0.10', leased: true } });
    const [slice] = (await api.list(endpointSlices, { namespace: 'kube-system' })).items;
    const name = { name: slice?.metadata?.name ?? '', namespace: 'kube-system' };
    assert.equal(slice?.metadata?.labels?.[LEASED_LABEL], '');
    const renewed = async (): Promise<string | undefined> => (await api.get(leases, name)).spec?.renewTime;
    await clock.advance(0);
    const first = await renewed();
    await clock.advance(2 * ENDPOINTS_RENEW_MS);
    assert.notEqual(await renewed(), first);
    const { metadata } = await api.get(leases, name);
    assert.equal(metadata?.labels?.[LEASED_LABEL], '');
    await dns.stop();
    await assert.rejects(api.get(endpointSlices, name), { reason: 'NotFound' });
    const last = await renewed();
    await clock.advance(10 * ENDPOINTS_RENEW_MS);
    assert.equal(await renewed(), last);
  });

  it('closes all sockets when one address is in use', async (t) => {
    const { at, api, clock } = await start(t);
    const free = await closedPort();
    const second = createClusterDns({
      api,
      clock,
      log: silentLogger,
      identity: 'b',
      listen: [{ address: '127.0.0.1', port: free }, at],
      upstream: [],
    });
    await assert.rejects(second.start(), { code: 'EADDRINUSE' });
    const again = createServer();
    await new Promise<void>((resolve, reject) =>
      again.on('error', reject).listen(free, '127.0.0.1', () => resolve()),
    );
    again.close();
  });
});

async function closedPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return port;
}
