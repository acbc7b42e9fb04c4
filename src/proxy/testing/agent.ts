/**
 * For service-proxy.test.ts: runs inside a network namespace, serves TCP and UDP there, and does on its standard input's bidding what can only be
 * done from inside: ask a server, run the proxy over a fake API, change objects. One JSON object a line, each answered by one.
 */
import { createSocket } from 'node:dgram';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import type { KubeObject } from '#machinery/object.ts';
import { createClient } from '#client/create.ts';
import type { ResourceRef } from '#client/client.ts';
import { createDirectTransport } from '#client/direct.ts';
import { createFakeApi } from '#client/testing/fake-api.ts';
import { endpointSlices, serviceCIDRs, services } from '#client/refs.ts';
import { realClock, type Clock } from '#stdx/clock.ts';
import { silentLogger, type Logger } from '#stdx/log.ts';
import { runNft } from '#stdx/run-nft.ts';
import { createServiceProxy, type ServiceProxyOptions } from '../service-proxy.ts';

export interface Ask {
  readonly protocol: 'tcp' | 'udp';
  readonly host: string;
  readonly port: number;
  readonly times?: number;
  /** For an answer, in ms. */ readonly patience?: number;
  /** UDP: the port it asks from. Default: another each time. */ readonly from?: number;
}

export type Command =
  | ({ readonly do: 'ask' } & Ask)
  | {
      readonly do: 'proxy';
      readonly options: Pick<ServiceProxyOptions, 'nodeName' | 'clusterId' | 'podCIDRs'>;
    }
  | { readonly do: 'nft'; readonly script: string }
  | { readonly do: 'warnings' }
  | { readonly do: 'put' | 'delete'; readonly kind: keyof typeof REFS; readonly object: KubeObject };

const REFS = { Service: services, EndpointSlice: endpointSlices, ServiceCIDR: serviceCIDRs };

export const SERVER_PORT = 8080;
const WAIT_MS = 1_000;

/** 'NAME CLIENT-ADDRESS', or an error's code, or 'silence'. */
function askOnce({ protocol, host, port, patience = WAIT_MS, from = 0 }: Ask): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  const timer = setTimeout(() => resolve('silence'), patience);
  const failed = (error: NodeJS.ErrnoException): void => resolve(error.code ?? error.message);
  if (protocol === 'tcp') {
    const socket = connect(port, host)
      .setEncoding('utf8')
      .on('data', (text: unknown) => resolve(String(text)))
      .on('error', failed);
    return promise.finally(() => {
      clearTimeout(timer);
      socket.destroy();
    });
  }
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
    .on('message', (text) => resolve(String(text)))
    .on('error', failed);
  socket.bind(from, () =>
    socket.connect(port, host, (error?: Error) => {
      if (error) failed(error);
      else socket.send('?');
    }),
  );
  return promise.finally(() => {
    clearTimeout(timer);
    socket.close();
  });
}

async function serve(name: string): Promise<void> {
  const sockets = (['udp4', 'udp6'] as const).map((type) => {
    const udp = createSocket({ type, ipv6Only: type === 'udp6' }).on('message', (_text, from) =>
      udp.send(`${name} ${from.address}`, from.port, from.address),
    );
    return udp;
  });
  const servers = ['0.0.0.0', '::'].map((host) => ({
    host,
    tcp: createServer((socket) => socket.on('error', () => {}).end(`${name} ${socket.remoteAddress}`)),
  }));
  await Promise.all([
    ...sockets.map((udp) => new Promise<void>((resolve) => udp.bind(SERVER_PORT, () => resolve()))),
    ...servers.map(
      ({ host, tcp }) =>
        new Promise<void>((resolve) =>
          tcp.listen({ host, port: SERVER_PORT, ipv6Only: host === '::' }, resolve),
        ),
    ),
  ]);
}

const api = createClient(createDirectTransport(createFakeApi().handler), {
  userAgent: 'test',
  clock: realClock,
});

/** What the proxy does every few seconds comes a hundred times sooner. */
const hastyClock: Clock = {
  ...realClock,
  after: (delayMs, callback) => realClock.after(delayMs >= 5_000 ? delayMs / 100 : delayMs, callback),
};
const warnings: string[] = [];
const log: Logger = {
  ...silentLogger,
  warn: (message) => void warnings.push(message),
  error: (message) => void warnings.push(message),
};

async function obey(command: Command): Promise<unknown> {
  switch (command.do) {
    case 'ask': {
      const answers: string[] = [];
      for (let left = command.times ?? 1; left > 0; left -= 1) answers.push(await askOnce(command));
      return answers;
    }
    case 'nft':
      return runNft(command.script);
    case 'warnings':
      return warnings.splice(0);
    case 'proxy':
      return createServiceProxy({
        api,
        clock: hastyClock,
        log,
        identity: 'test',
        ...command.options,
      }).start();
    default: {
      const ref = REFS[command.kind] as ResourceRef<KubeObject>;
      const { name = '', namespace } = command.object.metadata ?? {};
      if (command.do === 'delete') return api.delete(ref, { name, namespace });
      return api
        .create(ref, command.object)
        .catch(() => api.update(ref, command.object))
        .then(() => undefined);
    }
  }
}

if (import.meta.main) {
  const [name = ''] = process.argv.slice(2);
  await serve(name);
  console.log('"ready"');
  for await (const line of createInterface({ input: process.stdin })) {
    const answer = await obey(JSON.parse(line) as Command).then(
      (value) => value ?? null,
      (error: unknown) => ({ error: String(error) }),
    );
    console.log(JSON.stringify(answer));
  }
  process.exit(0);
}
