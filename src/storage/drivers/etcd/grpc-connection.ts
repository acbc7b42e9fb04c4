/**
 * gRPC to one member over one HTTP/2 connection of our own (src/http2/client.ts), at a sixth of the processor time of @grpc/grpc-js, which every
 * write, every watch and every consistent read pays. Only a connection that stands is used: while there is none, member.ts calls grpc-js, which also
 * knows when a member can be reached again.
 *
 *   none ──connect()──▶ connecting ──▶ ready ──error, close, GOAWAY──▶ none      calls under way at GOAWAY end by themselves
 */
import { connect as connectPlain, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { status } from '@grpc/grpc-js';
import { Http2Client, type ClientStream, type StreamReceiver } from '#http2/client.ts';
import type { HeaderFields } from '#http2/request-header-encoder.ts';
import { CallError, framed, GrpcStatus, MessageReader } from './grpc-messages.ts';

/** Between attempts to connect. */
const RETRY_MS = 1_000;
/** Sets of header fields that are kept: of few methods, with few timeouts. Beyond: all are rebuilt. */
const MAX_FIELDS = 256;

interface GrpcOptions {
  /** https://10.0.0.1:2379 */
  readonly url: URL;
  /** Read for each connection. PEM. */
  readonly readTls: () => Readonly<Record<'ca' | 'key' | 'cert', Buffer | null>>;
  /** A longer message fails with RESOURCE_EXHAUSTED. */
  readonly maxReceivedBytes: number;
  readonly keepaliveMs: number;
  readonly keepaliveTimeoutMs: number;
}

interface StreamRequest {
  /** '/etcdserverpb.KV/Range' */
  readonly path: string;
  readonly metadata: Readonly<Record<string, string>>;
}

interface UnaryRequest extends StreamRequest {
  /** Encoded protobuf. */
  readonly message: Buffer;
  readonly timeoutMs: number;
  /** Does not wait for what else this turn of the event loop sends. */
  readonly isUrgent?: boolean | undefined;
}

export interface UnaryCall {
  /** The encoded response. Rejects with a CallError. */
  readonly answer: Promise<Buffer>;
  cancel(): void;
}

interface GrpcStreamListener {
  /** A copy, which does not keep what came with it. */
  message(wire: Buffer): void;
  /** Once; without an error where the server ended it. */
  closed(error: CallError | undefined): void;
}

interface GrpcStream {
  write(message: Buffer): void;
  cancel(): void;
}

export class GrpcConnection {
  readonly #options: GrpcOptions;
  readonly #underWay = new Set<Call>();
  readonly #fields = new Map<string, HeaderFields>();
  #socket: Socket | undefined;
  #client: Http2Client | undefined;
  #deadline: NodeJS.Timeout | undefined;
  #deadlineMs = Infinity;
  #triedMs = -Infinity;
  #closed = false;

  constructor(options: GrpcOptions) {
    this.#options = options;
  }

  /** Begins to connect where it is not. */
  get ready(): boolean {
    if (!this.#socket) this.#connect();
    return this.#client?.accepts === true;
  }

  #connect(): void {
    const now = performance.now();
    if (this.#closed || now - this.#triedMs < RETRY_MS) return;
    this.#triedMs = now;
    let socket: Socket;
    try {
      socket = this.#createSocket();
    } catch {
      return; // Files that are being replaced; grpc-js reports what lasts.
    }
    this.#socket = socket;
    const over = (): void => this.#drop(socket);
    socket.on('error', over).on('close', over);
    const { url, keepaliveMs, keepaliveTimeoutMs } = this.#options;
    socket.once(url.protocol === 'https:' ? 'secureConnect' : 'connect', () => {
      if (this.#socket !== socket) return;
      this.#client = new Http2Client(socket, {
        keepaliveMs,
        keepaliveTimeoutMs,
        onReady: () => {},
        onRetired: over,
      });
    });
    // Calls in flight keep the process alive, not the connection.
    socket.unref();
  }

  #createSocket(): Socket {
    const { url, readTls } = this.#options;
    const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
    const port = Number(url.port);
    if (url.protocol !== 'https:') return connectPlain({ host, port, noDelay: true });
    const { ca, key, cert } = readTls();
    const socket = connectTls({
      host,
      port,
      ca: ca ?? undefined,
      key: key ?? undefined,
      cert: cert ?? undefined,
      ALPNProtocols: ['h2'],
      ...(isIP(host) === 0 ? { servername: host } : {}),
    });
    return socket.setNoDelay(true);
  }

  #drop(socket: Socket): void {
    if (this.#socket !== socket) return;
    this.#socket = undefined;
    const client = this.#client;
    this.#client = undefined;
    this.#fields.clear();
    // A client that retired closes the socket once the calls under way have ended.
    if (!client) socket.destroy();
  }

  /** Only while ready. */
  call({ path, message, metadata, timeoutMs, isUrgent = false }: UnaryRequest): UnaryCall {
    const client = this.#required();
    const call = new Call({
      maxBytes: this.#options.maxReceivedBytes,
      timeoutMs,
      onClosed: (one) => this.#underWay.delete(one),
    });
    this.#underWay.add(call);
    const fields = this.#fieldsOf({ path, metadata }, timeoutMs);
    try {
      call.stream = client.request(fields, call, { body: framed(message), isUrgent });
    } catch (error) {
      call.closed(error as Error);
    }
    if (call.deadlineMs < this.#deadlineMs) this.#armDeadline(call.deadlineMs);
    return call;
  }

  /** Only while ready. */
  openStream(request: StreamRequest, listener: GrpcStreamListener): GrpcStream {
    const client = this.#required();
    const receiver = new StreamMessages(listener, this.#options.maxReceivedBytes);
    const stream = client.request(this.#fieldsOf(request), receiver);
    receiver.stream = stream;
    return {
      write: (message) => stream.write(framed(message)),
      cancel: () => stream.cancel(new CallError(status.CANCELLED, 'Call cancelled')),
    };
  }

  #required(): Http2Client {
    if (!this.#client) throw new CallError(status.UNAVAILABLE, 'the connection is closed');
    return this.#client;
  }

  /** The same object each time, so that its header block is made once. */
  #fieldsOf({ path, metadata }: StreamRequest, timeoutMs?: number): HeaderFields {
    const timeout: HeaderFields =
      timeoutMs === undefined ? [] : [['grpc-timeout', `${Math.ceil(timeoutMs)}m`]];
    const key = `${path} ${timeoutMs} ${metadata['hasleader']}`;
    let fields = this.#fields.get(key);
    if (fields) return fields;
    if (this.#fields.size >= MAX_FIELDS) this.#fields.clear();
    const { url } = this.#options;
    fields = [
      [':method', 'POST'],
      [':scheme', url.protocol.slice(0, -1)],
      [':path', path],
      [':authority', url.host],
      ['content-type', 'application/grpc'],
      ['te', 'trailers'],
      ...timeout,
      ...Object.entries(metadata),
    ];
    this.#fields.set(key, fields);
    return fields;
  }

  /** One timer for all calls, at the earliest deadline. */
  #armDeadline(atMs: number): void {
    clearTimeout(this.#deadline);
    this.#deadlineMs = atMs;
    this.#deadline = setTimeout(() => this.#passDeadlines(), Math.max(1, atMs - performance.now()));
    this.#deadline.unref();
  }

  #passDeadlines(): void {
    const now = performance.now();
    let next = Infinity;
    for (const call of this.#underWay)
      if (call.deadlineMs <= now) call.expire();
      else next = Math.min(next, call.deadlineMs);
    this.#deadlineMs = Infinity;
    if (next < Infinity) this.#armDeadline(next);
  }

  /** Fails what is under way. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#deadline);
    const client = this.#client;
    const socket = this.#socket;
    this.#client = undefined;
    this.#socket = undefined;
    if (client) client.close();
    else socket?.destroy();
  }
}

/** One request and its one response. */
class Call implements StreamReceiver, UnaryCall {
  readonly answer: Promise<Buffer>;
  readonly deadlineMs: number;
  stream: ClientStream | undefined;
  readonly #timeoutMs: number;
  readonly #status = new GrpcStatus();
  readonly #reader: MessageReader;
  readonly #onClosed: (call: Call) => void;
  #resolve!: (wire: Buffer) => void;
  #reject!: (error: CallError) => void;
  #message: Buffer | undefined;

  constructor({
    maxBytes,
    timeoutMs,
    onClosed,
  }: {
    readonly maxBytes: number;
    readonly timeoutMs: number;
    readonly onClosed: (call: Call) => void;
  }) {
    this.#reader = new MessageReader(maxBytes);
    this.#timeoutMs = timeoutMs;
    this.deadlineMs = performance.now() + timeoutMs;
    this.#onClosed = onClosed;
    this.answer = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  field(name: string, value: string): void {
    this.#status.field(name, value);
  }

  data(chunk: Buffer): void {
    const read = this.#reader.take(chunk);
    if (read instanceof CallError) return this.#cancel(read);
    const isSecond = read.length > 1 || (read.length === 1 && this.#message !== undefined);
    if (isSecond) return this.#cancel(notOneMessage());
    this.#message ??= read[0];
  }

  closed(error?: Error): void {
    this.#onClosed(this);
    const failure = error instanceof CallError ? error : this.#status.error(error);
    if (failure) this.#reject(failure);
    else if (this.#message === undefined || !this.#reader.isEmpty) this.#reject(notOneMessage());
    else this.#resolve(this.#message);
  }

  expire(): void {
    this.#cancel(new CallError(status.DEADLINE_EXCEEDED, `no answer within ${this.#timeoutMs / 1000} s`));
  }

  cancel(): void {
    this.#cancel(new CallError(status.CANCELLED, 'Call cancelled'));
  }

  #cancel(error: CallError): void {
    this.stream?.cancel(error);
  }
}

function notOneMessage(): CallError {
  return new CallError(status.INTERNAL, 'the response is not one uncompressed message');
}

/** The messages of a long stream, as they arrive. */
class StreamMessages implements StreamReceiver {
  stream: ClientStream | undefined;
  readonly #listener: GrpcStreamListener;
  readonly #reader: MessageReader;
  readonly #status = new GrpcStatus();

  constructor(listener: GrpcStreamListener, maxBytes: number) {
    this.#listener = listener;
    this.#reader = new MessageReader(maxBytes);
  }

  field(name: string, value: string): void {
    this.#status.field(name, value);
  }

  data(chunk: Buffer): void {
    const read = this.#reader.take(chunk);
    if (read instanceof CallError) return this.stream?.cancel(read);
    for (const message of read) this.#listener.message(Buffer.from(message));
  }

  closed(error?: Error): void {
    this.#listener.closed(error instanceof CallError ? error : this.#status.error(error));
  }
}
