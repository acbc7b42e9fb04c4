/** The DNS server's sockets: UDP and TCP on one address, one message in, one message out. Knows the wire, not the cluster. */
import { createSocket, type Socket } from 'node:dgram';
import { createServer, type Server, type Socket as TcpSocket } from 'node:net';
import { isIPv6 } from 'node:net';
import type { Logger } from '#stdx/log.ts';
import { errorMessage } from '#stdx/log.ts';

export interface ListenAddress { readonly address: string; readonly port: number }

export interface DnsServerOptions {
  readonly listen: ListenAddress;
  /** The whole answer; undefined = say nothing (not a question at all). `transport` decides whether it may be cut. */
  readonly handle: (query: Buffer, transport: 'udp' | 'tcp') => Promise<Buffer | undefined>;
  readonly log: Logger;
}

export interface DnsServer {
  /** With the port that was taken, where 0 was asked for. */
  readonly address: ListenAddress;
  close(): Promise<void>;
}

/** Questions under way at most; more are dropped (a resolver asks again). */
const MAX_PENDING = 4_096;
const MAX_TCP_CONNECTIONS = 256;
const TCP_IDLE_MS = 10_000;
const MAX_MESSAGE_BYTES = 65_535;

export async function startDnsServer(options: DnsServerOptions): Promise<DnsServer> {
  const udp = await bindUdp(options);
  const address = { address: options.listen.address, port: udp.address().port };
  try {
    const tcp = await listenTcp({ ...options, listen: address });
    return {
      address,
      async close() {
        await Promise.all([new Promise<void>((resolve) => udp.close(() => resolve())), closeTcp(tcp)]);
      },
    };
  } catch (error) {
    udp.close();
    throw error;
  }
}

function bindUdp({ listen, handle, log }: DnsServerOptions): Promise<Socket> {
  const socket = createSocket({ type: isIPv6(listen.address) ? 'udp6' : 'udp4' });
  let pending = 0;
  socket.on('message', (query, from) => {
    if (pending >= MAX_PENDING) return;
    pending += 1;
    handle(query, 'udp').then((response) => {
      if (response) socket.send(response, from.port, from.address, () => {});
    }, (error: unknown) => log.warn('question not answered', { error: errorMessage(error) })).finally(() => { pending -= 1; });
  });
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.bind(listen.port, listen.address, () => {
      socket.off('error', reject);
      socket.on('error', (error) => log.warn('UDP socket', { error: error.message }));
      resolve(socket);
    });
  });
}

interface Listening { readonly server: Server; readonly sockets: Set<TcpSocket> }

function listenTcp({ listen, handle, log }: DnsServerOptions): Promise<Listening> {
  const sockets = new Set<TcpSocket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.setTimeout(TCP_IDLE_MS, () => socket.destroy());
    serveTcp(socket, { handle, log });
  });
  server.maxConnections = MAX_TCP_CONNECTIONS;
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(listen.port, listen.address, () => resolve({ server, sockets }));
  });
}

function serveTcp(socket: TcpSocket, { handle, log }: Pick<DnsServerOptions, 'handle' | 'log'>): void {
  let buffered: Buffer = Buffer.alloc(0);
  socket.on('data', (piece: Buffer) => {
    buffered = Buffer.concat([buffered, piece]);
    if (buffered.length > 2 * MAX_MESSAGE_BYTES) return void socket.destroy();
    while (buffered.length >= 2 && buffered.length >= 2 + buffered.readUInt16BE(0)) {
      const length = buffered.readUInt16BE(0);
      const query = buffered.subarray(2, 2 + length);
      buffered = buffered.subarray(2 + length);
      handle(query, 'tcp').then((response) => {
        if (!response || socket.destroyed) return;
        const header = Buffer.alloc(2);
        header.writeUInt16BE(response.length);
        socket.write(Buffer.concat([header, response]));
      }, (error: unknown) => log.warn('question not answered', { error: errorMessage(error) }));
    }
  });
}

async function closeTcp({ server, sockets }: Listening): Promise<void> {
  for (const socket of sockets) socket.destroy();
  await new Promise<void>((resolve) => server.close(() => resolve()));
}
