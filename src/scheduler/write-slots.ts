/** Bounds the bindings and status writes in progress: the scheduling loop waits while all slots are taken. */
import { errorMessage, type Logger } from '#stdx/log.ts';

export class WriteSlots {
  readonly #limit: number;
  readonly #log: Logger;
  readonly #writing = new Set<Promise<void>>();
  /** Resumes the scheduling loop when it waits for a write to finish. */
  #slotFree: (() => void) | undefined;

  constructor(limit: number, log: Logger) {
    this.#limit = limit;
    this.#log = log;
  }

  /** Takes a slot at once, even above the limit, until the work is over. Errors are logged. */
  track(work: Promise<void>): void {
    const tracked: Promise<void> = work
      .catch((error: unknown) => this.#log.error('scheduling write failed', { error: errorMessage(error) }))
      .finally(() => {
        this.#writing.delete(tracked);
        this.#slotFree?.();
      });
    this.#writing.add(tracked);
  }

  get count(): number {
    return this.#writing.size;
  }

  get isFull(): boolean {
    return this.#writing.size >= this.#limit;
  }

  /** Until some write is over; for one caller at a time. */
  async nextFree(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#slotFree = resolve;
    });
  }

  async settled(): Promise<void> {
    await Promise.allSettled(this.#writing);
  }
}
