/** Reads protobuf elements from bytes. Every read is checked against the end of the enclosing message. */
import { ProtobufError } from './protobuf-errors.ts';

export class Reader {
  readonly #bytes: Buffer;
  position: number;

  constructor(bytes: Uint8Array, position = 0) {
    this.#bytes = Buffer.isBuffer(bytes)
      ? bytes
      : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.position = position;
  }

  get length(): number {
    return this.#bytes.length;
  }

  /** An unsigned number; not exact beyond 2^53 (callers check lengths and tags). */
  varint(): number {
    const bytes = this.#bytes;
    const first = bytes[this.position];
    if (first !== undefined && first < 0x80) {
      this.position++;
      return first;
    }
    let value = 0;
    let factor = 1;
    for (let count = 0; count < 10; count++) {
      const byte = bytes[this.position++];
      if (byte === undefined) throw truncated();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
      factor *= 128;
    }
    throw new ProtobufError('malformed', 'proto: integer overflow');
  }

  /** A signed 64-bit integer. */
  integer(): number {
    const start = this.position;
    const value = this.varint();
    if (value <= Number.MAX_SAFE_INTEGER) return value;
    let exact = 0n;
    for (let at = start, shift = 0n; at < this.position; at++, shift += 7n)
      exact |= BigInt(this.#bytes[at]! & 0x7f) << shift;
    return Number(BigInt.asIntN(64, exact));
  }

  double(): number {
    if (this.position + 8 > this.#bytes.length) throw truncated();
    this.position += 8;
    return this.#bytes.readDoubleLE(this.position - 8);
  }

  /** The end of a length-delimited element, read from its length. */
  end(limit: number): number {
    const length = this.varint();
    const end = this.position + length;
    if (end > limit) throw truncated();
    return end;
  }

  string(limit: number): string {
    const start = this.position;
    const end = this.end(limit);
    const from = this.position;
    this.position = end;
    if (end - from > 24) return this.#bytes.toString('utf8', from, end);
    let text = '';
    for (let at = from; at < end; at++) {
      const code = this.#bytes[at]!;
      if (code >= 0x80) {
        this.position = start;
        return this.#longString(limit);
      }
      text += String.fromCharCode(code);
    }
    return text;
  }

  #longString(limit: number): string {
    const end = this.end(limit);
    const from = this.position;
    this.position = end;
    return this.#bytes.toString('utf8', from, end);
  }

  /** A view of the bytes, not a copy. */
  bytes(limit: number): Buffer {
    const end = this.end(limit);
    const from = this.position;
    this.position = end;
    return this.#bytes.subarray(from, end);
  }

  skip(wireType: number, limit: number): void {
    if (wireType === 0) this.varint();
    else if (wireType === 1) this.position += 8;
    else if (wireType === 2) this.position = this.end(limit);
    else if (wireType === 5) this.position += 4;
    else throw new ProtobufError('malformed', `proto: illegal wireType ${wireType}`);
    if (this.position > limit) throw truncated();
  }
}

function truncated(): ProtobufError {
  return new ProtobufError('truncated', 'unexpected EOF');
}
