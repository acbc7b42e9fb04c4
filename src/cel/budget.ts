/** What evaluating expressions may cost at run time: counted per step and per part of what functions read, after upstream's cost model. */

/** Of one expression. */
export const PER_CALL_LIMIT = 1_000_000;
/** Of all rules of one object, and of all expressions of one policy. */
export const TOTAL_LIMIT = 10_000_000;

/** Thrown out of an evaluation; no operator absorbs it. */
export class BudgetError extends Error {}

/** What several evaluations share. */
export interface Budget {
  remaining: number;
}

/** Counts what one evaluation costs. */
export class Meter {
  readonly limit: number;
  #spent = 0;

  constructor(limit: number) {
    this.limit = limit;
  }

  get spent(): number {
    return this.#spent;
  }

  /** Throws BudgetError. */
  charge(cost: number): void {
    this.#spent += cost;
    if (this.#spent > this.limit) throw new BudgetError('operation cancelled: actual cost limit exceeded');
  }

  /**
   * Evaluates within a limit of its own. `outer` is the enclosing evaluation (a policy's variable): it is charged as well, and its remaining budget bounds
   * this one.
   */
  static measure<T>(
    limit: number,
    evaluate: (meter: Meter) => T,
    outer?: Meter,
  ): { readonly result: T; readonly cost: number } {
    const meter = new Meter(outer ? Math.min(limit, outer.limit - outer.#spent) : limit),
      { stackTraceLimit } = Error;
    // Errors are results here, and may be many.
    Error.stackTraceLimit = 0;
    try {
      const result = evaluate(meter);
      meter.charge(0);
      return { result, cost: meter.#spent };
    } finally {
      if (outer) outer.#spent += meter.#spent;
      Error.stackTraceLimit = stackTraceLimit;
    }
  }
}

/** What passing over a text or list costs. */
export function traversal(size: number): number {
  return Math.ceil(size * 0.1);
}
