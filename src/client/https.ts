/**
 * A transport over TLS: HTTP/2 with requests multiplexed on few connections, HTTP/1.1 when ALPN selects it, and
 * plain HTTP/1.1 for http:// servers (a local proxy). Connections are opened on demand, checked by pings, and replaced when credentials change.
 *
 *   no connection --request--> connecting --ALPN h2--> open --GOAWAY, new credentials--> draining --last stream--> closed
 *                                 | http/1.1              '--ping unanswered, socket error--> closed (its requests fail or are retried)
 *                                 v
 *                              an agent of keep-alive sockets
 *
 * Bounds: `timeoutMs` for the response headers and for bytes(); stream() is bounded only by pings. A request is retried only when it
 * was certainly not processed (its connection broke before it was open, say), or is a GET whose connection broke before the response headers.
 */
import * as http from 'node:http';
import * as http2 from 'node:http2';
import * as https from 'node:https';
import * as tls from 'node:tls';
import type { Readable } from 'node:stream';
import { realClock, type Clock } from '#stdx/clock.ts';
import { ChunkStream, collect } from './chunk-stream.ts';
import { CredentialSource, type Credentials, type LoadedCredentials } from './credentials.ts';
import type { Transport, TransportRequest, TransportResponse } from './transport.ts';
import { TransportError, abortReason, isTransportError } from './transport-error.ts';

export interface HttpsOptions extends Credentials {
  /** 'https://10.0.0.1:6443', optionally with a path prefix. */
  readonly server: string;
  /** Name to verify in the server's certificate instead of the host. */
  readonly serverName?: string;
  readonly insecureSkipVerify?: boolean;
  /** Sent with every request. */
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  /** Default 60 s. */
  readonly timeoutMs?: number;
  /** Default 10 s. */
  readonly connectTimeoutMs?: number;
  /** Default: a ping every 30 s, with a timeout of 15 s. */
  readonly pingEveryMs?: number;
  readonly pingTimeoutMs?: number;
  readonly clock?: Clock;
}

export interface HttpsTransport extends Transport {
  /** Replaces the credentials of new connections; open ones finish their requests. */
  reload(credentials: Credentials): void;
}

/** Maximum number of streams per connection, unless the server's limit is lower; then another connection is opened. */
const MAX_STREAMS = 250;
const MAX_SESSIONS = 8;
const STREAM_WINDOW_BYTES = 1024 * 1024;
const SESSION_WINDOW_BYTES = 16 * 1024 * 1024;
const MAX_TRIES = 3;

export function createHttpsTransport(options: HttpsOptions): HttpsTransport {
  return new TlsTransport(options);
}

interface Session {
  readonly h2: http2.ClientHttp2Session;
  readonly tlsGeneration: number;
  streams: number;
  draining: boolean;
}

type Connection =
  | { readonly kind: 'h2'; readonly session: Session }
  | { readonly kind: 'http1'; readonly agent: http.Agent };
type Sent = {
  readonly status: number;
  readonly headers: TransportResponse['headers'];
  readonly body: ChunkStream;
};

class TlsTransport implements HttpsTransport {
  readonly #options: HttpsOptions;
  readonly #url: URL;
  readonly #prefix: string;
  readonly #clock: Clock;
  readonly #credentials: CredentialSource;
  readonly #timeoutMs: number;
  readonly #sessions = new Set<Session>();
  readonly #cancels = new Set<(error: Error) => void>();
  #connecting: Promise<Connection> | undefined;
  #http1: { readonly agent: http.Agent; readonly tlsGeneration: number } | undefined;
  #closed = false;

