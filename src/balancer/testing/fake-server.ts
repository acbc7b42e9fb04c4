/** For tests only: an API server as far as a balancer sees one: TLS, /readyz, and connections that can be counted. Echoes its name. */
import * as https from 'node:https';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { makeAuthority } from '#testing/certificates.ts';
import type { Address } from '../address.ts';

export const authority = makeAuthority();
const identity = authority.issue({ commonName: 'api', addresses: ['127.0.0.1'] });

export interface FakeServer {
  readonly address: Address;
  /** Status of /readyz; 0: no response. */
  readyz: number;
  /** Answers that /readyz gave. */
  readonly checks: number;
  readonly connections: number;
  /** Connections that were ever made. */
  readonly accepted: number;
  stop(): Promise<void>;
  /** On the same port again. */
  restart(): Promise<void>;
}

export async function startFakeServer(name: string, { port = 0 } = {}): Promise<FakeServer> {
  const sockets = new Set<Socket>();
  let readyz = 200;
  let accepted = 0;
  let checks = 0;
  const server = https.createServer({ cert: identity.cert, key: identity.key }, (request, response) => {
    if (request.url === '/readyz') {
      if (readyz === 0) return;
      checks += 1;
      response.writeHead(readyz).end('checked');
    } else response.end(name);
  });
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    accepted += 1;
    socket.on('close', () => sockets.delete(socket));
  });
  const listen = (on: number): Promise<void> =>
    new Promise((resolve, reject) => server.once('error', reject).listen(on, '127.0.0.1', resolve));
  await listen(port);
  const address = { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
  return {
    address,
    get readyz() {
      return readyz;
    },
    set readyz(status) {
      readyz = status;
    },
    get checks() {
      return checks;
    },
    get connections() {
      return sockets.size;
    },
    get accepted() {
      return accepted;
    },
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
    restart: () => listen(address.port),
  };
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
