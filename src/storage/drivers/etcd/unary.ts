/**
 * Unary gRPC calls to one member over one HTTP/2 connection of Node's, at a third of the processor time of @grpc/grpc-js, which every write
 * and every consistent read pays. Only a connection that stands is used: while there is none, and for streams, member.ts calls grpc-js, which
 * also knows when a member can be reached again.
 *
 *   none ──connect()──▶ connecting ──▶ ready ──error, close, GOAWAY──▶ none      calls under way at GOAWAY end by themselves
 */
import {
  connect,
  constants,
  type ClientHttp2Session,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader,
} from 'node:http2';
import { status } from '@grpc/grpc-js';
import { decodePercent } from '#stdx/percent.ts';

/** Between attempts to connect. */
const RETRY_MS = 1_000;
const PREFIX_BYTES = 5;
/** Of one stream and of the connection: pages of lists are some MiB. */
const WINDOW_BYTES = 4 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024;
/** Node refuses streams above this; what is under way is bounded by the API server's seats. MB. */
const SESSION_MEMORY_MB = 1_000;

/** As grpc-js throws. */
class CallError extends Error {
  readonly code: status;
  readonly details: string;

  constructor(code: status, details: string, options?: ErrorOptions) {
    super(`${code} ${status[code]}: ${details}`, options);
    this.code = code;
    this.details = details;
  }
}

interface UnaryOptions {
  /** https://10.0.0.1:2379 */
  readonly url: URL;
  /** Read for each connection. PEM. */
  readonly readTls: () => Readonly<Record<'ca' | 'key' | 'cert', Buffer | null>>;
  /** A longer message fails with RESOURCE_EXHAUSTED. */
  readonly maxReceivedBytes: number;
}

interface UnaryRequest {
  /** '/etcdserverpb.KV/Range' */
  readonly path: string;
  /** Encoded protobuf. */
  readonly message: Buffer;
  readonly metadata: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
}

export interface UnaryCall {
  /** The encoded response. Rejects with a CallError. */
  readonly answer: Promise<Buffer>;
  cancel(): void;
}

export class UnaryConnection {
  readonly #options: UnaryOptions;
  #session: ClientHttp2Session | undefined;
  #isReady = false;
  #triedMs = -Infinity;
  #closed = false;

  constructor(options: UnaryOptions) {
    this.#options = options;
  }

  /** Begins to connect where it is not. */
  get ready(): boolean {
    if (!this.#session) this.#connect();
    return this.#isReady;
  }

  #connect(): void {
    const now = performance.now();
    if (this.#closed || now - this.#triedMs < RETRY_MS) return;
    this.#triedMs = now;
    const { url, readTls } = this.#options;
    let tls;
    try {
      tls = readTls();
    } catch {
      return; // Files that are being replaced; grpc-js reports what lasts.
    }
    const session = connect(url, {
      ...(url.protocol === 'https:'
        ? { ca: tls.ca ?? undefined, key: tls.key ?? undefined, cert: tls.cert ?? undefined }
        : {}),
      maxSessionMemory: SESSION_MEMORY_MB,
      settings: { initialWindowSize: WINDOW_BYTES, enablePush: false },
    });
    this.#session = session;
    const over = (): void => this.#drop(session);
    session.on('remoteSettings', () => {
      if (this.#session !== session || this.#isReady) return;
      session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
      this.#isReady = true;
    });
    session.on('error', over).on('close', over).on('goaway', over);
    // Calls in flight keep the process alive, not the connection.
    session.unref();
  }

  #drop(session: ClientHttp2Session): void {
    if (this.#session !== session) return;
    this.#session = undefined;
    this.#isReady = false;
    // After the streams under way; a session that failed is closed already.
    if (!session.destroyed) session.close();
  }

  /** Only while ready. */
  call({ path, message, metadata, timeoutMs }: UnaryRequest): UnaryCall {
    const session = this.#session;
    if (!session) throw new CallError(status.UNAVAILABLE, 'the connection is closed');
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const stream = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
      'grpc-timeout': `${Math.ceil(timeoutMs)}m`,
      ...metadata,
    });
    const received = new Received(this.#options.maxReceivedBytes);
    const fail = (error: CallError): void => {
      clearTimeout(deadline);
      reject(error);
      stream.close(constants.NGHTTP2_CANCEL);
    };
    const deadline = setTimeout(
      () => fail(new CallError(status.DEADLINE_EXCEEDED, `no answer within ${timeoutMs / 1000} s`)),
      timeoutMs,
    );
    let cause: Error | undefined;
    stream.on('response', (headers) => received.takeHeaders(headers));
    stream.on('trailers', (headers) => received.takeHeaders(headers));
    stream.on('data', (chunk: Buffer) => {
      const error = received.take(chunk);
      if (error) fail(error);
    });
    stream.on('error', (error) => (cause = error));
    stream.on('close', () => {
      clearTimeout(deadline);
      const outcome = received.outcome(cause);
      if (outcome instanceof CallError) reject(outcome);
      else resolve(outcome);
    });
    stream.end(framed(message));
    return { answer: promise, cancel: () => fail(new CallError(status.CANCELLED, 'Call cancelled')) };
  }

  /** Fails what is under way. */
  close(): void {
    this.#closed = true;
    const session = this.#session;
    this.#session = undefined;
    this.#isReady = false;
    session?.destroy();
  }
}

function framed(message: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(PREFIX_BYTES + message.length);
  frame[0] = 0;
  frame.writeUInt32BE(message.length, 1);
  message.copy(frame, PREFIX_BYTES);
  return frame;
}

/** The response of one call as it arrives. */
class Received {
  readonly #maxBytes: number;
  readonly #chunks: Buffer[] = [];
  #length = 0;
  #httpStatus: number | undefined;
  #status: string | undefined;
  #message = '';

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Of the response or its trailers. */
  takeHeaders(headers: IncomingHttpHeaders & IncomingHttpStatusHeader): void {
    this.#httpStatus ??= headers[':status'];
    const { 'grpc-status': code, 'grpc-message': message } = headers;
    if (typeof code === 'string') this.#status = code;
    if (typeof message === 'string') this.#message = decodePercent(message);
  }

  take(chunk: Buffer): CallError | undefined {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    if (this.#length <= this.#maxBytes + PREFIX_BYTES) return undefined;
    return new CallError(status.RESOURCE_EXHAUSTED, `the response is larger than ${this.#maxBytes} bytes`);
  }

  /** Once the stream is closed. cause: why it broke, where it did. */
  outcome(cause: Error | undefined): Buffer | CallError {
    if (this.#status === undefined) {
      if (this.#httpStatus !== undefined && this.#httpStatus !== 200)
        return new CallError(status.UNAVAILABLE, `HTTP status ${this.#httpStatus} instead of gRPC`);
      return new CallError(status.UNAVAILABLE, 'the connection was lost before the answer', { cause });
    }
    const code = Number(this.#status);
    if (code !== status.OK)
      return new CallError(status[code] === undefined ? status.UNKNOWN : code, this.#message);
    const body = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks);
    const whole = body.length >= PREFIX_BYTES && body.length === PREFIX_BYTES + body.readUInt32BE(1);
    if (!whole || body[0] !== 0)
      return new CallError(status.INTERNAL, 'the response is not one uncompressed message');
    return body.subarray(PREFIX_BYTES);
  }
}
