/**
 * The live entries of one resource in key order, in chunks. A listed chunk is laid out as one slab of bytes ('{…},{…},{…}') that its entries
 * reference, so that a list body is a few buffers and no byte is stored twice. A change in a chunk drops its slabs, compressed or not; the next
 * list lays that chunk out again.
 */
import type { CacheEntry } from './entry.ts';
import { Slab } from './slab.ts';
import type { LaidOut, SlabForm } from './slab-forms.ts';

const MAX_CHUNK_ENTRIES = 128;
const MAX_CHUNK_BYTES = 256 * 1024;
const MIN_CHUNK_ENTRIES = 16;

interface Chunk {
  entries: CacheEntry[];
  bytes: number;
  json: Layout | undefined;
  protobuf: Layout | undefined;
}

interface Layout extends LaidOut {
  /** Entries at the bounds of a namespace or page: kept for their compressed forms. */
  readonly parts: SlabPart[];
}

interface SlabPart {
  readonly start: number;
  readonly end: number;
  readonly slab: Slab;
}

/** The least lately made is forgotten. */
const MAX_PARTS = 4;

interface Position {
  readonly chunk: number;
  readonly index: number;
}

/** Of the keys that start with a prefix, '' for all: from startKey on, inclusive. */
interface Range {
  readonly startKey?: string | undefined;
  readonly limit?: number;
}

export class SortedEntries {
  #chunks: Chunk[] = [];
  readonly #byKey = new Map<string, CacheEntry>();
  get size(): number {
    return this.#byKey.size;
  }

  get(key: string): CacheEntry | undefined {
    return this.#byKey.get(key);
  }

  /** Returns the replaced entry. */
  set(entry: CacheEntry): CacheEntry | undefined {
    const previous = this.#byKey.get(entry.key);
    this.#byKey.set(entry.key, entry);
    if (this.#chunks.length === 0) {
      this.#chunks.push({ entries: [entry], bytes: entry.byteLength, json: undefined, protobuf: undefined });
      return undefined;
    }
    const position = this.#position(entry.key);
    const at =
      position.chunk === this.#chunks.length
        ? { chunk: this.#chunks.length - 1, index: this.#chunks.at(-1)!.entries.length }
        : position;
    const chunk = this.#chunks[at.chunk]!;
    forget(chunk);
    chunk.bytes += entry.byteLength - (previous?.byteLength ?? 0);
    if (previous) {
      chunk.entries[at.index] = entry;
      previous.detach();
    } else {
      chunk.entries.splice(at.index, 0, entry);
    }
    if (
      chunk.entries.length > MAX_CHUNK_ENTRIES ||
      (chunk.bytes > MAX_CHUNK_BYTES && chunk.entries.length > 1)
    )
      this.#split(at.chunk);
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
    forget(chunk);
    previous.detach();
    if (chunk.entries.length === 0) this.#chunks.splice(number, 1);
    else if (chunk.entries.length < MIN_CHUNK_ENTRIES) this.#merge(number);
    return previous;
  }

  /** In place of all that was there: entries in key order. */
  load(entries: readonly CacheEntry[]): void {
    this.#byKey.clear();
    for (const entry of entries) this.#byKey.set(entry.key, entry);
    this.#chunks = [];
    let chunk: Chunk | undefined;
    for (const entry of entries) {
      if (
        chunk === undefined ||
        chunk.entries.length >= MAX_CHUNK_ENTRIES / 2 ||
        chunk.bytes + entry.byteLength > MAX_CHUNK_BYTES
      ) {
        chunk = { entries: [], bytes: 0, json: undefined, protobuf: undefined };
        this.#chunks.push(chunk);
      }
      chunk.entries.push(entry);
      chunk.bytes += entry.byteLength;
    }
  }

  list(prefix: string, { startKey, limit = Infinity }: Range = {}): CacheEntry[] {
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

  count(prefix: string, { startKey }: Pick<Range, 'startKey'> = {}): number {
    if (prefix === '' && startKey === undefined) return this.size;
    const from = this.#position(startKey !== undefined && startKey > prefix ? startKey : prefix),
      to = this.#end(prefix);
    if (from.chunk > to.chunk || (from.chunk === to.chunk && from.index > to.index)) return 0;
    if (from.chunk === to.chunk) return to.index - from.index;
    let total = -from.index + to.index;
    for (let number = from.chunk; number < to.chunk; number++) total += this.#chunks[number]!.entries.length;
    return total;
  }

  /** Lays out some of the chunks that slabs() would have to. True when some are left. */
  prepare(prefix: string, form: SlabForm): boolean {
    let bytes = 0;
    const from = this.#position(prefix).chunk,
      to = this.#end(prefix);
    for (let number = from; number < this.#chunks.length && number <= to.chunk; number++) {
      const chunk = this.#chunks[number]!;
      if (chunk[form.encoding] || (number === to.chunk && to.index === 0)) continue;
      if (bytes >= form.turnBytes) return true;
      bytes += layoutOf(chunk, form).slab.bytes.length;
    }
    return false;
  }

  /** These entries as items of a list, in few ready pieces; what separates items belongs between two of them. */
  slabs(prefix: string, form: SlabForm, { startKey, limit = Infinity }: Range = {}): Slab[] {
    const result: Slab[] = [];
    const from = this.#position(startKey !== undefined && startKey > prefix ? startKey : prefix),
      to = this.#end(prefix);
    let left = limit;
    for (let number = from.chunk; number < this.#chunks.length && number <= to.chunk && left > 0; number++) {
      const chunk = this.#chunks[number]!;
      const start = number === from.chunk ? from.index : 0;
      const end = Math.min(number === to.chunk ? to.index : chunk.entries.length, start + left);
      if (start >= end) continue;
      result.push(slabPart(chunk, { start, end, form }));
      left -= end - start;
    }
    return result;
  }

  /** The first position whose key is >= key. */
  #position(key: string): Position {
    const chunks = this.#chunks;
    let low = 0,
      high = chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (chunks[middle]!.entries.at(-1)!.key < key) low = middle + 1;
      else high = middle;
    }
    if (low === chunks.length) return { chunk: low, index: 0 };
    const { entries } = chunks[low]!;
    let first = 0,
      last = entries.length;
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
    this.#chunks.splice(number + 1, 0, { entries: tail, bytes, json: undefined, protobuf: undefined });
  }