  constructor(options: HttpsOptions) {
    this.#options = options;
    this.#url = new URL(options.server);
    if (this.#url.protocol !== 'https:' && this.#url.protocol !== 'http:')
      throw new TypeError(`server ${options.server}: only https:// and http:// are supported`);
    this.#prefix = this.#url.pathname.replace(/\/+$/, '');
    this.#clock = options.clock ?? realClock;
    this.#credentials = new CredentialSource(options, this.#clock);
    this.#timeoutMs = options.timeoutMs ?? 60_000;
  }

  async request(request: TransportRequest): Promise<TransportResponse> {
    for (let attempt = 1; ; attempt += 1) {
      request.signal?.throwIfAborted();
      if (this.#closed) throw new TransportError('closed', 'transport is closed');
      const loaded = await this.#credentials.current();
      try {
        const connection = await unlessAborted(this.#connection(loaded), request.signal);
        return this.#response(await this.#send(connection, { request, loaded }), request.signal);
      } catch (error) {
        const unprocessed = error instanceof Unprocessed;
        const again = unprocessed || (request.method === 'GET' && isTransportError(error, 'reset'));
        if (!again || attempt >= MAX_TRIES) throw unprocessed ? error.reason : error;
      }
    }
  }

  reload(credentials: Credentials): void {
    this.#credentials.replace(credentials);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const error = new TransportError('closed', 'transport is closed');
    for (const cancel of this.#cancels) cancel(error);
    this.#http1?.agent.destroy();
    await Promise.all(
      [...this.#sessions].map(
        ({ h2 }) =>
          new Promise<void>((resolve) => {
            h2.once('close', resolve);
            h2.destroy();
          }),
      ),
    );
  }

  /** A connection with room for a stream. */
  async #connection(loaded: LoadedCredentials): Promise<Connection> {
    this.#leaveOld(loaded.tlsGeneration);
    if (this.#http1) return { kind: 'http1', agent: this.#http1.agent };
    let least: Session | undefined;
    for (const session of this.#sessions) {
      if (!session.draining && (!least || session.streams < least.streams)) least = session;
    }
    const open = [...this.#sessions].filter((session) => !session.draining).length;
    if (least && (hasRoom(least) || open >= MAX_SESSIONS)) return { kind: 'h2', session: least };
    this.#connecting ??= this.#connect(loaded).finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  /** Connections with outdated credentials take no more requests. */
  #leaveOld(tlsGeneration: number): void {
    for (const session of this.#sessions) {
      if (session.tlsGeneration === tlsGeneration || session.draining) continue;
      session.draining = true;
      session.h2.close();
    }
    if (this.#http1 && this.#http1.tlsGeneration !== tlsGeneration) this.#http1 = undefined;
  }

  async #connect(loaded: LoadedCredentials): Promise<Connection> {
    if (this.#url.protocol === 'http:') return this.#useHttp1(new http.Agent({ keepAlive: true }), loaded);
    const socket = await this.#handshake(loaded);
    if (this.#closed) {
      socket.destroy();
      throw new TransportError('closed', 'transport is closed');
    }
    if (socket.alpnProtocol !== 'h2') {
      socket.destroy();
      return this.#useHttp1(
        new https.Agent({
          keepAlive: true,
          maxSockets: MAX_STREAMS,
          ...this.#tlsOptions(loaded),
          ALPNProtocols: ['http/1.1'],
        }),
        loaded,
      );
    }
    return { kind: 'h2', session: this.#openSession(socket, loaded) };
  }

  #useHttp1(agent: http.Agent, { tlsGeneration }: LoadedCredentials): Connection {
    this.#http1 = { agent, tlsGeneration };
    return { kind: 'http1', agent };
  }

  #tlsOptions({ tls: { ca, cert, key } }: LoadedCredentials): tls.ConnectionOptions {
    const { serverName, insecureSkipVerify } = this.#options;
    return {
      ...(ca ? { ca } : {}),
      ...(cert ? { cert } : {}),
      ...(key ? { key } : {}),
      ...(serverName ? { servername: serverName } : {}),
      rejectUnauthorized: insecureSkipVerify !== true,
      minVersion: 'TLSv1.2',
    };
  }

  #handshake(loaded: LoadedCredentials): Promise<tls.TLSSocket> {
    const { connectTimeoutMs = 10_000 } = this.#options;
    return new Promise((resolve, reject) => {
      const host = this.#url.hostname.replace(/^\[|\]$/g, '');
      const socket = tls.connect({
        host,
        port: Number(this.#url.port || 443),
        ALPNProtocols: ['h2', 'http/1.1'],
        ...this.#tlsOptions(loaded),
      });
      socket.setNoDelay(true);
      const timer = this.#clock.after(connectTimeoutMs, () =>
        socket.destroy(
          new TransportError('timeout', `${this.#url.host}: no connection within ${connectTimeoutMs} ms`),
        ),
      );
      const onError = (error: Error): void => {
        timer.cancel();
        const known = translated(error, this.#url.host);
        // A load balancer without a backend: nothing of a request was sent yet.
        reject(isTransportError(known, 'reset') ? new Unprocessed(unopened(known)) : known);
      };
      socket.once('error', onError);
      socket.once('secureConnect', () => {
        timer.cancel();
        socket.off('error', onError);
        // Until a session owns the socket, no other listener handles its errors.
        socket.on('error', () => {});
        resolve(socket);
      });
    });
  }

  #openSession(socket: tls.TLSSocket, { tlsGeneration }: LoadedCredentials): Session {
    const h2 = http2.connect(this.#url.origin, {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: STREAM_WINDOW_BYTES },
    });
    const session: Session = { h2, tlsGeneration, streams: 0, draining: false };
    this.#sessions.add(session);
    h2.on('connect', () => h2.setLocalWindowSize(SESSION_WINDOW_BYTES));
    // Each stream reports the error itself.
    h2.on('error', () => {});
    h2.on('goaway', () => {
      session.draining = true;
    });
    h2.on('close', () => {
      session.draining = true;
      this.#sessions.delete(session);
    });
    this.#keepAlive(h2);
    return session;
  }

  #keepAlive(h2: http2.ClientHttp2Session): void {
    const { pingEveryMs = 30_000, pingTimeoutMs = 15_000 } = this.#options;
    this.#clock.after(pingEveryMs, () => {
      if (h2.destroyed || h2.closed) return;
      const late = this.#clock.after(pingTimeoutMs, () =>
        h2.destroy(new TransportError('reset', `${this.#url.host} does not answer pings`)),
      );
      h2.ping((error) => {
        late.cancel();
        if (!error) this.#keepAlive(h2);
      });
    });
  }

  async #send(
    connection: Connection,
    { request, loaded }: { readonly request: TransportRequest; readonly loaded: LoadedCredentials },
  ): Promise<Sent> {
    const headers: http.OutgoingHttpHeaders = {
      ...request.headers,
      ...(this.#options.headers as Record<string, string | string[]> | undefined),
    };
    if (loaded.authorization) headers['authorization'] = loaded.authorization;
    const prepared: Prepared = {
      method: request.method,
      path: this.#prefix + request.path,
      headers,
      body: request.body,
    };
    const sending =
      connection.kind === 'h2'
        ? sendHttp2(connection.session, prepared)
        : sendHttp1(connection.agent, { ...prepared, url: this.#url });
    const timer = this.#clock.after(this.#timeoutMs, () =>
      sending.cancel(
        new TransportError(
          'timeout',
          `${request.method} ${request.path}: no answer within ${this.#timeoutMs} ms`,
        ),
      ),
    );
    const onAbort = (): void => sending.cancel(abortReason(request.signal!));
    request.signal?.addEventListener('abort', onAbort, { once: true });
    this.#cancels.add(sending.cancel);
    const settle = (): void => {
      this.#cancels.delete(sending.cancel);
      request.signal?.removeEventListener('abort', onAbort);
    };
    try {
      const sent = await sending.head;
      sent.body.onClose(settle);
      return sent;
    } catch (error) {
      settle();
      if (request.signal?.aborted) throw abortReason(request.signal);
      throw error instanceof Unprocessed ? error : translated(error as Error, this.#url.host);
    } finally {
      timer.cancel();
    }
  }

  #response({ status, headers, body }: Sent, signal: AbortSignal | undefined): TransportResponse {
    const host = this.#url.host;
    const timeoutMs = this.#timeoutMs;
    const clock = this.#clock;
    async function* pieces(): AsyncGenerator<Buffer, void, void> {
      try {
        yield* body;
      } catch (error) {
        throw signal?.aborted ? abortReason(signal) : translated(error as Error, host);
      }
    }
    return {
      status,
      headers,
      stream: pieces,
      async bytes() {
        const timer = clock.after(timeoutMs, () =>
          body.fail(new TransportError('timeout', `${host}: the answer did not end within ${timeoutMs} ms`)),
        );
        try {
          return await collect(pieces());
        } finally {
          timer.cancel();
        }
      },
    };
  }
}

/** Other callers may wait for the same work, so only this wait ends. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(abortReason(signal));
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** The server certainly did not process the request. */
class Unprocessed extends Error {
  readonly reason: TransportError;
  constructor(reason: TransportError) {
    super(reason.message);
    this.reason = reason;
  }
}

function unopened({ message }: TransportError): TransportError {
  return new TransportError('refused', `${message} (before the connection was open)`);
}

interface Prepared {
  readonly method: string;
  readonly path: string;
  readonly headers: http.OutgoingHttpHeaders;
  readonly body: Buffer | string | undefined;
}
interface Sending {
  readonly head: Promise<Sent>;
  cancel(error: Error): void;
}

function hasRoom({ h2, streams }: Session): boolean {
  return streams < Math.min(MAX_STREAMS, h2.remoteSettings?.maxConcurrentStreams ?? MAX_STREAMS);
}

function sendHttp2(session: Session, { method, path, headers, body }: Prepared): Sending {
  let stream: http2.ClientHttp2Stream;
  try {
    stream = session.h2.request(
      { ...headers, ':method': method, ':path': path },
      { endStream: body === undefined },
    );
  } catch (error) {
    session.draining = true;
    return {
      head: Promise.reject(
        new Unprocessed(new TransportError('refused', 'the connection is closing', error)),
      ),
      cancel: () => {},
    };
  }
  session.streams += 1;
  stream.once('close', () => {
    session.streams -= 1;
  });
  if (body !== undefined) stream.end(body);
  const cancel = (error: Error): void => {
    stream.close(http2.constants.NGHTTP2_CANCEL);
    stream.destroy(error);
  };
  const head = new Promise<Sent>((resolve, reject) => {
    let isAnswered = false;
    stream.once('response', (received) => {
      isAnswered = true;
      resolve({ status: received[':status'] ?? 0, headers: flat(received), body: pumped(stream, cancel) });
    });
    stream.on('error', (error) =>
      reject(
        stream.rstCode === http2.constants.NGHTTP2_REFUSED_STREAM
          ? new Unprocessed(new TransportError('reset', error.message, error))
          : error,
      ),
    );
    stream.once('close', () => {
      // An error costs a stack trace: as much as the rest of a request.
      if (isAnswered) return;
      reject(
        stream.rstCode === http2.constants.NGHTTP2_REFUSED_STREAM
          ? new Unprocessed(new TransportError('reset', 'the server refused the stream'))
          : new TransportError('reset', 'the connection closed before an answer'),
      );
    });
  });
  return { head, cancel };
}

function sendHttp1(
  agent: http.Agent,
  { method, path, headers, body, url }: Prepared & { readonly url: URL },
): Sending {
  const { request: send } = url.protocol === 'https:' ? https : http;
  const outgoing = send({
    agent,
    method,
    path,
    headers,
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port || (url.protocol === 'https:' ? 443 : 80),
  });
  let incoming: http.IncomingMessage | undefined;
  const cancel = (error: Error): void => {
    incoming?.destroy(error);
    outgoing.destroy(error);
  };
  const head = new Promise<Sent>((resolve, reject) => {
    outgoing.once('response', (message) => {
      incoming = message;
      resolve({
        status: message.statusCode ?? 0,
        headers: flat(message.headers),
        body: pumped(message, cancel),
      });
    });
    outgoing.on('error', reject);
  });
  outgoing.end(body);
  return { head, cancel };
}

/**
 * The body, read from the beginning: a stream that ends before there is a reader would lose its data. Chunks that were
 * read stay available after the end.
 */
function pumped(source: Readable, cancel: (error: Error) => void): ChunkStream {
  const body = new ChunkStream();
  let ended = false;
  source.on('data', (chunk: Buffer) => {
    if (body.push(chunk)) return;
    source.pause();
    void body.drained().then(() => source.resume());
  });
  source.once('end', () => {
    ended = true;
  });
  source.on('error', (error) => body.fail(error));
  // Complete only when the source says so at its close: HTTP/2 ends the readable side also when the connection is lost.
  source.once('close', () => {
    const lost =
      !ended ||
      ((source as http2.Http2Stream).rstCode ?? 0) !== 0 ||
      (source as http.IncomingMessage).complete === false;
    if (lost) body.fail(new TransportError('reset', 'the answer broke off'));
    else body.end();
  });
  body.onClose(() => {
    if (!source.destroyed) cancel(new TransportError('closed', 'the reader left'));
  });
  return body;
}

function flat(
  headers: http.IncomingHttpHeaders | http2.IncomingHttpHeaders,
): Record<string, string | undefined> {
  const result: Record<string, string | undefined> = {};
  for (const name in headers) {
    if (name.startsWith(':')) continue;
    const value = headers[name];
    result[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  return result;
}

const REFUSED = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EHOSTDOWN',
  'ENOENT',
]);
const UNTRUSTED =
  /^(CERT_|ERR_TLS_|ERR_SSL_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|INVALID_CA|HOSTNAME_MISMATCH|ERR_OSSL_)/;

/** Converts errors of the platform to TransportErrors. */
function translated(error: Error, host: string): Error {
  if (error instanceof TransportError || error.name === 'AbortError') return error;
  const code = (error as NodeJS.ErrnoException).code ?? '';
  const message = `${host}: ${error.message}`;
  if (REFUSED.has(code)) return new TransportError('refused', message, error);
  if (code === 'ETIMEDOUT') return new TransportError('timeout', message, error);
  if (UNTRUSTED.test(code)) return new TransportError('tls', message, error);
  return new TransportError('reset', message, error);
}
