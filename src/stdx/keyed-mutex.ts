/** Serialises work per key, in order of the calls; work for different keys runs concurrently. */
export class KeyedMutex {
  readonly #tails = new Map<string, Promise<void>>();

  /** Keys with running or waiting work. */
  get size(): number {
    return this.#tails.size;
  }

  async run<T>(key: string, work: () => Promise<T> | T): Promise<T> {
    const before = this.#tails.get(key);
    const done = Promise.withResolvers<void>();
    this.#tails.set(key, done.promise);
    try {
      if (before) await before;
      return await work();
    } finally {
      done.resolve();
      if (this.#tails.get(key) === done.promise) this.#tails.delete(key);
    }
  }
}
