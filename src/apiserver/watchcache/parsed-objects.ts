/** Parsed forms of cache entries, bounded by their source bytes: second-chance eviction in order of parsing. */
import type { Stored } from '#machinery/object.ts';

/** State of an entry in this cache: the entry owns its bytes, the parsed form is evictable. */
interface ParsedEntry {
  readonly bytes: Buffer;
  readonly byteLength: number;
  parsed: Stored | undefined;
  parsedBytes: number;
  touched: boolean;
}

export class ParsedObjects {
  readonly #maxBytes: number;
  #bytes = 0;
  #queue: ParsedEntry[] = [];
  #head = 0;

  /** maxBytes is of JSON; the parsed form is some four times that. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  of(entry: ParsedEntry): Stored {
    const { parsed } = entry;
    if (parsed !== undefined) {
      entry.touched = true;
      return parsed;
    }
    const object = JSON.parse(entry.bytes.toString()) as Stored;
    this.keep(entry, object);
    return object;
  }

  /** The object someone has parsed already; it must have its resourceVersion set. */
  keep(entry: ParsedEntry, object: Stored): void {
    if (entry.parsed !== undefined) return;
    entry.parsed = object;
    entry.parsedBytes = entry.byteLength;
    this.#queue.push(entry);
    this.#bytes += entry.parsedBytes;
    while (this.#bytes > this.#maxBytes && this.#head < this.#queue.length) this.#evictOne();
    if (this.#head > 4096 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
  }

  #evictOne(): void {
    const entry = this.#queue[this.#head]!;
    this.#head++;
    if (entry.touched) {
      entry.touched = false;
      this.#queue.push(entry);
      return;
    }
    entry.parsed = undefined;
    this.#bytes -= entry.parsedBytes;
  }
}
