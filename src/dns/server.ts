/** The DNS server's sockets: UDP and TCP on one address, one message in, one message out. Independent of the cluster. */
import { createSocket, type Socket } from 'node:dgram';
import { createServer, isIPv6, type Server, type Socket as TcpSocket } from 'node:net';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { withLength } from './wire.ts';

export interface ListenAddress {
  readonly address: string;
  readonly port: number;
}

/** The transport of a query. */
export interface Arrival {
  readonly transport: 'udp' | 'tcp';
  readonly family: 4 | 6;
}

interface DnsServerOptions {
  readonly listen: ListenAddress;
  /** The whole response; undefined: send none (not a query). `transport` decides whether it may be truncated. */
  readonly handle: (query: Buffer, arrival: Arrival) => Promise<Buffer | undefined>;
  readonly log: Logger;
}

export interface DnsServer {
  /** With the assigned port, where port 0 was requested. */
  readonly address: ListenAddress;
  close(): Promise<void>;
}

/** Maximum number of queries in flight per server. More over UDP are dropped (the client retries); more over TCP close the connection. */
const MAX_PENDING = 4_096;
const MAX_TCP_CONNECTIONS = 256;
const TCP_IDLE_MS = 10_000;
const MAX_MESSAGE_BYTES = 65_535;
/** A client that sends queries without reading responses is disconnected. */
const MAX_UNREAD_BYTES = 1_048_576;
/** With port 0, the port that UDP got may be in use for TCP. */
const FREE_PORT_TRIES = 10;

export async function startDnsServer(options: DnsServerOptions): Promise<DnsServer> {
  for (let tried = 1; ; tried += 1) {
    try {
      return await listenOnBoth(options);
    } catch (error) {
      if (
        options.listen.port !== 0 ||
        (error as NodeJS.ErrnoException).code !== 'EADDRINUSE' ||
        tried === FREE_PORT_TRIES
      )
        throw error;
    }
  }
}

interface Serving {
  readonly log: Logger;
  answer(query: Buffer, transport: 'udp' | 'tcp'): Promise<Buffer | undefined> | undefined;
}

async function listenOnBoth(options: DnsServerOptions): Promise<DnsServer> {
  let pending = 0;
  const serving: Serving = {
    log: options.log,
    answer(query, transport) {
      if (pending >= MAX_PENDING) return undefined;
      pending += 1;
      return options
        .handle(query, { transport, family: isIPv6(options.listen.address) ? 6 : 4 })
        .catch((error: unknown) => {
          options.log.warn('error answering a query', { error: errorMessage(error) });
          return undefined;
        })
        .finally(() => {
          pending -= 1;
        });
    },
  };
  const udp = await bindUdp(options.listen, serving);
  const address = { address: options.listen.address, port: udp.address().port };
  try {
    const tcp = await listenTcp(address, serving);
    return {
      address,
      close: async () =>
        void (await Promise.all([new Promise<void>((resolve) => udp.close(() => resolve())), closeTcp(tcp)])),
    };
  } catch (error) {
    udp.close();
    throw error;
  }
}

function bindUdp({ address, port }: ListenAddress, { answer, log }: Serving): Promise<Socket> {
  const socket = createSocket({ type: isIPv6(address) ? 'udp6' : 'udp4' });
  let closed = false;
  socket.on('close', () => {
    closed = true;
  });
  socket.on('message', (query, from) => {
    void answer(query, 'udp')?.then((response) => {
      // The server may have been closed meanwhile.
      if (response && !closed) socket.send(response, from.port, from.address, () => {});
    });
  });
  return new Promise((resolve, reject) => {
    const failed = (error: Error): void => {
      socket.close();
      reject(error);
    };
    socket.once('error', failed);
    socket.bind(port, address, () => {
      socket.off('error', failed);
      socket.on('error', (error) => log.warn('UDP socket', { error: error.message }));
      resolve(socket);
    });
  });
}

interface Listening {
  readonly server: Server;
  readonly sockets: Set<TcpSocket>;
}

function listenTcp({ address, port }: ListenAddress, serving: Serving): Promise<Listening> {
  const sockets = new Set<TcpSocket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.setTimeout(TCP_IDLE_MS, () => socket.destroy());
    serveTcp(socket, serving);
  });
  server.maxConnections = MAX_TCP_CONNECTIONS;
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, address, () => {
      server.off('error', reject);
      server.on('error', (error) => serving.log.warn('TCP socket', { error: error.message }));
      resolve({ server, sockets });
    });
  });
}

function serveTcp(socket: TcpSocket, { answer }: Serving): void {
  let buffered: Buffer = Buffer.alloc(0);
  socket.on('data', (piece: Buffer) => {
    buffered = buffered.length === 0 ? piece : Buffer.concat([buffered, piece]);
    if (buffered.length > 2 * MAX_MESSAGE_BYTES || socket.writableLength > MAX_UNREAD_BYTES)
      return void socket.destroy();
    while (!socket.destroyed && buffered.length >= 2 && buffered.length >= 2 + buffered.readUInt16BE(0)) {
      const length = buffered.readUInt16BE(0);
      const query = buffered.subarray(2, 2 + length);
      buffered = buffered.subarray(2 + length);
      const answered = answer(query, 'tcp');
      if (!answered) return void socket.destroy();
      void answered.then((response) => {
        if (response && !socket.destroyed) socket.write(withLength(response));
      });
    }
  });
}

async function closeTcp({ server, sockets }: Listening): Promise<void> {
  for (const socket of sockets) socket.destroy();
  await new Promise<void>((resolve) => server.close(() => resolve()));
}
