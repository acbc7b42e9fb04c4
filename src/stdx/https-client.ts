/**
 * The HTTP/1.1 client of everything that calls a server which is no API server: webhooks, issuers, extension API servers, by `undici`. It keeps
 * connections and reports failures in Node's words. It follows no redirects, reads no proxy variables, asks for no compression, and upgrades
 * nothing (machinery/streams/upgrade.ts does). Timeouts are the caller's signals.
 *
 * One pool per protocol, host, port and all that TLS verifies or shows; a bounded number of pools, of which the one that was idle longest gives
 * way: it closes when its requests have ended. Requests beyond a pool's connections wait for one, each until its own signal.
 */
import { subscribe } from 'node:diagnostics_channel';
import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { isIP } from 'node:net';
import { createSecureContext } from 'node:tls';
import type { buildConnector, Dispatcher, Pool } from 'undici';

export interface Destination {
  /** Default 'https:'. */
  readonly protocol?: 'https:' | 'http:';
  /** A name or an address, which is written without brackets. */
  readonly host: string;
  readonly port: number;
  readonly tls?: DestinationTls | undefined;
}

export interface DestinationTls {
  /** PEM; absent = the authorities this machine trusts. */
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  /** What the certificate must be for. Default: the host. */
  readonly servername?: string | undefined;
  /** Default true. */
  readonly rejectUnauthorized?: boolean | undefined;
}

interface OutgoingRequest {
  readonly to: Destination;
  readonly method: string;
  /** With its query. */
  readonly path: string;
  /** Neither expect, transfer-encoding, keep-alive nor upgrade can be among them. */
  readonly headers: Readonly<Record<string, string | string[]>>;
  readonly body?: Buffer | Readable | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Sent again when a kept connection turns out to be closed, which the other side may have done just then. Not for a stream as body. */
  readonly repeats?: boolean;
}

export interface IncomingAnswer {
  readonly status: number;
  readonly statusText: string;
  /** In lower case; bytes beyond ASCII as latin1. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Destroying it ends the request. It must be read or destroyed. */
  readonly body: Readable;
}

interface HttpsClientOptions {
  /** Default 64. */
  readonly maximumPools?: number;
  /** Of one pool, default 512. */
  readonly maximumSockets?: number;
  /** How long a connection is kept, default 90 s. */
  readonly idleMs?: number;
  /** How long making one may take, default 30 s. */
  readonly connectTimeoutMs?: number;
}

/** Kept connections that are found closed one after the other for one request. */
const MAX_STALE = 16;

export class HttpsClient {
  readonly #options: Required<HttpsClientOptions>;
  /** In the order of their last use. */
  readonly #pools = new Map<string, Pool>();
  readonly #closing = new Set<Pool>();
  #isDestroyed = false;

  constructor({
    maximumPools = 64,
    maximumSockets = 512,
    idleMs = 90_000,
    connectTimeoutMs = 30_000,
  }: HttpsClientOptions = {}) {
    this.#options = { maximumPools, maximumSockets, idleMs, connectTimeoutMs };
  }

  /** Resolves with the head of the answer. Rejects as Node's https does, and with the signal's reason. */
  async request({ to, repeats = false, signal, ...rest }: OutgoingRequest): Promise<IncomingAnswer> {
    const library = await undici();
    signal?.throwIfAborted();
    for (let attempt = 0; ; attempt++) {
      if (this.#isDestroyed) throw new Error('the client is closed');
      try {
        const sent = this.#poolFor(to, library).request({
          ...rest,
          method: rest.method as Dispatcher.HttpMethod,
          body: rest.body ?? null,
          signal: signal ?? null,
        });
        const { statusCode, statusText, headers, body } = await sent;
        return { status: statusCode, statusText, headers, body };
      } catch (error) {
        const isStale = repeats && attempt < MAX_STALE && !signal?.aborted && wasKeptAndClosed(error);
        if (!isStale) throw signal?.aborted ? signal.reason : nodeError(error, to);
      }
    }
  }

  /** Requests under way end in their own time; later ones make new connections. */
  retire(): void {
    for (const pool of this.#pools.values()) this.#close(pool);
    this.#pools.clear();
  }

  /** Requests under way fail, and so do later ones. */
  destroy(): void {
    this.#isDestroyed = true;
    this.retire();
    for (const pool of this.#closing) pool.destroy().catch(ignoreEnd);
  }

  #poolFor(to: Destination, library: Undici): Pool {
    const key = keyOf(to);
    let pool = this.#pools.get(key);
    if (pool) this.#pools.delete(key);
    else {
      pool = this.#open(to, library);
      if (this.#pools.size >= this.#options.maximumPools) this.#evict();
    }
    this.#pools.set(key, pool);
    return pool;
  }

  #evict(): void {
    const [key, pool] = this.#pools.entries().next().value!;
    this.#pools.delete(key);
    this.#close(pool);
  }

  #close(pool: Pool): void {
    this.#closing.add(pool);
    pool
      .close()
      .catch(ignoreEnd)
      .finally(() => this.#closing.delete(pool));
  }

  #open(to: Destination, library: Undici): Pool {
    const { host, port, protocol = 'https:' } = to;
    const { maximumSockets, idleMs, connectTimeoutMs } = this.#options;
    return new library.Pool(`${protocol}//${host.includes(':') ? `[${host}]` : host}:${port}`, {
      connections: maximumSockets,
      pipelining: 1,
      allowH2: false,
      keepAliveTimeout: idleMs,
      // Watches are silent for as long as they like.
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: connector(to, library.buildConnector, connectTimeoutMs),
    });
  }
}

