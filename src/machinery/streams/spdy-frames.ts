/**
 * Encodes and decodes SPDY/3.1 frames as used by kubectl, kubelets and container runtimes (the dialect of moby/spdystream).
 * Follows https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/. No connection state except header compression.
 */
import { createInflate } from 'node:zlib';
import type { Inflate } from 'node:zlib';

/** Lower-case names. */
export type SpdyHeaders = Readonly<Record<string, string>>;

export type SpdyFrame =
  | { readonly type: 'data'; readonly streamId: number; readonly fin: boolean; readonly data: Buffer }
  | {
      readonly type: 'syn-stream';
      readonly streamId: number;
      readonly fin: boolean;
      readonly unidirectional: boolean;
      readonly headers: SpdyHeaders;
    }
  | {
      readonly type: 'syn-reply' | 'headers';
      readonly streamId: number;
      readonly fin: boolean;
      readonly headers: SpdyHeaders;
    }
  | { readonly type: 'rst-stream'; readonly streamId: number; readonly status: number }
  | { readonly type: 'ping'; readonly id: number }
  | { readonly type: 'go-away'; readonly lastStreamId: number; readonly status: number }
  /** Valid, but ignored: SETTINGS, WINDOW_UPDATE, CREDENTIAL. */
  | { readonly type: 'ignored' };

export class SpdyProtocolError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'SpdyProtocolError';
  }
}

export const FRAME_HEADER_BYTES = 8;
/** Of a frame's 24-bit length. */
export const MAX_DATA_BYTES = 0xffffff;
/** Larger control frames are rejected: headers here are a handful of short lines. */
const MAX_CONTROL_BYTES = 64 * 1024;
/** Decompressed. Larger blocks end the connection; a connection may have a thousand streams, each with its headers. */
const MAX_HEADER_BLOCK_BYTES = 32 * 1024;

const VERSION = 3;
const FLAG_FIN = 0x01;
const FLAG_UNIDIRECTIONAL = 0x02;
const TYPE = {
  synStream: 1,
  synReply: 2,
  rstStream: 3,
  settings: 4,
  ping: 6,
  goAway: 7,
  headers: 8,
  windowUpdate: 9,
  credential: 10,
} as const;

interface FrameHeader {
  readonly control: boolean;
  /** Of a control frame. */
  readonly type: number;
  /** Of a data frame. */
  readonly streamId: number;
  readonly flags: number;
  readonly length: number;
}

export function readFrameHeader(bytes: Buffer): FrameHeader {
  const first = bytes.readUInt32BE(0);
  const control = first >>> 31 === 1;
  const length = bytes.readUIntBE(5, 3);
  const version = (first >>> 16) & 0x7fff;
  if (control && version !== VERSION)
    throw new SpdyProtocolError(`frame of SPDY version ${version}, expected ${VERSION}`);
  if (control && length > MAX_CONTROL_BYTES)
    throw new SpdyProtocolError(`control frame of ${length} bytes, at most ${MAX_CONTROL_BYTES} are taken`);
  return {
    control,
    type: control ? first & 0xffff : 0,
    streamId: control ? 0 : first & 0x7fffffff,
    flags: bytes.readUInt8(4),
    length,
  };
}

/** Decodes frames. Header blocks are one compressed stream: every frame must be decoded, in order. */
export class FrameDecoder {
  readonly #headers = new HeaderDecompressor();

  /** A Promise only for frames with headers: floods are of others. */
  decode(header: FrameHeader, payload: Buffer): SpdyFrame | Promise<SpdyFrame> {
    const fin = (header.flags & FLAG_FIN) !== 0;
    if (!header.control) return { type: 'data', streamId: header.streamId, fin, data: payload };
    switch (header.type) {
      case TYPE.synStream:
        requireLength(payload, 10);
        return this.#headers.decompress(payload.subarray(10)).then((headers) => ({
          type: 'syn-stream',
          streamId: streamIdAt(payload, 0),
          fin,
          unidirectional: (header.flags & FLAG_UNIDIRECTIONAL) !== 0,
          headers,
        }));
      case TYPE.synReply:
      case TYPE.headers:
        requireLength(payload, 4);
        return this.#headers.decompress(payload.subarray(4)).then((headers) => ({
          type: header.type === TYPE.synReply ? 'syn-reply' : 'headers',
          streamId: streamIdAt(payload, 0),
          fin,
          headers,
        }));
      case TYPE.rstStream:
        requireLength(payload, 8);
        return { type: 'rst-stream', streamId: streamIdAt(payload, 0), status: payload.readUInt32BE(4) };
      case TYPE.ping:
        requireLength(payload, 4);
        return { type: 'ping', id: payload.readUInt32BE(0) };
      case TYPE.goAway:
        requireLength(payload, 8);
        return { type: 'go-away', lastStreamId: streamIdAt(payload, 0), status: payload.readUInt32BE(4) };
      case TYPE.settings:
      case TYPE.windowUpdate:
      case TYPE.credential:
        return { type: 'ignored' };
      default:
        throw new SpdyProtocolError(`unknown control frame type ${header.type}`);
    }
  }

  close(): void {
    this.#headers.close();
  }
}

