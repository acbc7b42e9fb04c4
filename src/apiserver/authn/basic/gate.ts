/** A semaphore with a bounded queue; callers beyond the queue are refused. */
export class GateFull extends Error {
  override readonly name = 'GateFull';
}

export class Gate {
  readonly #atOnce: number;
  readonly #maxWaiting: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(options: { readonly atOnce: number; readonly maxWaiting: number }) {
    this.#atOnce = options.atOnce;
    this.#maxWaiting = options.maxWaiting;
  }

  /** Throws GateFull without calling work. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#atOnce) {
      if (this.#waiting.length >= this.#maxWaiting)
        throw new GateFull(`${this.#maxWaiting} are waiting already`);
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#running += 1;
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      // The next waiter inherits this slot.
      if (next) next();
      else this.#running -= 1;
    }
  }
}
