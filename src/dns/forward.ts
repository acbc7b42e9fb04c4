/**
 * Asking other resolvers what is not the cluster's: the bytes of the question go on as they came, the bytes of the answer come back. UDP first,
 * TCP when the answer was cut; the next resolver when one does not answer in time. Answers are remembered within their time to live.
 */
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import * as dnsPacket from 'dns-packet';
import { Lru } from '#stdx/lru.ts';
import type { Clock } from '#stdx/clock.ts';

export interface Resolver { readonly address: string; readonly port: number }

export interface ForwarderOptions {
  readonly resolvers: readonly Resolver[];
  readonly clock: Clock;
  /** Per resolver. Default 2 s. */
  readonly timeoutMs?: number;
}

const TIMEOUT_MS = 2_000;
const MAX_CACHED = 10_000;
const MAX_TTL_SECONDS = 30;
const NEGATIVE_TTL_SECONDS = 5;
const HEADER_BYTES = 12;
const TRUNCATED = 0x02;

interface Cached { readonly response: Buffer; readonly untilMs: number }

export class Forwarder {
  readonly #options: ForwarderOptions;
  readonly #cache = new Lru<string, Cached>({ maximum: MAX_CACHED });

  constructor(options: ForwarderOptions) { this.#options = options; }

  /** undefined when no resolver answered. `key` identifies the question in the cache; the answer carries the query's id. */
  async ask(query: Buffer, key: string): Promise<Buffer | undefined> {
    const cached = this.#cache.get(key);
    if (cached && cached.untilMs > this.#options.clock.now()) return withIdOf(cached.response, query);
    for (const resolver of this.#options.resolvers) {
      try {
        const response = await this.#exchange(query, resolver);
        this.#remember(key, response);
        return response;
      } catch {
        // The next one may answer.
      }
    }
    return undefined;
  }

  async #exchange(query: Buffer, resolver: Resolver): Promise<Buffer> {
    const timeoutMs = this.#options.timeoutMs ?? TIMEOUT_MS;
    const response = await askByUdp(query, { resolver, timeoutMs });
    return ((response[2] ?? 0) & TRUNCATED) === 0 ? response : askByTcp(query, { resolver, timeoutMs });
  }

  #remember(key: string, response: Buffer): void {
    const ttl = ttlOf(response);
    const now = this.#options.clock.now();
    if (ttl > 0) this.#cache.set(key, { response, untilMs: now + ttl * 1000 });
  }
}

/** How long this answer may be remembered: the smallest time to live, bounded; a short time for "no such name"; 0 for failures. */
function ttlOf(response: Buffer): number {
  try {
    const packet = dnsPacket.decode(response);
    const code = (response[3] ?? 0) & 0x0f;
    if (code !== 0 && code !== 3) return 0;
    const times = (packet.answers ?? []).flatMap((record) => ('ttl' in record && typeof record.ttl === 'number' ? [record.ttl] : []));
    return times.length === 0 ? NEGATIVE_TTL_SECONDS : Math.min(MAX_TTL_SECONDS, ...times);
  } catch {
    return 0;
  }
}

function withIdOf(response: Buffer, query: Buffer): Buffer {
  const copy = Buffer.from(response);
  query.copy(copy, 0, 0, 2);
  return copy;
}

interface Exchange { readonly resolver: Resolver; readonly timeoutMs: number }

function askByUdp(query: Buffer, { resolver, timeoutMs }: Exchange): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(resolver.address.includes(':') ? 'udp6' : 'udp4');
    const end = (outcome: () => void): void => {
      clearTimeout(timer);
      socket.close();
      outcome();
    };
    const timer = setTimeout(() => end(() => reject(new Error('timed out'))), timeoutMs);
    socket.on('error', (error) => end(() => reject(error)));
    // Connected: the kernel drops datagrams from elsewhere and reports refusals.
    socket.connect(resolver.port, resolver.address, () => socket.send(query));
    socket.on('message', (message) => {
      if (message.length >= HEADER_BYTES && message.readUInt16BE(0) === query.readUInt16BE(0)) end(() => resolve(message));
    });
  });
}

function askByTcp(query: Buffer, { resolver, timeoutMs }: Exchange): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: resolver.address, port: resolver.port });
    const pieces: Buffer[] = [];
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error('timed out')));
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('closed early')));
    socket.on('connect', () => {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(query.length);
      socket.write(Buffer.concat([length, query]));
    });
    socket.on('data', (piece: Buffer) => {
      pieces.push(piece);
      const all = Buffer.concat(pieces);
      if (all.length < 2 || all.length < 2 + all.readUInt16BE(0)) return;
      resolve(all.subarray(2, 2 + all.readUInt16BE(0)));
      socket.destroy();
    });
  });
}
