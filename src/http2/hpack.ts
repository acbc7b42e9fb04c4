/**
 * Header compression of HTTP/2 (RFC 7541): decodes with the dynamic table, which clients use; encodes without it, since our response headers rarely
 * repeat.
 */
import { MAX_TABLE_SIZE_UPDATES } from './bounds.ts';
import { ConnectionError, ErrorCode } from './frames.ts';
import { decodeHuffman } from './huffman.ts';

/** Appendix A; a name alone has the value ''. */
const STATIC_TABLE =
  `:authority|:method=GET|:method=POST|:path=/|:path=/index.html|:scheme=http|:scheme=https|:status=200|:status=204|:status=206|:status=304|:status=400|:status=404|:status=500|\
accept-charset|accept-encoding=gzip, deflate|accept-language|accept-ranges|accept|access-control-allow-origin|age|allow|authorization|cache-control|content-disposition|content-encoding|content-language|\
content-length|content-location|content-range|content-type|cookie|date|etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|link|location|\
max-forwards|proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after|server|set-cookie|strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate`
    .split('|')
    .map((entry) => {
      const [name = '', value = ''] = entry.split('=', 2);
      return { name, value };
    });
const STATIC_NAMES = STATIC_TABLE.map(({ name }) => name);
const STATIC_VALUES = STATIC_TABLE.map(({ value }) => value);
const STATIC_COUNT = STATIC_TABLE.length;

/** The default table size of both encoders; ours is never changed. */
export const DEFAULT_TABLE_BYTES = 4096;
/** The update of a dynamic table to nothing. */
export const NO_TABLE = Buffer.from([0x20]);
/** What an entry counts beyond its text. */
const ENTRY_BYTES = 32;

function broken(message: string): ConnectionError {
  return new ConnectionError(ErrorCode.compressionError, message);
}

export interface HeaderReceiver {
  /** Called for each field in order. text: Latin-1. */
  field(name: string, value: string): void;
}

/** One connection's. Every block must be given to it, in order, also those of streams that are refused. */
export class HeaderDecoder {
  /** Oldest first; those before #first are evicted. */
  #names: string[] = [];
  #values: string[] = [];
  #first = 0;
  #bytes = 0;
  #limit = DEFAULT_TABLE_BYTES;
  #block: Buffer = Buffer.alloc(0);
  #at = 0;

  /** Throws ConnectionError COMPRESSION_ERROR: after it the table is not that of the client any more. */
  decode(block: Buffer, receiver: HeaderReceiver): void {
    this.#block = block;
    this.#at = 0;
    let begun = false,
      updates = 0;
    while (this.#at < block.length) {
      const first = block[this.#at]!;
      if (first >= 0x80) {
        const index = this.#integer(7);
        receiver.field(this.#name(index), this.#value(index));
      } else if (first >= 0x40) {
        const index = this.#integer(6);
        const name = index === 0 ? this.#string() : this.#name(index);
        const value = this.#string();
        this.#add(name, value);
        receiver.field(name, value);
      } else if (first >= 0x20) {
        if (begun || ++updates > MAX_TABLE_SIZE_UPDATES)
          throw broken('a table size update that is not at the start of its block, or one of many');
        this.#resize(this.#integer(5));
        continue;
      } else {
        const index = this.#integer(4);
        const name = index === 0 ? this.#string() : this.#name(index);
        receiver.field(name, this.#string());
      }
      begun = true;
    }
  }

  #name(index: number): string {
    return index > 0 && index <= STATIC_COUNT ? STATIC_NAMES[index - 1]! : this.#names[this.#place(index)]!;
  }

  #value(index: number): string {
    return index > 0 && index <= STATIC_COUNT ? STATIC_VALUES[index - 1]! : this.#values[this.#place(index)]!;
  }

  #place(index: number): number {
    const place = this.#names.length - (index - STATIC_COUNT);
    if (index === 0 || place < this.#first)
      throw broken(`an index of a field that is not in the table: ${index}`);
    return place;
  }

  #add(name: string, value: string): void {
    this.#names.push(name);
    this.#values.push(value);
    this.#bytes += name.length + value.length + ENTRY_BYTES;
    this.#evict();
  }

