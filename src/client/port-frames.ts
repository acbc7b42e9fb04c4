/**
 * What passes over a message port between a client and a server thread, and how frames are put together into few messages: posting
 * costs far more than a frame is long, so everything that arises in one turn of the event loop goes as one message, with all bytes in
 * one transferred buffer. Knows nothing of HTTP beyond the names of the fields.
 */
import type { MessagePort } from 'node:worker_threads';

/** First element of a frame. */
export const FRAME = {
  /** client → server: id, method, path, headers, body range. */
  request: 0,
  /** client → server: id. The client does not want the (rest of the) answer. */
  cancel: 1,
  /** client → server: id, bytes. The reader took this much: as much more may be sent. */
  credit: 2,
  /** server → client: id, status, headers, body range. The whole answer. */
  response: 3,
  /** server → client: id, status, headers. Chunks follow. */
  streamStart: 4,
  /** server → client: id, body range. */
  chunk: 5,
  /** server → client: id. */
  streamEnd: 6,
  /** server → client: id, message. The handler failed. */
  failure: 7,
} as const;

type Headers = Readonly<Record<string, string | undefined>>;
export type Frame =
  | readonly [typeof FRAME.request, number, string, string, Headers, number, number]
  | readonly [typeof FRAME.cancel, number]
  | readonly [typeof FRAME.credit, number, number]
  | readonly [typeof FRAME.response, number, number, Headers, number, number]
  | readonly [typeof FRAME.streamStart, number, number, Headers]
  | readonly [typeof FRAME.chunk, number, number, number]
  | readonly [typeof FRAME.streamEnd, number]
  | readonly [typeof FRAME.failure, number, string];

export interface Batch {
  readonly frames: readonly Frame[];
  readonly bytes: Uint8Array | undefined;
}

/** Bytes a stream may send ahead of its reader. */
export const STREAM_WINDOW_BYTES = 1024 * 1024;
/** A batch of this size does not wait for the end of the turn. */
const FLUSH_BYTES = 1024 * 1024;
const FLUSH_FRAMES = 512;

/** Collects frames and posts them together. */
export class FrameWriter {
  readonly #port: MessagePort;
  #frames: Frame[] = [];
  #pieces: Buffer[] = [];
  #bytes = 0;
  #scheduled = false;
  #closed = false;
  readonly #flushSoon = (): void => {
    this.#scheduled = false;
    this.flush();
  };

  constructor(port: MessagePort) {
    this.#port = port;
  }

  /** Adds bytes to the batch of the next frame; answers where they will be. They are copied when the batch is posted: do not change them. */
  place(pieces: readonly Buffer[]): { readonly offset: number; readonly length: number } {
    const offset = this.#bytes;
    for (const piece of pieces) {
      this.#pieces.push(piece);
      this.#bytes += piece.length;
    }
    return { offset, length: this.#bytes - offset };
  }

  push(frame: Frame): void {
    this.#frames.push(frame);
    if (this.#bytes >= FLUSH_BYTES || this.#frames.length >= FLUSH_FRAMES) this.flush();
    else if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(this.#flushSoon);
    }
  }

  flush(): void {
    if (this.#closed || this.#frames.length === 0) return;
    const frames = this.#frames;
    const bytes = this.#join();
    this.#frames = [];
    this.#port.postMessage({ frames, bytes } satisfies Batch, bytes ? [bytes.buffer] : []);
  }

  close(): void {
    this.#closed = true;
  }

  /** The one copy there is: the source is often shared by many readers, so it cannot be given away itself. */
  #join(): Uint8Array<ArrayBuffer> | undefined {
    if (this.#bytes === 0) return undefined;
    const joined = new Uint8Array(this.#bytes);
    let at = 0;
    for (const piece of this.#pieces) {
      joined.set(piece, at);
      at += piece.length;
    }
    this.#pieces = [];
    this.#bytes = 0;
    return joined;
  }
}

/** The bytes of a frame, without copying. */
export function bytesOf(
  batch: Batch,
  { offset, length }: { readonly offset: number; readonly length: number },
): Buffer {
  if (length === 0 || !batch.bytes) return EMPTY;
  return Buffer.from(batch.bytes.buffer, batch.bytes.byteOffset + offset, length);
}

const EMPTY = Buffer.alloc(0);
