/** A client that sends given bytes and records the frames it receives, with frames and header fields coded independently of the server. */
import { connect, type Socket } from 'node:net';
import { Flag, FrameType, PREFACE } from '../frames.ts';
import { HeaderDecoder } from '../hpack.ts';

export interface SeenFrame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
}

export class RawClient {
  readonly socket: Socket;
  readonly frames: SeenFrame[] = [];
  closed = false;
  onFrame: (frame: SeenFrame) => void = () => {};
  #bytes = Buffer.alloc(0);
  #waiting: (() => void)[] = [];
  #pings = 0;

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1');
    this.socket.on('error', () => {});
    this.socket.on('data', (chunk: Buffer) => this.#read(chunk));
    this.socket.on('close', () => {
      this.closed = true;
      this.#wake();
    });
  }

  send(...bytes: Uint8Array[]): void {
    this.socket.write(Buffer.concat(bytes));
  }

  /** The first frame that is so; undefined when the connection closed without one. */
  async frame(is: (frame: SeenFrame) => boolean): Promise<SeenFrame | undefined> {
    for (;;) {
      const found = this.frames.find(is);
      if (found || this.closed) return found;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** Everything sent before was handled once this PING is acknowledged; undefined = the connection is closed. */
  ping(opaque = String(this.#pings++).padStart(8, '0')): Promise<SeenFrame | undefined> {
    this.send(frame(FrameType.ping, { payload: Buffer.from(opaque) }));
    return this.frame(
      ({ type, flags, payload }) =>
        type === FrameType.ping && flags === Flag.ack && payload.toString() === opaque,
    );
  }

  /** Fields of the first HEADERS frame of each stream that has one; reads the server's compression from its first block on. */
  responses(): Map<number, Record<string, string>> {
    const decoder = new HeaderDecoder();
    const responses = new Map<number, Record<string, string>>();
    for (const { type, streamId, payload } of this.frames) {
      if (type !== FrameType.headers) continue;
      const fields: Record<string, string> = {};
      decoder.decode(payload, { field: (name, value) => void (fields[name] = value) });
      if (!responses.has(streamId)) responses.set(streamId, fields);
    }
    return responses;
  }

  /** Bytes of DATA of a stream so far. */
  body(streamId: number): Buffer {
    return Buffer.concat(
      this.frames
        .filter((one) => one.type === FrameType.data && one.streamId === streamId)
        .map(({ payload }) => payload),
    );
  }

  #read(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    while (this.#bytes.length >= 9 && this.#bytes.length >= 9 + this.#bytes.readUIntBE(0, 3)) {
      const end = 9 + this.#bytes.readUIntBE(0, 3);
      const seen: SeenFrame = {
        type: this.#bytes[3]!,
        flags: this.#bytes[4]!,
        streamId: this.#bytes.readUInt32BE(5),
        payload: this.#bytes.subarray(9, end),
      };
      this.frames.push(seen);
      this.#bytes = this.#bytes.subarray(end);
      this.onFrame(seen);
    }
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

/** length: the header's, if it differs from that of the payload. */
export function frame(
  type: number,
  {
    flags = 0,
    streamId = 0,
    payload = Buffer.alloc(0),
    length = payload.length,
  }: { flags?: number; streamId?: number; payload?: Uint8Array; length?: number } = {},
): Buffer {
  const bytes = Buffer.alloc(9 + payload.length);
  bytes.writeUIntBE(length, 0, 3);
  bytes[3] = type;
  bytes[4] = flags;
  bytes.writeUInt32BE(streamId, 5);
  bytes.set(payload, 9);
  return bytes;
}

/** Indexed :method GET or POST, :scheme http, :path /. */
export const GET = Buffer.from([0x82, 0x86, 0x84]);
export const POST = Buffer.from([0x83, 0x86, 0x84]);
export const START = Buffer.concat([PREFACE, frame(FrameType.settings)]);
export const END = Flag.endHeaders | Flag.endStream;

export function headers(streamId: number, block: Uint8Array = GET, flags: number = END): Buffer {
  return frame(FrameType.headers, { flags, streamId, payload: block });
}

/** A request's HEADERS and nothing after them. */
export function openPost(streamId: number): Buffer {
  return headers(streamId, POST, Flag.endHeaders);
}

export function continuation(streamId: number, block: Uint8Array, flags = 0): Buffer {
  return frame(FrameType.continuation, { flags, streamId, payload: block });
}

export function data(streamId: number, text: string | Uint8Array, flags = 0): Buffer {
  return frame(FrameType.data, { flags, streamId, payload: Buffer.from(text as string) });
}

/** A field without indexing, its name and value in full (RFC 7541, section 6.2.2). */
export function literal(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.from([0x00]), text(name), text(value)]);
}

/** A field that both sides remember, its name and value in full (section 6.2.1). */
export function remembered(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.from([0x40]), text(name), text(value)]);
}

/** A GET without the pseudo fields of GET that are given, and with these fields in their place. */
export function request(...fields: readonly (readonly [name: string, value: string])[]): Buffer {
  return Buffer.concat(fields.map(([name, value]) => literal(name, value)));
}

export function priority(dependency: number, weight = 15): Buffer {
  const bytes = Buffer.alloc(5);
  bytes.writeUInt32BE(dependency >>> 0, 0);
  bytes[4] = weight;
  return bytes;
}

/** A string that is not Huffman coded (section 5.2). */
function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'latin1');
  return Buffer.concat([integer(bytes.length, 127), bytes]);
}

/** Section 5.1; most: the value of a full prefix, whose other bits are 0. */
export function integer(value: number, most: number): Buffer {
  if (value < most) return Buffer.from([value]);
  const bytes = [most];
  let rest = value - most;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push(0x80 | (rest % 128));
  return Buffer.from([...bytes, rest]);
}
