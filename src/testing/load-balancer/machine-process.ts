/**
 * For tests only: a node's part of the load balancer in a network namespace: speaker and service proxy, over a unix socket that leads to the API server.
 * With `connect ADDRESS PORT` a client instead: a connection every few milliseconds, and a line for each with the time and what it read.
 */
import { createServer, connect } from 'node:net';
import { createInterface } from 'node:readline';
import { createLoadBalancerSpeaker } from '#addons/load-balancer/speaker/speaker.ts';
import { createClient } from '#client/create.ts';
import { createHttpsTransport } from '#client/https.ts';
import { createServiceProxy } from '#proxy/service-proxy.ts';
import { realClock } from '#stdx/clock.ts';
import { createLogger } from '#stdx/log.ts';

export interface MachineSettings {
  readonly nodeName: string;
  /** Where the API server's bytes go. */
  readonly socket: string;
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
  readonly podCIDRs: readonly string[];
}

const API_PORT = 6443;
const SERVER_PORT = 8080;
const CONNECT_EVERY_MS = 20;
const CONNECT_TIMEOUT_MS = 200;

async function runMachine(settings: MachineSettings): Promise<void> {
  const { nodeName, socket, ca, certificate, key, podCIDRs } = settings;
  createServer((client) => {
    const server = connect(socket);
    for (const one of [client, server])
      one.on('error', () => [client, server].forEach((each) => each.destroy()));
    client.pipe(server).pipe(client);
  }).listen(API_PORT, '127.0.0.1');
  for (const host of ['0.0.0.0', '::'])
    createServer((client) => client.on('error', () => {}).end(nodeName)).listen({
      host,
      port: SERVER_PORT,
      ipv6Only: host === '::',
    });
  const log = createLogger({ format: 'json' }).with({ node: nodeName });
  const api = createClient(
    createHttpsTransport({
      server: `https://127.0.0.1:${API_PORT}`,
      ca,
      cert: certificate,
      key,
    }),
    { userAgent: 'test' },
  );
  const context = { api, clock: realClock, log, identity: nodeName };
  await createServiceProxy({ ...context, nodeName, clusterId: '00000000', podCIDRs }).start();
  const speaker = createLoadBalancerSpeaker({ ...context, nodeName });
  await speaker.start();
  console.log('ready');
  process.on('SIGTERM', () => void speaker.stop().then(() => process.exit(0)));
}

async function runClient(host: string, port: number): Promise<void> {
  for (;;) {
    const answer = await new Promise<string>((resolve) => {
      let text = '';
      const socket = connect({ host, port });
      socket.setTimeout(CONNECT_TIMEOUT_MS, () => socket.destroy());
      socket.on('data', (data) => (text += data.toString()));
      socket.on('error', () => {});
      socket.on('close', () => resolve(text));
    });
    console.log(JSON.stringify({ atMs: Date.now(), answer }));
    await realClock.sleep(CONNECT_EVERY_MS);
  }
}

if (import.meta.main) {
  const [role, host = '', port = ''] = process.argv.slice(2);
  // Timers of the program do not keep it alive.
  setInterval(() => {}, 2 ** 30);
  if (role === 'connect') await runClient(host, Number(port));
  else
    for await (const line of createInterface({ input: process.stdin }))
      await runMachine(JSON.parse(line) as MachineSettings);
}
