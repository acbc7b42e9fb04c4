/**
 * The HTTP/1.1 client for servers other than API servers: webhooks, issuers, extension API servers. Based on `undici`, it keeps
 * connections and reports failures with Node's messages. It follows no redirects, uses no proxy variables, requests no compression, and does not
 * upgrade connections (machinery/streams/upgrade.ts does). Timeouts are the caller's signals.
 *
 * One pool per protocol, host, port and TLS settings; a bounded number of pools, of which the one that was idle longest is
 * evicted: it closes after its requests. Requests beyond a pool's connections wait for one, each until its own signal.
 */
import { subscribe } from 'node:diagnostics_channel';
import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { isIP } from 'node:net';
import { createSecureContext } from 'node:tls';
import type { buildConnector, Dispatcher, Pool } from 'undici';
import { formatHostPort } from './host-port.ts';
import { isBrokenConnection } from './connection-errors.ts';

export interface Destination {
  /** Default 'https:'. */
  readonly protocol?: 'https:' | 'http:';
  /** A name or an address, without brackets. */
  readonly host: string;
  readonly port: number;
  readonly tls?: DestinationTls | undefined;
}

export interface DestinationTls {
  /** PEM; default: the system's CAs. */
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  /** The name to verify in the certificate. Default: the host. */
  readonly servername?: string | undefined;
  /** Default true. */
  readonly rejectUnauthorized?: boolean | undefined;
}

interface OutgoingRequest {
  readonly to: Destination;
  readonly method: string;
  /** Including the query. */
  readonly path: string;
  /** Must not include expect, transfer-encoding, keep-alive or upgrade. */
  readonly headers: Readonly<Record<string, string | string[]>>;
  readonly body?: Buffer | Readable | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Retries the request when a kept connection turns out to be closed. Not for a stream as body. */
  readonly repeats?: boolean;
}

export interface IncomingAnswer {
  readonly status: number;
  readonly statusText: string;
  /** Lower-case names; bytes beyond ASCII as latin1. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Must be read or destroyed; destroying it aborts the request. */
  readonly body: Readable;
}

interface HttpsClientOptions {
  /** Default 64. */
  readonly maximumPools?: number;
  /** Per pool, default 512. */
  readonly maximumSockets?: number;
  /** Idle timeout of connections, default 90 s. */
  readonly idleMs?: number;
  /** Connect timeout, default 30 s. */
  readonly connectTimeoutMs?: number;
}

/** Maximum number of retries of one request on closed connections. */
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

  /** Resolves with the response headers. Rejects as Node's https does, and with the signal's reason. */
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

  /** Requests in progress complete; later ones use new connections. */
  retire(): void {
    for (const pool of this.#pools.values()) this.#close(pool);
    this.#pools.clear();
  }

  /** Requests in progress fail, and so do later ones. */
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
    return new library.Pool(`${protocol}//${formatHostPort(host, port)}`, {
      connections: maximumSockets,
      pipelining: 1,
      allowH2: false,
      keepAliveTimeout: idleMs,
      // Watches may be silent for any time.
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: connector(to, library.buildConnector, connectTimeoutMs),
    });
  }
}

/** Rejects with the Error of `tooLong` beyond the maximum, and aborts the request then. */
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
      // Leaving the loop destroys the stream and aborts the request.
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

/** Loaded for the first request: most servers need none, and it would delay the start. */
function undici(): Promise<Undici> {
  library ??= import('undici').then(({ Pool, buildConnector }) => {
    subscribe('undici:client:sendHeaders', countUse);
    return { Pool, buildConnector };
  });
  return library;
}

/** Number of requests sent on a socket. */
const uses = new WeakMap<object, number>();
/** Sockets by the error that ended them: the library rejects with that same error. */
const endedBy = new WeakMap<object, object>();

function countUse(message: unknown): void {
  const { socket } = message as { readonly socket: object };
  uses.set(socket, (uses.get(socket) ?? 0) + 1);
}

function keyOf({ protocol = 'https:', host, port, tls = {} }: Destination): string {
  return `${protocol}//${host}:${port} ${tlsKey(tls)}`;
}

const tlsKeys = new WeakMap<DestinationTls, string>();

/** Computed once per object: callers may reuse theirs. */
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
    // The default would be the name in the Host header.
    connect({ ...options, servername: nameOf(servername ?? options.hostname) }, (error, socket) => {
      if (error) return callback(error, null);
      socket!.on('error', (cause: Error) => void endedBy.set(cause, socket!));
      callback(null, socket!);
    });
  };
}

/** Addresses have no server name; the certificate is verified for the address then. */
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
    (code === 'UND_ERR_SOCKET' || isBrokenConnection(error))
  );
}

/** As Node's https reports it; callers translate these for their clients. */
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

/** A destroyed pool rejects its requests, so errors of closing it are ignored. */
function ignoreEnd(): void {}
