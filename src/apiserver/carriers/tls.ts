/**
 * HTTP/2 and HTTP/1.1 over TLS on one port, told apart by ALPN. Client certificates are asked for, verified against the client CA, and
 * optional. HTTP/2 uses the stream API directly (no compat objects): one respond and one end a request. Upgrades (exec, attach,
 * port-forward, proxied WebSockets) come over HTTP/1.1 and go to onUpgrade. Certificates are replaced without a restart.
 */
import { createServer as createHttpServer, type IncomingMessage, type Server as HttpServer, type ServerResponse } from 'node:http';
import { createServer as createHttp2Server, constants, type Http2Server, type IncomingHttpHeaders, type Http2Session, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { createSecureContext, createServer as createTlsServer, type SecureContextOptions, type TLSSocket } from 'node:tls';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { statusErrors } from '#machinery/errors.ts';
import type { ApiHandler, ApiRequest, ApiResponse, ResponseSink } from '../http.ts';

export interface TlsMaterial {
  /** PEM, leaf first. */
  readonly cert: string | Buffer;
  readonly key: string | Buffer;
  /** PEM bundle of the CAs whose client certificates are believed; absent = client certificates are not asked for. */
  readonly clientCa?: string | Buffer;
}

export interface TlsCarrierOptions {
  readonly handler: ApiHandler;
  /** HTTP/1.1 `Upgrade:` requests. The socket is the receiver's: it must answer and close it. Absent = 501. */
  readonly onUpgrade?: (request: ApiRequest, socket: Duplex, head: Buffer) => void;
  readonly tls: TlsMaterial;
  readonly log: Logger;
  readonly limits?: Partial<CarrierLimits>;
}

export interface CarrierLimits {
  readonly maxConcurrentStreams: number;
  readonly maxHeaderBytes: number;
  /** A connection without any request for so long is closed. */
  readonly idleMs: number;
  readonly maxConnections: number;
}

const DEFAULT_LIMITS: CarrierLimits = { maxConcurrentStreams: 250, maxHeaderBytes: 64 * 1024, idleMs: 180_000, maxConnections: 20_000 };
/** Bodies up to this many bytes of the client's are taken before it must wait; the sum of all a client may have under way. */
const WINDOW_BYTES = 1024 * 1024;

export interface ListenOptions { readonly host: string; readonly port: number }

export interface TlsCarrier {
  listen(options: ListenOptions): Promise<AddressInfo>;
  /** New connections use it; existing ones go on. */
  replaceCertificates(tls: TlsMaterial): void;
  /** Takes no new connections, lets requests under way end for up to graceMs, then cuts off. */
  close(graceMs: number): Promise<void>;
}

type ClientCertificate = Exclude<ApiRequest['clientCertificate'], undefined>;
interface Peer { readonly remoteAddress: string; readonly certificate: ClientCertificate | undefined; readonly certificateError: string | undefined }

export function createTlsCarrier(options: TlsCarrierOptions): TlsCarrier {
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const http2 = http2Server(options, limits);
  const http1 = http1Server(options, limits);
  const sockets = new Set<TLSSocket>();
  const server = createTlsServer({
    ...contextOptions(options.tls), requestCert: options.tls.clientCa !== undefined, rejectUnauthorized: false, ALPNProtocols: ['h2', 'http/1.1'],
    handshakeTimeout: 10_000, noDelay: true, keepAlive: true,
  });
  server.maxConnections = limits.maxConnections;
  server.on('secureConnection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    if (socket.alpnProtocol === 'h2') http2.server.emit('connection', socket);
    else http1.emit('connection', socket);
  });
  server.on('tlsClientError', (error) => options.log.debug('TLS handshake failed', { error: errorMessage(error) }));
  return {
    listen: ({ host, port }) => new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host, port, backlog: 1024 }, () => {
        server.off('error', reject);
        server.on('error', (error) => options.log.error('the listener failed', { error: errorMessage(error) }));
        resolve(server.address() as AddressInfo);
      });
    }),
    replaceCertificates: (tls) => server.setSecureContext(contextOptions(tls)),
    close: async (graceMs) => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const session of http2.sessions) session.close();
      http1.closeIdleConnections();
      const timer = setTimeout(() => {
        for (const socket of sockets) socket.destroy();
      }, graceMs);
      await closed;
      clearTimeout(timer);
      http1.close();
    },
  };
}

