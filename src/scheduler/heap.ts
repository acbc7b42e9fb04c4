/** A binary heap whose entries store their index, so that any of them can be removed in logarithmic time. An entry is in at most one heap. */

export interface HeapEntry {
  heapAt: number;
}

/** Index of an entry that is in no heap. */
export const NOT_IN_HEAP = -1;

export class Heap<T extends HeapEntry> {
  readonly #before: (a: T, b: T) => boolean;
  readonly #items: T[] = [];

  constructor(before: (a: T, b: T) => boolean) {
    this.#before = before;
  }

  get size(): number {
    return this.#items.length;
  }

  get first(): T | undefined {
    return this.#items[0];
  }

  push(item: T): void {
    this.#items.push(item);
    this.#up(this.#items.length - 1, item);
  }

  pop(): T | undefined {
    const first = this.#items[0];
    if (first) this.delete(first);
    return first;
  }

  /** Does nothing for an entry that is not in the heap. */
  delete(item: T): void {
    const at = item.heapAt;
    if (at < 0 || this.#items[at] !== item) return;
    item.heapAt = NOT_IN_HEAP;
    const last = this.#items.pop() as T;
    if (last === item) return;
    this.#up(at, last);
    if (last.heapAt === at) this.#down(at, last);
  }

  #place(at: number, item: T): void {
    this.#items[at] = item;
    item.heapAt = at;
  }

  #up(start: number, item: T): void {
    let at = start;
    while (at > 0) {
      const parent = this.#items[(at - 1) >> 1] as T;
      if (!this.#before(item, parent)) break;
      this.#place(at, parent);
      at = (at - 1) >> 1;
    }
    this.#place(at, item);
  }

  #down(start: number, item: T): void {
    let at = start;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.#items.length) break;
      if (
        child + 1 < this.#items.length &&
        this.#before(this.#items[child + 1] as T, this.#items[child] as T)
      )
        child += 1;
      if (!this.#before(this.#items[child] as T, item)) break;
      this.#place(at, this.#items[child] as T);
      at = child;
    }
    this.#place(at, item);
  }
}
