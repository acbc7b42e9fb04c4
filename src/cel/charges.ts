/** Run-time costs of calls beside their step: charged before they run, by the sizes of their inputs, and of some results. */
import { TOTAL_LIMIT, traversal, type Meter } from './budget.ts';
import type { Charge } from './functions.ts';
import { sizeOf } from './operators.ts';

/** Lists are charged by the functions that pass over them. */
const inputSize = (value: unknown): number => (Array.isArray(value) ? 0 : sizeOf(value));

/** All inputs are read: the charge of functions that name no other. */
export const readInputs: Charge = (inputs, meter) =>
  meter.charge(inputs.reduce((sum: number, input) => sum + inputSize(input), 0));

/** The first input is searched for the second. */
export const searchInput: Charge = (inputs, meter) =>
  inputs.length > 1
    ? meter.charge(inputSize(inputs[0]) * Math.max(1, inputSize(inputs[1])))
    : readInputs(inputs, meter);

/** More than the inputs: results that may be far larger are sized before they are built. */
export const andResult =
  (charge: Charge, size: (inputs: readonly unknown[]) => number): Charge =>
  (inputs, meter: Meter) => {
    charge(inputs, meter);
    meter.charge(size(inputs));
  };

/** The cost of traversing a value. Stops beyond any budget. */
export function weightOf(value: unknown, most = TOTAL_LIMIT): number {
  if (typeof value === 'string' || value instanceof Uint8Array) return Math.max(1, traversal(value.length));
  const items = Array.isArray(value) ? value : value instanceof Map ? value.values() : [];
  let weight = 1;
  for (const item of items) if ((weight += weightOf(item, most - weight)) > most) break;
  return weight;
}
