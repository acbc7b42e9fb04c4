/**
 * Forwards queries for names outside the cluster to upstream resolvers: the bytes of the query and of the response are not changed. UDP first, TCP for a
 * truncated response. A resolver that fails or times out is tried last for a while. Responses are cached briefly (at most 30 s of their TTL,
 * which is not decremented), and equal concurrent queries share one response.
 */
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import * as dnsPacket from 'dns-packet';
import { Lru } from '#stdx/lru.ts';
import type { Clock } from '#stdx/clock.ts';
import { HEADER_BYTES, NXDOMAIN, SERVFAIL, codeOf, isTruncated, readdressed, withLength } from './wire.ts';

export interface Resolver {
  readonly address: string;
  readonly port: number;
}

interface ForwarderOptions {
  readonly resolvers: readonly Resolver[];
  readonly clock: Clock;
  /** Per resolver and transport. Default 2 s. */
  readonly timeoutMs?: number | undefined;
}

const TIMEOUT_MS = 2_000;
/** How long a failed resolver is tried last. */
const AVOID_MS = 10_000;
const MAX_CACHED = 10_000;
const MAX_TTL_SECONDS = 30;
const NEGATIVE_TTL_SECONDS = 5;
/** Maximum number of different queries in flight; more are answered at once with a failure. Each holds a socket. */
const MAX_UNDER_WAY = 1_000;

export class Forwarder {
  readonly #options: ForwarderOptions;
  readonly #cache: Lru<string, Buffer>;
  readonly #underWay = new Map<string, Promise<Buffer | undefined>>();
  readonly #avoidUntilMs = new Map<Resolver, number>();

  constructor(options: ForwarderOptions) {
    this.#options = options;
    this.#cache = new Lru({ maximum: MAX_CACHED, clock: options.clock });
  }

  /** undefined when no resolver answered. `key` identifies what changes the response; the response has the query's id and spelling. */
  async ask(query: Buffer, key: string): Promise<Buffer | undefined> {
    const response = this.#cache.get(key) ?? (await this.#shared(query, key));
    return response && readdressed(response, query);
  }

  async #shared(query: Buffer, key: string): Promise<Buffer | undefined> {
    const other = this.#underWay.get(key);
    if (other) return other;
    if (this.#underWay.size >= MAX_UNDER_WAY) return undefined;
    const asking = this.#askInTurn(query).finally(() => this.#underWay.delete(key));
    this.#underWay.set(key, asking);
    const response = await asking;
    const ttlMs = response ? ttlOf(response) * 1000 : 0;
    if (response && ttlMs > 0) this.#cache.set(key, response, ttlMs);
    return response;
  }

  async #askInTurn(query: Buffer): Promise<Buffer | undefined> {
    let failure: Buffer | undefined;
    for (const resolver of this.#inOrder()) {
      try {
        const response = await this.#exchange(query, resolver);
        if (codeOf(response) !== SERVFAIL) {
          this.#avoidUntilMs.delete(resolver);
          return response;
        }
        failure = response;
      } catch {
        this.#avoidUntilMs.set(resolver, this.#options.clock.monotonic() + AVOID_MS);
      }
    }
    return failure;
  }

  /** In the given order, with recently failed resolvers at the end. */
  #inOrder(): Resolver[] {
    const now = this.#options.clock.monotonic();
    const avoided = (resolver: Resolver): number => ((this.#avoidUntilMs.get(resolver) ?? 0) > now ? 1 : 0);
    return this.#options.resolvers.toSorted((a, b) => avoided(a) - avoided(b));
  }

  async #exchange(query: Buffer, resolver: Resolver): Promise<Buffer> {
    const timeoutMs = this.#options.timeoutMs ?? TIMEOUT_MS;
    const response = await askByUdp(query, { resolver, timeoutMs });
    return isTruncated(response) ? askByTcp(query, { resolver, timeoutMs }) : response;
  }
}

/** How long a response may be cached: its smallest TTL, bounded; briefly for NXDOMAIN and NODATA; 0 for failures. */
function ttlOf(response: Buffer): number {
  try {
    const code = codeOf(response);
    if (code !== 0 && code !== NXDOMAIN) return 0;
    const answers = dnsPacket.decode(response).answers ?? [];
    const times = answers.flatMap((record) =>
      'ttl' in record && typeof record.ttl === 'number' ? [record.ttl] : [],
    );
    return times.length === 0 ? NEGATIVE_TTL_SECONDS : Math.min(MAX_TTL_SECONDS, ...times);
  } catch {
    return 0;
  }
}

interface Exchange {
  readonly resolver: Resolver;
  readonly timeoutMs: number;
}

function isAnswerTo(message: Buffer, query: Buffer): boolean {
  return (
    message.length >= HEADER_BYTES &&
    message.readUInt16BE(0) === query.readUInt16BE(0) &&
    (message[2] ?? 0) >= 0x80
  );
}

function askByUdp(query: Buffer, { resolver, timeoutMs }: Exchange): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const socket = createSocket(resolver.address.includes(':') ? 'udp6' : 'udp4');
  const timer = setTimeout(() => reject(new Error('timed out')), timeoutMs);
  socket.on('error', reject);
  socket.on('message', (message) => {
    if (isAnswerTo(message, query)) resolve(message);
  });
  // Connected: the kernel drops datagrams from other addresses and reports ICMP errors.
  socket.connect(resolver.port, resolver.address, (error?: Error) => {
    if (error) return reject(error);
    try {
      socket.send(query, (problem) => {
        if (problem) reject(problem);
      });
    } catch (problem) {
      reject(problem as Error); // closed while it was connecting
    }
  });
  return promise.finally(() => {
    clearTimeout(timer);
    socket.close();
  });
}

function askByTcp(query: Buffer, { resolver, timeoutMs }: Exchange): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const socket = connect({ host: resolver.address, port: resolver.port }, () =>
    socket.write(withLength(query)),
  );
  const timer = setTimeout(() => reject(new Error('timed out')), timeoutMs);
  let received = Buffer.alloc(0);
  socket.on('error', reject);
  socket.on('close', () => reject(new Error('closed early')));
  socket.on('data', (piece: Buffer) => {
    received = Buffer.concat([received, piece]);
    if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
    const message = received.subarray(2, 2 + received.readUInt16BE(0));
    if (isAnswerTo(message, query)) resolve(message);
    else reject(new Error('not an answer'));
  });
  return promise.finally(() => {
    clearTimeout(timer);
    socket.destroy();
  });
}
