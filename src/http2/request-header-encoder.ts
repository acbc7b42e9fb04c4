/**
 * Header blocks of requests (RFC 7541) whose fields repeat from one to the next: each field enters the server's dynamic table once, and a set of
 * fields that is all there is a block of indices, made once. The table is never evicted: fields that have no room left are written as literals.
 */
import { DEFAULT_TABLE_BYTES } from './hpack.ts';

/** In the order in which they are sent, pseudo-headers first; values are Latin-1. */
export type HeaderFields = readonly (readonly [name: string, value: string])[];

const STATIC_COUNT = 61;
/** What an entry counts beyond its text. */
const ENTRY_BYTES = 32;
/** Cached blocks. Beyond: all are rebuilt. */
const MAX_BLOCKS = 256;
const INDEXED = 0x80;
const WITH_INDEXING = 0x40;
const WITHOUT_INDEXING = 0;
const TABLE_SIZE_ZERO = 0x20;

export class RequestHeaderEncoder {
  /** 'name\0value' to the number of its insertion. */
  readonly #inserted = new Map<string, number>();
  /** With the table as it is now. By identity: callers keep their sets of fields. */
  readonly #blocks = new Map<HeaderFields, Buffer>();
  #bytes = 0;
  #mostBytes = DEFAULT_TABLE_BYTES;
  #announcesNoTable = false;

  /** SETTINGS_HEADER_TABLE_SIZE of the server: a smaller table than the default is not used at all. */
  limitTable(bytes: number): void {
    if (bytes >= DEFAULT_TABLE_BYTES || this.#mostBytes === 0) return;
    this.#mostBytes = 0;
    this.#inserted.clear();
    this.#blocks.clear();
    this.#announcesNoTable = true;
  }

  /** Blocks must be sent in the order in which they were made. */
  encode(fields: HeaderFields): Buffer {
    const cached = this.#blocks.get(fields);
    if (cached) return cached;
    const bytes: number[] = [];
    const isPlain = !this.#announcesNoTable;
    if (this.#announcesNoTable) bytes.push(TABLE_SIZE_ZERO);
    this.#announcesNoTable = false;
    const before = this.#inserted.size;
    for (const [name, value] of fields) this.#put(bytes, name, value);
    const block = Buffer.from(bytes);
    // An insertion shifts all indices.
    if (this.#inserted.size > before || this.#blocks.size >= MAX_BLOCKS) this.#blocks.clear();
    else if (isPlain) this.#blocks.set(fields, block);
    return block;
  }

  #put(bytes: number[], name: string, value: string): void {
    const key = `${name}\0${value}`;
    const number = this.#inserted.get(key);
    if (number !== undefined)
      return putInteger(bytes, STATIC_COUNT + 1 + this.#inserted.size - number, { flag: INDEXED, most: 127 });
    const size = name.length + value.length + ENTRY_BYTES;
    const fits = this.#bytes + size <= this.#mostBytes;
    bytes.push(fits ? WITH_INDEXING : WITHOUT_INDEXING);
    putText(bytes, name);
    putText(bytes, value);
    if (!fits) return;
    this.#bytes += size;
    this.#inserted.set(key, this.#inserted.size + 1);
  }
}

function putText(bytes: number[], text: string): void {
  putInteger(bytes, text.length, { flag: 0, most: 127 });
  bytes.push(...Buffer.from(text, 'latin1'));
}

/** most: what the bits of the first byte hold beside the flag. */
function putInteger(
  bytes: number[],
  value: number,
  { flag, most }: { readonly flag: number; readonly most: number },
): void {
  if (value < most) return void bytes.push(flag | value);
  bytes.push(flag | most);
  let rest = value - most;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push(0x80 | (rest % 128));
  bytes.push(rest);
}