function contextOptions({ cert, key, clientCa }: TlsMaterial): SecureContextOptions {
  const context: SecureContextOptions = { cert, key, minVersion: 'TLSv1.2', ...(clientCa === undefined ? {} : { ca: clientCa }) };
  // Refuses what does not fit together before anything is replaced.
  createSecureContext(context);
  return context;
}

/** Worked out once a connection. */
function peerOf(socket: TLSSocket): Peer {
  const remoteAddress = socket.remoteAddress ?? '';
  const certificate = socket.getPeerCertificate();
  if (!certificate?.subject) return { remoteAddress, certificate: undefined, certificateError: undefined };
  if (!socket.authorized) {
    return { remoteAddress, certificate: undefined, certificateError: String(socket.authorizationError ?? 'client certificate is not trusted') };
  }
  const { CN, O } = certificate.subject as { CN?: string | string[]; O?: string | string[] };
  const commonName = Array.isArray(CN) ? CN.at(-1) ?? '' : CN ?? '';
  const organizations = Array.isArray(O) ? O : O === undefined ? [] : [O];
  return { remoteAddress, certificate: { commonName, organizations, fingerprint: certificate.fingerprint256 }, certificateError: undefined };
}

// ---------------------------------------------------------------------------------------------------------------- HTTP/2

interface Http2Side { readonly server: Http2Server; readonly sessions: Set<Http2Session> }

const { HTTP2_HEADER_STATUS, NGHTTP2_NO_ERROR } = constants;

function http2Server({ handler, log }: TlsCarrierOptions, limits: CarrierLimits): Http2Side {
  const sessions = new Set<Http2Session>();
  const peers = new WeakMap<Http2Session, Peer>();
  const server = createHttp2Server({
    settings: { maxConcurrentStreams: limits.maxConcurrentStreams, initialWindowSize: WINDOW_BYTES, maxHeaderListSize: limits.maxHeaderBytes, enablePush: false },
    maxSessionMemory: 100, peerMaxConcurrentStreams: limits.maxConcurrentStreams,
  });
  server.on('session', (session) => {
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
    session.setLocalWindowSize(WINDOW_BYTES * 4);
    session.setTimeout(limits.idleMs, () => session.close());
  });
  server.on('sessionError', (error) => log.debug('HTTP/2 session failed', { error: errorMessage(error) }));
  server.on('stream', (stream, headers) => {
    const session = stream.session;
    if (!session) return void stream.destroy();
    let peer = peers.get(session);
    if (!peer) peers.set(session, (peer = peerOf(session.socket as TLSSocket)));
    stream.on('error', () => {});
    const request = new Http2Request(stream, { headers, peer });
    handler(request).then((response) => respondHttp2(stream, response), (error: unknown) => {
      log.error('the request handler failed', { error: errorMessage(error) });
      stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    });
  });
  return { server, sessions };
}

class Http2Request implements ApiRequest {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly #stream: ServerHttp2Stream;
  readonly #peer: Peer;

  constructor(stream: ServerHttp2Stream, { headers, peer }: { readonly headers: IncomingHttpHeaders; readonly peer: Peer }) {
    this.#stream = stream;
    this.#peer = peer;
    const target = headers[':path'] as string | undefined ?? '/';
    const mark = target.indexOf('?');
    this.method = headers[':method'] as string | undefined ?? 'GET';
    this.path = mark < 0 ? target : target.slice(0, mark);
    this.query = mark < 0 ? '' : target.slice(mark + 1);
    // Only set-cookie, which no client of ours sends, is ever a list.
    this.headers = headers as Record<string, string | undefined>;
  }

