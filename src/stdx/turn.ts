/**
 * Splits long work in a single-threaded server: between two steps it yields to the event loop when the current turn has lasted
 * too long. Otherwise it costs one clock reading.
 */

/** Maximum duration of a turn. */
const TURN_MS = 10;

export class Turn {
  #startedMs = performance.now();

  get isLong(): boolean {
    return performance.now() - this.#startedMs >= TURN_MS;
  }

  /** Resolves in another turn. */
  pause(): Promise<void> {
    return new Promise((resolve) =>
      setImmediate(() => {
        this.#startedMs = performance.now();
        resolve();
      }),
    );
  }
}
