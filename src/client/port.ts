/**
 * A transport over a MessagePort, and its server side: components in other threads use it to reach the API server of the same
 * process. Requests share one port; streams have flow control by credit (STREAM_WINDOW_BYTES ahead of the reader), so a slow reader
 * slows its own stream only. The frames are in port-frames.ts.
 *
 *   client: request --response--> done            server: running --handler answers--> done
 *                   --streamStart--> streaming                    --stream--> streaming --end, or cancel--> done
 *   When the port closes, every open request of the client fails, and the server aborts every one.
 */
import type { MessagePort } from 'node:worker_threads';
import type { UserInfo } from '#machinery/object.ts';
import { errorMessage } from '#stdx/log.ts';
import { ChunkStream } from './chunk-stream.ts';
import {
  AbortCallbacks,
  directRequest,
  streamResponse,
  wholeResponse,
  type DirectHandler,
  type DirectResponse,
  type DirectSink,
} from './direct.ts';
import {
  FRAME,
  FrameWriter,
  STREAM_WINDOW_BYTES,
  encodeFrameBytes,
  type Batch,
  type Frame,
} from './port-frames.ts';
import type { Transport, TransportRequest, TransportResponse } from './transport.ts';
import { TransportError, abortReason } from './transport-error.ts';

/** The transport owns the port: close() closes it. */
export function createPortTransport(port: MessagePort): Transport {
  return new PortTransport(port);
}

interface Pending {
  readonly resolve: (response: TransportResponse) => void;
  readonly reject: (error: Error) => void;
  readonly signal: AbortSignal | undefined;
  readonly onAbort: (() => void) | undefined;
  stream: ChunkStream | undefined;
}

class PortTransport implements Transport {
  readonly #port: MessagePort;
  readonly #writer: FrameWriter;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #closed: TransportError | undefined;

  constructor(port: MessagePort) {
    this.#port = port;
    this.#writer = new FrameWriter(port);
    port.on('message', (batch: Batch) => {
      for (const frame of batch.frames) this.#receive(frame, batch);
    });
    port.on('close', () =>
      this.#shut(new TransportError('reset', "the API server's end of the message port is closed")),
    );
  }

  request(request: TransportRequest): Promise<TransportResponse> {
    const { signal } = request;
    if (this.#closed)
      return Promise.reject(
        this.#closed.code === 'closed' ? this.#closed : new TransportError('refused', this.#closed.message),
      );
    if (signal?.aborted) return Promise.reject(abortReason(signal));
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      const onAbort =
        signal &&
        ((): void => {
          this.#writer.push([FRAME.cancel, id]);
          this.#fail(id, abortReason(signal));
        });
      if (onAbort) signal.addEventListener('abort', onAbort, { once: true });
      this.#pending.set(id, { resolve, reject, signal, onAbort, stream: undefined });
      const { body } = request;
      const { offset, length } = this.#writer.place(
        body === undefined ? [] : [typeof body === 'string' ? Buffer.from(body) : body],
      );
      this.#writer.push([
        FRAME.request,
        id,
        request.method,
        request.path,
        request.headers ?? {},
        offset,
        length,
      ]);
    });
  }

  close(): Promise<void> {
    this.#shut(new TransportError('closed', 'transport is closed'));
    return Promise.resolve();
  }

  #receive(frame: Frame, batch: Batch): void {
    const pending = this.#pending.get(frame[1]);
    // Responses to cancelled requests may still arrive.
    if (!pending) return;
    switch (frame[0]) {
      case FRAME.response:
        this.#forget(frame[1], pending);
        pending.resolve(
          wholeResponse(frame[2], {
            headers: frame[3],
            body: encodeFrameBytes(batch, { offset: frame[4], length: frame[5] }),
          }),
        );
        break;
      case FRAME.streamStart:
        pending.stream = this.#openStream(frame[1]);
        pending.resolve(streamResponse(frame[2], { headers: frame[3], stream: pending.stream }));
        break;
      case FRAME.chunk:
        pending.stream?.push(encodeFrameBytes(batch, { offset: frame[2], length: frame[3] }));
        break;
      case FRAME.streamEnd:
        this.#forget(frame[1], pending);
        pending.stream?.end();
        break;
      case FRAME.failure:
        this.#fail(frame[1], new TransportError('reset', frame[2]));
        break;
      default:
        throw new TransportError('protocol', `message port: a client does not expect frame ${frame[0]}`);
    }
  }

  #openStream(id: number): ChunkStream {
    let taken = 0;
    const stream = new ChunkStream({
      onConsumed: (bytes) => {
        taken += bytes;
        if (taken < STREAM_WINDOW_BYTES / 4 || !this.#pending.has(id)) return;
        this.#writer.push([FRAME.credit, id, taken]);
        taken = 0;
      },
    });
    stream.onClose(() => {
      const pending = this.#pending.get(id);
      if (!pending) return;
      this.#forget(id, pending);
      this.#writer.push([FRAME.cancel, id]);
    });
    return stream;
  }

  #fail(id: number, error: Error): void {
    const pending = this.#pending.get(id);
    if (!pending) return;
    this.#forget(id, pending);
    pending.reject(error);
    pending.stream?.fail(error);
  }

  #forget(id: number, { signal, onAbort }: Pending): void {
    this.#pending.delete(id);
    if (signal && onAbort) signal.removeEventListener('abort', onAbort);
  }

  #shut(error: TransportError): void {
    if (this.#closed) return;
    this.#closed = error;
    this.#writer.flush();
    this.#writer.close();
    for (const id of this.#pending.keys()) this.#fail(id, error);
    this.#port.close();
  }
}

