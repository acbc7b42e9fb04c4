/**
 * Relays one client's connection to an API server: tries the candidates in turn, then copies bytes both ways with the backpressure of pipes.
 *
 *   client ──► dial candidate 1 ──refused, late──► candidate 2 … ──none──► closed
 *                     └──connected──► bytes both ways ──either side closes──► closed     cut(): both at once; a dial: on to the next
 */
import { connect, type Socket } from 'node:net';
import type { Clock } from '#stdx/clock.ts';
import type { Cuttable, PoolServer } from './pool.ts';

const DIAL_TIMEOUT_MS = 1_500;
/** In each direction of a connection that waits for the other side. */
const BUFFER_BYTES = 64 * 1024;
const KEEP_ALIVE_MS = 15_000;
/** Time that one direction stays open after the other ended. */
const HALF_OPEN_MS = 30_000;

interface RelayOptions {
  readonly client: Socket;
  readonly clock: Clock;
  readonly candidates: readonly PoolServer[];
  /** The relay is the server's connection from now until dialFailed or closed. */
  dialing(server: PoolServer, relay: Cuttable): void;
  /** problem: undefined when the client left. */
  dialFailed(
    server: PoolServer,
    failed: { readonly relay: Cuttable; readonly problem: string | undefined },
  ): void;
  connected(server: PoolServer): void;
  /** Bytes went to it. */
  sent(server: PoolServer): void;
  /** Bytes came from it. */
  received(server: PoolServer): void;
  closed(
    server: PoolServer,
    relay: Cuttable & { readonly sentBytes: number; readonly receivedBytes: number },
  ): void;
  /** No candidate took the connection. */
  unserved(): void;
}

/** Of the listening sockets too, since the client's side is made there. */
export const RELAY_SOCKET = { allowHalfOpen: true, highWaterMark: BUFFER_BYTES } as const;

export class Relay implements Cuttable {
  readonly #options: RelayOptions;
  #server: Socket | undefined;
  #dialed: Socket | undefined;
  sentBytes = 0;
  receivedBytes = 0;

  constructor(options: RelayOptions) {
    this.#options = options;
    const { client } = options;
    client.setNoDelay(true);
    client.setKeepAlive(true, KEEP_ALIVE_MS);
    // Whatever it is, the connection ends.
    client.on('error', () => client.destroy());
  }

  cut(reason: string): void {
    if (this.#dialed) return void this.#dialed.destroy(new Error(reason));
    this.#options.client.destroy();
    this.#server?.destroy();
  }

  async run(): Promise<void> {
    const { client, candidates, dialing, dialFailed, unserved } = this.#options;
    for (const server of candidates) {
      if (client.destroyed) return;
      try {
        dialing(server, this);
        this.#server = await this.#dial(server);
      } catch (error) {
        dialFailed(server, { relay: this, problem: client.destroyed ? undefined : (error as Error).message });
        continue;
      }
      return this.#pass(server, this.#server);
    }
    if (client.destroyed) return;
    unserved();
    client.destroy();
  }

  #dial({ address }: PoolServer): Promise<Socket> {
    const { client, clock } = this.#options;
    return new Promise((resolve, reject) => {
      const socket = connect({ host: address.host, port: address.port, ...RELAY_SOCKET });
      this.#dialed = socket;
      const late = clock.after(DIAL_TIMEOUT_MS, () =>
        socket.destroy(new Error(`no connection within ${DIAL_TIMEOUT_MS} ms`)),
      );
      const leave = (): void => void socket.destroy(new Error('the client left'));
      client.once('close', leave);
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(socket);
      });
      const settled = (): void => {
        if (this.#dialed === socket) this.#dialed = undefined;
        late.cancel();
        client.off('close', leave);
      };
      socket.once('connect', settled);
      socket.once('close', settled);
    });
  }

  #pass(server: PoolServer, socket: Socket): void {
    const { client, connected, closed, sent, received } = this.#options;
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    connected(server);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => {
      this.sentBytes = socket.bytesWritten;
      this.receivedBytes = socket.bytesRead;
      client.destroy();
      closed(server, this);
    });
    client.once('close', () => socket.destroy());
    if (client.destroyed) socket.destroy();
    this.#boundHalfOpen(client, socket);
    this.#boundHalfOpen(socket, client);
    client.on('data', () => sent(server));
    socket.on('data', () => received(server));
    client.pipe(socket);
    socket.pipe(client);
  }

  #boundHalfOpen(one: Socket, other: Socket): void {
    one.once('end', () => {
      const timer = this.#options.clock.after(HALF_OPEN_MS, () => other.destroy());
      other.once('close', () => timer.cancel());
    });
  }
}
