/** Http2Connection on a port of the loopback, by default without TLS: a client must know then that it is HTTP/2. */
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { silentLogger } from '#stdx/log.ts';
import type { Http2Patience } from '../bounds.ts';
import { Http2Connection } from '../connection.ts';
import type { Http2Handler } from '../exchange.ts';

export interface TestLimits {
  readonly maxConcurrentStreams: number;
  readonly maxHeaderBytes: number;
  readonly idleMs: number;
  readonly patience: Partial<Http2Patience>;
}

export const TEST_LIMITS: TestLimits = {
  maxConcurrentStreams: 50,
  maxHeaderBytes: 16 * 1024,
  idleMs: 60_000,
  patience: {},
};

export interface TestHttp2Server {
  readonly port: number;
  readonly connections: ReadonlySet<Http2Connection>;
  close(): void;
}

/** limits is called for each connection. */
export async function startHttp2Server(
  handler: Http2Handler,
  limits: () => Partial<TestLimits> = () => ({}),
  tls?: { readonly cert: Buffer; readonly key: Buffer },
): Promise<TestHttp2Server> {
  const connections = new Set<Http2Connection>();
  const accept = (socket: Socket): void => {
    socket.on('error', () => socket.destroy());
    const connection = new Http2Connection(socket, {
      ...TEST_LIMITS,
      ...limits(),
      handler,
      log: silentLogger,
      remoteAddress: 'test',
    });
    connections.add(connection);
    socket.on('close', () => connections.delete(connection));
  };
  const server = tls
    ? createTlsServer({ ...tls, ALPNProtocols: ['h2'], noDelay: true }, accept)
    : createServer(accept);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    connections,
    close: () => void server.close(),
  };
}
