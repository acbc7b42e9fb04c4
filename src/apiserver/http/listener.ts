/**
 * HTTP/2 and HTTP/1.1 over TLS on one port, selected by ALPN. Client certificates are requested, optional, and verified against the client CA. HTTP/2
 * is our own (#http2, docs/http2.md explains why). Upgrades (exec, attach, port-forward, proxied WebSockets) arrive over HTTP/1.1 and are passed
 * to onUpgrade. Certificates are replaced without a restart.
 */
import { constants } from 'node:crypto';
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server as HttpServer,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex, Readable } from 'node:stream';
import {
  createSecureContext,
  createServer as createTlsServer,
  type SecureContextOptions,
  type SecureVersion,
  type TLSSocket,
} from 'node:tls';
import { Http2Connection } from '#http2/connection.ts';
import { BodyParts, lengthOf } from '#stdx/body-parts.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { closedSink } from '#stdx/response-sink.ts';
import { DEFAULT_CIPHERS } from '#stdx/tls-suites.ts';
import { statusErrors } from '#machinery/errors.ts';
import type { ApiHandler, ApiRequest, ApiResponse, ResponseSink } from './request.ts';
import { Http2ApiRequest } from './http2-request.ts';
import { authoritiesFrom, peerOf, type Authorities, type ClientCertificate, type Peer } from './peer.ts';

export interface TlsMaterial {
  /** PEM, leaf first. */
  readonly cert: string | Buffer;
  readonly key: string | Buffer;
  /** PEM bundle of the client CAs; absent = client certificates are not requested. */
  readonly clientCa?: string | Buffer;
  /** The same for an authenticating proxy, whose X-Remote-* headers are trusted. */
  readonly frontProxyCa?: string | Buffer;
  /** Default: TLS 1.2. */
  readonly minVersion?: SecureVersion;
  /** OpenSSL's names. Default: suites with forward secrecy and authenticated encryption. */
  readonly ciphers?: string;
}

interface TlsListenerOptions {
  /** Called for every failed handshake. */
  readonly onHandshakeError?: () => void;
  readonly handler: ApiHandler;
  /** HTTP/1.1 `Upgrade:` requests. The receiver owns the socket: it must respond and close it. Absent = 501. */
  readonly onUpgrade?: (request: ApiRequest, socket: Duplex, head: Buffer) => void;
  readonly tls: TlsMaterial;
  readonly log: Logger;
  readonly limits?: Partial<ListenerLimits> | undefined;
}

export interface ListenerLimits {
  readonly maxConcurrentStreams: number;
  readonly maxHeaderBytes: number;
  /** A connection without any request for so long is closed. */
  readonly idleMs: number;
  readonly maxConnections: number;
  /** Fraction of HTTP/2 requests after which the client is sent GOAWAY, so that clients spread over servers. */
  readonly goawayChance: number;
}

const DEFAULT_LIMITS: ListenerLimits = {
  maxConcurrentStreams: 250,
  maxHeaderBytes: 1024 * 1024,
  idleMs: 180_000,
  maxConnections: 20_000,
  goawayChance: 0,
};

interface ListenOptions {
  readonly host: string;
  readonly port: number;
}

export interface TlsListener {
  listen(options: ListenOptions): Promise<AddressInfo>;
  /** New connections use it. Existing ones continue; where the trusted authorities change, only until their requests have finished. */
  replaceCertificates(tls: TlsMaterial): void;
  /** Accepts no new connections. Requests in flight are finished within drainMs; then connections that do not read within graceMs are closed. */
  close(patience: { readonly drainMs: number; readonly graceMs: number }): Promise<void>;
}

