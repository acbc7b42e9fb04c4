/**
 * For tests only: connections between hosts of a test network, thousands at once: TCP by its handshake, UDP by an echo, SCTP by the answer to an INIT. Each has a
 * source port of its own, so that none is of a connection that the kernel already knows.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  IPPROTO_SCTP,
  loadNativeSockets,
  SOCK_DGRAM,
  SOCK_RAW,
  SOCK_STREAM,
  type NativeSocket,
  type NativeSockets,
} from './native-sockets.ts';
import { parseSctp, renderSctp } from './sctp.ts';

export interface Host {
  readonly namespace: string;
  readonly addresses: readonly string[];
}

export interface Connection {
  readonly from: Host;
  /** One of the host's. */
  readonly source: string;
  readonly destination: string;
  readonly protocol: 'TCP' | 'UDP' | 'SCTP';
  readonly port: number;
}

interface Attempt {
  isThrough(): boolean;
  close(): void;
}

const FIRST_SOURCE_PORT = 10_000;
const LAST_SOURCE_PORT = 65_000;
const TURN_MS = 10;

export class Connections {
  readonly #sockets: NativeSockets;
  readonly #listeners: NativeSocket[] = [];
  readonly #echoes: NativeSocket[] = [];
  readonly #associations = new Map<string, NativeSocket>();
  /** 'ADDRESS PORT' of an INIT that was answered. */
  readonly #answered = new Set<string>();
  readonly #nextPort = new Map<string, number>();

  /** Every host serves all of these ports, by all protocols. */
  static async open(hosts: readonly Host[], ports: readonly number[]): Promise<Connections> {
    return new Connections(await loadNativeSockets(), { hosts, ports });
  }

  private constructor(
    sockets: NativeSockets,
    { hosts, ports }: { readonly hosts: readonly Host[]; readonly ports: readonly number[] },
  ) {
    this.#sockets = sockets;
    for (const { namespace, addresses } of hosts)
      for (const address of addresses) {
        for (const port of ports) {
          const at = { address, port };
          this.#listeners.push(sockets.open(namespace, { type: SOCK_STREAM, at, listens: true }));
          this.#echoes.push(sockets.open(namespace, { type: SOCK_DGRAM, at }));
        }
        const at = { address, port: 0 };
        const raw = sockets.open(namespace, { type: SOCK_RAW, protocol: IPPROTO_SCTP, at });
        this.#associations.set(address, raw);
      }
  }

  /**
   * Tries all of them at once. Waits until those of `expected` are through, at most patienceMs, and then graceMs for the others. Returns which got through.
   */
  async attempt(
    all: readonly Connection[],
    {
      expected,
      patienceMs,
      graceMs,
    }: { readonly expected: ReadonlySet<Connection>; readonly patienceMs: number; readonly graceMs: number },
  ): Promise<Set<Connection>> {
    this.#answered.clear();
    const waiting = new Map(all.map((connection) => [connection, this.#start(connection)]));
    const through = new Set<Connection>();
    const look = (): void => {
      this.#answer();
      for (const [connection, attempt] of waiting) {
        if (!attempt.isThrough()) continue;
        through.add(connection);
        waiting.delete(connection);
        attempt.close();
      }
    };
    const untilMs = performance.now() + patienceMs;
    do {
      look();
      await sleep(TURN_MS);
    } while (performance.now() < untilMs && [...expected].some((one) => !through.has(one)));
    await sleep(graceMs);
    look();
    for (const attempt of waiting.values()) attempt.close();
    this.#answer();
    return through;
  }

  close(): void {
    for (const socket of [...this.#listeners, ...this.#echoes, ...this.#associations.values()])
      socket.close();
    this.#sockets.close();
  }

  #start(connection: Connection): Attempt {
    const { from, source, destination, protocol, port } = connection;
    const local = { address: source, port: this.#sourcePort(from.namespace) };
    const remote = { address: destination, port };
    if (protocol === 'SCTP') {
      const tags = { verificationTag: 0, initiateTag: local.port };
      const init = renderSctp({ kind: 'init', sourcePort: local.port, destinationPort: port, ...tags });
      this.#associations.get(source)!.send(init, { address: destination, port: 0 });
      return { isThrough: () => this.#answered.has(`${source} ${local.port}`), close() {} };
    }
    const type = protocol === 'TCP' ? SOCK_STREAM : SOCK_DGRAM;
    const socket = this.#sockets.open(from.namespace, { type, at: local });
    const problem = socket.connect(remote);
    if (protocol === 'UDP') socket.send(Buffer.from('?'));
    const isConnected = (): boolean => socket.connect(remote) === undefined;
    return {
      isThrough: () =>
        protocol === 'UDP' ? socket.receive() !== undefined : problem === undefined || isConnected(),
      close: () => socket.close(),
    };
  }

  #sourcePort(namespace: string): number {
    const port = this.#nextPort.get(namespace) ?? FIRST_SOURCE_PORT;
    this.#nextPort.set(namespace, port === LAST_SOURCE_PORT ? FIRST_SOURCE_PORT : port + 1);
    return port;
  }

  /** What the hosts' servers do. */
  #answer(): void {
    for (const listener of this.#listeners)
      for (let socket = listener.accept(); socket; socket = listener.accept()) socket.close();
    for (const echo of this.#echoes)
      for (let got = echo.receive(); got; got = echo.receive()) echo.send(got.data, got.from);
    for (const [address, socket] of this.#associations)
      for (let got = socket.receive(); got; got = socket.receive()) {
        const headerBytes = address.includes(':') ? 0 : (got.data.readUInt8(0) & 15) * 4;
        const packet = parseSctp(got.data.subarray(headerBytes));
        if (packet?.kind === 'init-ack') this.#answered.add(`${address} ${packet.destinationPort}`);
        if (packet?.kind !== 'init') continue;
        const answer = renderSctp({
          kind: 'init-ack',
          sourcePort: packet.destinationPort,
          destinationPort: packet.sourcePort,
          verificationTag: packet.initiateTag,
          initiateTag: packet.sourcePort + 1,
        });
        socket.send(answer, { address: got.from.address, port: 0 });
      }
  }
}
