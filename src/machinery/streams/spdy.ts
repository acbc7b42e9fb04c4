/**
 * A SPDY/3.1 connection over any duplex byte stream, as client or server: the transport of exec, attach and port-forward before WebSockets,
 * still used between API server, kubelet and container runtime. As in moby/spdystream there is no flow control per stream
 * (WINDOW_UPDATE is ignored and never sent): a slow reader blocks the whole connection, with bounded memory.
 *
 *   idle --SYN_STREAM--> open --FIN one way--> half closed --FIN other way--> closed        RST_STREAM or the connection's end: closed at once
 */
import { Duplex } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  FRAME_HEADER_BYTES,
  FrameDecoder,
  FrameEncoder,
  MAX_DATA_BYTES,
  readFrameHeader,
  SpdyProtocolError,
} from './spdy-frames.ts';
import type { SpdyFrame, SpdyHeaders } from './spdy-frames.ts';

export type { SpdyHeaders } from './spdy-frames.ts';

interface SpdyConnectionOptions {
  readonly role: 'client' | 'server';
  /** Bytes that were read together with the HTTP upgrade. */
  readonly head?: Buffer | undefined;
  /** A stream opened by the peer. It must be answered with reply() or reset(). Without this, such streams are refused. */
  readonly onStream?: (stream: SpdyStream) => void;
}

const STATUS = { protocolError: 1, invalidStream: 2, refusedStream: 3, cancel: 5 } as const;
/** Maximum bytes buffered per stream; above it the connection is not read until the reader has caught up. */
const STREAM_BUFFER_BYTES = 256 * 1024;
/** Maximum number of open streams of either side; further ones are refused. */
const MAX_STREAMS = 1000;
/** Maximum bytes of control frames (answers, resets) that the peer has not read; more end the connection. */
const MAX_UNREAD_CONTROL_BYTES = 256 * 1024;
/** Frames handled before other work of the process has a turn: thousands of small ones arrive at once. */
const FRAMES_PER_TURN = 1000;
/** Maximum bytes of one sent data frame, so that frames of other streams can be interleaved. */
const SEND_CHUNK_BYTES = 32 * 1024;

/**
 * One stream. Reading ends at the peer's FIN; end() sends ours. Peers also end streams by a reset, with good data just before it (Go's
 * httpstream does when a command is over): reading then ends too, `wasReset` is set, and pending writes are dropped. When the
 * connection breaks, streams end with an error.
 */
export class SpdyStream extends Duplex {
  readonly id: number;
  /** Headers of the opening side. */
  readonly headers: SpdyHeaders;
  /** The peer reset it. */
  wasReset = false;
  readonly #connection: SpdyConnectionInternals;
  #wantsMore: (() => void) | undefined;

  constructor(of: {
    readonly id: number;
    readonly headers: SpdyHeaders;
    readonly connection: SpdyConnectionInternals;
    readonly readable: boolean;
    readonly writable: boolean;
  }) {
    super({
      allowHalfOpen: true,
      readableHighWaterMark: STREAM_BUFFER_BYTES,
      writableHighWaterMark: SEND_CHUNK_BYTES,
      emitClose: true,
    });
    this.id = of.id;
    this.headers = of.headers;
    this.#connection = of.connection;
    if (!of.readable) this.push(null);
    if (!of.writable) this.end();
  }

  /** Accepts a stream opened by the peer. */
  reply(headers: SpdyHeaders = {}): void {
    this.#connection.reply(this.id, headers);
  }

  /** Ends both directions at once with RST_STREAM. */
  reset(): void {
    this.destroy();
  }

  /** For the connection: false when the reader is slow; `caughtUp` is called when it has read. */
  deliver(data: Buffer, caughtUp: () => void): boolean {
    if (this.destroyed || this.readableEnded || this.push(data)) return true;
    this.#wantsMore = caughtUp;
    return false;
  }

  /** For the connection. */
  peerReset(readingIsOver: boolean): void {
    this.wasReset = true;
    if (!this.destroyed && !readingIsOver) this.push(null);
    if (!this.writableEnded) this.end();
  }

  override _read(): void {
    this.#releaseConnection();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#connection.sendData(this.id, chunk, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#connection.sendFin(this.id, done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#releaseConnection();
    this.#connection.forget(this);
    done(error);
  }

  #releaseConnection(): void {
    const caughtUp = this.#wantsMore;
    this.#wantsMore = undefined;
    caughtUp?.();
  }
}