  #resize(limit: number): void {
    if (limit > DEFAULT_TABLE_BYTES) throw broken(`a table size above ${DEFAULT_TABLE_BYTES}: ${limit}`);
    this.#limit = limit;
    this.#evict();
  }

  #evict(): void {
    while (this.#bytes > this.#limit) {
      this.#bytes -= this.#names[this.#first]!.length + this.#values[this.#first]!.length + ENTRY_BYTES;
      // Not kept until the list is cut: fields may be as long as a header block.
      this.#names[this.#first] = this.#values[this.#first] = '';
      this.#first++;
    }
    if (this.#first < 256) return;
    this.#names = this.#names.slice(this.#first);
    this.#values = this.#values.slice(this.#first);
    this.#first = 0;
  }

  #integer(prefixBits: number): number {
    const most = 2 ** prefixBits - 1;
    const first = this.#block[this.#at++]! & most;
    if (first < most) return first;
    let value = most;
    for (let factor = 1; ; factor *= 128) {
      const byte = this.#block[this.#at++];
      // More than 28 bits exceed any header block.
      if (byte === undefined || factor > 128 ** 3) throw broken('a number that is cut off or too large');
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  }

  #string(): string {
    if (this.#at >= this.#block.length) throw broken('a string that is cut off');
    const isHuffman = this.#block[this.#at]! >= 0x80;
    const length = this.#integer(7);
    const start = this.#at;
    const end = start + length;
    if (end > this.#block.length) throw broken('a string that is cut off');
    this.#at = end;
    if (!isHuffman) return this.#block.toString('latin1', start, end);
    const text = decodeHuffman(this.#block, start, end);
    if (text === undefined) throw broken('a string that is not of the Huffman code');
    return text;
  }
}

// ---------------------------------------------------------------------------------------------------------------- writing

const INDEX_OF_NAME = new Map(STATIC_NAMES.map((name, index) => [name, index + 1] as const).toReversed());
const INDEX_OF_STATUS = new Map(
  STATIC_TABLE.flatMap(({ name, value }, index) =>
    name === ':status' ? [[Number(value), index + 1] as const] : [],
  ),
);
const STATUS_NAME_INDEX = INDEX_OF_NAME.get(':status')!;

let scratch = Buffer.allocUnsafe(16 * 1024);

/** Bytes of one block, good until the next call. Values: Latin-1, without line ends (checked where headers are made). */
export function encodeHeaders(
  status: number,
  headers: Readonly<Record<string, string>>,
  repeated?: Readonly<Record<string, readonly string[]>>,
): Buffer {
  let at = 0;
  const index = INDEX_OF_STATUS.get(status);
  if (index !== undefined) scratch[at++] = 0x80 | index;
  else at = putString(String(status), putIndex(STATUS_NAME_INDEX, at));
  for (const name in headers) at = putHeader(name, headers[name]!, at);
  for (const name in repeated) for (const value of repeated[name]!) at = putHeader(name, value, at);
  return scratch.subarray(0, at);
}

function putHeader(name: string, value: string, at: number): number {
  const needed = at + name.length + value.length + 16;
  if (needed > scratch.length) scratch = Buffer.concat([scratch.subarray(0, at)], needed * 2);
  const known = INDEX_OF_NAME.get(name);
  return putString(value, known === undefined ? putString(name, putIndex(0, at)) : putIndex(known, at));
}

/** Each writes into scratch and returns its end. A field without indexing starts with its name's index, 0 = none. */
function putIndex(index: number, at: number): number {
  return putInteger(index, 15, at);
}

function putString(text: string, at: number): number {
  const start = putInteger(text.length, 127, at);
  return start + scratch.write(text, start, 'latin1');
}

/** most: what fits into the first byte's free bits; its other bits are 0 in all we write. */
function putInteger(value: number, most: number, start: number): number {
  let at = start;
  if (value < most) {
    scratch[at++] = value;
    return at;
  }
  scratch[at++] = most;
  let rest = value - most;
  for (; rest >= 128; rest = Math.floor(rest / 128)) scratch[at++] = 0x80 | (rest % 128);
  scratch[at++] = rest;
  return at;
}