  get remoteAddress(): string { return this.#peer.remoteAddress; }
  get clientCertificate(): ClientCertificate | undefined { return this.#peer.certificate; }
  get clientCertificateError(): string | undefined { return this.#peer.certificateError; }

  body(limitBytes: number): Promise<Buffer> {
    return readBody(this.#stream, { limitBytes, declared: this.headers['content-length'] });
  }

  onAbort(callback: () => void): void {
    const stream = this.#stream;
    stream.once('close', () => {
      if (!stream.writableFinished || stream.rstCode !== NGHTTP2_NO_ERROR) callback();
    });
  }
}

function respondHttp2(stream: ServerHttp2Stream, { status, headers, body }: ApiResponse): void {
  if (stream.destroyed || stream.closed) {
    if (typeof body === 'function') body(closedSink);
    return;
  }
  const isHead = isHeadRequest(stream);
  const all = headers as Record<string, string | number>;
  all[HTTP2_HEADER_STATUS] = status;
  if (Buffer.isBuffer(body)) {
    if (isHead || body.length === 0) stream.respond(all, { endStream: true });
    else {
      stream.respond(all);
      stream.end(body);
    }
    discardRest(stream);
    return;
  }
  if (isHead) {
    stream.respond(all, { endStream: true });
    return;
  }
  stream.respond(all);
  if (typeof body === 'function') {
    stream.resume();
    body(new StreamSink(stream));
    return;
  }
  discardRest(stream);
  writePieces(stream, body);
}

/**
 * What was not read of the request's body is not waited for. A stream that had none is left as it is: one whose reading side ended before
 * its answer is written makes Node build an error with a stack trace for nobody, at 6 % of a get's time.
 */
function discardRest(stream: ServerHttp2Stream): void {
  if (!stream.endAfterHeaders && !stream.readableEnded) stream.resume();
}

/** Known to Node's streams, unknown to their types. */
function isHeadRequest(stream: ServerHttp2Stream): boolean {
  return (stream as ServerHttp2Stream & { readonly headRequest?: boolean }).headRequest === true;
}

// -------------------------------------------------------------------------------------------------------------- HTTP/1.1

function http1Server({ handler, onUpgrade, log }: TlsCarrierOptions, limits: CarrierLimits): HttpServer {
  const server = createHttpServer({ maxHeaderSize: limits.maxHeaderBytes, keepAliveTimeout: limits.idleMs, headersTimeout: 30_000, requestTimeout: 0, noDelay: true });
  // Node watches over header timeouts and idle connections from 'listening' on; this server never listens itself.
  server.emit('listening');
  const peers = new WeakMap<TLSSocket, Peer>();
  const toRequest = (message: IncomingMessage): Http1Request => {
    const socket = message.socket as TLSSocket;
    let peer = peers.get(socket);
    if (!peer) peers.set(socket, (peer = peerOf(socket)));
    return new Http1Request(message, peer);
  };
  server.on('request', (message, response) => {
    const request = toRequest(message);
    response.on('error', () => {});
    handler(request).then((answer) => respondHttp1(message, { response, answer }), (error: unknown) => {
      log.error('the request handler failed', { error: errorMessage(error) });
      response.destroy();
    });
  });
  server.on('upgrade', (message, socket, head) => {
    socket.on('error', () => socket.destroy());
    if (!onUpgrade) return void socket.end('HTTP/1.1 501 Not Implemented\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
    onUpgrade(toRequest(message), socket, head);
  });
  server.on('clientError', (_error, socket) => {
    if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
    else socket.destroy();
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

  constructor(message: IncomingMessage, peer: Peer) {
    this.#message = message;
    this.#peer = peer;
    const target = message.url ?? '/';
    const mark = target.indexOf('?');
    this.method = message.method ?? 'GET';
    this.path = mark < 0 ? target : target.slice(0, mark);
    this.query = mark < 0 ? '' : target.slice(mark + 1);
    this.headers = message.headers as Record<string, string | undefined>;
  }

  get remoteAddress(): string { return this.#peer.remoteAddress; }
  get clientCertificate(): ClientCertificate | undefined { return this.#peer.certificate; }
  get clientCertificateError(): string | undefined { return this.#peer.certificateError; }

  body(limitBytes: number): Promise<Buffer> {
    return readBody(this.#message, { limitBytes, declared: this.headers['content-length'] });
  }

  onAbort(callback: () => void): void {
    this.#message.socket.once('close', callback);
  }
}

function respondHttp1(message: IncomingMessage, { response, answer: { status, headers, body } }: { readonly response: ServerResponse; readonly answer: ApiResponse }): void {
  if (response.destroyed) {
    if (typeof body === 'function') body(closedSink);
    return;
  }
  if (typeof body === 'function') {
    response.writeHead(status, headers);
    response.flushHeaders();
    body(new StreamSink(response));
    return;
  }
  const pieces = Buffer.isBuffer(body) ? [body] : body;
  headers['content-length'] = String(pieces.reduce((sum, piece) => sum + piece.length, 0));
  // An unread body would be taken for the next request.
  if (!message.complete) headers['connection'] = 'close';
  response.writeHead(status, headers);
  writePieces(response, pieces);
}

// ---------------------------------------------------------------------------------------------------------------- shared

/** Handed on at once: enough to be cheap, little enough that framing and encrypting it holds nobody else up. */
const WRITE_BYTES = 512 * 1024;

/** A long body goes as fast as its reader takes it. */
function writePieces(stream: ServerHttp2Stream | ServerResponse, pieces: readonly Buffer[]): void {
  let next = 0;
  const proceed = (): void => {
    if (stream.destroyed) return;
    let bytes = 0;
    stream.cork();
    while (next < pieces.length && bytes < WRITE_BYTES) {
      const piece = pieces[next++]!;
      bytes += piece.length;
      stream.write(piece);
    }
    if (next === pieces.length) stream.end();
    // Not at once: a fast reader would have all of it written in this turn.
    else stream.once('drain', () => setImmediate(proceed));
    stream.uncork();
  };
  proceed();
}

function readBody(stream: ServerHttp2Stream | IncomingMessage, { limitBytes, declared }: { readonly limitBytes: number; readonly declared: string | undefined }): Promise<Buffer> {
  const tooLarge = (): Error => statusErrors.requestEntityTooLarge(`limit is ${limitBytes}`);
  if (declared !== undefined && Number(declared) > limitBytes) return Promise.reject(tooLarge());
  return new Promise((resolve, reject) => {
    let first: Buffer | undefined;
    let rest: Buffer[] | undefined;
    let size = 0;
    stream.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > limitBytes) {
        stream.removeAllListeners('data');
        stream.resume();
        reject(tooLarge());
      } else if (first === undefined) first = chunk;
      else (rest ??= [first]).push(chunk);
    });
    let complete = false;
    stream.on('end', () => {
      complete = true;
      resolve(rest ? Buffer.concat(rest) : first ?? EMPTY);
    });
    stream.on('close', () => {
      if (!complete) reject(statusErrors.badRequest('the client went away before its request was complete'));
    });
    if (stream.readableEnded) resolve(EMPTY);
  });
}

const EMPTY = Buffer.alloc(0);

/** A body given to a client that is gone already. */
const closedSink: ResponseSink = {
  write: () => false,
  drained: () => Promise.resolve(),
  bufferedBytes: 0,
  end: () => {},
  closed: true,
  onClose: (callback) => callback(),
};

class StreamSink implements ResponseSink {
  readonly #stream: ServerHttp2Stream | ServerResponse;
  #drains: (() => void)[] = [];
  closed = false;

  constructor(stream: ServerHttp2Stream | ServerResponse) {
    this.#stream = stream;
    stream.on('drain', () => this.#wake());
    stream.on('close', () => {
      this.closed = true;
      this.#wake();
    });
  }

  get bufferedBytes(): number { return this.#stream.writableLength; }

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