interface SpdyConnectionInternals {
  reply(id: number, headers: SpdyHeaders): void;
  sendData(id: number, chunk: Buffer, done: (error?: Error | null) => void): void;
  sendFin(id: number, done: (error?: Error | null) => void): void;
  forget(stream: SpdyStream): void;
}

interface Entry {
  readonly stream: SpdyStream;
  /** The peer's FIN arrived. */
  remoteDone: boolean;
  localDone: boolean;
  /** For a stream that we opened: settles at SYN_REPLY. */
  readonly replied?: PromiseWithResolvers<SpdyStream>;
}

export class SpdyConnection {
  /** Settles when the connection is over: resolves at a clean end, rejects with the error. */
  readonly closed: Promise<void>;
  readonly #socket: Duplex;
  readonly #encoder = new FrameEncoder();
  readonly #decoder = new FrameDecoder();
  readonly #streams = new Map<number, Entry>();
  readonly #onStream: ((stream: SpdyStream) => void) | undefined;
  readonly #closed = Promise.withResolvers<void>();
  readonly #internals: SpdyConnectionInternals;
  readonly #pings = new Map<number, () => void>();
  #nextId: number;
  #nextPing: number;
  #lastRemoteId = 0;
  #goingAway = false;
  #unreadControlBytes = 0;
  #isClosed = false;

