/** What gRPC over HTTP/2 adds: messages with a prefix, a status in the trailers, and the errors made of it. As grpc-js has them. */
import { status } from '@grpc/grpc-js';
import { decodePercent } from '#stdx/percent.ts';

const PREFIX_BYTES = 5;

/** As grpc-js throws. */
export class CallError extends Error {
  readonly code: status;
  readonly details: string;

  constructor(code: status, details: string, options?: ErrorOptions) {
    super(`${code} ${status[code]}: ${details}`, options);
    this.code = code;
    this.details = details;
  }
}

export function framed(message: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(PREFIX_BYTES + message.length);
  frame[0] = 0;
  frame.writeUInt32BE(message.length, 1);
  message.copy(frame, PREFIX_BYTES);
  return frame;
}

/** The outcome of one call, from the fields of its response and trailers. */
export class GrpcStatus {
  #http: string | undefined;
  #code: string | undefined;
  #message = '';

  field(name: string, value: string): void {
    if (name === ':status') this.#http ??= value;
    else if (name === 'grpc-status') this.#code = value;
    else if (name === 'grpc-message') this.#message = decodePercent(value);
  }

  /** Undefined for OK. cause: why the stream broke, where it did. */
  error(cause: Error | undefined): CallError | undefined {
    if (this.#code === undefined) {
      if (this.#http !== undefined && this.#http !== '200')
        return new CallError(status.UNAVAILABLE, `HTTP status ${this.#http} instead of gRPC`);
      return new CallError(status.UNAVAILABLE, 'the connection was lost before the answer', { cause });
    }
    const code = Number(this.#code);
    if (code === status.OK) return undefined;
    return new CallError(status[code] === undefined ? status.UNKNOWN : code, this.#message);
  }
}

/** The messages of one response, cut out of its bytes. */
export class MessageReader {
  readonly #maxBytes: number;
  #chunks: Buffer[] = [];
  #length = 0;
  /** Of the message that is being read, with its prefix; undefined until the prefix is there. */
  #expected: number | undefined;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Whether nothing of a message is left over. */
  get isEmpty(): boolean {
    return this.#length === 0;
  }

  /** Returns the messages that are whole now, or why they cannot be read. */
  take(chunk: Buffer): Buffer[] | CallError {
    const messages: Buffer[] = [];
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    for (;;) {
      const error = this.#readPrefix();
      if (error) return error;
      if (this.#expected === undefined || this.#length < this.#expected) return messages;
      const whole = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks, this.#length);
      messages.push(whole.subarray(PREFIX_BYTES, this.#expected));
      const rest = whole.subarray(this.#expected);
      this.#chunks = rest.length > 0 ? [rest] : [];
      this.#length = rest.length;
      this.#expected = undefined;
    }
  }

  #readPrefix(): CallError | undefined {
    if (this.#expected !== undefined || this.#length < PREFIX_BYTES) return undefined;
    if (this.#chunks[0]!.length < PREFIX_BYTES) this.#chunks = [Buffer.concat(this.#chunks, this.#length)];
    const prefix = this.#chunks[0]!;
    if (prefix[0] !== 0)
      return new CallError(status.INTERNAL, 'the response is not one uncompressed message');
    const bytes = prefix.readUInt32BE(1);
    if (bytes > this.#maxBytes)
      return new CallError(status.RESOURCE_EXHAUSTED, `the response is larger than ${this.#maxBytes} bytes`);
    this.#expected = PREFIX_BYTES + bytes;
    return undefined;
  }
}
