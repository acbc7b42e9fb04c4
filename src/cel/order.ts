/** The order of CEL values: numbers, texts, bools, times. */
import { EvaluationError } from '@marcbachmann/cel-js';
import { charge } from './budget.ts';

export function compareOrdered(left: unknown, right: unknown): number {
  const a = left as number,
    b = right as number;
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Charges for sorting, too. Throws for values that have no order among each other. */
export function checkOrdered(values: readonly unknown[]): void {
  charge(values.length * Math.ceil(Math.log2(values.length + 1)));
  const kinds = new Set(values.map((value) => (value instanceof Date ? 'time' : typeof value)));
  if (kinds.size > 1) throw new EvaluationError('list elements must have the same type');
  if (kinds.has('object') || kinds.has('undefined'))
    throw new EvaluationError('list elements must be comparable');
}
