/**
 * Tar archives as a backup has them: regular files in POSIX pax format, written and read as a stream. Not a general tar: a reader refuses links, devices and
 * directories, and an entry above a bound. GNU tar reads and lists what this writes (tar.test.ts). The npm package tar-stream, which the node uses for images, holds back no
 * writer of ready buffers, and an archive has 100,000 of them.
 */
import { BackupError } from './errors.ts';

const BLOCK = 512;
/** Two empty blocks end an archive. */
export const TAR_END = Buffer.alloc(2 * BLOCK);
/** An object has at most 3 MiB, a file of the cluster's less. */
const MAX_ENTRY_BYTES = 64 * 1024 * 1024;
const MAX_PAX_BYTES = 64 * 1024;
const NAME_BYTES = 100;
const FILE = '0'.charCodeAt(0);
const OLD_FILE = 0;
const PAX = 'x'.charCodeAt(0);

export interface TarEntry {
  readonly path: string;
  readonly mode: number;
  readonly timeMs: number;
  /** Extended records, besides the path. */
  readonly pax: Readonly<Record<string, string>>;
  readonly content: Buffer;
}

/** The entry's blocks. */
export function tarEntry({ path, mode, timeMs, pax, content }: TarEntry): Buffer[] {
  const records = Object.entries(pax);
  const name = Buffer.from(path);
  if (name.length > NAME_BYTES) records.push(['path', path]);
  const extended = Buffer.concat(records.map(([key, value]) => paxRecord(key, value)));
  const common = { mode, seconds: Math.floor(timeMs / 1000) };
  return [
    ...(extended.length === 0
      ? []
      : [header({ ...common, name: Buffer.from('pax'), type: PAX, size: extended.length }), extended]),
    ...(extended.length === 0 ? [] : padding(extended.length)),
    header({ ...common, name: name.subarray(0, NAME_BYTES), type: FILE, size: content.length }),
    content,
    ...padding(content.length),
  ];
}

/** '23 key=value\n', where 23 is the length of all of it. */
function paxRecord(key: string, value: string): Buffer {
  const rest = ` ${key}=${value}\n`;
  const bytes = Buffer.byteLength(rest);
  let length = bytes + String(bytes).length;
  if (bytes + String(length).length !== length) length++;
  return Buffer.from(`${length}${rest}`);
}

const ZEROS = Buffer.alloc(BLOCK);

function padding(bytes: number): Buffer[] {
  const over = bytes % BLOCK;
  return over === 0 ? [] : [ZEROS.subarray(0, BLOCK - over)];
}

interface Header {
  readonly name: Buffer;
  readonly mode: number;
  readonly seconds: number;
  readonly size: number;
  readonly type: number;
}

function header({ name, mode, seconds, size, type }: Header): Buffer {
  const block = Buffer.alloc(BLOCK);
  name.copy(block, 0);
  block.write(octal(mode, 7), 100);
  block.write(octal(0, 7), 108);
  block.write(octal(0, 7), 116);
  block.write(octal(size, 11), 124);
  block.write(octal(seconds, 11), 136);
  block[156] = type;
  block.write('ustar\x0000', 257, 'latin1');
  block.write(octal(checksum(block), 6), 148);
  block[155] = 0x20;
  return block;
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, '0');
}

/** With its own field as spaces. */
function checksum(block: Buffer): number {
  let sum = 8 * 0x20;
  for (let i = 0; i < BLOCK; i++) if (i < 148 || i >= 156) sum += block[i]!;
  return sum;
}

/** Throws a BackupError 'damaged' for what is not such an archive, and for one without an end. */
export async function* readTar(source: AsyncIterable<Uint8Array>): AsyncGenerator<TarEntry, void, void> {
  const bytes = new ByteReader(source);
  let pax: Record<string, string> = {};
  for (;;) {
    const block = await bytes.take(BLOCK);
    if (block.equals(ZEROS)) return bytes.requireZeros();
    const { name, mode, seconds, size, type } = parseTarHeader(block);
    const bound = type === PAX ? MAX_PAX_BYTES : MAX_ENTRY_BYTES;
    if (size > bound) throw damaged(`an entry has ${size} bytes, more than ${bound}`);
    const content = await bytes.take(size);
    await bytes.take((BLOCK - (size % BLOCK)) % BLOCK);
    if (type === PAX) {
      pax = parsePax(content);
      continue;
    }
    const { path = name.toString(), ...rest } = pax;
    pax = {};
    yield { path, mode, timeMs: seconds * 1000, pax: rest, content };
  }
}

function parseTarHeader(block: Buffer): Header {
  if (block.toString('latin1', 257, 262) !== 'ustar') throw damaged('it is not a tar archive');
  if (parseOctal(block, 148, 8) !== checksum(block)) throw damaged('the checksum of a tar header is wrong');
  const type = block[156]!;
  if (type !== FILE && type !== OLD_FILE && type !== PAX)
    throw damaged(`it has an entry of type ${String.fromCharCode(type)}`);
  const end = block.indexOf(0);
  return {
    name: block.subarray(0, Math.min(end < 0 ? NAME_BYTES : end, NAME_BYTES)),
    mode: parseOctal(block, 100, 8),
    size: parseOctal(block, 124, 12),
    seconds: parseOctal(block, 136, 12),
    type,
  };
}

function parseOctal(block: Buffer, at: number, length: number): number {
  const text = block.toString('latin1', at, at + length).replace(/[\0 ]+$/, '');
  if (!/^ *[0-7]+$/.test(text)) throw damaged('a number of a tar header is malformed');
  return Number.parseInt(text, 8);
}

function parsePax(content: Buffer): Record<string, string> {
  const records: Record<string, string> = {};
  for (let at = 0; at < content.length;) {
    const space = content.indexOf(0x20, at);
    const length = Number(content.toString('latin1', at, space));
    const equals = content.indexOf(0x3d, space);
    if (space < 0 || !Number.isInteger(length) || length < 5 || at + length > content.length || equals < 0)
      throw damaged('an extended tar header is malformed');
    records[content.toString('utf8', space + 1, equals)] = content.toString(
      'utf8',
      equals + 1,
      at + length - 1,
    );
    at += length;
  }
  return records;
}

function damaged(message: string): BackupError {
  return new BackupError('damaged', message);
}

/** Bytes of a stream in the pieces that are asked for. */
class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  #chunks: Buffer[] = [];
  #length = 0;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  async take(size: number): Promise<Buffer> {
    while (this.#length < size) if (!(await this.#more())) throw damaged('it ends in the middle: it was cut');
    if (size === 0) return ZEROS.subarray(0, 0);
    const first = this.#chunks[0]!;
    if (first.length >= size) {
      this.#length -= size;
      if (first.length === size) this.#chunks.shift();
      else this.#chunks[0] = first.subarray(size);
      return first.subarray(0, size);
    }
    const all = Buffer.concat(this.#chunks, this.#length);
    this.#length -= size;
    this.#chunks = this.#length > 0 ? [all.subarray(size)] : [];
    return all.subarray(0, size);
  }

  /** To the end of the stream, so that what authenticates it has seen all. */
  async requireZeros(): Promise<void> {
    do {
      for (const chunk of this.#chunks)
        if (chunk.some((byte) => byte !== 0)) throw damaged('something follows the end of the archive');
      this.#chunks = [];
      this.#length = 0;
    } while (await this.#more());
  }

  async #more(): Promise<boolean> {
    const { done, value } = await this.#source.next();
    if (done) return false;
    this.#chunks.push(Buffer.from(value.buffer, value.byteOffset, value.byteLength));
    this.#length += value.byteLength;
    return true;
  }
}
