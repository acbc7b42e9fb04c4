/**
 * Writes that etcd does not answer, because the member forwarded them to a leader that is gone: etcd itself never sends them again and gives up after 7 s.
 * While a write waits too long, a consistent read tells whether there is a leader, and of which term. Decides nothing about what such a write did.
 *
 *   answered ──STALL_MS without an answer──► asking: further writes are held ──answered: same term──► slow, looked at again
 *                                                     │                    └──a newer term──► what was sent before is lost, after GRACE_MS
 *                                                     └──no answer within ASK_MS──► further writes are sent, and fail by themselves
 */
import type { Clock, Timer } from '#stdx/clock.ts';

export const STALL_MS = 250;
/** For answers of the new leader that are on their way. */
const GRACE_MS = 150;
/** An election at etcd's default timeout takes up to 2 s. */
export const ASK_MS = 3_000;

interface StallsOptions {
  readonly clock: Clock;
  /** A consistent read of nothing. Its answer, too, goes through saw(). May reject. */
  readonly ask: () => Promise<unknown>;
}

interface Waiting {
  readonly sentMs: number;
  /** The newest that was known. */
  readonly term: number;
  readonly lost: () => void;
}

/** The answer of a write that was lost with its leader. */
export const LOST = Symbol('lost');

export class Stalls {
  readonly #options: StallsOptions;
  readonly #waiting = new Set<Waiting>();
  #term = 0;
  #timer: Timer | undefined;
  #held: PromiseWithResolvers<void> | undefined;
  #closed = false;

  constructor(options: StallsOptions) {
    this.#options = options;
  }

  /** Writes are to wait for it; undefined: nothing stalls. */
  get held(): Promise<void> | undefined {
    return this.#held?.promise;
  }

  /** Of the header of any answer. */
  saw(term: number): void {
    if (term > this.#term) this.#term = term;
  }

  /** LOST where the leader changed while it was under way; whether it happened is not known then. */
  follow<T>(answer: Promise<T>): Promise<T | typeof LOST> {
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
        sentMs: this.#options.clock.monotonic(),
        term: this.#term,
        lost: () => resolve(LOST),
      };
      this.#waiting.add(waiting);
      if (!this.#timer) this.#lookIn(STALL_MS);
      answer.then(
        (value) => {
          this.#waiting.delete(waiting);
          resolve(value);
        },
        (error: unknown) => {
          this.#waiting.delete(waiting);
          reject(error as Error);
        },
      );
    });
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#release();
  }

  /** One timer for all. Insertion order is order of time: the first one waits longest. */
  #lookIn(delayMs: number): void {
    this.#timer = this.#options.clock.after(delayMs, () => {
      this.#timer = undefined;
      const [oldest] = this.#waiting;
      if (!oldest || this.#closed) return;
      const waitedMs = this.#options.clock.monotonic() - oldest.sentMs;
      // At least one: of a remainder that only rounding leaves, no clock gets further.
      if (waitedMs < STALL_MS) this.#lookIn(Math.max(1, STALL_MS - waitedMs));
      else void this.#ask();
    });
  }

  async #ask(): Promise<void> {
    const { clock, ask } = this.#options;
    this.#held = Promise.withResolvers();
    const askedMs = clock.monotonic();
    const answered = Promise.withResolvers<void>();
    const late = clock.after(ASK_MS, () => answered.resolve());
    ask().then(
      () => answered.resolve(),
      () => answered.resolve(),
    );
    await answered.promise;
    late.cancel();
    this.#release();
    const term = this.#term;
    const old = [...this.#waiting].filter((one) => one.sentMs <= askedMs && one.term < term);
    this.#timer = clock.after(old.length > 0 ? GRACE_MS : STALL_MS, () => {
      this.#timer = undefined;
      for (const one of old) if (this.#waiting.delete(one)) one.lost();
      if (this.#waiting.size > 0 && !this.#closed) this.#lookIn(0);
    });
  }

  #release(): void {
    this.#held?.resolve();
    this.#held = undefined;
  }
}
