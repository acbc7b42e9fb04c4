/** Collects a request's body in chunks. Small chunks are copied together, because each would take many times its own size in memory. */

/** Larger chunks are kept unchanged. */
const SMALL_BYTES = 2048;
const TAIL_BYTES = 16 * 1024;
const EMPTY = Buffer.alloc(0);

export class BodyParts {
  #first: Buffer | undefined;
  #rest: Buffer[] | undefined;
  /** The buffer for small chunks, and its fill level. */
  #tail: Buffer | undefined;
  #filled = 0;
  bytes = 0;

  add(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.bytes += chunk.length;
    if (this.#first === undefined) {
      this.#first = chunk;
      return;
    }
    if (chunk.length > SMALL_BYTES) {
      this.#closeTail();
      (this.#rest ??= []).push(chunk);
      return;
    }
    if (this.#tail && this.#filled + chunk.length > this.#tail.length) this.#closeTail();
    this.#tail ??= Buffer.allocUnsafeSlow(TAIL_BYTES);
    this.#tail.set(chunk, this.#filled);
    this.#filled += chunk.length;
  }

  /** Returns the whole body and resets the collector. */
  take(): Buffer {
    this.#closeTail();
    const body = this.#rest
      ? Buffer.concat([this.#first!, ...this.#rest], this.bytes)
      : (this.#first ?? EMPTY);
    this.clear();
    return body;
  }

  clear(): void {
    this.#first = this.#rest = this.#tail = undefined;
    this.#filled = this.bytes = 0;
  }

  #closeTail(): void {
    if (!this.#tail) return;
    (this.#rest ??= []).push(this.#tail.subarray(0, this.#filled));
    this.#tail = undefined;
    this.#filled = 0;
  }
}

/** Length of a whole body. */
export function lengthOf(body: Buffer | readonly Buffer[]): number {
  if (Buffer.isBuffer(body)) return body.length;
  let length = 0;
  for (const piece of body as readonly Buffer[]) length += piece.length;
  return length;
}
