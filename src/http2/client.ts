/**
 * The client's side of one HTTP/2 connection (RFC 9113), for many short requests with headers that repeat, and for long streams: requests made in
 * one turn of the event loop leave in one write, and one costs a third of what it costs with Node's. It takes a connected socket; it does not connect
 * or reconnect. No push, priorities, 1xx responses or trailers of requests. Every bound is in bounds.ts.
 *
 *   opening ──SETTINGS of the server──▶ ready ──GOAWAY, last stream number──▶ retired ──no stream left──▶ closed
 *      └──────────────── socket closed, fault of the server, close() ──────────────────────────────────────▶ closed
 */
import type { Socket } from 'node:net';
import {
  CLIENT_CONNECTION_WINDOW_BYTES,
  CLIENT_STREAM_WINDOW_BYTES,
  MAX_CLIENT_QUEUED_BYTES,
  MAX_RESPONSE_HEADER_BYTES,
  MAX_SETTINGS,
} from './bounds.ts';
import {
  ConnectionError,
  DEFAULT_FRAME_BYTES,
  DEFAULT_WINDOW_BYTES,
  ErrorCode,
  Flag,
  FRAME_HEADER_BYTES,
  FrameType,
  goawayFrame,
  MAX_WINDOW_BYTES,
  pingAck,
  pingFrame,
  PREFACE,
  requireLength,
  resetFrame,
  Setting,
  SETTINGS_ACK,
  settingsFrame,
  unpadded,
  windowUpdateFrame,
  writeFrameHeader,
  type Frame,
} from './frames.ts';
import { HeaderDecoder, type HeaderReceiver } from './hpack.ts';
import { RequestHeaderEncoder, type HeaderFields } from './request-header-encoder.ts';

/** The response of one stream, as it arrives. Called synchronously; must not throw. */
export interface StreamReceiver extends HeaderReceiver {
  /** Valid for as long as the receiver likes; a part of what was read at once. */
  data(chunk: Buffer): void;
  /** Once, at last. Absent: the response is whole. */
  closed(error?: Error): void;
}

export interface ClientStream {
  /** Sent as the server's windows allow. */
  write(chunk: Buffer): void;
  /** Resets the stream; the receiver gets the error. */
  cancel(error: Error): void;
}

interface Http2ClientOptions {
  /** The server has sent its settings. */
  readonly onReady: () => void;
  /** It takes no more requests; streams under way may still end. Called once, also when the connection is lost. */
  readonly onRetired: () => void;
  /** A server silent for so long while streams are open is sent a PING. */
  readonly keepaliveMs: number;
  /** For it to send anything then. Beyond: the connection is lost. */
  readonly keepaliveTimeoutMs: number;
}

/** Stream numbers that are left unused. */
const LAST_STREAM_ID = 2 ** 31 - 3;

export class Http2Client {
  readonly #socket: Socket;
  readonly #options: Http2ClientOptions;
  readonly #streams = new Map<number, Stream>();
  /** Requests beyond the server's limit of concurrent streams. */
  readonly #unopened = new Set<Stream>();
  /** Streams with bytes that a window does not allow yet, in turn. */
  readonly #blocked = new Set<Stream>();
  readonly #encoder = new RequestHeaderEncoder();
  readonly #decoder = new HeaderDecoder();
  readonly #fields: FieldCounter = new FieldCounter();
  #unread: Buffer | undefined;
  #block: { readonly streamId: number; readonly endStream: boolean; bytes: Buffer } | undefined;
  #isReady = false;
  #isRetired = false;
  #isClosed = false;
  #nextId = 1;
  #maxStreams = Infinity;
  #initialSendWindow = DEFAULT_WINDOW_BYTES;
  #sendWindow = DEFAULT_WINDOW_BYTES;
  #receiveWindow = CLIENT_CONNECTION_WINDOW_BYTES;
  #queuedBytes = 0;
  #isCorked = false;
  #readMs = performance.now();
  #pingMs: number | undefined;
  readonly #keepalive: NodeJS.Timeout;