/** Rejects with the Error of `tooLong` for more bytes, and ends the request then. */
export async function readBody(
  { body }: IncomingAnswer,
  { maximumBytes, tooLong }: { readonly maximumBytes: number; readonly tooLong: () => Error },
): Promise<Buffer> {
  const parts: Buffer[] = [];
  let size = 0;
  let overflow: Error | undefined;
  try {
    for await (const part of body as AsyncIterable<Buffer>) {
      size += part.length;
      // Leaving the loop destroys the stream, and with it the request.
      if (size > maximumBytes) throw (overflow = tooLong());
      parts.push(part);
    }
  } catch (error) {
    throw overflow ?? nodeError(error);
  }
  return Buffer.concat(parts, size);
}

// ------------------------------------------------------------------------------------------------------------ connections

interface Undici {
  readonly Pool: typeof Pool;
  readonly buildConnector: typeof buildConnector;
}
let library: Promise<Undici> | undefined;

/** Loaded for the first request: most servers make none, and all would start later for it. */
function undici(): Promise<Undici> {
  library ??= import('undici').then(({ Pool, buildConnector }) => {
    subscribe('undici:client:sendHeaders', countUse);
    return { Pool, buildConnector };
  });
  return library;
}

/** Requests that were sent on a socket. */
const uses = new WeakMap<object, number>();
/** By the error that ended it, a socket: the library rejects with that very error. */
const endedBy = new WeakMap<object, object>();

function countUse(message: unknown): void {
  const { socket } = message as { readonly socket: object };
  uses.set(socket, (uses.get(socket) ?? 0) + 1);
}

function keyOf({ protocol = 'https:', host, port, tls = {} }: Destination): string {
  return `${protocol}//${host}:${port} ${tlsKey(tls)}`;
}

const tlsKeys = new WeakMap<DestinationTls, string>();

/** Computed once for each object: callers may keep theirs. */
function tlsKey(tls: DestinationTls): string {
  let key = tlsKeys.get(tls);
  if (key !== undefined) return key;
  const { ca, cert, key: privateKey, servername, rejectUnauthorized = true } = tls;
  const parts = JSON.stringify([ca, cert, privateKey, servername, rejectUnauthorized]);
  tlsKeys.set(tls, (key = createHash('sha256').update(parts).digest('base64')));
  return key;
}

function connector(
  { tls = {} }: Destination,
  build: typeof buildConnector,
  timeout: number,
): buildConnector.connector {
  const { ca, cert, key, servername, rejectUnauthorized = true } = tls;
  const connect = build({
    timeout,
    allowH2: false,
    rejectUnauthorized,
    secureContext: createSecureContext({ ca, cert, key }),
  });
  return (options, callback) => {
    // By default it would be the name in the Host header.
    connect({ ...options, servername: nameOf(servername ?? options.hostname) }, (error, socket) => {
      if (error) return callback(error, null);
      socket!.on('error', (cause: Error) => void endedBy.set(cause, socket!));
      callback(null, socket!);
    });
  };
}

/** Addresses have no server name; the certificate is checked for the address then. */
function nameOf(hostname: string): string {
  return isIP(hostname.replace(/^\[|\]$/g, '')) > 0 ? '' : hostname;
}

// ----------------------------------------------------------------------------------------------------------------- errors

function wasKeptAndClosed(error: unknown): boolean {
  const socket = typeof error === 'object' && error !== null ? endedBy.get(error) : undefined;
  const { code } = error as NodeJS.ErrnoException;
  return (
    socket !== undefined &&
    (uses.get(socket) ?? 0) > 1 &&
    (code === 'UND_ERR_SOCKET' || code === 'ECONNRESET' || code === 'EPIPE')
  );
}

/** As Node's https reports it, which the callers translate for their clients. */
function nodeError(error: unknown, { host, port }: Partial<Destination> = {}): unknown {
  switch ((error as NodeJS.ErrnoException).code) {
    case 'UND_ERR_SOCKET':
      return Object.assign(new Error('socket hang up', { cause: error }), { code: 'ECONNRESET' });
    case 'UND_ERR_CONNECT_TIMEOUT':
      return Object.assign(new Error(`connect ETIMEDOUT ${host}:${port}`, { cause: error }), {
        code: 'ETIMEDOUT',
        address: host,
        port,
      });
    default:
      return error;
  }
}

/** A pool that is destroyed ends its requests, whose callers are told; closing it has nothing to add. */
function ignoreEnd(): void {}