interface ServedPort {
  /** Requests in progress, including streams. */
  readonly open: number;
  /** Aborts open requests and closes the port. */
  close(): void;
}

/** Serves a port with a handler, as the given user: the other end of the port is trusted to act as that user. */
export function servePort(port: MessagePort, handler: DirectHandler, user: UserInfo): ServedPort {
  const server = new PortServer(port, { handler, user });
  return server;
}

interface Serving {
  readonly aborts: AbortCallbacks;
  sink: PortSink | undefined;
}

class PortServer implements ServedPort {
  readonly #port: MessagePort;
  readonly #handler: DirectHandler;
  readonly #user: UserInfo;
  readonly #writer: FrameWriter;
  readonly #serving = new Map<number, Serving>();
  #closed = false;

  constructor(
    port: MessagePort,
    { handler, user }: { readonly handler: DirectHandler; readonly user: UserInfo },
  ) {
    this.#port = port;
    this.#handler = handler;
    this.#user = user;
    this.#writer = new FrameWriter(port);
    port.on('message', (batch: Batch) => {
      for (const frame of batch.frames) this.#receive(frame, batch);
    });
    port.on('close', () => this.close());
  }

  get open(): number {
    return this.#serving.size;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#writer.close();
    for (const id of this.#serving.keys()) this.#abort(id);
    this.#port.close();
  }

  #receive(frame: Frame, batch: Batch): void {
    switch (frame[0]) {
      case FRAME.request:
        return this.#serve(frame, batch);
      case FRAME.cancel:
        return this.#abort(frame[1]);
      case FRAME.credit:
        return this.#serving.get(frame[1])?.sink?.credit(frame[2]);
      default:
        throw new TransportError('protocol', `message port: a server does not expect frame ${frame[0]}`);
    }
  }

