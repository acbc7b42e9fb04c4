/** Waits of pods for something that an informer will show: all are woken by each change, and look by themselves after a while. */
import type { Clock } from '#stdx/clock.ts';

export class ChangeWaiters {
  readonly #clock: Clock;
  /** One for each pod that waits. */
  readonly #waiting = new Set<() => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Something changed. */
  wake(): void {
    for (const wake of this.#waiting) wake();
  }

  /** Until the next change, at most so long; also when the signal is aborted. */
  async next(signal: AbortSignal, atMostMs: number): Promise<void> {
    const changed = Promise.withResolvers<void>();
    const wake = (): void => changed.resolve();
    this.#waiting.add(wake);
    const timer = this.#clock.after(atMostMs, wake);
    signal.addEventListener('abort', wake, { once: true });
    try {
      await changed.promise;
    } finally {
      this.#waiting.delete(wake);
      timer.cancel();
      signal.removeEventListener('abort', wake);
    }
  }
}
