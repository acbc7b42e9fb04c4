/**
 * The queue between events and reconciles, with client-go's semantics: a key is queued at most once, is never processed twice at a
 * time, and if it is added while it is processed it is queued again afterwards. Bound: the number of distinct keys.
 *
 *   (absent) --add--> waiting --get--> working --done--> (absent)
 *                                        | add               ^
 *                                        v                   |
 *                                  working, again --done--> waiting
 */
import { backoffMs } from '#stdx/backoff.ts';
import { assert } from '#stdx/assert.ts';
import { realClock, type Clock, type Timer } from '#stdx/clock.ts';

interface WorkQueueOptions {
  readonly clock?: Clock;
  /** Backoff of addRateLimited per key. Default 5 ms doubling to 1,000 s. */
  readonly retryInitialMs?: number;
  readonly retryMaximumMs?: number;
  /** An overall rate limit of addRateLimited, as in upstream's default: { perSecond: 10, burst: 100 }. Default: none. */
  readonly overall?: { readonly perSecond: number; readonly burst: number };
  readonly metrics?: WorkQueueMetrics;
}

/** Called synchronously; must not throw. Durations in ms. */
export interface WorkQueueMetrics {
  added?(depth: number): void;
  /** A worker took a key from the queue. */
  taken?(waitedMs: number, depth: number): void;
  finished?(workedMs: number): void;
  retried?(): void;
}

export interface WorkQueue {
  /** Keys waiting for a worker (not those delayed or being processed). */
  readonly length: number;
  add(key: string): void;
  /** Adds after a delay, or earlier when the key is already delayed for less. No effect after shutDown. */
  addAfter(key: string, delayMs: number): void;
  /** Adds after the key's backoff, which grows with each call until forget(). Returns the delay. */
  addRateLimited(key: string): number;
  /** Resets the backoff of a key that succeeded. */
  forget(key: string): void;
  /** Calls of addRateLimited since the last forget. */
  retries(key: string): number;
  /** The next key, in order of adding; undefined once shut down and empty. Call done() for every returned key. */
  get(): Promise<string | undefined>;
  done(key: string): void;
  /** How long each key has been processed. */
  workedMs(): number[];
  /** Accepts no more keys, drops those delayed and waiting; get() returns undefined. */
  shutDown(): void;
  /** Resolves when no key is being processed. */
  idle(): Promise<void>;
}

export function createWorkQueue(options: WorkQueueOptions = {}): WorkQueue {
  return new KeyedWorkQueue(options);
}

class KeyedWorkQueue implements WorkQueue {
  readonly #clock: Clock;
  readonly #options: WorkQueueOptions;
  readonly #bucket: TokenBucket | undefined;
  /** Key → when it was added. Insertion order is the queue's order. */
  readonly #waiting = new Map<string, number>();
  /** Key → when processing began. */
  readonly #working = new Map<string, number>();
  readonly #again = new Map<string, number>();
  readonly #delayed = new Map<string, { readonly dueMs: number; readonly timer: Timer }>();
  readonly #failures = new Map<string, number>();
  readonly #getters: ((key: string | undefined) => void)[] = [];
  #idleWaiters: (() => void)[] = [];
  #down = false;

  constructor(options: WorkQueueOptions) {
    this.#options = options;
    this.#clock = options.clock ?? realClock;
    this.#bucket = options.overall && new TokenBucket(options.overall, this.#clock);
  }

  get length(): number {
    return this.#waiting.size;
  }