  constructor(socket: Duplex, options: SpdyConnectionOptions) {
    this.#socket = socket;
    this.#onStream = options.onStream;
    this.#nextId = options.role === 'client' ? 1 : 2;
    this.#nextPing = this.#nextId;
    this.closed = this.#closed.promise;
    this.closed.catch(() => {}); // nobody has to look
    this.#internals = {
      reply: (id, headers) => void this.#write(this.#encoder.synReply({ streamId: id, headers })),
      sendData: (id, chunk, done) => this.#sendData(id, { chunk, done }),
      sendFin: (id, done) => this.#sendFin(id, done),
      forget: (stream) => this.#forget(stream),
    };
    // The read loop reports the error and the end; earlier data is still delivered.
    socket.on('error', () => {});
    if (options.head && options.head.length > 0) socket.unshift(options.head);
    this.#readAll().then(
      () => this.#finish(undefined),
      (error: unknown) => this.#finish(error as Error),
    );
  }

  /** Opens a stream; resolves when the peer accepts it, rejects when it refuses or the connection ends. end: nothing will be written; FIN is sent at once. */
  createStream(headers: SpdyHeaders, { end = false }: { readonly end?: boolean } = {}): Promise<SpdyStream> {
    if (this.#isClosed || this.#goingAway) return Promise.reject(new Error('the SPDY connection is closed'));
    if (this.#streams.size >= MAX_STREAMS)
      return Promise.reject(
        new Error(`the SPDY connection has ${MAX_STREAMS} streams open, no more are possible`),
      );
    const id = this.#nextId;
    this.#nextId += 2;
    const stream = new SpdyStream({
      id,
      headers,
      connection: this.#internals,
      readable: true,
      writable: true,
    });
    const replied = Promise.withResolvers<SpdyStream>();
    stream.on('error', (error) => replied.reject(error)); // kept: a reset without any other listener must not end the process
    this.#streams.set(id, { stream, remoteDone: false, localDone: false, replied });
    this.#write(this.#encoder.synStream({ streamId: id, fin: false, headers }));
    if (end) stream.end();
    return replied.promise;
  }

  /** Resolves when the peer answers. */
  ping(): Promise<void> {
    if (this.#isClosed) return Promise.reject(new Error('the SPDY connection is closed'));
    const id = this.#nextPing;
    this.#nextPing += 2;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#pings.set(id, resolve);
    this.#closed.promise.then(() => reject(new Error('the SPDY connection is closed')), reject);
    this.#write(this.#encoder.ping(id));
    return promise;
  }

  get streamCount(): number {
    return this.#streams.size;
  }

  /** Accepts and opens no more streams, flushes, and ends the socket. Open streams end with an error. */
  close(): void {
    if (this.#isClosed) return;
    this.#write(this.#encoder.goAway(this.#lastRemoteId, 0));
    this.#finish(undefined);
  }

  async #readAll(): Promise<void> {
    const reader = new ByteReader(this.#socket);
    for (let frames = 1; ; frames++) {
      if (frames % FRAMES_PER_TURN === 0) await nextTurn();
      if (this.#unreadControlBytes > MAX_UNREAD_CONTROL_BYTES)
        throw new SpdyProtocolError(`the peer left ${this.#unreadControlBytes} bytes of answers unread`);
      const head = reader.readNow(FRAME_HEADER_BYTES) ?? (await reader.read(FRAME_HEADER_BYTES));
      if (!head) return;
      const header = readFrameHeader(head);
      if (header.control) {
        const bytes = reader.readNow(header.length) ?? (await payload(reader, header.length)),
          frame = this.#decoder.decode(header, bytes);
        this.#handle(frame instanceof Promise ? await frame : frame);
      } else {
        await this.#handleData(reader, header);
      }
    }
  }

  /** Data is passed to the stream as it arrives: a frame may be 16 MB. */
  async #handleData(
    reader: ByteReader,
    header: { readonly streamId: number; readonly flags: number; readonly length: number },
  ): Promise<void> {
    let left = header.length;
    while (left > 0) {
      const part = await reader.readSome(left);
      if (!part) throw new SpdyProtocolError('the connection ended in the middle of a frame');
      left -= part.length;
      await this.#deliver(header.streamId, part);
    }
    const fin = (header.flags & 1) !== 0;
    if (fin) this.#remoteFin(header.streamId);
  }

  async #deliver(id: number, data: Buffer): Promise<void> {
    const entry = this.#streams.get(id);
    if (!entry || entry.remoteDone) return; // of a stream that we reset: still on its way
    const { promise, resolve } = Promise.withResolvers<void>();
    if (!entry.stream.deliver(data, resolve)) await promise;
  }

  #handle(frame: SpdyFrame): void {
    switch (frame.type) {
      case 'syn-stream':
        return this.#accept(frame);
      case 'syn-reply': {
        const entry = this.#streams.get(frame.streamId);
        entry?.replied?.resolve(entry.stream);
        if (frame.fin) this.#remoteFin(frame.streamId);
        return;
      }
      case 'headers':
        if (frame.fin) this.#remoteFin(frame.streamId);
        return;
      case 'rst-stream':
        return this.#wasReset(frame.streamId, frame.status);
      case 'ping':
        return this.#answerPing(frame.id);
      case 'go-away':
        this.#goingAway = true;
        return;
      default:
    }
  }

  #accept(frame: Extract<SpdyFrame, { readonly type: 'syn-stream' }>): void {
    const { streamId: id } = frame;
    if (id <= this.#lastRemoteId || id % 2 === this.#nextId % 2)
      throw new SpdyProtocolError(`the peer opened stream ${id} after ${this.#lastRemoteId}`);
    this.#lastRemoteId = id;
    if (!this.#onStream || this.#goingAway || this.#streams.size >= MAX_STREAMS) {
      this.#write(this.#encoder.rstStream(id, STATUS.refusedStream));
      return;
    }
    const stream = new SpdyStream({
      id,
      headers: frame.headers,
      connection: this.#internals,
      readable: true,
      writable: !frame.unidirectional,
    });
    stream.on('error', () => {});
    this.#streams.set(id, { stream, remoteDone: false, localDone: false });
    if (frame.fin) this.#remoteFin(id);
    this.#onStream(stream);
  }

  #remoteFin(id: number): void {
    const entry = this.#streams.get(id);
    if (!entry || entry.remoteDone) return;
    entry.remoteDone = true;
    entry.stream.push(null);
    this.#dropIfDone(id, entry);
  }

  #wasReset(id: number, status: number): void {
    const entry = this.#streams.get(id);
    if (!entry) return;
    this.#streams.delete(id);
    entry.replied?.reject(
      new Error(
        status === STATUS.refusedStream
          ? 'the peer refused the stream'
          : `the peer reset the stream (status ${status})`,
      ),
    );
    entry.stream.peerReset(entry.remoteDone);
  }

  #answerPing(id: number): void {
    const answered = this.#pings.get(id);
    if (answered) {
      this.#pings.delete(id);
      answered();
    } else {
      this.#write(this.#encoder.ping(id));
    }
  }

  #sendData(
    id: number,
    { chunk, done }: { readonly chunk: Buffer; readonly done: (error?: Error | null) => void },
  ): void {
    if (this.#isClosed || this.#socket.destroyed) return done(new Error('the SPDY connection is closed'));
    if (!this.#streams.has(id)) return done(); // reset by the peer
    let accepted = true;
    for (let offset = 0; offset < chunk.length; offset += SEND_CHUNK_BYTES) {
      const part = chunk.subarray(offset, offset + Math.min(SEND_CHUNK_BYTES, MAX_DATA_BYTES));
      this.#socket.write(this.#encoder.dataHead({ streamId: id, fin: false, length: part.length }));
      accepted = this.#socket.write(part);
    }
    if (accepted) done();
    else this.#whenDrained(() => done());
  }

  #sendFin(id: number, done: (error?: Error | null) => void): void {
    const entry = this.#streams.get(id);
    if (this.#isClosed || !entry) return done();
    entry.localDone = true;
    this.#write(this.#encoder.dataHead({ streamId: id, fin: true, length: 0 }));
    done();
    this.#dropIfDone(id, entry);
  }

  #whenDrained(done: () => void): void {
    const settle = (): void => {
      this.#socket.off('drain', settle).off('close', settle);
      done();
    };
    this.#socket.setMaxListeners(MAX_STREAMS * 2);
    this.#socket.on('drain', settle).on('close', settle);
  }

  #dropIfDone(id: number, entry: Entry): void {
    if (entry.remoteDone && entry.localDone) this.#streams.delete(id);
  }

  /** A stream was destroyed locally: notifies the peer, unless it is closed anyway. */
  #forget(stream: SpdyStream): void {
    const entry = this.#streams.get(stream.id);
    if (entry?.stream !== stream) return;
    this.#streams.delete(stream.id);
    entry.replied?.reject(new Error('the stream was closed'));
    if (!(entry.remoteDone && entry.localDone))
      this.#write(this.#encoder.rstStream(stream.id, STATUS.cancel));
  }

  /** A control frame, or a data frame that only ends a stream. */
  #write(bytes: Buffer): void {
    if (this.#isClosed || !this.#socket.writable) return;
    this.#unreadControlBytes += bytes.length;
    this.#socket.write(bytes, () => {
      this.#unreadControlBytes -= bytes.length;
    });
  }

  #finish(error: Error | undefined): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const reason = error ?? new Error('the SPDY connection is closed');
    for (const entry of this.#streams.values()) {
      entry.replied?.reject(reason);
      // Both directions are cut: a reader must not mistake that for the end of the data.
      if (!entry.remoteDone || !entry.localDone) entry.stream.destroy(reason);
    }
    this.#streams.clear();
    this.#decoder.close();
    if (error) {
      this.#socket.destroy();
      this.#closed.reject(error);
    } else {
      this.#socket.end();
      this.#socket.resume(); // so that the end of the peer is seen
      this.#closed.resolve();
    }
  }
}

