/**
 * The timeout of a request: --request-timeout, or less by its ?timeout=. At the timeout the client receives 504; the request's work runs to its end,
 * as upstream's does, and holds its seat until then.
 */
import type { Clock, Timer } from '#stdx/clock.ts';
import { statusErrors } from '#machinery/errors.ts';
import { requestTimeoutMs } from '../http/timeout-parameter.ts';

/** Upstream's --min-request-timeout. */
const DEFAULT_MIN_WATCH_MS = 30 * 60_000;

function timedOut(): Error {
  return statusErrors.timeout(
    'request did not complete within requested timeout - context deadline exceeded',
  );
}

/** State of a request in flight. */
interface Timed {
  readonly startedMs: number;
  readonly info: { readonly query: Readonly<Record<string, string | undefined>> };
  release: (() => void) | undefined;
}

interface Pending {
  readonly dueMs: number;
  expire(): void;
}

/** One timer for all requests in flight. */
export class RequestDeadlines {
  readonly #clock: Clock;
  readonly #limitMs: number;
  readonly #pending = new Set<Pending>();
  #timer: Timer | undefined;
  #timerDueMs = Infinity;

  /** Watches whose clients do not say how long they last so long, to twice as long. */
  readonly minWatchMs: number;

  constructor(
    clock: Clock,
    {
      limitMs,
      minWatchMs = DEFAULT_MIN_WATCH_MS,
    }: { readonly limitMs: number; readonly minWatchMs?: number | undefined },
  ) {
    this.#clock = clock;
    this.#limitMs = limitMs;
    this.minWatchMs = minWatchMs;
  }

  get size(): number {
    return this.#pending.size;
  }

  /** Resolves as work does, or rejects with 504 at the timeout. The request's seat is released when the work ends. */
  bound<T>(work: Promise<T>, request: Timed): Promise<T> {
    const asked = request.info.query['timeout'];
    let limitMs = this.#limitMs;
    try {
      if (asked !== undefined) limitMs = requestTimeoutMs(asked, limitMs);
    } catch (error) {
      // The client has its response already: the outcome is ignored.
      work.catch(() => {});
      return Promise.reject(error as Error);
    }
    const dueMs = request.startedMs + limitMs;
    return new Promise<T>((resolve, reject) => {
      let release: (() => void) | undefined;
      let over = false;
      const pending: Pending = {
        dueMs,
        expire: () => {
          over = true;
          ({ release } = request);
          request.release = undefined;
          reject(timedOut());
        },
      };
      const settle = (): void => {
        this.#pending.delete(pending);
        if (!over) return;
        release?.();
        // Acquired after the timeout's response: release it.
        request.release?.();
      };
      this.#add(pending);
      work.then(
        (value) => {
          settle();
          resolve(value);
        },
        (error: unknown) => {
          settle();
          reject(error as Error);
        },
      );
    });
  }

  stop(): void {
    this.#timer?.cancel();
    this.#pending.clear();
  }

  #add(pending: Pending): void {
    this.#pending.add(pending);
    if (pending.dueMs < this.#timerDueMs) this.#wakeAt(pending.dueMs);
  }

  #wakeAt(dueMs: number): void {
    this.#timer?.cancel();
    this.#timerDueMs = dueMs;
    this.#timer = this.#clock.after(dueMs - this.#clock.monotonic(), () => this.#expire());
  }

  #expire(): void {
    this.#timerDueMs = Infinity;
    const nowMs = this.#clock.monotonic();
    let next = Infinity;
    for (const pending of this.#pending) {
      if (pending.dueMs > nowMs) next = Math.min(next, pending.dueMs);
      else {
        this.#pending.delete(pending);
        pending.expire();
      }
    }
    if (next < Infinity) this.#wakeAt(next);
  }
}