  constructor(socket: Socket, options: Http2ClientOptions) {
    this.#socket = socket;
    this.#options = options;
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('error', (error) => this.#lose(error));
    socket.on('close', () => this.#lose());
    socket.on('end', () => this.#lose());
    const { keepaliveMs, keepaliveTimeoutMs } = options;
    this.#keepalive = setInterval(() => this.#ping(), Math.min(keepaliveMs, keepaliveTimeoutMs) / 2);
    this.#keepalive.unref();
    this.#write(PREFACE);
    this.#write(
      settingsFrame([
        [Setting.enablePush, 0],
        [Setting.initialWindowSize, CLIENT_STREAM_WINDOW_BYTES],
        [Setting.maxHeaderListSize, MAX_RESPONSE_HEADER_BYTES],
      ]),
    );
    this.#write(windowUpdateFrame(0, CLIENT_CONNECTION_WINDOW_BYTES - DEFAULT_WINDOW_BYTES));
    // Requests under way keep the process alive, not the connection.
    socket.unref();
  }

  get accepts(): boolean {
    return this.#isReady && !this.#isRetired;
  }

  /**
   * Only while it accepts requests. body: the whole of it; absent: written later, and the request never ends. isUrgent: it leaves at once, with what
   * the turn has sent before it.
   */
  request(
    fields: HeaderFields,
    receiver: StreamReceiver,
    { body, isUrgent = false }: { readonly body?: Buffer; readonly isUrgent?: boolean } = {},
  ): ClientStream {
    const stream = new Stream({ connection: this, fields, receiver, body });
    if (!this.accepts || this.#queuedBytes > MAX_CLIENT_QUEUED_BYTES)
      throw new ConnectionError(ErrorCode.refusedStream, 'the connection takes no more requests');
    if (this.#streams.size === 0) this.#socket.ref();
    if (this.#streams.size < this.#maxStreams) this.#open(stream);
    else {
      this.#queuedBytes += body?.length ?? 0;
      this.#unopened.add(stream);
    }
    if (isUrgent) this.#flush();
    return stream;
  }

  /** What is under way fails. */
  close(): void {
    this.#lose(new Error('the connection was closed'));
  }

  // -------------------------------------------------------------------------------------------------------------- writing

  #open(stream: Stream): void {
    stream.id = this.#nextId;
    this.#nextId += 2;
    stream.sendWindow = this.#initialSendWindow;
    this.#streams.set(stream.id, stream);
    const block = this.#encoder.encode(stream.fields);
    const { body } = stream;
    const fits =
      body !== undefined &&
      this.#blocked.size === 0 &&
      body.length <= Math.min(DEFAULT_FRAME_BYTES, stream.sendWindow, this.#sendWindow);
    this.#write(fits ? this.#wholeRequest(stream, block, body) : headersFrame(stream.id, block));
    if (!fits && body) this.#queue(stream, body);
    if (this.#nextId > LAST_STREAM_ID) this.#retire();
  }

  #wholeRequest(stream: Stream, block: Buffer, body: Buffer): Buffer {
    const bytes = Buffer.allocUnsafe(2 * FRAME_HEADER_BYTES + block.length + body.length);
    writeFrameHeader(bytes, 0, {
      length: block.length,
      type: FrameType.headers,
      flags: Flag.endHeaders,
      streamId: stream.id,
    });
    bytes.set(block, FRAME_HEADER_BYTES);
    this.#putData(bytes, FRAME_HEADER_BYTES + block.length, { stream, length: body.length, endStream: true });
    bytes.set(body, 2 * FRAME_HEADER_BYTES + block.length);
    return bytes;
  }

  #putData(
    bytes: Buffer,
    at: number,
    {
      stream,
      length,
      endStream,
    }: { readonly stream: Stream; readonly length: number; readonly endStream: boolean },
  ): void {
    writeFrameHeader(bytes, at, {
      length,
      type: FrameType.data,
      flags: endStream ? Flag.endStream : 0,
      streamId: stream.id,
    });
    stream.sendWindow -= length;
    this.#sendWindow -= length;
  }

  /** Of a stream that is open or waits for its turn. */
  send(stream: Stream, chunk: Buffer): void {
    if (this.#unopened.has(stream))
      return void (stream.body = stream.body ? Buffer.concat([stream.body, chunk]) : chunk);
    if (stream.isClosed) return;
    if (this.#queuedBytes > MAX_CLIENT_QUEUED_BYTES)
      return this.cancel(stream, new Error('too many bytes wait to be sent'));
    this.#queue(stream, chunk);
  }

  #queue(stream: Stream, chunk: Buffer): void {
    stream.queue.push(chunk);
    this.#queuedBytes += chunk.length;
    this.#blocked.add(stream);
    this.#pump();
  }

  #pump(): void {
    for (const stream of this.#blocked) {
      if (this.#sendWindow <= 0) return;
      while (stream.queue.length > 0 && stream.sendWindow > 0 && this.#sendWindow > 0) this.#sendSome(stream);
      if (stream.queue.length === 0) this.#blocked.delete(stream);
    }
  }

  #sendSome(stream: Stream): void {
    const chunk = stream.queue[0]!;
    const length = Math.min(chunk.length, DEFAULT_FRAME_BYTES, stream.sendWindow, this.#sendWindow);
    if (length === chunk.length) stream.queue.shift();
    else stream.queue[0] = chunk.subarray(length);
    this.#queuedBytes -= length;
    const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + length);
    const endStream = stream.endsAfterBody && stream.queue.length === 0;
    this.#putData(frame, 0, { stream, length, endStream });
    frame.set(chunk.subarray(0, length), FRAME_HEADER_BYTES);
    this.#write(frame);
  }

  /** What is written in one turn of the loop leaves at once: the server reads it at once too, and etcd commits it together. */
  #write(bytes: Buffer): void {
    const socket = this.#socket;
    if (socket.destroyed) return;
    if (!this.#isCorked) {
      this.#isCorked = true;
      socket.cork();
      setImmediate(() => this.#flush());
    }
    socket.write(bytes);
  }

  #flush(): void {
    if (!this.#isCorked) return;
    this.#isCorked = false;
    this.#socket.uncork();
  }

  // -------------------------------------------------------------------------------------------------------------- reading

  #read(chunk: Buffer): void {
    this.#readMs = performance.now();
    this.#pingMs = undefined;
    const bytes = this.#unread ? Buffer.concat([this.#unread, chunk]) : chunk;
    this.#unread = undefined;
    try {
      const read = this.#readFrames(bytes);
      if (read < bytes.length) this.#unread = Buffer.from(bytes.subarray(read));
    } catch (error) {
      const { code, message } =
        error instanceof ConnectionError
          ? error
          : new ConnectionError(ErrorCode.internalError, String(error));
      this.#write(goawayFrame(0, code, message));
      this.#lose(error as Error);
    }
  }

  /** Returns the number of bytes in complete frames. */
  #readFrames(bytes: Buffer): number {
    let at = 0;
    while (bytes.length - at >= FRAME_HEADER_BYTES && !this.#isClosed) {
      const length = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
      if (length > DEFAULT_FRAME_BYTES)
        throw new ConnectionError(ErrorCode.frameSizeError, `a frame of ${length} bytes`);
      const start = at + FRAME_HEADER_BYTES;
      if (start + length > bytes.length) break;
      this.#frame(bytes[at + 3]!, {
        flags: bytes[at + 4]!,
        streamId: bytes.readUInt32BE(at + 5) & 0x7fff_ffff,
        payload: bytes.subarray(start, start + length),
      });
      at = start + length;
    }
    return at;
  }

  #frame(type: number, frame: Frame): void {
    if (this.#block && (type !== FrameType.continuation || frame.streamId !== this.#block.streamId))
      throw new ConnectionError(ErrorCode.protocolError, 'a header block that is interrupted');
    if (!this.#isReady && type !== FrameType.settings && type !== FrameType.goaway)
      throw new ConnectionError(ErrorCode.protocolError, 'a connection that does not begin with SETTINGS');
    switch (type) {
      case FrameType.headers:
        return this.#headers(frame);
      case FrameType.continuation:
        return this.#continuation(frame);
      case FrameType.data:
        return this.#data(frame);
      case FrameType.windowUpdate:
        return this.#windowUpdate(frame);
      case FrameType.settings:
        return this.#settings(frame);
      case FrameType.ping:
        return this.#pinged(frame);
      case FrameType.rstStream:
        return this.#rstStream(frame);
      case FrameType.goaway:
        return this.#goaway(frame);
      case FrameType.pushPromise:
        throw new ConnectionError(ErrorCode.protocolError, 'PUSH_PROMISE, which was turned off');
    }
  }

  #headers(frame: Frame): void {
    const { streamId, flags } = frame;
    let bytes = unpadded(frame);
    if (flags & Flag.priority) bytes = bytes.subarray(5);
    const endStream = (flags & Flag.endStream) !== 0;
    if (flags & Flag.endHeaders) this.#headerBlock(streamId, { bytes, endStream });
    else this.#block = { streamId, endStream, bytes: Buffer.from(bytes) };
  }

  #continuation({ streamId, flags, payload }: Frame): void {
    const block = this.#block;
    if (!block) throw new ConnectionError(ErrorCode.protocolError, 'CONTINUATION without HEADERS');
    if (block.bytes.length + payload.length > MAX_RESPONSE_HEADER_BYTES || payload.length === 0)
      throw new ConnectionError(ErrorCode.enhanceYourCalm, 'a header block that is too large');
    block.bytes = Buffer.concat([block.bytes, payload]);
    if (!(flags & Flag.endHeaders)) return;
    this.#block = undefined;
    this.#headerBlock(streamId, block);
  }