  #merge(number: number): void {
    const neighbour = number > 0 ? number - 1 : 1;
    const [left, right] =
      neighbour < number
        ? [this.#chunks[neighbour], this.#chunks[number]]
        : [this.#chunks[number], this.#chunks[neighbour]];
    if (
      !left ||
      !right ||
      left.entries.length + right.entries.length > MAX_CHUNK_ENTRIES / 2 ||
      left.bytes + right.bytes > MAX_CHUNK_BYTES
    )
      return;
    left.entries.push(...right.entries);
    left.bytes += right.bytes;
    forget(left);
    this.#chunks.splice(Math.max(neighbour, number), 1);
  }
}

/** Its entries are others now. */
function forget(chunk: Chunk): void {
  chunk.json = chunk.protobuf = undefined;
}

function layoutOf(chunk: Chunk, form: SlabForm): Layout {
  return (chunk[form.encoding] ??= { ...form.layOut(chunk.entries), parts: [] });
}

function slabPart(
  chunk: Chunk,
  { start, end, form }: { readonly start: number; readonly end: number; readonly form: SlabForm },
): Slab {
  const { slab, offsets, parts } = layoutOf(chunk, form);
  if (start === 0 && end === chunk.entries.length) return slab;
  const known = parts.find((part) => part.start === start && part.end === end);
  if (known) return known.slab;
  const stop = end === chunk.entries.length ? slab.bytes.length : offsets[end]! - form.separatorBytes;
  const part = new Slab(slab.bytes.subarray(offsets[start]!, stop));
  parts.push({ start, end, slab: part });
  if (parts.length > MAX_PARTS) parts.shift();
  return part;
}
