/** Exponential backoff with jitter and a cap. It only computes delays; the caller decides whether to retry. */
import { realRandom, type Random } from './random.ts';

interface BackoffOptions {
  readonly initialMs: number;
  readonly maximumMs: number;
  /** Default 2. */
  readonly factor?: number;
  /** 0.1 adds up to 10 % to each wait (never above the maximum plus that share). Default 0. */
  readonly jitter?: number;
  readonly random?: Random;
}

/** The wait before try number `attempt` (0 = the first retry). */
export function backoffMs(attempt: number, options: BackoffOptions): number {
  const { initialMs, maximumMs, factor = 2, jitter = 0, random = realRandom } = options;
  const plainMs = Math.min(maximumMs, initialMs * factor ** attempt);
  return plainMs * (1 + jitter * random());
}

/** Counts the attempts of one operation. */
export class Backoff {
  #attempt = 0;
  readonly #options: BackoffOptions;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  get attempts(): number {
    return this.#attempt;
  }

  nextMs(): number {
    return backoffMs(this.#attempt++, this.#options);
  }

  reset(): void {
    this.#attempt = 0;
  }
}

/** Between two looks at something that takes as long as the machine is slow: a fortieth of the time that has passed, so that looking costs little of it. */
export function pollDelayMs(
  elapsedMs: number,
  { minimumMs, maximumMs }: { readonly minimumMs: number; readonly maximumMs: number },
): number {
  return Math.min(Math.max(elapsedMs / 40, minimumMs), maximumMs);
}
