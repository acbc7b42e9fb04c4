/** What evaluating expressions may cost at run time: counted per step and per part of what functions read, after upstream's cost model. */

/** Of one expression. */
export const PER_CALL_LIMIT = 1_000_000;
/** Of all rules of one object, and of all expressions of one policy. */
export const TOTAL_LIMIT = 10_000_000;

/** Thrown out of an evaluation. */
export class BudgetError extends Error {}

/** What several evaluations share. */
export interface Budget {
  remaining: number;
}

let spent = 0;
let limit = Infinity;

/**
 * Evaluations are synchronous, so that one counter is enough; one inside another (a policy's variables) counts for both. Answers what the call
 * cost. Operators absorb errors, so that a result is looked at again: nothing that cost too much has one.
 */
export function withBudget<T>(
  allowed: number,
  evaluate: () => T,
): { readonly result: T; readonly cost: number } {
  const outer = { spent, limit },
    { stackTraceLimit } = Error;
  // Errors are results here, and may be many.
  Error.stackTraceLimit = 0;
  spent = 0;
  limit = Math.min(allowed, outer.limit - outer.spent);
  try {
    const result = evaluate();
    charge(0);
    return { result, cost: spent };
  } finally {
    spent += outer.spent;
    limit = outer.limit;
    Error.stackTraceLimit = stackTraceLimit;
  }
}

export function charge(cost: number): void {
  spent += cost;
  if (spent > limit) throw new BudgetError('operation cancelled: actual cost limit exceeded');
}

/** What passing over a text or list costs. */
export function traversal(size: number): number {
  return Math.ceil(size * 0.1);
}
