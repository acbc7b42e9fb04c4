/**
 * The frames of a message port between a client and a server thread, and their batching: posting a message
 * costs far more than its bytes, so all frames of one turn of the event loop are sent as one message, with all bytes in
 * one transferred buffer. Independent of HTTP except for the names of the fields.
 */
import type { MessagePort } from 'node:worker_threads';

/** First element of a frame. */
export const FRAME = {
  /** client → server: id, method, path, headers, body range. */
  request: 0,
  /** client → server: id. The client cancels the (rest of the) response. */
  cancel: 1,
  /** client → server: id, bytes. Grants credit: the reader consumed this much. */
  credit: 2,
  /** server → client: id, status, headers, body range. The whole response. */
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

/** Credit of a stream: bytes that may be sent ahead of its reader. */
export const STREAM_WINDOW_BYTES = 1024 * 1024;
/** A batch of this size is posted before the end of the turn. */
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

  /** Adds bytes to the batch of the next frame; returns their range. They are copied when the batch is posted: do not change them. */
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

  /** Copies the bytes, because the source is often shared by many readers and cannot be transferred. */
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

/** The bytes of a frame, without a copy. */
export function encodeFrameBytes(
  batch: Batch,
  { offset, length }: { readonly offset: number; readonly length: number },
): Buffer {
  if (length === 0 || !batch.bytes) return EMPTY;
  return Buffer.from(batch.bytes.buffer, batch.bytes.byteOffset + offset, length);
}

const EMPTY = Buffer.alloc(0);
