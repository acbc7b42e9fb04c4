/**
 * A bounded byte stream inside one thread: one producer pushes chunks, one consumer iterates. Independent of HTTP.
 *
 *   open --end()--> draining --last chunk read--> closed       open --fail(e)--> closed (the consumer throws e at once)
 *   open|draining --the consumer leaves its loop, cancel()--> closed (onClose callbacks tell the producer)
 *
 * Bound: `limitBytes`; a push above it fails the stream, so a producer that ignores back-pressure cannot fill memory.
 */
import { TransportError } from './transport-error.ts';

interface ChunkStreamOptions {
  /** Above this, push() returns false: the producer should wait for drained(). Default 256 KiB. */
  readonly highWaterBytes?: number;
  /** Hard bound. Default 64 MiB. */
  readonly limitBytes?: number;
  /** Called with the size of each chunk that the consumer took; flow control grants credit from it. */
  readonly onConsumed?: (bytes: number) => void;
}

export class ChunkStream implements AsyncIterable<Buffer> {
  readonly #highWaterBytes: number;
  readonly #limitBytes: number;
  readonly #onConsumed: ((bytes: number) => void) | undefined;
  #chunks: Buffer[] = [];
  #head = 0;
  #bufferedBytes = 0;
  #ended = false;
  #closed = false;
  #error: Error | undefined;
  #wakeConsumer: (() => void) | undefined;
  #drainWaiters: (() => void)[] = [];
  #closeCallbacks: (() => void)[] = [];

  constructor(options: ChunkStreamOptions = {}) {
    this.#highWaterBytes = options.highWaterBytes ?? 256 * 1024;
    this.#limitBytes = options.limitBytes ?? 64 * 1024 * 1024;
    this.#onConsumed = options.onConsumed;
  }

  get bufferedBytes(): number {
    return this.#bufferedBytes;
  }

  /** True when the consumer has left or the stream failed; pushes are then dropped. */
  get closed(): boolean {
    return this.#closed;
  }

  /** False when the buffer is above the high-water mark. */
  push(chunk: Buffer): boolean {
    if (this.#closed || this.#ended) return true;
    if (this.#bufferedBytes + chunk.length > this.#limitBytes) {
      this.fail(
        new TransportError(
          'reset',
          `stream cut off: the reader is more than ${this.#limitBytes} bytes behind`,
        ),
      );
      return true;
    }
    this.#chunks.push(chunk);
    this.#bufferedBytes += chunk.length;
    this.#wake();
    return this.#bufferedBytes < this.#highWaterBytes;
  }

  end(): void {
    if (this.#closed) return;
    this.#ended = true;
    this.#wake();
  }

  fail(error: Error): void {
    if (this.#closed) return;
    this.#error = error;
    this.#close();
  }

  /** The consumer cancels the rest. */
  cancel(): void {
    this.#ended = true;
    this.#close();
  }

  /** Resolves when the buffer has drained or the consumer has left. */
  drained(): Promise<void> {
    if (this.#closed || this.#bufferedBytes < this.#highWaterBytes) return Promise.resolve();
    return new Promise((resolve) => this.#drainWaiters.push(resolve));
  }

  /** Called once, when the stream ends for any reason. */
  onClose(callback: () => void): void {
    if (this.#closed) callback();
    else this.#closeCallbacks.push(callback);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void, void> {
    try {
      for (;;) {
        if (this.#error) throw this.#error;
        const chunk = this.#take();
        if (chunk) yield chunk;
        else if (this.#ended) return;
        else
          await new Promise<void>((resolve) => {
            this.#wakeConsumer = resolve;
          });
      }
    } finally {
      this.cancel();
    }
  }

  #take(): Buffer | undefined {
    const chunk = this.#chunks[this.#head];
    if (!chunk) return undefined;
    this.#head += 1;
    if (this.#head === this.#chunks.length) {
      this.#chunks = [];
      this.#head = 0;
    }
    this.#bufferedBytes -= chunk.length;
    if (this.#bufferedBytes < this.#highWaterBytes) this.#releaseDrainWaiters();
    this.#onConsumed?.(chunk.length);
    return chunk;
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#chunks = [];
    this.#head = 0;
    this.#bufferedBytes = 0;
    this.#releaseDrainWaiters();
    this.#wake();
    const callbacks = this.#closeCallbacks;
    this.#closeCallbacks = [];
    for (const callback of callbacks) callback();
  }

  #wake(): void {
    const wake = this.#wakeConsumer;
    this.#wakeConsumer = undefined;
    wake?.();
  }

  #releaseDrainWaiters(): void {
    const waiters = this.#drainWaiters;
    if (waiters.length === 0) return;
    this.#drainWaiters = [];
    for (const resolve of waiters) resolve();
  }
}

/** Collects the whole stream in one buffer. */
export async function collect(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
}
