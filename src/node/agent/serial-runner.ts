/** Runs one piece of work again and again, never twice at a time: when woken, and when the time comes that the work itself named. */
import type { Clock, Timer } from '#stdx/clock.ts';

interface SerialRunnerOptions {
  readonly clock: Clock;
  /** Returns the time of its next run, in ms since the epoch; it must not throw. */
  readonly work: () => Promise<number | undefined>;
}

export class SerialRunner {
  readonly #options: SerialRunnerOptions;
  #running: Promise<void> | undefined;
  #again = false;
  #stopped = false;
  #timer: Timer | undefined;

  constructor(options: SerialRunnerOptions) {
    this.#options = options;
  }

  get busy(): boolean {
    return this.#running !== undefined;
  }

  wake(): void {
    if (this.#stopped) return;
    this.#again = true;
    this.#running ??= this.#run();
  }

  /** Resolves when the current run has ended; no other will start. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, work } = this.#options;
    // The caller may be in the middle of its own work.
    await Promise.resolve();
    let nextAtMs: number | undefined;
    while (this.#again && !this.#stopped) {
      this.#again = false;
      this.#timer?.cancel();
      nextAtMs = await work();
    }
    this.#running = undefined;
    if (nextAtMs !== undefined && !this.#stopped)
      this.#timer = clock.after(Math.max(0, nextAtMs - clock.now()), () => this.wake());
  }
}
