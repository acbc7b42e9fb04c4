/** What a list still has room for: its limit of items and of bytes (ListOptions). */
import type { ListOptions, StoredValue } from './store.ts';

export class ListRoom {
  readonly #limit: number;
  readonly #maxBytes: number;
  #items = 0;
  #bytes = 0;

  constructor({ limit = Infinity, maxBytes = Infinity }: ListOptions) {
    this.#limit = limit;
    this.#maxBytes = maxBytes;
  }

  get isFull(): boolean {
    return this.#items >= this.#limit || this.#bytes >= this.#maxBytes;
  }

  /** False where it has no room: the list ends before this one. */
  take({ value }: StoredValue): boolean {
    if (this.isFull) return false;
    this.#items++;
    this.#bytes += value.length;
    return true;
  }

  /** How many to ask for, at most `items`: those that have room if they are as large as those before. */
  pageOf(items: number): number {
    const average = Math.max(1, this.#bytes / Math.max(1, this.#items));
    const fitting = Math.ceil((this.#maxBytes - this.#bytes) / average);
    return Math.max(1, Math.min(items, this.#limit - this.#items, fitting));
  }
}
