/** Writes protobuf messages field by field, for formats outside of the API: the caller provides field numbers. The API's kinds use protobuf.ts. */

const FIRST_BYTES = 64 * 1024;

/** One buffer, written forwards. A length is inserted when its content is written; if it needs more than a byte, the content is moved. */
export class Message {
  #buffer = Buffer.allocUnsafe(FIRST_BYTES);
  #at = 0;

  #reserve(count: number): void {
    if (this.#at + count <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#at + count));
    this.#buffer.copy(grown, 0, 0, this.#at);
    this.#buffer = grown;
  }

  #varint(value: number): void {
    this.#reserve(10);
    if (value < 0) {
      let rest = BigInt.asUintN(64, BigInt(value));
      for (; rest >= 0x80n; rest >>= 7n) this.#buffer[this.#at++] = Number(rest & 0x7fn) | 0x80;
      this.#buffer[this.#at++] = Number(rest);
      return;
    }
    let number = value;
    for (; number >= 0x80; number = Math.floor(number / 128))
      this.#buffer[this.#at++] = (number % 128) | 0x80;
    this.#buffer[this.#at++] = number;
  }

  /** Writes the output of write() as a length-delimited field. */
  #sized(field: number, write: () => void): this {
    this.#varint(field * 8 + 2);
    this.#reserve(1);
    const start = ++this.#at;
    write();
    const length = this.#at - start;
    let more = 0;
    for (let rest = length; rest >= 0x80; rest = Math.floor(rest / 128)) more++;
    if (more > 0) {
      this.#reserve(more);
      this.#buffer.copyWithin(start + more, start, this.#at);
    }
    const end = this.#at + more;
    this.#at = start - 1;
    this.#varint(length);
    this.#at = end;
    return this;
  }

  /** Absent and empty strings are omitted. */
  text(field: number, value: unknown): this {
    return typeof value === 'string' && value !== '' ? this.#text(field, value) : this;
  }

  /** Writes '', 0 and false too: for oneofs and entries of a table. Numbers are doubles. */
  set(field: number, value: string | number | boolean): this {
    if (typeof value === 'string') return this.#text(field, value);
    this.#varint(field * 8 + (typeof value === 'number' ? 1 : 0));
    if (typeof value === 'boolean') {
      this.#varint(value ? 1 : 0);
      return this;
    }
    this.#reserve(8);
    this.#at = this.#buffer.writeDoubleLE(value, this.#at);
    return this;
  }

  #text(field: number, value: string): this {
    return this.#sized(field, () => {
      this.#reserve(value.length * 3);
      this.#at += this.#buffer.write(value, this.#at);
    });
  }

  texts(field: number, values: unknown): this {
    if (Array.isArray(values))
      for (const value of values) if (typeof value === 'string') this.#text(field, value);
    return this;
  }

  flag(field: number, value: unknown): this {
    if (value !== true) return this;
    this.#varint(field * 8);
    this.#varint(1);
    return this;
  }

  /** Integers, including negative ones. */
  integer(field: number, value: unknown): this {
    if (typeof value !== 'number' || value === 0) return this;
    this.#varint(field * 8);
    this.#varint(value);
    return this;
  }

  number(field: number, value: unknown): this {
    return typeof value === 'number' && value !== 0 ? this.set(field, value) : this;
  }

  /** Omits undefined; writes an empty message. */
  sub<T>(field: number, value: T | undefined, write: (message: Message, value: T) => void): this {
    return value === undefined ? this : this.#sized(field, () => write(this, value));
  }

  /** A packed list of numbers. */
  packed(field: number, values: readonly number[]): this {
    return values.length === 0
      ? this
      : this.#sized(field, () => values.forEach((value) => this.#varint(value)));
  }

  finish(): Buffer {
    return Buffer.from(this.#buffer.subarray(0, this.#at));
  }
}
