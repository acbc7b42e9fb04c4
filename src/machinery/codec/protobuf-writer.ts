/**
 * Writes protobuf backwards, last field first, as gogo's generated code does: a message's length is known once its content is written,
 * so nothing is measured twice. One buffer is reused between calls; finish() copies.
 */
const initialBytes = 16 * 1024;
/** A larger buffer is released after use. */
const keptBytes = 4 * 1024 * 1024;

export class ReverseWriter {
  #buffer = Buffer.allocUnsafeSlow(initialBytes);
  /** Everything from here to the end is written. */
  #position = initialBytes;
  /** Whether the decoder returns what was written, but for the order of fields. */
  isFaithful = true;

  /** Number of bytes written so far: the difference of two marks is a message's length. */
  mark(): number {
    return this.#buffer.length - this.#position;
  }

  /** Returns the bytes and resets the writer. */
  finish(): Buffer {
    const bytes = Buffer.from(this.#buffer.subarray(this.#position));
    this.reset();
    return bytes;
  }

  reset(): void {
    if (this.#buffer.length > keptBytes) this.#buffer = Buffer.allocUnsafeSlow(initialBytes);
    this.#position = this.#buffer.length;
    this.isFaithful = true;
  }

  #reserve(count: number): void {
    if (this.#position >= count) return;
    const used = this.mark();
    const grown = Buffer.allocUnsafeSlow(Math.max(this.#buffer.length * 2, used + count));
    this.#buffer.copy(grown, grown.length - used, this.#position);
    this.#buffer = grown;
    this.#position = grown.length - used;
  }

  /** An unsigned number below 2^53. */
  varint(value: number): void {
    this.#reserve(10);
    if (value < 0x80) {
      this.#buffer[--this.#position] = value;
      return;
    }
    let length = 1;
    for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 128)) length++;
    let at = (this.#position -= length);
    let rest = value;
    while (rest >= 0x80) {
      this.#buffer[at++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    this.#buffer[at] = rest;
  }

  /** A signed integer as proto2's int32 and int64: negative numbers take ten bytes. */
  integer(value: number): void {
    if (value >= 0 && value <= Number.MAX_SAFE_INTEGER) {
      this.varint(value);
      return;
    }
    this.#reserve(10);
    let rest = BigInt.asUintN(64, BigInt(value));
    let length = 1;
    for (let probe = rest; probe >= 0x80n; probe >>= 7n) length++;
    let at = (this.#position -= length);
    while (rest >= 0x80n) {
      this.#buffer[at++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.#buffer[at] = Number(rest);
  }

  double(value: number): void {
    this.#reserve(8);
    this.#position -= 8;
    this.#buffer.writeDoubleLE(value, this.#position);
  }

  /** A string with its length prefix. */
  string(text: string): void {
    const length = text.length;
    if (length <= 40 && this.#shortAscii(text)) {
      this.varint(length);
      return;
    }
    const bytes = Buffer.byteLength(text);
    // Half of a surrogate pair has no UTF-8.
    if (bytes !== length && !text.isWellFormed()) this.isFaithful = false;
    this.#reserve(bytes);
    this.#position -= bytes;
    this.#buffer.write(text, this.#position, 'utf8');
    this.varint(bytes);
  }

  #shortAscii(text: string): boolean {
    const length = text.length;
    this.#reserve(length);
    const start = this.#position - length;
    for (let index = 0; index < length; index++) {
      const code = text.charCodeAt(index);
      if (code >= 0x80) return false;
      this.#buffer[start + index] = code;
    }
    this.#position = start;
    return true;
  }

  /** Bytes with their length prefix. */
  bytes(bytes: Uint8Array): void {
    this.raw(bytes);
    this.varint(bytes.length);
  }

  /** Bytes without a prefix. */
  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#position -= bytes.length;
    this.#buffer.set(bytes, this.#position);
  }
}