  /** Also of streams that are closed: the table must take it. */
  #headerBlock(
    streamId: number,
    { bytes, endStream }: { readonly bytes: Buffer; readonly endStream: boolean },
  ): void {
    const stream = this.#streams.get(streamId);
    this.#decoder.decode(bytes, this.#fields.for(stream?.receiver));
    if (stream && endStream) this.#close(stream);
  }

  #data(frame: Frame): void {
    const { length } = frame.payload;
    if (length > this.#receiveWindow)
      throw new ConnectionError(
        ErrorCode.flowControlError,
        'more DATA than the window of the connection allows',
      );
    this.#receiveWindow -= length;
    if (this.#receiveWindow < CLIENT_CONNECTION_WINDOW_BYTES / 2) {
      this.#write(windowUpdateFrame(0, CLIENT_CONNECTION_WINDOW_BYTES - this.#receiveWindow));
      this.#receiveWindow = CLIENT_CONNECTION_WINDOW_BYTES;
    }
    const stream = this.#streams.get(frame.streamId);
    if (!stream) return;
    if (length > stream.receiveWindow)
      throw new ConnectionError(ErrorCode.flowControlError, 'more DATA than the window of its stream allows');
    stream.receiveWindow -= length;
    const payload = unpadded(frame);
    if (payload.length > 0) stream.receiver.data(payload);
    if (frame.flags & Flag.endStream) return this.#close(stream);
    if (stream.isClosed || stream.receiveWindow >= CLIENT_STREAM_WINDOW_BYTES / 2) return;
    this.#write(windowUpdateFrame(stream.id, CLIENT_STREAM_WINDOW_BYTES - stream.receiveWindow));
    stream.receiveWindow = CLIENT_STREAM_WINDOW_BYTES;
  }

  #windowUpdate({ streamId, payload }: Frame): void {
    requireLength({ payload }, 4);
    const increment = payload.readUInt32BE(0) & 0x7fff_ffff;
    if (streamId === 0) this.#sendWindow = grown(this.#sendWindow, increment);
    else {
      const stream = this.#streams.get(streamId);
      if (stream) stream.sendWindow = grown(stream.sendWindow, increment);
    }
    this.#pump();
  }

  #settings({ flags, payload }: Frame): void {
    if (flags & Flag.ack) return;
    if (payload.length % 6 !== 0 || payload.length > 6 * MAX_SETTINGS)
      throw new ConnectionError(ErrorCode.frameSizeError, `SETTINGS of ${payload.length} bytes`);
    for (let at = 0; at < payload.length; at += 6)
      this.#set(payload.readUInt16BE(at), payload.readUInt32BE(at + 2));
    this.#write(SETTINGS_ACK);
    if (!this.#isReady) {
      this.#isReady = true;
      this.#options.onReady();
    }
    this.#openNext();
    this.#pump();
  }

  #set(setting: number, value: number): void {
    if (setting === Setting.maxConcurrentStreams) this.#maxStreams = value;
    else if (setting === Setting.headerTableSize) this.#encoder.limitTable(value);
    else if (setting === Setting.initialWindowSize) {
      if (value > MAX_WINDOW_BYTES)
        throw new ConnectionError(ErrorCode.flowControlError, `an initial window of ${value} bytes`);
      const change = value - this.#initialSendWindow;
      this.#initialSendWindow = value;
      for (const stream of this.#streams.values()) stream.sendWindow += change;
    }
  }

  #pinged({ flags, payload }: Frame): void {
    requireLength({ payload }, 8);
    if (!(flags & Flag.ack)) this.#write(pingAck(payload));
  }

  #rstStream({ streamId, payload }: Frame): void {
    requireLength({ payload }, 4);
    const stream = this.#streams.get(streamId);
    const code = payload.readUInt32BE(0);
    if (stream) this.#close(stream, new Error(`the server reset the stream with code ${code}`));
  }

  /** What it has not begun fails at once; the rest may end. */
  #goaway({ payload }: Frame): void {
    if (payload.length < 8) throw new ConnectionError(ErrorCode.frameSizeError, 'GOAWAY that is too short');
    const last = payload.readUInt32BE(0) & 0x7fff_ffff;
    this.#retire();
    const refused = new Error('the server closes the connection');
    for (const stream of this.#unopened) this.#close(stream, refused);
    for (const stream of this.#streams.values()) if (stream.id > last) this.#close(stream, refused);
    if (this.#streams.size === 0) this.close();
  }

  // -------------------------------------------------------------------------------------------------------------- endings

  cancel(stream: Stream, error: Error): void {
    if (stream.isClosed) return;
    if (stream.id !== 0) this.#write(resetFrame(stream.id, ErrorCode.cancel));
    this.#close(stream, error);
  }

  #close(stream: Stream, error?: Error): void {
    if (stream.isClosed) return;
    stream.isClosed = true;
    this.#streams.delete(stream.id);
    if (this.#unopened.delete(stream)) this.#queuedBytes -= stream.body?.length ?? 0;
    this.#blocked.delete(stream);
    for (const chunk of stream.queue) this.#queuedBytes -= chunk.length;
    stream.queue.length = 0;
    stream.receiver.closed(error);
    if (this.#isClosed) return;
    this.#openNext();
    if (this.#streams.size > 0) return;
    if (this.#isRetired) this.close();
    else this.#socket.unref();
  }

  #openNext(): void {
    for (const stream of this.#unopened) {
      if (this.#streams.size >= this.#maxStreams) return;
      this.#unopened.delete(stream);
      this.#queuedBytes -= stream.body?.length ?? 0;
      this.#open(stream);
    }
  }

  #retire(): void {
    if (this.#isRetired) return;
    this.#isRetired = true;
    this.#options.onRetired();
  }

  #lose(error: Error = new Error('the connection was lost')): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#keepalive);
    this.#retire();
    // A GOAWAY may wait in it.
    this.#flush();
    this.#socket.destroySoon();
    for (const stream of [...this.#streams.values(), ...this.#unopened]) this.#close(stream, error);
  }

  #ping(): void {
    const { keepaliveMs, keepaliveTimeoutMs } = this.#options;
    const now = performance.now();
    if (this.#pingMs !== undefined) {
      if (now - this.#pingMs >= keepaliveTimeoutMs)
        this.#lose(new Error('the server does not answer a PING'));
    } else if (this.#streams.size > 0 && now - this.#readMs >= keepaliveMs) {
      this.#pingMs = now;
      this.#write(pingFrame());
    }
  }
}

class Stream implements ClientStream {
  /** 0 until it is open. */
  id = 0;
  sendWindow = 0;
  receiveWindow = CLIENT_STREAM_WINDOW_BYTES;
  isClosed = false;
  readonly fields: HeaderFields;
  readonly receiver: StreamReceiver;
  readonly endsAfterBody: boolean;
  readonly queue: Buffer[] = [];
  body: Buffer | undefined;
  readonly #connection: Http2Client;

  constructor({
    connection,
    fields,
    receiver,
    body,
  }: {
    readonly connection: Http2Client;
    readonly fields: HeaderFields;
    readonly receiver: StreamReceiver;
    readonly body: Buffer | undefined;
  }) {
    this.#connection = connection;
    this.fields = fields;
    this.receiver = receiver;
    this.body = body;
    this.endsAfterBody = body !== undefined;
  }

  write(chunk: Buffer): void {
    this.#connection.send(this, chunk);
  }

  cancel(error: Error): void {
    this.#connection.cancel(this, error);
  }
}

/** Passes the fields of one block on, as far as they are not too many: a block of references decodes to a multiple of its size. */
class FieldCounter implements HeaderReceiver {
  #receiver: StreamReceiver | undefined;
  #bytes = 0;

  for(receiver: StreamReceiver | undefined): this {
    this.#receiver = receiver;
    this.#bytes = 0;
    return this;
  }

  field(name: string, value: string): void {
    this.#bytes += name.length + value.length;
    if (this.#bytes > MAX_RESPONSE_HEADER_BYTES)
      throw new ConnectionError(ErrorCode.enhanceYourCalm, 'a header list that is too large');
    this.#receiver?.field(name, value);
  }
}

function headersFrame(streamId: number, block: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(FRAME_HEADER_BYTES + block.length);
  writeFrameHeader(bytes, 0, {
    length: block.length,
    type: FrameType.headers,
    flags: Flag.endHeaders,
    streamId,
  });
  bytes.set(block, FRAME_HEADER_BYTES);
  return bytes;
}

function grown(window: number, increment: number): number {
  if (increment === 0 || window + increment > MAX_WINDOW_BYTES)
    throw new ConnectionError(ErrorCode.flowControlError, `a window that grows by ${increment}`);
  return window + increment;
}