export function createTlsListener(given: TlsListenerOptions): TlsListener {
  const underWay = new UnderWay();
  const options = { ...given, handler: underWay.counting(given.handler) };
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const trust: Trust = {
    authorities: authoritiesFrom(options.tls),
    bundles: bundlesOf(options.tls),
    generation: 0,
  };
  const http1 = http1Server(options, { ...limits, trust, underWay });
  const sockets = new Set<TLSSocket>();
  const connections = new Set<Http2Connection>();
  const server = createTlsServer({
    ...contextOptions(options.tls),
    requestCert: options.tls.clientCa !== undefined || options.tls.frontProxyCa !== undefined,
    rejectUnauthorized: false,
    ALPNProtocols: ['h2', 'http/1.1'],
    handshakeTimeout: 10_000,
    noDelay: true,
    keepAlive: true,
  });
  server.maxConnections = limits.maxConnections;
  server.on('secureConnection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    if (socket.alpnProtocol === 'h2') {
      const peer = peerOf(socket, trust.authorities);
      const handler =
        limits.goawayChance > 0
          ? sendsAway(options.handler, { chance: limits.goawayChance, away: () => connection.shutdown() })
          : options.handler;
      const connection = new Http2Connection(socket, {
        ...limits,
        handler: (request) => handler(new Http2ApiRequest(request, peer)),
        remoteAddress: peer.remoteAddress,
        log: options.log,
      });
      connections.add(connection);
      socket.on('close', () => connections.delete(connection));
    } else http1.emit('connection', socket);
  });
  server.on('tlsClientError', (error) => {
    options.onHandshakeError?.();
    options.log.debug('TLS handshake failed', { error: errorMessage(error) });
  });
  return {
    listen: ({ host, port }) =>
      new Promise((resolve, reject) => {
        server.once('error', reject);
        server.listen({ host, port, backlog: 1024 }, () => {
          server.off('error', reject);
          server.on('error', (error) =>
            options.log.error('the listener failed', { error: errorMessage(error) }),
          );
          resolve(server.address() as AddressInfo);
        });
      }),
    replaceCertificates(tls) {
      server.setSecureContext(contextOptions(tls));
      trust.authorities = authoritiesFrom(tls);
      const bundles = bundlesOf(tls);
      if (bundles === trust.bundles) return;
      trust.bundles = bundles;
      trust.generation++;
      for (const connection of connections) connection.shutdown();
      http1.closeIdleConnections();
    },
    close: async ({ drainMs, graceMs }) => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      underWay.ending = true;
      for (const connection of connections) connection.shutdown();
      http1.closeIdleConnections();
      let timer: NodeJS.Timeout | undefined;
      void underWay.drained(drainMs).then(() => {
        timer = setTimeout(() => {
          for (const socket of sockets) socket.destroy();
        }, graceMs);
      });
      await closed;
      clearTimeout(timer);
      http1.close();
    },
  };
}

/** Requests without a complete response. Watches and streams count as complete: their responses continue. */
class UnderWay {
  /** Stops reading further requests from every connection. */
  ending = false;
  #count = 0;
  readonly #idle: (() => void)[] = [];