  add(key: string): void {
    if (this.#down || this.#waiting.has(key) || this.#again.has(key)) return;
    const nowMs = this.#clock.monotonic();
    if (this.#working.has(key)) {
      this.#again.set(key, nowMs);
      this.#options.metrics?.added?.(this.#waiting.size);
      return;
    }
    this.#waiting.set(key, nowMs);
    this.#options.metrics?.added?.(this.#waiting.size);
    const getter = this.#getters.shift();
    if (getter) getter(this.#take());
  }

  addAfter(key: string, delayMs: number): void {
    if (this.#down) return;
    assert(!Number.isNaN(delayMs), 'a delay is a number');
    if (delayMs <= 0) return this.add(key);
    const dueMs = this.#clock.monotonic() + delayMs;
    const known = this.#delayed.get(key);
    if (known && known.dueMs <= dueMs) return;
    known?.timer.cancel();
    const timer = this.#clock.after(delayMs, () => {
      this.#delayed.delete(key);
      this.add(key);
    });
    this.#delayed.set(key, { dueMs, timer });
  }

  addRateLimited(key: string): number {
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    const { retryInitialMs = 5, retryMaximumMs = 1_000_000 } = this.#options;
    const delayMs = Math.max(
      backoffMs(Math.min(failures, 64), { initialMs: retryInitialMs, maximumMs: retryMaximumMs }),
      this.#bucket?.reserveMs() ?? 0,
    );
    this.#options.metrics?.retried?.();
    this.addAfter(key, delayMs);
    return delayMs;
  }

  forget(key: string): void {
    this.#failures.delete(key);
  }

  retries(key: string): number {
    return this.#failures.get(key) ?? 0;
  }

  get(): Promise<string | undefined> {
    if (this.#waiting.size > 0) return Promise.resolve(this.#take());
    if (this.#down) return Promise.resolve(undefined);
    return new Promise((resolve) => this.#getters.push(resolve));
  }

  done(key: string): void {
    const startedMs = this.#working.get(key);
    assert(startedMs !== undefined, `key ${key} is given back once, by the worker that got it`);
    this.#working.delete(key);
    this.#options.metrics?.finished?.(this.#clock.monotonic() - startedMs);
    if (this.#again.delete(key)) this.add(key);
    if (this.#working.size === 0) this.#releaseIdleWaiters();
  }

  shutDown(): void {
    if (this.#down) return;
    this.#down = true;
    for (const { timer } of this.#delayed.values()) timer.cancel();
    this.#delayed.clear();
    this.#waiting.clear();
    this.#again.clear();
    this.#failures.clear();
    for (const getter of this.#getters.splice(0)) getter(undefined);
  }

  workedMs(): number[] {
    const nowMs = this.#clock.monotonic();
    return Array.from(this.#working.values(), (sinceMs) => nowMs - sinceMs);
  }

  idle(): Promise<void> {
    if (this.#working.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idleWaiters.push(resolve));
  }

  #take(): string {
    const [key, addedMs] = this.#waiting.entries().next().value!;
    this.#waiting.delete(key);
    const nowMs = this.#clock.monotonic();
    this.#working.set(key, nowMs);
    this.#options.metrics?.taken?.(nowMs - addedMs, this.#waiting.size);
    return key;
  }

  #releaseIdleWaiters(): void {
    const waiters = this.#idleWaiters;
    this.#idleWaiters = [];
    for (const resolve of waiters) resolve();
  }
}

/** Returns how long to wait for the next token; tokens can be reserved ahead. */
class TokenBucket {
  readonly #perSecond: number;
  readonly #burst: number;
  readonly #clock: Clock;
  #tokens: number;
  #atMs: number;

  constructor({ perSecond, burst }: { readonly perSecond: number; readonly burst: number }, clock: Clock) {
    this.#perSecond = perSecond;
    this.#burst = burst;
    this.#clock = clock;
    this.#tokens = burst;
    this.#atMs = clock.monotonic();
  }

  reserveMs(): number {
    const nowMs = this.#clock.monotonic();
    this.#tokens = Math.min(this.#burst, this.#tokens + ((nowMs - this.#atMs) / 1000) * this.#perSecond) - 1;
    this.#atMs = nowMs;
    return this.#tokens >= 0 ? 0 : (-this.#tokens / this.#perSecond) * 1000;
  }
}
