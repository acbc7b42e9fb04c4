/**
 * Work that is long for a single-threaded server, cut at its seams: between two steps, who finds that the turn of the event loop has lasted a while
 * lets others in. Costs a clock reading where it has not.
 */

/** What others may have to wait for one of us. */
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
