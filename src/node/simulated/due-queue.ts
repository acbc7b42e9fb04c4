/** Keys with a time each, and one timer for the earliest: thousands of waiting things cost one timer. */
import type { Clock, Timer } from '#stdx/clock.ts';

interface Due {
  readonly key: string;
  readonly atMs: number;
}

export class DueQueue {
  readonly #clock: Clock;
  readonly #onDue: (key: string) => void;
  readonly #at = new Map<string, number>();
  readonly #heap: Due[] = [];
  #timer: Timer | undefined;
  #timerAtMs = Infinity;

  constructor(clock: Clock, onDue: (key: string) => void) {
    this.#clock = clock;
    this.#onDue = onDue;
  }

  /** Replaces the key's earlier time. */
  set(key: string, atMs: number): void {
    this.#at.set(key, atMs);
    push(this.#heap, { key, atMs });
    this.#arm();
  }

  delete(key: string): void {
    this.#at.delete(key);
  }

  stop(): void {
    this.#timer?.cancel();
    this.#at.clear();
    this.#heap.length = 0;
  }

  #arm(): void {
    const next = this.#heap[0]?.atMs;
    if (next === undefined || next >= this.#timerAtMs) return;
    this.#timer?.cancel();
    this.#timerAtMs = next;
    this.#timer = this.#clock.after(next - this.#clock.now(), () => this.#fire());
  }

  #fire(): void {
    this.#timerAtMs = Infinity;
    const now = this.#clock.now();
    for (let first = this.#heap[0]; first && first.atMs <= now; first = this.#heap[0]) {
      pop(this.#heap);
      // Entries whose key was set again or deleted are stale.
      if (this.#at.get(first.key) !== first.atMs) continue;
      this.#at.delete(first.key);
      this.#onDue(first.key);
    }
    this.#arm();
  }
}

function push(heap: Due[], due: Due): void {
  let at = heap.push(due) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    const above = heap[parent] as Due;
    if (above.atMs <= due.atMs) break;
    heap[at] = above;
    at = parent;
  }
  heap[at] = due;
}

function pop(heap: Due[]): void {
  const last = heap.pop();
  if (!last || heap.length === 0) return;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && (heap[child + 1] as Due).atMs < (heap[child] as Due).atMs) child += 1;
    if ((heap[child] as Due).atMs >= last.atMs) break;
    heap[at] = heap[child] as Due;
    at = child;
  }
  heap[at] = last;
}
