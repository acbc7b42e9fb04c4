/**
 * One request and its response on an HTTP/2 connection. The connection reads and writes frames; this class holds the state of one stream: the request
 * body, the queued response, and which sides have ended.
 *
 *   open ──END_STREAM from the client──► half-closed ──our END_STREAM──► closed        reset by either side, connection lost: closed
 */
import { Readable } from 'node:stream';
import { BodyParts } from '#stdx/body-parts.ts';
import type { ResponseSink } from '#stdx/response-sink.ts';
import { RequestBodyError, type Http2Request } from './exchange.ts';

/** The interface of a stream to its connection. */
export interface StreamOutput {
  /** Queued bytes may be sent now, or the stream ended. */
  schedule(stream: Http2Stream): void;
  /** Window for this many bytes more of the request's body is wanted. */
  grant(stream: Http2Stream, bytes: number): void;
  /** The client waits for 100 (Continue). */
  goOn(stream: Http2Stream): void;
}

interface StreamStart {
  readonly id: number;
  readonly method: string;
  /** As sent: path and query. */
  readonly target: string;
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** Values one by one, of names that came more than once. */
  readonly repeated: ReadonlyMap<string, readonly string[]> | undefined;
  readonly output: StreamOutput;
  readonly sendWindow: number;
  readonly receiveWindow: number;
}

/** Bytes a sink buffers before it reports backpressure. */
const SINK_HIGH_BYTES = 256 * 1024;
const SINK_LOW_BYTES = 64 * 1024;

export class Http2Stream implements Http2Request, ResponseSink {
  readonly id: number;
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly #repeated: StreamStart['repeated'];
  readonly #output: StreamOutput;

  /** The client has sent its whole request. */
  remoteEnded = false;
  /** Nothing more will be queued. */
  ending = false;
  /** The frame that ends our side is out. */
  localEnded = false;
  /** The response's first frame was sent. */
  responded = false;
  closed = false;
  /** Send and receive windows, in bytes of DATA. */
  sendWindow: number;
  receiveWindow: number;
  readonly receiveWindowSize: number;
  /** Bytes read since the last WINDOW_UPDATE. */
  #ungranted = 0;

  #received = 0;
  #declared = -1;
  readonly #parts = new BodyParts();
  #reader:
    | { readonly limitBytes: number; resolve(body: Buffer): void; reject(error: Error): void }
    | undefined;
  #readable: Readable | undefined;
  #discards = false;

  /** What waits to be sent: from #queueStart on, of that piece from #queueOffset on. */
  #queue: readonly Buffer[] = [];
  #queueStart = 0;
  #queueOffset = 0;
  queuedBytes = 0;
  /** Queue length at the last sufficient progress, and its time. */
  #stalledBytes = 0;
  #stalledMs = 0;
  #drains: (() => void)[] = [];
  #closes: (() => void)[] = [];
  #aborts: (() => void)[] = [];

  constructor(start: StreamStart) {
    const { target } = start;
    const mark = target.indexOf('?');
    this.id = start.id;
    this.method = start.method;
    this.path = mark < 0 ? target : target.slice(0, mark);
    this.query = mark < 0 ? '' : target.slice(mark + 1);
    this.headers = start.headers;
    this.#repeated = start.repeated;
    this.#output = start.output;
    this.sendWindow = start.sendWindow;
    this.receiveWindow = this.receiveWindowSize = start.receiveWindow;
    const declared = start.headers['content-length'];
    if (declared !== undefined) this.#declared = Number(declared);
  }

  // --------------------------------------------------------------------------------------------------------- Http2Request

  headerValues(name: string): readonly string[] {
    const value = this.headers[name];
    return this.#repeated?.get(name) ?? (value === undefined ? [] : [value]);
  }

