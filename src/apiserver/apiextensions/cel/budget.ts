/** What evaluating rules may cost at run time: counted per step and per part of what functions read, after upstream's cost model. */

/** Of one expression. */
export const PER_CALL_LIMIT = 1_000_000;
/** Of all rules of one object. */
export const TOTAL_LIMIT = 10_000_000;

/** Thrown out of an evaluation. */
export class BudgetError extends Error {}

let spent = 0;
let limit = 0;

/** Evaluations are synchronous, so that one counter is enough. Answers what the call cost. */
export function withBudget<T>(allowed: number, evaluate: () => T): { readonly result: T; readonly cost: number } {
  spent = 0;
  limit = allowed;
  const result = evaluate();
  return { result, cost: spent };
}

export function charge(cost: number): void {
  spent += cost;
  if (spent > limit) throw new BudgetError('operation cancelled: actual cost limit exceeded');
}

/** What passing over a text or list costs. */
export function traversal(size: number): number {
  return Math.ceil(size * 0.1);
}
