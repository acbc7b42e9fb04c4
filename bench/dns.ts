/**
 * Questions answered per second by the cluster DNS on this machine, server and clients on loopback, the server in a thread of its own; and
 * without sockets. `node bench/dns.ts [--seconds N] [--services N]`
 */
import { createSocket } from 'node:dgram';
import { parseArgs } from 'node:util';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import * as dnsPacket from 'dns-packet';
import { createClient } from '#client/create.ts';
import { createDirectTransport } from '#client/direct.ts';
import { createFakeApi } from '#client/testing/fake-api.ts';
import { namespaces, services } from '#client/refs.ts';
import { createClusterDns } from '#dns/cluster-dns.ts';
import { answer, type ClusterView } from '#dns/records.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';

const SOCKETS = 8;
const IN_FLIGHT_EACH = 16;

function addressOf(index: number): string {
  return `10.96.${index >> 8}.${index & 255}`;
}

async function serve(count: number): Promise<void> {
  const api = createClient(createDirectTransport(createFakeApi().handler), {
    userAgent: 'bench',
    clock: realClock,
  });
  await api.create(namespaces, { metadata: { name: 'default' } });
  for (let index = 0; index < count; index += 1) {
    const spec = {
      clusterIP: addressOf(index),
      clusterIPs: [addressOf(index)],
      ports: [{ port: 80, protocol: 'TCP' }],
    };
    await api.create(services, { metadata: { name: `service-${index}`, namespace: 'default' }, spec });
  }
  const dns = createClusterDns({
    api,
    clock: realClock,
    log: silentLogger,
    identity: 'bench',
    listen: [{ address: '127.0.0.1', port: 0 }],
    upstream: [],
  });
  await dns.start();
  parentPort?.postMessage(dns.addresses[0]?.port);
}

/** EDNS, with room for 1232 bytes. */
const OPT = {
  type: 'OPT' as const,
  name: '.' as const,
  udpPayloadSize: 1232,
  extendedRcode: 0,
  ednsVersion: 0,
  flags: 0,
  flag_do: false,
  options: [],
};

function queryOf(index: number): Buffer {
  return dnsPacket.encode({
    type: 'query',
    id: index & 0xffff,
    flags: 0x0100,
    questions: [{ type: 'A', name: `service-${index}.default.svc.cluster.local` }],
    additionals: [OPT],
  });
}

async function overSockets(
  port: number,
  { ms, count }: { readonly ms: number; readonly count: number },
): Promise<number> {
  const queries = Array.from({ length: Math.min(count, 1000) }, (_, index) => queryOf(index));
  let answers = 0;
  const sockets = Array.from({ length: SOCKETS }, () => createSocket('udp4'));
  const send = (socket: ReturnType<typeof createSocket>): void =>
    socket.send(queries[answers % queries.length] ?? '', port, '127.0.0.1');
  const start = performance.now();
  for (const socket of sockets) {
    socket.on('message', () => {
      answers += 1;
      send(socket);
    });
    for (let index = 0; index < IN_FLIGHT_EACH; index += 1) send(socket);
  }
  await new Promise((resolve) => setTimeout(resolve, ms));
  const perSecond = Math.round((answers / (performance.now() - start)) * 1000);
  for (const socket of sockets) socket.removeAllListeners('message').close();
  return perSecond;
}

function pure(ms: number, count: number): number {
  const all = new Map(
    Array.from({ length: count }, (_, index) => [
      `service-${index}`,
      {
        metadata: { name: `service-${index}`, namespace: 'default' },
        spec: { clusterIP: addressOf(index), clusterIPs: [addressOf(index)] },
      },
    ]),
  );
  const view: ClusterView = {
    service: (_namespace, name) => all.get(name),
    slices: () => [],
    namespaceExists: () => true,
    servicesByIP: () => [],
    slicesByIP: () => [],
  };
  const start = performance.now();
  let answers = 0;
  while (performance.now() - start < ms) {
    answer(
      { name: `service-${answers % count}.default.svc.cluster.local`, type: 'A' },
      { view, domain: 'cluster.local' },
    );
    answers += 1;
  }
  return Math.round((answers / (performance.now() - start)) * 1000);
}

if (isMainThread) {
  const { values: args } = parseArgs({
    options: { seconds: { type: 'string', default: '3' }, services: { type: 'string', default: '5000' } },
  });
  const [ms, count] = [Number(args.seconds) * 1000, Number(args.services)];
  const worker = new Worker(new URL(import.meta.url), { workerData: count });
  const port = await new Promise<number>((resolve, reject) =>
    worker.once('message', resolve).once('error', reject),
  );
  console.table([
    { what: 'A of a service, UDP with EDNS', 'per second': await overSockets(port, { ms, count }) },
    { what: 'the decision alone', 'per second': pure(ms, count) },
  ]);
  await worker.terminate();
} else await serve(workerData as number);
