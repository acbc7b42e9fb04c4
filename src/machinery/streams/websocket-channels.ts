/**
 * The server's side of the WebSocket protocols of exec, attach and port-forward: several byte channels in one WebSocket; a message's
 * first byte (base64 variants: first digit) is the channel. v5 adds message 255, which closes one channel for writing.
 */
import { Readable, Writable } from 'node:stream';
import type { RawData, WebSocket } from 'ws';

/** In the server's order of preference. */
const CHANNEL_PROTOCOLS = [
  'v5.channel.k8s.io',
  'v4.channel.k8s.io',
  'v4.base64.channel.k8s.io',
  'v3.channel.k8s.io',
  'v2.channel.k8s.io',
  'channel.k8s.io',
  'base64.channel.k8s.io',
] as const;

export const CHANNEL = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4 } as const;
const CLOSE_CHANNEL = 255;
/** Larger messages are rejected; kubectl sends 32 kB. */
export const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;
/** Bytes buffered per channel before the WebSocket is paused. */
const CHANNEL_BUFFER_BYTES = 256 * 1024;
const NORMAL_CLOSURE = 1000;
const INTERNAL_ERROR = 1011;

interface WebSocketChannelsOptions {
  readonly socket: WebSocket;
  /** The negotiated protocol; '' (none) is binary without the close signal. */
  readonly protocol: string;
  /** Channels that the client writes. As upstream, messages for others are dropped. */
  readonly readable: readonly number[];
}

export class WebSocketChannels {
  /** Resolves when the WebSocket is closed by either side. */
  readonly closed: Promise<void>;
  readonly #socket: WebSocket;
  readonly #base64: boolean;
  readonly #closeSignal: boolean;
  readonly #readers = new Map<number, Readable>();
  readonly #full = new Set<Readable>();

  constructor({ socket, protocol, readable }: WebSocketChannelsOptions) {
    this.#socket = socket;
    this.#base64 = protocol.includes('base64');
    this.#closeSignal = protocol.startsWith('v5.');
    for (const channel of readable) this.#readers.set(channel, this.#createReader());
    const { promise, resolve } = Promise.withResolvers<void>();
    this.closed = promise;
    socket.on('message', (data, isBinary) => this.#receive(data, isBinary));
    socket.on('error', () => {}); // 'close' follows
    socket.on('close', () => {
      for (const reader of this.#readers.values()) reader.push(null);
      resolve();
    });
  }

  /** The client's data on a channel; ends with the WebSocket or the close signal. */
  reader(channel: number): Readable | undefined {
    return this.#readers.get(channel);
  }

  /** A channel for sending. Ending it has no effect on the wire, because these protocols cannot express it. */
  writer(channel: number): Writable {
    return new Writable({ write: (chunk: Buffer, _encoding, done) => this.send(channel, chunk, done) });
  }

  /** done is called when the message was passed to the system. */
  send(channel: number, data: Buffer | string, done: (error?: Error | null) => void = () => {}): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return done(new Error('the WebSocket is closed'));
    const bytes = typeof data === 'string' ? Buffer.from(data) : data;
    if (this.#base64) this.#socket.send(`${channel}${bytes.toString('base64')}`, { binary: false }, done);
    else this.#socket.send(Buffer.concat([Buffer.from([channel]), bytes]), { binary: true }, done);
  }

  close(): void {
    this.#socket.close(NORMAL_CLOSURE);
  }

  /** After an error that no channel can report. */
  fail(reason: string): void {
    this.#socket.close(INTERNAL_ERROR, reason.slice(0, 120));
  }

  #createReader(): Readable {
    const reader = new Readable({
      highWaterMark: CHANNEL_BUFFER_BYTES,
      read: () => {
        this.#full.delete(reader);
        if (this.#full.size === 0 && this.#socket.isPaused) this.#socket.resume();
      },
      destroy: (error, done) => {
        this.#full.delete(reader);
        if (this.#full.size === 0 && this.#socket.isPaused) this.#socket.resume();
        done(error);
      },
    });
    return reader;
  }

  #receive(data: RawData, isBinary: boolean): void {
    const message = toBuffer(data);
    if (message.length === 0) return;
    const first = message.readUInt8(0);
    const channel = isBinary ? first : first - 0x30;
    if (this.#closeSignal && isBinary && channel === CLOSE_CHANNEL) return this.#closeReader(message[1]);
    const reader = this.#readers.get(channel);
    if (!reader || reader.destroyed || reader.readableEnded) return;
    const rest = message.subarray(1);
    const bytes = this.#base64 ? Buffer.from(rest.toString('latin1'), 'base64') : rest;
    if (bytes.length === 0 || reader.push(bytes)) return;
    this.#full.add(reader);
    this.#socket.pause();
  }

  #closeReader(channel: number | undefined): void {
    const reader = channel === undefined ? undefined : this.#readers.get(channel);
    if (reader && !reader.readableEnded) reader.push(null);
  }
}

function toBuffer(data: RawData): Buffer {
  if (Buffer.isBuffer(data)) return data;
  return Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data);
}

/** The first supported protocol that the client offers; '' when it offers none at all; undefined when it offers only unknown ones. */
export function negotiateChannelProtocol(
  offered: readonly string[],
  supported: readonly string[] = CHANNEL_PROTOCOLS,
): string | undefined {
  if (offered.length === 0) return '';
  return offered.find((protocol) => supported.includes(protocol));
}

/** The header's list, in the client's order. */
export function offeredProtocols(header: string | undefined): string[] {
  return (header ?? '')
    .split(',')
    .map((protocol) => protocol.trim())
    .filter((protocol) => protocol !== '');
}
