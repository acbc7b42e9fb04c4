/** Work that is done again and again until it is stopped, one round at a time. */
import type { Clock } from '#stdx/clock.ts';

export class Rounds {
  readonly #clock: Clock;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** round: returns the delay until the next round, in ms; it must not reject. firstMs: the delay of the first. */
  start(round: () => Promise<number>, { firstMs = 0 }: { readonly firstMs?: number } = {}): void {
    this.#running = this.#run(round, firstMs);
  }

  /** A long round may end early then. */
  get stopped(): boolean {
    return this.#stop.signal.aborted;
  }

  /** Resolves when the current round has ended. */
  async stop(): Promise<void> {
    this.#stop.abort(new Error('node agent stopped'));
    await this.#running;
  }

  async #run(round: () => Promise<number>, firstMs: number): Promise<void> {
    const { signal } = this.#stop;
    for (let restMs = firstMs; !signal.aborted;) {
      if (restMs > 0) await this.#clock.sleep(restMs, signal).catch(() => {});
      if (!signal.aborted) restMs = await round();
    }
  }
}
