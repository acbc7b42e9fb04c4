/**
 * The server side of one HTTP/2 connection (RFC 9113): decodes frames, calls the handler, writes responses. Optimized for the short responses of an API
 * server: headers and body leave in one write. No push, priorities or extensions; docs/http2.md lists what is implemented.
 *
 *   preface ─► SETTINGS both ways ─► streams … ─► GOAWAY (shutdown, idle, or the client's fault) ─► last stream ends ─► closed
 *
 * A client that breaks the protocol or exceeds a bound (bounds.ts) is sent GOAWAY and disconnected. While it does not read what is written
 * (PAUSE_BYTES), its frames are not read either.
 */
import type { Socket } from 'node:net';
import { httpDate } from '#stdx/dates.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { lengthOf } from '#stdx/body-parts.ts';
import { closedSink, type ResponseSink } from '#stdx/response-sink.ts';
import {
  Allowance,
  CONNECTION_WINDOW_BYTES,
  LEAST_WINDOW_BYTES,
  MAX_CONTINUATIONS,
  MAX_REMEMBERED_GAPS,
  MAX_REMEMBERED_RESETS,
  MAX_RESETS,
  MAX_SETTINGS,
  MAX_UNPRODUCTIVE_FRAMES,
  PATIENCE,
  PAUSE_BYTES,
  RESETS_PER_SECOND,
  SOCKET_HIGH_BYTES,
  STREAM_WINDOW_BYTES,
  UNPRODUCTIVE_FRAMES_PER_SECOND,
  UNWANTED_REST_MS,
  type Http2Patience,
} from './bounds.ts';
import { CHUNK_BYTES, COPIED_BYTES, giveChunk, takeChunk } from './chunks.ts';
import type { Http2Handler, Http2Response } from './exchange.ts';
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
import { DEFAULT_TABLE_BYTES, encodeHeaders, HeaderDecoder, NO_TABLE } from './hpack.ts';
import { RequestHeaders } from './request-headers.ts';
import { Http2Stream, type StreamOutput } from './stream.ts';

interface Http2Options {
  readonly handler: Http2Handler;
  /** For log lines. */
  readonly remoteAddress: string;
  readonly log: Logger;
  readonly maxConcurrentStreams: number;
  readonly maxHeaderBytes: number;
  /** A connection without any stream for so long is closed, whatever it pings. */
  readonly idleMs: number;
  readonly patience?: Partial<Http2Patience>;
}

/** Bytes written in one turn of the event loop: large enough to be cheap, small enough that encrypting them does not block other connections. */
const TURN_BYTES = 512 * 1024;
/** Large DATA frames make up for later small ones up to this. */
const MAX_FRAGMENT_CREDIT_BYTES = MAX_UNPRODUCTIVE_FRAMES * LEAST_WINDOW_BYTES;

/** Streams reset by a client's fault count like those it resets itself. */
const CLIENT_FAULTS: ReadonlySet<number> = new Set([
  ErrorCode.protocolError,
  ErrorCode.flowControlError,
  ErrorCode.streamClosed,
]);

interface HeaderBlock {
  readonly streamId: number;
  readonly endStream: boolean;
  /** The stream depends on itself: reported once the block is complete. */
  readonly selfDependent: boolean;
  readonly parts: Buffer[];
  bytes: number;
}

/** Stream numbers after `from` and before `to`, which the client skipped. */
interface Gap {
  readonly from: number;
  readonly to: number;
}