async function payload(reader: ByteReader, length: number): Promise<Buffer> {
  const bytes = await reader.read(length);
  if (!bytes) throw new SpdyProtocolError('the connection ended in the middle of a frame');
  return bytes;
}

/** Reads exact numbers of bytes; buffers no more than the socket's own buffer and one request's bytes. */
class ByteReader {
  readonly #socket: Duplex;
  readonly #state: { ended: boolean; error?: Error; wake?: () => void } = { ended: false };

  constructor(socket: Duplex) {
    this.#socket = socket;
    const wake = (): void => this.#state.wake?.();
    const end = (): void => {
      this.#state.ended = true;
      wake();
    };
    socket
      .on('readable', wake)
      .on('end', end)
      .on('close', end)
      .on('error', (error) => {
        this.#state.error = error;
        wake();
      });
  }

  /** Without waiting; undefined when not all of them are there. */
  readNow(bytes: number): Buffer | undefined {
    if (bytes === 0 || this.#socket.readableLength < bytes) return undefined;
    return (this.#socket.read(bytes) as Buffer | null) ?? undefined;
  }

  /** undefined at the end of the stream, also in the middle of a request (then #finish runs anyway). */
  async read(bytes: number): Promise<Buffer | undefined> {
    if (bytes === 0) return Buffer.alloc(0);
    const parts: Buffer[] = [];
    let left = bytes;
    while (left > 0) {
      const part = await this.readSome(left);
      if (!part) {
        if (parts.length > 0) throw new SpdyProtocolError('the connection ended in the middle of a frame');
        return undefined;
      }
      parts.push(part);
      left -= part.length;
    }
    return parts.length === 1 ? parts[0] : Buffer.concat(parts);
  }

  /** At least one and at most this many bytes. */
  async readSome(atMost: number): Promise<Buffer | undefined> {
    for (;;) {
      const available = Math.min(atMost, this.#socket.readableLength);
      const part = available > 0 ? (this.#socket.read(available) as Buffer | null) : null;
      if (part) return part;
      if (this.#state.error) throw this.#state.error;
      if (this.#state.ended || this.#socket.readableEnded || this.#socket.destroyed) return undefined;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#state.wake = resolve;
      this.#socket.read(0); // asks the socket for more
      await promise;
    }
  }
}