function requireLength(payload: Buffer, bytes: number): void {
  if (payload.length < bytes)
    throw new SpdyProtocolError(`frame of ${payload.length} bytes, at least ${bytes} are needed`);
}

function streamIdAt(payload: Buffer, offset: number): number {
  return payload.readUInt32BE(offset) & 0x7fffffff;
}

/** Encodes frames. */
export class FrameEncoder {
  #compressionStarted = false;

  /** Only the frame's header; the caller sends the data, so that it is not copied. */
  dataHead(of: { readonly streamId: number; readonly fin: boolean; readonly length: number }): Buffer {
    const head = Buffer.allocUnsafe(FRAME_HEADER_BYTES);
    head.writeUInt32BE(of.streamId, 0);
    head.writeUInt8(of.fin ? FLAG_FIN : 0, 4);
    head.writeUIntBE(of.length, 5, 3);
    return head;
  }

  synStream(of: { readonly streamId: number; readonly fin: boolean; readonly headers: SpdyHeaders }): Buffer {
    const fixed = Buffer.alloc(10);
    fixed.writeUInt32BE(of.streamId, 0);
    return control({
      type: TYPE.synStream,
      flags: of.fin ? FLAG_FIN : 0,
      parts: [fixed, this.#compress(of.headers)],
    });
  }

  synReply(of: { readonly streamId: number; readonly headers: SpdyHeaders }): Buffer {
    return control({
      type: TYPE.synReply,
      flags: 0,
      parts: [uint32(of.streamId), this.#compress(of.headers)],
    });
  }

  rstStream(streamId: number, status: number): Buffer {
    return control({ type: TYPE.rstStream, flags: 0, parts: [uint32(streamId), uint32(status)] });
  }

  ping(id: number): Buffer {
    return control({ type: TYPE.ping, flags: 0, parts: [uint32(id)] });
  }

  goAway(lastStreamId: number, status: number): Buffer {
    return control({ type: TYPE.goAway, flags: 0, parts: [uint32(lastStreamId), uint32(status)] });
  }

  /**
   * A zlib stream without compression: after its header, which names the dictionary, there are stored blocks. They end on byte boundaries, and no
   * state is kept. The empty block after each is that of a sync flush: decoders such as Go's return what they have at it.
   */
  #compress(headers: SpdyHeaders): Buffer {
    const block = headerBlock(headers);
    if (block.length > MAX_STORED_BYTES)
      throw new SpdyProtocolError(
        `headers of ${block.length} bytes, at most ${MAX_STORED_BYTES} can be sent`,
      );
    const head = Buffer.alloc(5); // not the last block, type 'stored'
    head.writeUInt16LE(block.length, 1);
    head.writeUInt16LE(~block.length & 0xffff, 3);
    const start = this.#compressionStarted ? [] : [ZLIB_HEAD];
    this.#compressionStarted = true;
    return Buffer.concat([...start, head, block, EMPTY_BLOCK]);
  }
}

const MAX_STORED_BYTES = 0xffff - 32;
const EMPTY_BLOCK = Buffer.from([0, 0, 0, 0xff, 0xff]);

function control(of: {
  readonly type: number;
  readonly flags: number;
  readonly parts: readonly Buffer[];
}): Buffer {
  const length = of.parts.reduce((sum, part) => sum + part.length, 0);
  const head = Buffer.alloc(FRAME_HEADER_BYTES);
  head.writeUInt16BE(0x8000 | VERSION, 0);
  head.writeUInt16BE(of.type, 2);
  head.writeUInt8(of.flags, 4);
  head.writeUIntBE(length, 5, 3);
  return Buffer.concat([head, ...of.parts]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

/** Count, then length and bytes of each name and value. */
function headerBlock(headers: SpdyHeaders): Buffer {
  const texts = Object.entries(headers).flatMap(([name, value]) => [
    Buffer.from(name.toLowerCase()),
    Buffer.from(value),
  ]);
  return Buffer.concat([uint32(texts.length / 2), ...texts.flatMap((text) => [uint32(text.length), text])]);
}

function parseHeaderBlock(block: Buffer): SpdyHeaders {
  const headers: Record<string, string> = Object.create(null) as Record<string, string>;
  let offset = 4;
  const text = (): string => {
    if (offset + 4 > block.length) throw new SpdyProtocolError('header block ends too early');
    const end = offset + 4 + block.readUInt32BE(offset);
    if (end > block.length) throw new SpdyProtocolError('header block ends too early');
    const value = block.toString('utf8', offset + 4, end);
    offset = end;
    return value;
  };
  if (block.length < 4) throw new SpdyProtocolError('header block ends too early');
  for (let left = block.readUInt32BE(0); left > 0; left -= 1) {
    const name = text().toLowerCase();
    headers[name] = text().replaceAll('\0', ', '); // several values of one name
  }
  return headers;
}

class HeaderDecompressor {
  readonly #inflate: Inflate = createInflate({ dictionary: SPDY_DICTIONARY, chunkSize: 4096 });
  #failure: Error | undefined;

  constructor() {
    this.#inflate.on('error', (error) => {
      this.#failure = error;
    });
  }

  /** Callers wait for one block before they decode the next. */
  async decompress(block: Buffer): Promise<SpdyHeaders> {
    const parts: Buffer[] = [];
    let bytes = 0;
    const take = (part: Buffer): void => {
      bytes += part.length;
      if (bytes > MAX_HEADER_BLOCK_BYTES) this.#inflate.destroy();
      else parts.push(part);
    };
    this.#inflate.on('data', take);
    try {
      await new Promise<void>((resolve, reject) => {
        if (this.#failure) return reject(this.#failure);
        this.#inflate.once('error', reject);
        this.#inflate.write(block, () => {
          this.#inflate.off('error', reject);
          resolve();
        });
      });
    } catch (error) {
      throw error instanceof SpdyProtocolError
        ? error
        : new SpdyProtocolError(`headers cannot be decompressed: ${(error as Error).message}`);
    } finally {
      this.#inflate.off('data', take);
    }
    // A destroyed stream may report the end of the write, and no error.
    if (bytes > MAX_HEADER_BLOCK_BYTES)
      throw new SpdyProtocolError(`headers of more than ${MAX_HEADER_BLOCK_BYTES} bytes`);
    return parseHeaderBlock(Buffer.concat(parts));
  }

