/** The order of lists' items: numbers, texts, bools, times. */
import type { Meter } from './budget.ts';
import { Duration, UnsignedInt } from './datatypes.ts';
import { EvaluationError } from './errors.ts';
import { Timestamp } from './timestamp.ts';

export function compareOrdered(left: unknown, right: unknown): number {
  const a = left as number,
    b = right as number;
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Charges for sorting, too. Throws for values that have no order among each other. */
export function checkOrdered(values: readonly unknown[], meter: Meter): void {
  meter.charge(values.length * Math.ceil(Math.log2(values.length + 1)));
  const kinds = new Set(values.map(kindOf));
  if (kinds.size > 1) throw new EvaluationError('list elements must have the same type');
  if (kinds.has('object') || kinds.has('undefined'))
    throw new EvaluationError('list elements must be comparable');
}

function kindOf(value: unknown): string {
  if (value instanceof Timestamp) return 'time';
  if (value instanceof Duration) return 'duration';
  return value instanceof UnsignedInt ? 'uint' : typeof value;
}