  #serve(
    [, id, method, path, headers, offset, length]: Extract<Frame, { readonly 0: typeof FRAME.request }>,
    batch: Batch,
  ): void {
    const serving: Serving = { aborts: new AbortCallbacks(), sink: undefined };
    this.#serving.set(id, serving);
    const request = {
      method,
      path,
      headers: headers as Record<string, string>,
      body: encodeFrameBytes(batch, { offset, length }),
    };
    this.#handler(
      directRequest(request, { user: this.#user, remoteAddress: '127.0.0.1', aborts: serving.aborts }),
    ).then(
      (response) => this.#answer(id, { serving, response }),
      (error: unknown) => {
        if (this.#serving.delete(id)) this.#writer.push([FRAME.failure, id, errorMessage(error)]);
      },
    );
  }

  #answer(
    id: number,
    { serving, response }: { readonly serving: Serving; readonly response: DirectResponse },
  ): void {
    const { status, headers, body } = response;
    if (typeof body !== 'function') {
      if (!this.#serving.delete(id)) return;
      const { offset, length } = this.#writer.place(
        Buffer.isBuffer(body) ? [body] : (body as readonly Buffer[]),
      );
      this.#writer.push([FRAME.response, id, status, headers, offset, length]);
      return;
    }
    const gone = !this.#serving.has(id);
    const sink = new PortSink(id, { writer: this.#writer, onEnd: () => this.#serving.delete(id) });
    if (gone) sink.abort();
    else this.#writer.push([FRAME.streamStart, id, status, headers]);
    serving.sink = sink;
    body(sink);
  }

  #abort(id: number): void {
    const serving = this.#serving.get(id);
    if (!serving) return;
    this.#serving.delete(id);
    serving.sink?.abort();
    serving.aborts.fire();
  }
}

/** The server side of a stream: sends while there is credit, and buffers the rest. */
class PortSink implements DirectSink {
  readonly #id: number;
  readonly #writer: FrameWriter;
  readonly #onEnd: () => void;
  #credit = STREAM_WINDOW_BYTES;
  #waiting: Buffer[] = [];
  #bufferedBytes = 0;
  #ended = false;
  #closed = false;
  #drainWaiters: (() => void)[] = [];
  #closeCallbacks: (() => void)[] = [];

  constructor(id: number, { writer, onEnd }: { readonly writer: FrameWriter; readonly onEnd: () => void }) {
    this.#id = id;
    this.#writer = writer;
    this.#onEnd = onEnd;
  }

  get bufferedBytes(): number {
    return this.#bufferedBytes;
  }
  get closed(): boolean {
    return this.#closed;
  }

  write(chunk: Buffer): boolean {
    if (this.#closed || this.#ended) return true;
    if (this.#waiting.length === 0 && this.#credit > 0) this.#send(chunk);
    else {
      this.#waiting.push(chunk);
      this.#bufferedBytes += chunk.length;
    }
    return this.#waiting.length === 0;
  }

  drained(): Promise<void> {
    if (this.#closed || this.#waiting.length === 0) return Promise.resolve();
    return new Promise((resolve) => this.#drainWaiters.push(resolve));
  }

  end(): void {
    if (this.#ended || this.#closed) return;
    this.#ended = true;
    if (this.#waiting.length === 0) this.#finish();
  }

  onClose(callback: () => void): void {
    if (this.#closed) callback();
    else this.#closeCallbacks.push(callback);
  }

  credit(bytes: number): void {
    this.#credit += bytes;
    let sent = 0;
    while (sent < this.#waiting.length && this.#credit > 0) {
      const chunk = this.#waiting[sent]!;
      this.#bufferedBytes -= chunk.length;
      this.#send(chunk);
      sent += 1;
    }
    this.#waiting.splice(0, sent);
    if (this.#waiting.length > 0) return;
    this.#releaseDrainWaiters();
    if (this.#ended) this.#finish();
  }

  /** The reader has cancelled. */
  abort(): void {
    this.#waiting = [];
    this.#bufferedBytes = 0;
    this.#close();
  }

  /** A chunk may exceed the remaining credit; the next one waits until it is positive again. */
  #send(chunk: Buffer): void {
    this.#credit -= chunk.length;
    const { offset, length } = this.#writer.place([chunk]);
    this.#writer.push([FRAME.chunk, this.#id, offset, length]);
  }

  #finish(): void {
    if (this.#closed) return;
    this.#writer.push([FRAME.streamEnd, this.#id]);
    this.#onEnd();
    this.#close();
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#releaseDrainWaiters();
    const callbacks = this.#closeCallbacks;
    this.#closeCallbacks = [];
    for (const callback of callbacks) callback();
  }

  #releaseDrainWaiters(): void {
    const waiters = this.#drainWaiters;
    this.#drainWaiters = [];
    for (const resolve of waiters) resolve();
  }
}