  close(): void {
    this.#inflate.close();
  }
}

/** Words of the SPDY/3 dictionary, each with its length, then text without lengths. */
const DICTIONARY_WORDS = [
  'options',
  'head',
  'post',
  'put',
  'delete',
  'trace',
  'accept',
  'accept-charset',
  'accept-encoding',
  'accept-language',
  'accept-ranges',
  'age',
  'allow',
  'authorization',
  'cache-control',
  'connection',
  'content-base',
  'content-encoding',
  'content-language',
  'content-length',
  'content-location',
  'content-md5',
  'content-range',
  'content-type',
  'date',
  'etag',
  'expect',
  'expires',
  'from',
  'host',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  'last-modified',
  'location',
  'max-forwards',
  'pragma',
  'proxy-authenticate',
  'proxy-authorization',
  'range',
  'referer',
  'retry-after',
  'server',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'user-agent',
  'vary',
  'via',
  'warning',
  'www-authenticate',
  'method',
  'get',
  'status',
  '200 OK',
  'version',
  'HTTP/1.1',
  'url',
  'public',
  'set-cookie',
  'keep-alive',
  'origin',
];
const DICTIONARY_TEXT =
  '100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative Information' +
  '204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented' +
  '503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT' +
  'chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,public' +
  'privatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.';

export const SPDY_DICTIONARY: Buffer = Buffer.concat([
  ...DICTIONARY_WORDS.flatMap((word) => [uint32(word.length), Buffer.from(word)]),
  Buffer.from(DICTIONARY_TEXT),
]);

/** Deflate with a 32 kB window and a preset dictionary, whose Adler-32 checksum follows. */
const ZLIB_HEAD = Buffer.from([0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2]);