  counting(handler: ApiHandler): ApiHandler {
    return async (request) => {
      this.#count++;
      try {
        return await handler(request);
      } finally {
        if (--this.#count === 0) for (const resolve of this.#idle.splice(0)) resolve();
      }
    };
  }

  /** Resolves when all requests have finished, or at the timeout. */
  drained(atMostMs: number): Promise<void> {
    if (this.#count === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, atMostMs);
      this.#idle.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}

/** Replaced with the certificates. */
interface Trust {
  authorities: Authorities;
  bundles: string;
  /** Counts changes of the bundles: connections of earlier ones end. */
  generation: number;
}

function bundlesOf({ clientCa = '', frontProxyCa = '' }: TlsMaterial): string {
  return `${String(clientCa)}\0${String(frontProxyCa)}`;
}

function sendsAway(
  handler: ApiHandler,
  { chance, away }: { readonly chance: number; readonly away: () => void },
): ApiHandler {
  return async (request) => {
    const response = await handler(request);
    if (Math.random() < chance) setImmediate(away);
    return response;
  };
}

function contextOptions({
  cert,
  key,
  clientCa,
  frontProxyCa,
  minVersion = 'TLSv1.2',
  ciphers = DEFAULT_CIPHERS,
}: TlsMaterial): SecureContextOptions {
  const ca = [clientCa, frontProxyCa].filter((bundle) => bundle !== undefined);
  const context: SecureContextOptions = {
    cert,
    key,
    minVersion,
    ciphers,
    // A resumed session would keep the verdict on a client certificate that has expired, or whose authority was removed.
    ...(ca.length === 0 ? {} : { ca, secureOptions: constants.SSL_OP_NO_TICKET }),
  };
  // Refuses what does not fit together before anything is replaced.
  createSecureContext(context);
  return context;
}

// -------------------------------------------------------------------------------------------------------------- HTTP/1.1

const REFUSED_LINGER_MS = 2000;
/** A response of which the client reads nothing for this long is aborted, as over HTTP/2. */
const STALL_MS = 120_000;

function http1Server(
  { handler, onUpgrade, log }: TlsListenerOptions,
  { trust, underWay, ...limits }: ListenerLimits & { readonly trust: Trust; readonly underWay: UnderWay },
): HttpServer {
  const server = createHttpServer({
    maxHeaderSize: limits.maxHeaderBytes,
    keepAliveTimeout: limits.idleMs,
    headersTimeout: 30_000,
    requestTimeout: 0,
    noDelay: true,
  });
  // Node watches over header timeouts and idle connections from 'listening' on; this server never listens itself.
  server.emit('listening');
  const peers = new WeakMap<TLSSocket, Peer>();
  const generations = new WeakMap<TLSSocket, number>();
  const toRequest = (message: IncomingMessage, response?: ServerResponse): Http1Request => {
    const socket = message.socket as TLSSocket;
    let peer = peers.get(socket);
    if (!peer) {
      peers.set(socket, (peer = peerOf(socket, trust.authorities)));
      generations.set(socket, trust.generation);
    }
    return new Http1Request(message, { peer, response });
  };
  server.on('request', (message, response) => {
    const request = toRequest(message, response);
    if (generations.get(message.socket as TLSSocket) !== trust.generation) response.shouldKeepAlive = false;
    response.on('error', () => {});
    handler(request).then(
      (answer) => {
        // A client would send its next request into a connection that is being closed.
        if (underWay.ending) response.shouldKeepAlive = false;
        respondHttp1(message, { response, answer });
      },
      (error: unknown) => {
        log.error('the request handler failed', { error: errorMessage(error) });
        response.destroy();
      },
    );
  });
  server.on('upgrade', (message, socket, head) => {
    socket.on('error', () => socket.destroy());
    if (!onUpgrade)
      return void socket.end(
        'HTTP/1.1 501 Not Implemented\r\ncontent-length: 0\r\nconnection: close\r\n\r\n',
      );
    onUpgrade(toRequest(message), socket, head);
  });
  // Without this, Node closes the connection without a word.
  server.on(
    'connect',
    (_message, socket) =>
      void socket
        .on('error', () => socket.destroy())
        .end('HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n'),
  );
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    if (!socket.writable) return void socket.destroy();
    const why =
      error.code === 'HPE_HEADER_OVERFLOW'
        ? '431 Request Header Fields Too Large'
        : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
          ? '408 Request Timeout'
          : '400 Bad Request';
    socket.end(`HTTP/1.1 ${why}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`);
    // Remaining request data is read and dropped for a while: closing a connection with unread bytes resets it and loses the response.
    socket.removeAllListeners('data');
    socket.resume();
    setTimeout(() => socket.destroy(), REFUSED_LINGER_MS).unref();
  });
  return server;
}

class Http1Request implements ApiRequest {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly #message: IncomingMessage;
  readonly #peer: Peer;
  /** Undefined for upgrades, whose socket serves nothing else. */
  readonly #response: ServerResponse | undefined;

  constructor(
    message: IncomingMessage,
    { peer, response }: { readonly peer: Peer; readonly response: ServerResponse | undefined },
  ) {
    this.#message = message;
    this.#peer = peer;
    this.#response = response;
    const target = message.url ?? '/';
    const mark = target.indexOf('?');
    this.method = message.method ?? 'GET';
    this.path = mark < 0 ? target : target.slice(0, mark);
    this.query = mark < 0 ? '' : target.slice(mark + 1);
    this.headers = message.headers as Record<string, string | undefined>;
  }

  get remoteAddress(): string {
    return this.#peer.remoteAddress;
  }
  get clientCertificate(): ClientCertificate | undefined {
    return this.#peer.certificate;
  }
  get clientCertificateError(): string | undefined {
    return this.#peer.certificateError;
  }
  get expiredNode(): ApiRequest['expiredNode'] {
    return this.#peer.expiredNode;
  }
  get frontProxyCertificate(): ApiRequest['frontProxyCertificate'] {
    return this.#peer.frontProxy;
  }

  body(limitBytes: number): Promise<Buffer> {
    return readBody(this.#message, { limitBytes, declared: this.headers['content-length'] });
  }

  headerValues(name: string): readonly string[] {
    return this.#message.headersDistinct[name] ?? [];
  }

  bodyStream(): Readable {
    return this.#message;
  }

  onSent(callback: () => void): void {
    if (!this.#response || this.#response.destroyed) callback();
    else this.#response.once('close', callback);
  }

  onAbort(callback: () => void): void {
    const response = this.#response;
    if (!response) return void this.#message.socket.once('close', callback);
    // Not of the socket: it serves other requests after this one, which would each leave a listener behind.
    response.once('close', () => {
      if (!response.writableFinished) callback();
    });
  }
}

function respondHttp1(
  message: IncomingMessage,
  {
    response,
    answer: { status, headers, repeated, body },
  }: { readonly response: ServerResponse; readonly answer: ApiResponse },
): void {
  if (response.destroyed) {
    if (typeof body === 'function') body(closedSink);
    return;
  }
  for (const name in repeated) response.setHeader(name, repeated[name]!);
  if (typeof body === 'function') {
    response.writeHead(status, headers);
    response.flushHeaders();
    body(new StreamSink(response));
    return;
  }
  const pieces = Buffer.isBuffer(body) ? [body] : body;
  headers['content-length'] = String(lengthOf(body));
  // An unread body would be parsed as the next request.
  if (!message.complete) headers['connection'] = 'close';
  response.writeHead(status, headers);
  writePieces(response, pieces);
}

// ---------------------------------------------------------------------------------------------------------------- shared

/** Written at once: large enough to be cheap, small enough that framing and encrypting it does not block other connections. */
const WRITE_BYTES = 512 * 1024;

/** A long body is sent at its reader's pace. */
function writePieces(stream: ServerResponse, pieces: readonly Buffer[]): void {
  let next = 0;
  const proceed = (): void => {
    if (stream.destroyed) return;
    let bytes = 0;
    const from = next;
    while (next < pieces.length && bytes < WRITE_BYTES) bytes += pieces[next++]!.length;
    stream.cork();
    if (next > from)
      stream.write(next - from === 1 ? pieces[from]! : Buffer.concat(pieces.slice(from, next), bytes));
    if (next === pieces.length) stream.end();
    // Not at once: a fast reader would have all of it written in this turn.
    else {
      const stalled = setTimeout(() => stream.destroy(), STALL_MS).unref();
      stream.once('drain', () => {
        clearTimeout(stalled);
        setImmediate(proceed);
      });
    }
    stream.uncork();
  };
  proceed();
}

function readBody(
  stream: IncomingMessage,
  { limitBytes, declared }: { readonly limitBytes: number; readonly declared: string | undefined },
): Promise<Buffer> {
  const tooLarge = (): Error => statusErrors.requestEntityTooLarge(`limit is ${limitBytes}`);
  if (declared !== undefined && Number(declared) > limitBytes) return Promise.reject(tooLarge());
  return new Promise((resolve, reject) => {
    const parts = new BodyParts();
    stream.on('data', (chunk: Buffer) => {
      if (parts.bytes + chunk.length > limitBytes) {
        parts.clear();
        stream.removeAllListeners('data');
        stream.resume();
        reject(tooLarge());
      } else parts.add(chunk);
    });
    let complete = false;
    stream.on('end', () => {
      complete = true;
      resolve(parts.take());
    });
    stream.on('close', () => {
      if (!complete) reject(statusErrors.badRequest('the client went away before its request was complete'));
    });
    if (stream.readableEnded) resolve(EMPTY);
  });
}

const EMPTY = Buffer.alloc(0);

class StreamSink implements ResponseSink {
  readonly #stream: ServerResponse;
  #drains: (() => void)[] = [];
  closed = false;

  constructor(stream: ServerResponse) {
    this.#stream = stream;
    stream.on('drain', () => this.#wake());
    stream.on('close', () => {
      this.closed = true;
      this.#wake();
    });
  }

  get bufferedBytes(): number {
    return this.#stream.writableLength;
  }

  write(chunk: Buffer): boolean {
    return this.closed ? false : this.#stream.write(chunk);
  }

  drained(): Promise<void> {
    if (this.closed || !this.#stream.writableNeedDrain) return Promise.resolve();
    return new Promise((resolve) => this.#drains.push(resolve));
  }

  end(): void {
    if (!this.closed) this.#stream.end();
  }

  onClose(callback: () => void): void {
    if (this.closed) callback();
    else this.#stream.on('close', callback);
  }

  #wake(): void {
    const drains = this.#drains;
    this.#drains = [];
    for (const drain of drains) drain();
  }
}
