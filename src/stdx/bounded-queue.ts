/** A first-in-first-out queue between one producer side and one consumer side, with a named bound and a stated overflow action. */

export type OverflowAction =
  /** push returns false and the item is not taken. */
  | 'refuse'
  /** The oldest waiting item makes room. */
  | 'drop-oldest'
  /** The queue closes with a QueueOverflowError: the consumer sees it after what was waiting is dropped. */
  | 'fail';

export interface BoundedQueueOptions<T> {
  /** Names the bound in errors: 'watch events of one watcher'. */
  readonly name: string;
  readonly maximum: number;
  readonly overflow: OverflowAction;
  readonly onDrop?: (item: T) => void;
}

export class QueueOverflowError extends Error {
  constructor(name: string, maximum: number) {
    super(`queue of ${name} is full: ${maximum} items are waiting`);
    this.name = 'QueueOverflowError';
  }
}

interface Waiter<T> {
  resolve(result: IteratorResult<T, undefined>): void;
  reject(reason: unknown): void;
}

export class BoundedQueue<T> implements AsyncIterable<T> {
  readonly #options: BoundedQueueOptions<T>;
  readonly #items: (T | undefined)[] = [];
  #head = 0;
  readonly #waiters: Waiter<T>[] = [];
  #closed = false;
  #failure: unknown;

  constructor(options: BoundedQueueOptions<T>) {
    if (!(options.maximum >= 1))
      throw new Error(`assertion failed: queue of ${options.name} needs a maximum of at least 1`);
    this.#options = options;
  }

  get size(): number {
    return this.#items.length - this.#head;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** True when the item was taken. False after close, and on overflow unless the oldest made room. */
  push(item: T): boolean {
    if (this.#closed) return false;
    const waiter = this.#waiters.shift();
    if (waiter) {
      waiter.resolve({ value: item, done: false });
      return true;
    }
    if (this.size >= this.#options.maximum && !this.#makeRoom()) return false;
    this.#items.push(item);
    return true;
  }

  /** The next item, at once or when one comes; done after close when nothing is left. Rejects with the failure given to fail(). */
  next(): Promise<IteratorResult<T, undefined>> {
    if (this.size > 0) return Promise.resolve({ value: this.#take(), done: false });
    if (this.#failure !== undefined) return Promise.reject(this.#failure as Error);
    if (this.#closed) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  /** No more items are taken; those waiting can still be read. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const waiter of this.#waiters.splice(0)) waiter.resolve({ value: undefined, done: true });
  }

  /** Drops what waits and makes every next() reject. */
  fail(reason: unknown): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#failure = reason;
    for (const item of this.#items.splice(0).slice(this.#head)) this.#options.onDrop?.(item as T);
    this.#head = 0;
    for (const waiter of this.#waiters.splice(0)) waiter.reject(reason);
  }

  [Symbol.asyncIterator](): AsyncIterator<T, undefined> {
    return {
      next: () => this.next(),
      return: () => {
        this.close();
        return Promise.resolve({ value: undefined, done: true });
      },
    };
  }

  #makeRoom(): boolean {
    const { name, maximum, overflow, onDrop } = this.#options;
    if (overflow === 'drop-oldest') {
      const dropped = this.#take();
      onDrop?.(dropped);
      return true;
    }
    if (overflow === 'fail') this.fail(new QueueOverflowError(name, maximum));
    return false;
  }

  #take(): T {
    const item = this.#items[this.#head] as T;
    this.#items[this.#head++] = undefined;
    if (this.#head >= 1024 && this.#head * 2 >= this.#items.length) {
      this.#items.splice(0, this.#head);
      this.#head = 0;
    }
    return item;
  }
}
