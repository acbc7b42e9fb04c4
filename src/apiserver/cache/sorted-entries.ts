/**
 * The live entries of one resource in key order, in chunks of neighbours. A chunk that is listed is first laid out as one slab of
 * bytes ('{…},{…},{…}') into which its entries then point, so that a list body is a handful of buffers and nothing is held twice.
 * A change in a chunk drops its slab; the next list lays that chunk out anew.
 */
import type { CacheEntry } from './entry.ts';

const MAX_CHUNK_ENTRIES = 128;
const MAX_CHUNK_BYTES = 256 * 1024;
const MIN_CHUNK_ENTRIES = 16;
const COMMA = Buffer.from(',');

interface Chunk {
  entries: CacheEntry[];
  bytes: number;
  slab: Buffer | undefined;
  /** Where each entry starts in the slab. */
  offsets: number[];
}

interface Position { readonly chunk: number; readonly index: number }

export class SortedEntries {
  #chunks: Chunk[] = [];
  readonly #byKey = new Map<string, CacheEntry>();

  get size(): number { return this.#byKey.size; }

  get(key: string): CacheEntry | undefined {
    return this.#byKey.get(key);
  }

  /** Answers the entry it took the place of. */
  set(entry: CacheEntry): CacheEntry | undefined {
    const previous = this.#byKey.get(entry.key);
    this.#byKey.set(entry.key, entry);
    if (this.#chunks.length === 0) {
      this.#chunks.push({ entries: [entry], bytes: entry.byteLength, slab: undefined, offsets: [] });
      return undefined;
    }
    const position = this.#position(entry.key);
    const at = position.chunk === this.#chunks.length ? { chunk: this.#chunks.length - 1, index: this.#chunks.at(-1)!.entries.length } : position;
    const chunk = this.#chunks[at.chunk]!;
    chunk.slab = undefined;
    chunk.bytes += entry.byteLength - (previous?.byteLength ?? 0);
    if (previous) {
      chunk.entries[at.index] = entry;
      previous.detach();
    } else {
      chunk.entries.splice(at.index, 0, entry);
    }
    if (chunk.entries.length > MAX_CHUNK_ENTRIES || (chunk.bytes > MAX_CHUNK_BYTES && chunk.entries.length > 1)) this.#split(at.chunk);
    return previous;
  }

  delete(key: string): CacheEntry | undefined {
    const previous = this.#byKey.get(key);
    if (!previous) return undefined;
    this.#byKey.delete(key);
    const { chunk: number, index } = this.#position(key);
    const chunk = this.#chunks[number]!;
    chunk.entries.splice(index, 1);
    chunk.bytes -= previous.byteLength;
    chunk.slab = undefined;
    previous.detach();
    if (chunk.entries.length === 0) this.#chunks.splice(number, 1);
    else if (chunk.entries.length < MIN_CHUNK_ENTRIES) this.#merge(number);
    return previous;
  }

  /** For the first fill: entries in key order. */
  load(entries: readonly CacheEntry[]): void {
    for (const entry of entries) this.#byKey.set(entry.key, entry);
    this.#chunks = [];
    let chunk: Chunk | undefined;
    for (const entry of entries) {
      if (chunk === undefined || chunk.entries.length >= MAX_CHUNK_ENTRIES / 2 || chunk.bytes + entry.byteLength > MAX_CHUNK_BYTES) {
        chunk = { entries: [], bytes: 0, slab: undefined, offsets: [] };
        this.#chunks.push(chunk);
      }
      chunk.entries.push(entry);
      chunk.bytes += entry.byteLength;
    }
  }

  /** Keys that start with the prefix, '' for all; from startKey on, inclusive. */
  list(prefix: string, { startKey, limit = Infinity }: { readonly startKey?: string; readonly limit?: number } = {}): CacheEntry[] {
    const result: CacheEntry[] = [];
    const from = this.#position(startKey !== undefined && startKey > prefix ? startKey : prefix);
    const to = this.#end(prefix);
    for (let number = from.chunk; number < this.#chunks.length && number <= to.chunk; number++) {
      const { entries } = this.#chunks[number]!;
      const start = number === from.chunk ? from.index : 0;
      const end = number === to.chunk ? to.index : entries.length;
      if (result.length + end - start > limit) {
        for (let i = start; result.length < limit; i++) result.push(entries[i]!);
        return result;
      }
      for (let i = start; i < end; i++) result.push(entries[i]!);
    }
    return result;
  }

  count(prefix: string): number {
    if (prefix === '') return this.size;
    const from = this.#position(prefix), to = this.#end(prefix);
    if (from.chunk === to.chunk) return to.index - from.index;
    let total = -from.index + to.index;
    for (let number = from.chunk; number < to.chunk; number++) total += this.#chunks[number]!.entries.length;
    return total;
  }

  /** Lays out chunks that pieces() would have to, up to so many bytes. True when some are left. */
  prepare(prefix: string, maxBytes: number): boolean {
    let bytes = 0;
    const from = this.#position(prefix).chunk, to = this.#end(prefix);
    for (let number = from; number < this.#chunks.length && number <= to.chunk; number++) {
      const chunk = this.#chunks[number]!;
      if (chunk.slab || (number === to.chunk && to.index === 0)) continue;
      if (bytes >= maxBytes) return true;
      bytes += layOut(chunk).length;
    }
    return false;
  }

  /** The JSON of these entries joined by commas, as few ready pieces. */
  pieces(prefix: string): Buffer[] {
    const result: Buffer[] = [];
    const from = this.#position(prefix), to = this.#end(prefix);
    for (let number = from.chunk; number < this.#chunks.length && number <= to.chunk; number++) {
      const chunk = this.#chunks[number]!;
      const start = number === from.chunk ? from.index : 0;
      const end = number === to.chunk ? to.index : chunk.entries.length;
      if (start >= end) continue;
      if (result.length > 0) result.push(COMMA);
      result.push(slabPart(chunk, { start, end }));
    }
    return result;
  }

  /** The first position whose key is >= key. */
  #position(key: string): Position {
    const chunks = this.#chunks;
    let low = 0, high = chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (chunks[middle]!.entries.at(-1)!.key < key) low = middle + 1;
      else high = middle;
    }
    if (low === chunks.length) return { chunk: low, index: 0 };
    const { entries } = chunks[low]!;
    let first = 0, last = entries.length;
    while (first < last) {
      const middle = (first + last) >>> 1;
      if (entries[middle]!.key < key) first = middle + 1;
      else last = middle;
    }
    return { chunk: low, index: first };
  }

  #end(prefix: string): Position {
    return prefix === '' ? { chunk: this.#chunks.length, index: 0 } : this.#position(`${prefix}\uffff`);
  }

  #split(number: number): void {
    const chunk = this.#chunks[number]!;
    const tail = chunk.entries.splice(chunk.entries.length >>> 1);
    const bytes = tail.reduce((sum, entry) => sum + entry.byteLength, 0);
    chunk.bytes -= bytes;
    this.#chunks.splice(number + 1, 0, { entries: tail, bytes, slab: undefined, offsets: [] });
  }

  #merge(number: number): void {
    const neighbour = number > 0 ? number - 1 : 1;
    const [left, right] = neighbour < number ? [this.#chunks[neighbour], this.#chunks[number]] : [this.#chunks[number], this.#chunks[neighbour]];
    if (!left || !right || left.entries.length + right.entries.length > MAX_CHUNK_ENTRIES / 2 || left.bytes + right.bytes > MAX_CHUNK_BYTES) return;
    left.entries.push(...right.entries);
    left.bytes += right.bytes;
    left.slab = undefined;
    this.#chunks.splice(Math.max(neighbour, number), 1);
  }
}

function slabPart(chunk: Chunk, { start, end }: { readonly start: number; readonly end: number }): Buffer {
  const slab = chunk.slab ?? layOut(chunk);
  if (start === 0 && end === chunk.entries.length) return slab;
  const stop = end === chunk.entries.length ? slab.length : chunk.offsets[end]! - 1;
  return slab.subarray(chunk.offsets[start]!, stop);
}

function layOut(chunk: Chunk): Buffer {
  const { entries } = chunk;
  if (entries.length === 1) {
    chunk.offsets = [0];
    return (chunk.slab = entries[0]!.bytes);
  }
  let total = entries.length - 1;
  for (const entry of entries) total += entry.bytes.length;
  const slab = Buffer.allocUnsafeSlow(total);
  const offsets: number[] = [];
  let offset = 0;
  for (const entry of entries) {
    if (offset > 0) slab[offset++] = 0x2c;
    offsets.push(offset);
    const { bytes } = entry;
    slab.set(bytes, offset);
    entry.moveTo(slab.subarray(offset, offset + bytes.length));
    offset += bytes.length;
  }
  chunk.slab = slab;
  chunk.offsets = offsets;
  chunk.bytes = total;
  return slab;
}