export class Http2Connection implements StreamOutput {
  readonly #socket: Socket;
  readonly #options: Http2Options;
  readonly #streams = new Map<number, Http2Stream>();
  readonly #decoder = new HeaderDecoder();
  readonly #requestHeaders: RequestHeaders;
  readonly #reset = new Set<number>();
  readonly #gaps: Gap[] = [];
  readonly #unproductiveFrames = new Allowance({
    most: MAX_UNPRODUCTIVE_FRAMES,
    perSecond: UNPRODUCTIVE_FRAMES_PER_SECOND,
  });
  readonly #resets = new Allowance({ most: MAX_RESETS, perSecond: RESETS_PER_SECOND });
  /** WINDOW_UPDATEs that the sent bytes account for. */
  #windowFrames = 0;
  /** Bytes of DATA that make up for frames which windows cut short. */
  #fragmentCredit = 0;
  /** Streams with something to send, in turn. */
  readonly #waiting = new Set<Http2Stream>();
  #unread: Buffer | undefined;
  #prefaceRead = false;
  #settingsRead = false;
  #block: HeaderBlock | undefined;
  #lastStreamId = 0;
  /** Running handlers, including those of closed streams. */
  #running = 0;
  #sendWindow = DEFAULT_WINDOW_BYTES;
  #receiveWindow = CONNECTION_WINDOW_BYTES;
  #initialSendWindow = DEFAULT_WINDOW_BYTES;
  /** The client reduced the table size of our header blocks, and the change was announced in a block. */
  #tableShrinks = false;
  #tableShrunk = false;
  #goingAway = false;
  #corked = false;
  #paused = false;
  readonly #patience: Http2Patience;
  readonly #openedMs = performance.now();
  /** Start of the current frame, header block, idle period, closing, or blocked write; 0 = none. */
  #partialMs = 0;
  #idleMs = performance.now();
  #endedMs = 0;
  #stuckMs = 0;
  #stuckBytes = 0;
  #pumpScheduled = false;
  /** A chunk is with the socket. */
  #chunkOut = false;

  constructor(socket: Socket, options: Http2Options) {
    this.#socket = socket;
    this.#options = options;
    this.#patience = { ...PATIENCE, ...options.patience };
    this.#requestHeaders = new RequestHeaders(options.maxHeaderBytes);
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('drain', () => {
      if (this.#paused) {
        this.#paused = false;
        socket.resume();
      }
      this.#pumpSoon();
    });
    socket.on('end', () => this.#end());
    const { startMs, frameMs, stallMs, lingerMs } = this.#patience;
    const watchdog = setInterval(
      () => this.#check(performance.now()),
      Math.max(5, Math.min(options.idleMs, startMs, frameMs, stallMs, lingerMs) / 2),
    ).unref();
    socket.on('close', () => {
      clearInterval(watchdog);
      this.#lost();
    });
    this.#write(
      settingsFrame([
        [Setting.maxConcurrentStreams, options.maxConcurrentStreams],
        [Setting.initialWindowSize, STREAM_WINDOW_BYTES],
        [Setting.maxHeaderListSize, options.maxHeaderBytes],
      ]),
    );
    this.#write(windowUpdateFrame(0, CONNECTION_WINDOW_BYTES - DEFAULT_WINDOW_BYTES));
  }

  /** Accepts no new requests; closes when those in flight have finished. */
  shutdown(): void {
    if (this.#goingAway) return;
    this.#goingAway = true;
    this.#write(goawayFrame(this.#lastStreamId, ErrorCode.noError));
    this.#endIfDone();
  }

  // -------------------------------------------------------------------------------------------------------------- reading

  #read(chunk: Buffer): void {
    const bytes = this.#unread ? Buffer.concat([this.#unread, chunk]) : chunk;
    this.#unread = undefined;
    try {
      const read = this.#readFrames(bytes);
      const left = bytes.length - read;
      // A few bytes must not retain the whole buffer that they arrived in.
      if (left > 0)
        this.#unread = left * 2 < bytes.length ? Buffer.from(bytes.subarray(read)) : bytes.subarray(read);
      if (read > 0 && !this.#block) this.#partialMs = 0;
      if ((left > 0 || this.#block) && this.#partialMs === 0) this.#partialMs = performance.now();
      if (this.#socket.writableLength > PAUSE_BYTES && !this.#paused) {
        this.#paused = true;
        this.#socket.pause();
      }
    } catch (error) {
      if (error instanceof ConnectionError) this.#fail(error);
      else {
        this.#options.log.error('an HTTP/2 connection failed', {
          error: errorMessage(error),
          ...(error instanceof Error && error.stack ? { stack: error.stack } : {}),
        });
        this.#fail(new ConnectionError(ErrorCode.internalError, 'internal error'));
      }
    }
  }

  /** Returns the number of bytes in complete frames. */
  #readFrames(bytes: Buffer): number {
    let at = 0;
    if (!this.#prefaceRead) {
      const length = Math.min(bytes.length, PREFACE.length);
      if (bytes.compare(PREFACE, 0, length, 0, length) !== 0)
        throw new ConnectionError(ErrorCode.protocolError, 'no HTTP/2 preface');
      if (bytes.length < PREFACE.length) return 0;
      this.#prefaceRead = true;
      at = PREFACE.length;
    }
    while (bytes.length - at >= FRAME_HEADER_BYTES) {
      const length = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
      if (length > DEFAULT_FRAME_BYTES)
        throw new ConnectionError(ErrorCode.frameSizeError, `a frame of ${length} bytes`);
      const start = at + FRAME_HEADER_BYTES,
        end = start + length;
      if (end > bytes.length) break;
      const streamId = bytes.readUInt32BE(at + 5) & 0x7fff_ffff;
      this.#frame(bytes[at + 3]!, { flags: bytes[at + 4]!, streamId, payload: bytes.subarray(start, end) });
      if (this.#socket.destroyed) return bytes.length;
      at = end;
    }
    return at;
  }

  #frame(type: number, frame: Frame): void {
    if (this.#block && (type !== FrameType.continuation || frame.streamId !== this.#block.streamId))
      throw new ConnectionError(ErrorCode.protocolError, 'a header block that is interrupted');
    if (!this.#settingsRead && type !== FrameType.settings)
      throw new ConnectionError(ErrorCode.protocolError, 'a connection that does not begin with SETTINGS');
    switch (type) {
      case FrameType.headers:
        return this.#headers(frame);
      case FrameType.data:
        return this.#data(frame);
      case FrameType.continuation:
        return this.#continuation(frame);
      case FrameType.windowUpdate:
        return this.#windowUpdate(frame);
      case FrameType.settings:
        return this.#settings(frame);
      case FrameType.ping:
        return this.#ping(frame);
      case FrameType.rstStream:
        return this.#rstStream(frame);
      case FrameType.priority:
        return this.#priority(frame);
      case FrameType.pushPromise:
        throw new ConnectionError(ErrorCode.protocolError, 'PUSH_PROMISE from a client');
      case FrameType.goaway:
        if (frame.streamId !== 0) throw new ConnectionError(ErrorCode.protocolError, 'GOAWAY on a stream');
        if (frame.payload.length < 8)
          throw new ConnectionError(ErrorCode.frameSizeError, `GOAWAY of ${frame.payload.length} bytes`);
        return this.#unproductive();
      default:
        return this.#unproductive();
    }
  }

  /** A frame that costs work and serves no request. */
  #unproductive(): void {
    if (!this.#unproductiveFrames.take()) throw tooManyUnproductiveFrames();
  }

  #headers(frame: Frame): void {
    requireStream(frame, 'HEADERS');
    const { streamId, flags } = frame;
    let block = unpadded(frame);
    let selfDependent = false;
    if (flags & Flag.priority) {
      if (block.length < 5)
        throw new ConnectionError(ErrorCode.frameSizeError, 'HEADERS shorter than their priority');
      selfDependent = dependencyOf(block) === streamId;
      block = block.subarray(5);
    }
    const endStream = (flags & Flag.endStream) !== 0;
    if (flags & Flag.endHeaders) this.#headerBlock(streamId, { block, endStream, selfDependent });
    else {
      this.#block = { streamId, endStream, selfDependent, parts: [], bytes: 0 };
      this.#addPart(this.#block, block);
    }
  }

  #continuation({ streamId, flags, payload }: Frame): void {
    const block = this.#block;
    if (!block) throw new ConnectionError(ErrorCode.protocolError, 'CONTINUATION without HEADERS');
    if (block.parts.length > MAX_CONTINUATIONS)
      throw new ConnectionError(ErrorCode.enhanceYourCalm, 'too many CONTINUATION frames');
    this.#addPart(block, payload);
    if (!(flags & Flag.endHeaders)) return;
    this.#block = undefined;
    this.#headerBlock(streamId, { ...block, block: Buffer.concat(block.parts, block.bytes) });
  }

  #addPart(block: HeaderBlock, part: Buffer): void {
    block.bytes += part.length;
    if (block.bytes > this.#options.maxHeaderBytes)
      throw new ConnectionError(ErrorCode.enhanceYourCalm, 'a header block that is too large');
    // A copy, which does not keep all of what came with it.
    block.parts.push(Buffer.from(part));
  }

  #priority(frame: Frame): void {
    requireStream(frame, 'PRIORITY');
    requireLength(frame, 5);
    this.#unproductive();
    const stream = this.#streams.get(frame.streamId);
    if (stream && dependencyOf(frame.payload) === frame.streamId)
      this.#resetStream(stream, ErrorCode.protocolError);
  }

  #headerBlock(
    streamId: number,
    {
      block,
      endStream,
      selfDependent,
    }: { readonly block: Buffer; readonly endStream: boolean; readonly selfDependent: boolean },
  ): void {
    const fields = this.#requestHeaders.begin();
    this.#decoder.decode(block, fields);
    const known = this.#streams.get(streamId);
    if (known) return this.#trailers(known, { endStream, isMalformed: fields.isMalformedTrailer });
    if (streamId % 2 === 0)
      throw new ConnectionError(ErrorCode.protocolError, 'HEADERS on an even stream number');
    if (streamId <= this.#lastStreamId) return this.#lateHeaders(streamId);
    // The client may retry streams opened after GOAWAY elsewhere.
    if (this.#goingAway) return this.#unproductive();
    if (streamId > this.#lastStreamId + 2) this.#rememberGap({ from: this.#lastStreamId, to: streamId });
    this.#lastStreamId = streamId;
    if (selfDependent) return this.#refuse(streamId, ErrorCode.protocolError);
    // Unread responses count, and handlers whose client is gone.
    if (Math.max(this.#running, this.#streams.size) >= this.#options.maxConcurrentStreams)
      return this.#refuse(streamId, ErrorCode.refusedStream);
    const problem = fields.problem();
    if (problem === 'malformed') return this.#refuse(streamId, ErrorCode.protocolError);
    this.#open(fields, { streamId, endStream, tooLarge: problem === 'too-large' });
  }

  #lateHeaders(streamId: number): void {
    if (this.#reset.has(streamId)) return this.#unproductive();
    if (this.#gaps.some(({ from, to }) => streamId > from && streamId < to))
      throw new ConnectionError(ErrorCode.protocolError, 'a stream number below one that was used');
    throw new ConnectionError(ErrorCode.streamClosed, 'HEADERS on a closed stream');
  }

  #rememberGap(gap: Gap): void {
    this.#gaps.push(gap);
    if (this.#gaps.length > MAX_REMEMBERED_GAPS) this.#gaps.shift();
  }

  #open(
    fields: RequestHeaders,
    {
      streamId,
      endStream,
      tooLarge,
    }: { readonly streamId: number; readonly endStream: boolean; readonly tooLarge: boolean },
  ): void {
    const { method, target, headers, repeated } = fields;
    const stream = new Http2Stream({
      id: streamId,
      method,
      target,
      headers,
      repeated,
      output: this,
      sendWindow: this.#initialSendWindow,
      receiveWindow: STREAM_WINDOW_BYTES,
    });
    this.#streams.set(streamId, stream);
    if (endStream && !stream.endOfRequest()) return this.#resetStream(stream, ErrorCode.protocolError);
    if (tooLarge)
      return this.#respond(stream, {
        status: 431,
        headers: { 'content-type': 'text/plain; charset=utf-8' },
        body: Buffer.from('Request header fields too large\n'),
      });
    this.#running++;
    this.#options.handler(stream).then(
      (response) => {
        this.#running--;
        this.#respond(stream, response);
      },
      (error: unknown) => {
        this.#running--;
        this.#options.log.error('the request handler failed', { error: errorMessage(error) });
        this.#resetStream(stream, ErrorCode.internalError);
      },
    );
  }

  #trailers(
    stream: Http2Stream,
    { endStream, isMalformed }: { readonly endStream: boolean; readonly isMalformed: boolean },
  ): void {
    if (stream.remoteEnded) this.#resetStream(stream, ErrorCode.streamClosed);
    else if (!endStream || isMalformed) this.#resetStream(stream, ErrorCode.protocolError);
    else this.#endOfRequest(stream);
  }

  #data(frame: Frame): void {
    requireStream(frame, 'DATA');
    const { streamId, flags, payload } = frame;
    const chunk = unpadded(frame);
    this.#receiveWindow -= payload.length;
    if (this.#receiveWindow < 0)
      throw new ConnectionError(ErrorCode.flowControlError, "more DATA than the connection's window");
    if (this.#receiveWindow * 2 < CONNECTION_WINDOW_BYTES) {
      this.#write(windowUpdateFrame(0, CONNECTION_WINDOW_BYTES - this.#receiveWindow));
      this.#receiveWindow = CONNECTION_WINDOW_BYTES;
    }
    const endStream = (flags & Flag.endStream) !== 0;
    if (chunk.length === 0 && !endStream) this.#unproductive();
    const stream = this.#streams.get(streamId);
    if (!stream || stream.remoteEnded) return this.#lateData(streamId, stream);
    stream.receiveWindow -= payload.length;
    if (stream.receiveWindow < 0) return this.#resetStream(stream, ErrorCode.flowControlError);
    if (!stream.receive(chunk, payload.length)) return this.#resetStream(stream, ErrorCode.protocolError);
    if (endStream) this.#endOfRequest(stream);
  }

  #lateData(streamId: number, stream: Http2Stream | undefined): void {
    if (stream) return this.#resetStream(stream, ErrorCode.streamClosed);
    if (streamId > this.#lastStreamId && !this.#goingAway)
      throw new ConnectionError(ErrorCode.protocolError, 'DATA on an idle stream');
    this.#unproductive();
    if (!this.#reset.has(streamId) && !this.#goingAway) this.#refuse(streamId, ErrorCode.streamClosed);
  }

  #endOfRequest(stream: Http2Stream): void {
    if (!stream.endOfRequest()) this.#resetStream(stream, ErrorCode.protocolError);
    else if (stream.localEnded) this.#closeStream(stream);
  }

  #windowUpdate(frame: Frame): void {
    requireLength(frame, 4);
    const increment = frame.payload.readUInt32BE(0) & 0x7fff_ffff;
    if (frame.streamId === 0) {
      this.#sendWindow += increment;
      if (increment === 0) throw new ConnectionError(ErrorCode.protocolError, 'WINDOW_UPDATE by nothing');
      if (this.#sendWindow > MAX_WINDOW_BYTES)
        throw new ConnectionError(ErrorCode.flowControlError, 'a window beyond the largest');
      if (this.#waiting.size > 0) this.#pumpSoon();
      return this.#windowReturned();
    }
    if (frame.streamId > this.#lastStreamId && !this.#goingAway)
      throw new ConnectionError(ErrorCode.protocolError, 'WINDOW_UPDATE on an idle stream');
    const stream = this.#streams.get(frame.streamId);
    if (!stream) return this.#unproductive();
    if (increment === 0) return this.#resetStream(stream, ErrorCode.protocolError);
    stream.sendWindow += increment;
    if (stream.sendWindow > MAX_WINDOW_BYTES) return this.#resetStream(stream, ErrorCode.flowControlError);
    this.schedule(stream);
    this.#windowReturned();
  }

  /** Readers of large responses send many of these: log and watch streams run for days, and Go's clients send two for every few kilobytes. */
  #windowReturned(): void {
    if (this.#windowFrames >= 1) this.#windowFrames -= 1;
    else if (this.#waiting.size === 0 && this.#socket.writableLength === 0) this.#unproductive();
  }

  #settings({ streamId, flags, payload }: Frame): void {
    if (streamId !== 0) throw new ConnectionError(ErrorCode.protocolError, 'SETTINGS on a stream');
    if (flags & Flag.ack) {
      if (payload.length > 0)
        throw new ConnectionError(ErrorCode.frameSizeError, 'an acknowledgement of settings with content');
      return this.#unproductive();
    }
    if (payload.length % 6 !== 0)
      throw new ConnectionError(ErrorCode.frameSizeError, `SETTINGS of ${payload.length} bytes`);
    requireDistinctSettings(payload);
    for (let at = 0; at < payload.length; at += 6)
      this.#setting(payload.readUInt16BE(at), payload.readUInt32BE(at + 2));
    this.#settingsRead = true;
    this.#answer(SETTINGS_ACK);
  }

  #setting(id: number, value: number): void {
    if (id === Setting.headerTableSize)
      this.#tableShrinks ||= value < DEFAULT_TABLE_BYTES && !this.#tableShrunk;
    else if (id === Setting.initialWindowSize) {
      if (value > MAX_WINDOW_BYTES)
        throw new ConnectionError(ErrorCode.flowControlError, 'an initial window beyond the largest');
      const difference = value - this.#initialSendWindow;
      this.#initialSendWindow = value;
      for (const stream of this.#streams.values()) {
        stream.sendWindow += difference;
        if (stream.sendWindow > MAX_WINDOW_BYTES)
          throw new ConnectionError(ErrorCode.flowControlError, 'a window beyond the largest');
        this.schedule(stream);
      }
    } else if (id === Setting.maxFrameSize && (value < DEFAULT_FRAME_BYTES || value > 2 ** 24 - 1)) {
      throw new ConnectionError(ErrorCode.protocolError, `a largest frame of ${value} bytes`);
    } else if (id === Setting.enablePush && value > 1)
      throw new ConnectionError(ErrorCode.protocolError, `ENABLE_PUSH of ${value}`);
  }

  #ping(frame: Frame): void {
    if (frame.streamId !== 0) throw new ConnectionError(ErrorCode.protocolError, 'PING on a stream');
    requireLength(frame, 8);
    if (frame.flags & Flag.ack) return this.#unproductive();
    this.#answer(pingAck(frame.payload));
  }

  /** To a frame that requires a reply; a client that does not read the replies is disconnected. */
  #answer(bytes: Buffer): void {
    this.#unproductive();
    if (this.#socket.writableLength > PAUSE_BYTES)
      throw new ConnectionError(ErrorCode.enhanceYourCalm, 'answers that are not read');
    this.#write(bytes);
  }

  #rstStream(frame: Frame): void {
    requireStream(frame, 'RST_STREAM');
    requireLength(frame, 4);
    if (frame.streamId > this.#lastStreamId && !this.#goingAway)
      throw new ConnectionError(ErrorCode.protocolError, 'RST_STREAM on an idle stream');
    if (!this.#resets.take())
      throw new ConnectionError(ErrorCode.enhanceYourCalm, 'too many requests that were given up');
    const stream = this.#streams.get(frame.streamId);
    if (stream) this.#closeStream(stream);
  }

  // -------------------------------------------------------------------------------------------------------------- writing

  #respond(stream: Http2Stream, { status, headers, repeated, body }: Http2Response): void {
    if (stream.closed) {
      if (typeof body === 'function') body(closedSink);
      return;
    }
    stream.responded = true;
    const isWhole = typeof body !== 'function';
    if (isWhole && headers['content-length'] === undefined && status !== 204 && status !== 304)
      headers['content-length'] = String(lengthOf(body));
    headers['date'] ??= currentHttpDate();
    const block = this.#encode(encodeHeaders(status, headers, repeated));
    const isHead = stream.method === 'HEAD';
    if (isHead && !isWhole) body(closedSink);
    if (isHead || (isWhole && lengthOf(body) === 0)) {
      this.#writeHeaders(stream, { block, endStream: true });
      return this.#localEnd(stream);
    }
    if (Buffer.isBuffer(body) && this.#fitsAtOnce(stream, { bytes: body.length, blockBytes: block.length }))
      return this.#writeWhole(stream, { block, body });
    this.#writeHeaders(stream, { block, endStream: false });
    if (typeof body === 'function') return body(stream as ResponseSink);
    stream.enqueueAll(Buffer.isBuffer(body) ? [body] : body, lengthOf(body));
    this.schedule(stream);
  }

  /** RFC 7541, section 4.2: a smaller table is acknowledged at the start of the next block. Nothing is ever remembered, so none is needed. */
  #encode(block: Buffer): Buffer {
    if (!this.#tableShrinks) return block;
    this.#tableShrinks = false;
    this.#tableShrunk = true;
    return Buffer.concat([NO_TABLE, block]);
  }

  #fitsAtOnce(
    stream: Http2Stream,
    { bytes, blockBytes }: { readonly bytes: number; readonly blockBytes: number },
  ): boolean {
    return (
      bytes <= DEFAULT_FRAME_BYTES &&
      blockBytes <= DEFAULT_FRAME_BYTES &&
      bytes <= stream.sendWindow &&
      bytes <= this.#sendWindow &&
      this.#socket.writableLength < SOCKET_HIGH_BYTES
    );
  }

  #writeWhole(stream: Http2Stream, { block, body }: { readonly block: Buffer; readonly body: Buffer }): void {
    const { id: streamId } = stream;
    const dataAt = FRAME_HEADER_BYTES + block.length;
    const bytes = Buffer.allocUnsafe(dataAt + FRAME_HEADER_BYTES + body.length);
    writeFrameHeader(bytes, 0, {
      length: block.length,
      type: FrameType.headers,
      flags: Flag.endHeaders,
      streamId,
    });
    bytes.set(block, FRAME_HEADER_BYTES);
    writeFrameHeader(bytes, dataAt, {
      length: body.length,
      type: FrameType.data,
      flags: Flag.endStream,
      streamId,
    });
    bytes.set(body, dataAt + FRAME_HEADER_BYTES);
    this.#spend(stream, body.length);
    this.#write(bytes);
    this.#localEnd(stream);
  }

  #writeHeaders(
    { id: streamId }: Http2Stream,
    { block, endStream }: { readonly block: Buffer; readonly endStream: boolean },
  ): void {
    for (let at = 0; at === 0 || at < block.length; at += DEFAULT_FRAME_BYTES) {
      const part = block.subarray(at, at + DEFAULT_FRAME_BYTES);
      const bytes = Buffer.allocUnsafe(FRAME_HEADER_BYTES + part.length);
      const flags =
        (at === 0 && endStream ? Flag.endStream : 0) |
        (at + part.length === block.length ? Flag.endHeaders : 0);
      writeFrameHeader(bytes, 0, {
        length: part.length,
        type: at === 0 ? FrameType.headers : FrameType.continuation,
        flags,
        streamId,
      });
      bytes.set(part, FRAME_HEADER_BYTES);
      this.#write(bytes);
    }
  }

  schedule(stream: Http2Stream): void {
    if (stream.closed || (stream.queuedBytes === 0 && !(stream.ending && !stream.localEnded))) return;
    this.#waiting.add(stream);
    this.#pumpSoon();
  }

  goOn({ id: streamId }: Http2Stream): void {
    const block = this.#encode(encodeHeaders(100, {}));
    const bytes = Buffer.allocUnsafe(FRAME_HEADER_BYTES + block.length);
    writeFrameHeader(bytes, 0, {
      length: block.length,
      type: FrameType.headers,
      flags: Flag.endHeaders,
      streamId,
    });
    bytes.set(block, FRAME_HEADER_BYTES);
    this.#write(bytes);
  }

  grant(stream: Http2Stream, bytes: number): void {
    if (stream.remoteEnded || stream.closed) return;
    stream.receiveWindow += bytes;
    this.#write(windowUpdateFrame(stream.id, bytes));
  }

  /** At the end of this turn, so that what several streams have leaves together. */
  #pumpSoon(): void {
    if (this.#pumpScheduled) return;
    this.#pumpScheduled = true;
    process.nextTick(() => {
      this.#pumpScheduled = false;
      this.#pump();
    });
  }

  /** Sends what windows and socket take, one frame of each stream in turn, up to TURN_BYTES. */
  #pump(): void {
    for (let sent = 0; sent < TURN_BYTES && this.#mayPump(); sent += CHUNK_BYTES) this.#pumpChunk();
    if (this.#mayPump()) setImmediate(() => this.#pump());
  }

  #mayPump(): boolean {
    return (
      this.#waiting.size > 0 &&
      !this.#chunkOut &&
      this.#sendWindow > 0 &&
      !this.#socket.destroyed &&
      this.#socket.writableLength <= SOCKET_HIGH_BYTES
    );
  }

  #pumpChunk(): void {
    const chunk = takeChunk();
    let at = 0;
    const served = new Set<Http2Stream>();
    for (const stream of this.#waiting) {
      const room = chunk.length - at - FRAME_HEADER_BYTES;
      if (
        room < Math.min(stream.queuedBytes, DEFAULT_FRAME_BYTES) ||
        (this.#sendWindow <= 0 && stream.queuedBytes > 0)
      )
        break;
      this.#waiting.delete(stream);
      // Waits for its window: WINDOW_UPDATE schedules it again.
      if (stream.sendWindow <= 0 && stream.queuedBytes > 0) continue;
      at = this.#putFrame(stream, { chunk, at });
      served.add(stream);
      if (stream.queuedBytes > 0) this.#waiting.add(stream);
    }
    if (at > COPIED_BYTES) this.#writeChunk(chunk, at);
    else {
      if (at > 0) this.#socket.write(Buffer.from(chunk.subarray(0, at)));
      giveChunk(chunk);
    }
    if (this.#fragmentCredit < 0 && !this.#paysForFragments()) return this.#fail(tooManyUnproductiveFrames());
    for (const stream of served) {
      if (stream.ending && stream.queuedBytes === 0) this.#localEnd(stream);
      else stream.wake();
    }
  }

  /** One at a time: writes that wait behind another are copied together by the socket before they are encrypted. */
  #writeChunk(chunk: Buffer, bytes: number): void {
    this.#chunkOut = true;
    this.#socket.write(chunk.subarray(0, bytes), () => {
      giveChunk(chunk);
      this.#chunkOut = false;
      // Not at once: a fast reader would have all of a long list written in one turn.
      if (this.#waiting.size > 0) setImmediate(() => this.#pump());
    });
  }

  /** Small windows that force many tiny DATA frames count as frames that serve no request. */
  #paysForFragments(): boolean {
    for (; this.#fragmentCredit < 0; this.#fragmentCredit += LEAST_WINDOW_BYTES)
      if (!this.#unproductiveFrames.take()) return false;
    return true;
  }

  /** Writes one DATA frame of the stream's bytes; returns its end. */
  #putFrame(stream: Http2Stream, { chunk, at }: { readonly chunk: Buffer; readonly at: number }): number {
    const length =
      stream.queuedBytes === 0
        ? 0
        : Math.min(DEFAULT_FRAME_BYTES, stream.queuedBytes, stream.sendWindow, this.#sendWindow);
    const payloadAt = at + FRAME_HEADER_BYTES;
    this.#fragmentCredit = Math.min(MAX_FRAGMENT_CREDIT_BYTES, this.#fragmentCredit + length);
    if (length < LEAST_WINDOW_BYTES && length < stream.queuedBytes)
      this.#fragmentCredit -= LEAST_WINDOW_BYTES;
    if (length > 0) stream.copyQueued(chunk, { at: payloadAt, bytes: length });
    const isLast = stream.ending && stream.queuedBytes === 0;
    writeFrameHeader(chunk, at, {
      length,
      type: FrameType.data,
      flags: isLast ? Flag.endStream : 0,
      streamId: stream.id,
    });
    this.#spend(stream, length);
    return payloadAt + length;
  }

  /** The size of a DATA frame in both windows, for which the client may send WINDOW_UPDATEs. */
  #spend(stream: Http2Stream, bytes: number): void {
    stream.sendWindow -= bytes;
    this.#sendWindow -= bytes;
    this.#windowFrames = Math.min(
      MAX_UNPRODUCTIVE_FRAMES,
      this.#windowFrames + 2 + (2 * bytes) / LEAST_WINDOW_BYTES,
    );
  }

  /** Frames written in one turn leave in one TLS record. */
  #write(bytes: Buffer): void {
    const socket = this.#socket;
    if (socket.destroyed) return;
    if (!this.#corked) {
      this.#corked = true;
      socket.cork();
      process.nextTick(() => {
        this.#corked = false;
        socket.uncork();
      });
    }
    socket.write(bytes);
  }

  // --------------------------------------------------------------------------------------------------------------- endings

  #localEnd(stream: Http2Stream): void {
    if (stream.localEnded) return;
    stream.localEnded = true;
    if (stream.remoteEnded) return this.#closeStream(stream);
    // The rest of the request body is not needed. A client that is sending it must read the response first: some treat a reset as a failure.
    stream.answered();
    setTimeout(() => this.#resetStream(stream, ErrorCode.noError), UNWANTED_REST_MS).unref();
  }

  #resetStream(stream: Http2Stream, code: number): void {
    if (stream.closed) return;
    this.#refuse(stream.id, code);
    this.#closeStream(stream);
  }

  #refuse(streamId: number, code: number): void {
    if (code === ErrorCode.refusedStream) this.#unproductive();
    else if (CLIENT_FAULTS.has(code) && !this.#resets.take())
      throw new ConnectionError(ErrorCode.enhanceYourCalm, 'too many faulty requests');
    this.#reset.add(streamId);
    if (this.#reset.size > MAX_REMEMBERED_RESETS) this.#reset.delete(this.#reset.values().next().value!);
    this.#write(resetFrame(streamId, code));
  }

  #closeStream(stream: Http2Stream): void {
    this.#streams.delete(stream.id);
    this.#waiting.delete(stream);
    stream.close();
    if (this.#streams.size === 0) this.#idleMs = performance.now();
    if (this.#goingAway) this.#endIfDone();
  }

  #endIfDone(): void {
    if (this.#streams.size === 0) this.#end();
  }

  /** Our side; the client may take a while to close its own. */
  #end(): void {
    if (this.#endedMs !== 0 || this.#socket.destroyed) return;
    this.#endedMs = performance.now();
    this.#socket.end();
  }

  /** Checks deadlines periodically. */
  #check(nowMs: number): void {
    const { startMs, frameMs, stallMs, stallBytes, lingerMs } = this.#patience;
    const lasts = (sinceMs: number, mostMs: number): boolean => sinceMs !== 0 && nowMs - sinceMs > mostMs;
    if (this.#socket.writableLength !== this.#stuckBytes || this.#stuckBytes === 0) {
      this.#stuckBytes = this.#socket.writableLength;
      this.#stuckMs = this.#stuckBytes === 0 ? 0 : nowMs;
    }
    if (
      lasts(this.#endedMs, lingerMs) ||
      lasts(this.#stuckMs, stallMs) ||
      (!this.#settingsRead && lasts(this.#openedMs, startMs))
    )
      return void this.#socket.destroy();
    if (lasts(this.#partialMs, frameMs) && !this.#paused)
      return this.#fail(new ConnectionError(ErrorCode.enhanceYourCalm, 'a frame that is not finished'));
    for (const stream of this.#streams.values())
      if (stream.isStalled(nowMs, { stallMs, stallBytes })) this.#resetStream(stream, ErrorCode.cancel);
    if (this.#streams.size === 0 && lasts(this.#idleMs, this.#options.idleMs)) this.shutdown();
  }

  #fail({ code, message }: ConnectionError): void {
    this.#options.log.debug('an HTTP/2 client was sent away', {
      error: message,
      remote: this.#options.remoteAddress,
    });
    this.#goingAway = true;
    this.#write(goawayFrame(this.#lastStreamId, code, message));
    for (const stream of this.#streams.values()) stream.close();
    this.#streams.clear();
    this.#waiting.clear();
    this.#socket.removeAllListeners('data');
    this.#paused = false;
    this.#socket.resume();
    this.#end();
    this.#socket.destroySoon();
  }

  #lost(): void {
    for (const stream of this.#streams.values()) stream.close();
    this.#streams.clear();
    this.#waiting.clear();
  }
}

function tooManyUnproductiveFrames(): ConnectionError {
  return new ConnectionError(ErrorCode.enhanceYourCalm, 'too many frames that serve no request');
}

/** The parent stream of a priority, its first field. */
function dependencyOf(priority: Buffer): number {
  return priority.readUInt32BE(0) & 0x7fff_ffff;
}

function requireStream({ streamId }: Frame, type: string): void {
  if (streamId === 0) throw new ConnectionError(ErrorCode.protocolError, `${type} without a stream`);
}

/** A window size is applied to every stream, so one frame must not contain it thousands of times. As Go's server. */
function requireDistinctSettings(payload: Buffer): void {
  const count = payload.length / 6;
  if (count > MAX_SETTINGS)
    throw new ConnectionError(ErrorCode.protocolError, `${count} settings in one frame`);
  const seen = new Set<number>();
  for (let at = 0; at < payload.length; at += 6) seen.add(payload.readUInt16BE(at));
  if (seen.size < count)
    throw new ConnectionError(ErrorCode.protocolError, 'a setting that is repeated in one frame');
}

let date = '',
  dateUntilMs = 0;

/** Made once a second. */
function currentHttpDate(): string {
  const nowMs = Date.now();
  if (nowMs >= dateUntilMs) {
    date = httpDate(nowMs);
    dateUntilMs = nowMs - (nowMs % 1000) + 1000;
  }
  return date;
}