  /** Extends the client's window as the reader consumes. */
  bodyStream(): Readable {
    const readable = new Readable({ read: () => this.#grant() });
    this.#expectsMore();
    const soFar = this.#parts.take();
    if (soFar.length > 0) readable.push(soFar);
    if (this.remoteEnded) readable.push(null);
    else if (this.closed) readable.destroy(goneAway());
    else this.#readable = readable;
    return readable;
  }

  body(limitBytes: number): Promise<Buffer> {
    if (this.#declared > limitBytes || this.#received > limitBytes) {
      this.#discard();
      return Promise.reject(tooLarge(limitBytes));
    }
    if (this.remoteEnded) return Promise.resolve(this.#parts.take());
    if (this.closed) return Promise.reject(goneAway());
    return new Promise((resolve, reject) => {
      this.#reader = { limitBytes, resolve, reject };
      this.#expectsMore();
      this.#grant();
    });
  }

  onAbort(callback: () => void): void {
    if (this.closed) callback();
    else this.#aborts.push(callback);
  }

  // ----------------------------------------------------------------------------------------------------- for the connection

  /** Bytes of the request's body; false = more or fewer than were declared. */
  receive(chunk: Buffer, windowBytes: number): boolean {
    this.#received += chunk.length;
    this.#ungranted += windowBytes;
    if (this.#declared >= 0 && this.#received > this.#declared) return false;
    if (this.#discards) return true;
    if (this.#readable) {
      if (chunk.length > 0) this.#readable.push(chunk);
      return true;
    }
    if (this.#reader && this.#received > this.#reader.limitBytes) {
      this.#reader.reject(tooLarge(this.#reader.limitBytes));
      this.#reader = undefined;
      this.#discard();
    } else this.#parts.add(chunk);
    if (this.#reader && this.#ungranted * 2 >= this.receiveWindowSize) this.#grant();
    return true;
  }

  /** The request is whole; false = shorter than declared. */
  endOfRequest(): boolean {
    if (this.#declared >= 0 && this.#received !== this.#declared) return false;
    this.remoteEnded = true;
    this.#readable?.push(null);
    this.#readable = undefined;
    const reader = this.#reader;
    this.#reader = undefined;
    reader?.resolve(this.#parts.take());
    return true;
  }

  /** Takes the next bytes of the queue, which must be long enough. */
  copyQueued(target: Buffer, { at, bytes }: { readonly at: number; readonly bytes: number }): void {
    let to = at;
    const end = at + bytes;
    while (to < end) {
      const piece = this.#queue[this.#queueStart]!;
      const left = piece.length - this.#queueOffset;
      if (left <= end - to) {
        target.set(this.#queueOffset === 0 ? piece : piece.subarray(this.#queueOffset), to);
        to += left;
        this.#queueStart++;
        this.#queueOffset = 0;
      } else {
        target.set(piece.subarray(this.#queueOffset, this.#queueOffset + end - to), to);
        this.#queueOffset += end - to;
        to = end;
      }
    }
    this.queuedBytes -= bytes;
    if (this.#queueStart < this.#queue.length) return;
    this.#queue = [];
    this.#queueStart = 0;
  }

  /** A whole response of which the client reads less than stallBytes in stallMs. Long-running streams have bounds of their own. */
  isStalled(
    nowMs: number,
    { stallMs, stallBytes }: { readonly stallMs: number; readonly stallBytes: number },
  ): boolean {
    const taken = this.#stalledBytes - this.queuedBytes;
    if (!this.ending || this.queuedBytes === 0 || taken >= stallBytes || taken < 0) {
      this.#stalledBytes = this.queuedBytes;
      this.#stalledMs = nowMs;
      return false;
    }
    return nowMs - this.#stalledMs > stallMs;
  }

  /** After bytes of it went out. */
  wake(): void {
    if (this.queuedBytes > SINK_LOW_BYTES || this.#drains.length === 0) return;
    const drains = this.#drains;
    this.#drains = [];
    for (const drain of drains) drain();
  }

  /** Our side ended before the client's: further data is dropped. */
  answered(): void {
    this.#discard();
    const closes = this.#closes;
    this.#closes = this.#aborts = [];
    for (const callback of closes) callback();
  }

  /** Both sides are done, or either gave up; once. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.#queue = [];
    this.#parts.clear();
    this.#reader?.reject(goneAway());
    this.#reader = undefined;
    this.#readable?.destroy(goneAway());
    this.#readable = undefined;
    this.queuedBytes = 0;
    this.wake();
    for (const callback of this.#closes) callback();
    if (!this.localEnded) for (const callback of this.#aborts) callback();
    this.#closes = this.#aborts = [];
  }

  // ------------------------------------------------------------------------------------------------------- ResponseSink

  get bufferedBytes(): number {
    return this.queuedBytes;
  }

  write(chunk: Buffer): boolean {
    if (this.closed || this.ending) return false;
    if (chunk.length > 0) (this.#queue as Buffer[]).push(chunk);
    this.queuedBytes += chunk.length;
    this.#output.schedule(this);
    return this.queuedBytes < SINK_HIGH_BYTES;
  }

  drained(): Promise<void> {
    if (this.closed || this.queuedBytes <= SINK_LOW_BYTES) return Promise.resolve();
    return new Promise((resolve) => this.#drains.push(resolve));
  }

  end(): void {
    if (this.closed || this.ending) return;
    this.ending = true;
    this.#output.schedule(this);
  }

  onClose(callback: () => void): void {
    if (this.closed) callback();
    else this.#closes.push(callback);
  }

  onSent(callback: () => void): void {
    this.onClose(callback);
  }

  /** A whole body; the list stays the caller's, who must not change it any more. */
  enqueueAll(pieces: readonly Buffer[], bytes: number): void {
    this.#queue = pieces;
    this.queuedBytes = bytes;
    this.ending = true;
  }

  // -------------------------------------------------------------------------------------------------------------- private

  #expectsMore(): void {
    if (this.remoteEnded || this.closed || this.#received > 0 || this.headers['expect'] === undefined) return;
    if (this.headers['expect'].toLowerCase() === '100-continue') this.#output.goOn(this);
  }

  #discard(): void {
    this.#discards = true;
    this.#parts.clear();
  }

  #grant(): void {
    if (this.#ungranted === 0) return;
    const bytes = this.#ungranted;
    this.#ungranted = 0;
    this.#output.grant(this, bytes);
  }
}

function tooLarge(limitBytes: number): Error {
  return new RequestBodyError('too-large', `limit is ${limitBytes}`);
}

function goneAway(): Error {
  return new RequestBodyError('incomplete', 'the client went away before its request was complete');
}
