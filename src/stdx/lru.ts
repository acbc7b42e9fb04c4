/** A map of bounded size that evicts the least recently used entry and, with ttlMs, expired ones. */
import { realClock, type Clock } from './clock.ts';

interface LruOptions {
  readonly maximum: number;
  /** Entries older than this (since they were set) are absent. Default: they do not expire. */
  readonly ttlMs?: number;
  readonly clock?: Clock;
}

interface Entry<V> {
  readonly value: V;
  readonly endMs: number;
}

export class Lru<K, V> {
  readonly #entries = new Map<K, Entry<V>>();
  readonly #options: LruOptions;
  readonly #clock: Clock;

  constructor(options: LruOptions) {
    this.#options = options;
    this.#clock = options.clock ?? realClock;
  }

  /** Number of entries, including expired ones that were not accessed since. */
  get size(): number {
    return this.#entries.size;
  }

  get(key: K): V | undefined {
    const entry = this.#entries.get(key);
    if (!entry) return undefined;
    this.#entries.delete(key);
    if (entry.endMs <= this.#clock.monotonic()) return undefined;
    this.#entries.set(key, entry);
    return entry.value;
  }

  has(key: K): boolean {
    const entry = this.#entries.get(key);
    return entry !== undefined && entry.endMs > this.#clock.monotonic();
  }

  set(key: K, value: V, ttlMs = this.#options.ttlMs ?? Infinity): void {
    this.#entries.delete(key);
    this.#entries.set(key, { value, endMs: this.#clock.monotonic() + ttlMs });
    if (this.#entries.size > this.#options.maximum)
      this.#entries.delete(this.#entries.keys().next().value as K);
  }

  delete(key: K): boolean {
    return this.#entries.delete(key);
  }

  clear(): void {
    this.#entries.clear();
  }
}
