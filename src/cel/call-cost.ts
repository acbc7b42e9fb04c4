/** Run-time costs of function calls beside their step: charged before they run, by the sizes of their inputs, and of some results. */
import { TOTAL_LIMIT, traversal, type Meter } from './budget.ts';
import { sizeOf } from './operators.ts';

/** Parts of a time in a time zone, which the platform works out slowly. */
const ZONED = /^get(Date|DayOf|FullYear|Hours|Mi|Month|Seconds)/;
const ZONE_COST = 500;

/** Functions that look for one text in another. */
const SEARCHES = new Set(['contains', 'indexOf', 'lastIndexOf', 'split', 'replace']);

/** Results that may be far larger than the inputs are sized before they are built. */
const MADE: Readonly<Record<string, (args: readonly unknown[]) => number>> = {
  replace: ([text, from, to]) =>
    typeof text === 'string' && typeof from === 'string' && typeof to === 'string'
      ? traversal(occurrences(text, from) * to.length)
      : 0,
  join: ([list, separator]) =>
    Array.isArray(list) ? list.reduce((sum: number, item) => sum + sizeOf(item) + sizeOf(separator), 0) : 0,
  format: ([, args]) => weightOf(args),
};

export function callCost(name: string): (args: readonly unknown[], meter: Meter) => void {
  const made = Object.hasOwn(MADE, name) ? MADE[name] : undefined,
    searches = SEARCHES.has(name),
    isZoned = ZONED.test(name);
  return (args, meter) => {
    const sizes = args.map((arg) => (Array.isArray(arg) ? 0 : sizeOf(arg)));
    meter.charge(
      searches && sizes.length > 1
        ? sizes[0]! * Math.max(1, sizes[1]!)
        : sizes.reduce((sum, size) => sum + size, 0),
    );
    if (isZoned && args.length > 1) meter.charge(ZONE_COST);
    if (made) meter.charge(made(args));
  };
}

function occurrences(text: string, part: string): number {
  if (part === '') return text.length + 1;
  let count = 0;
  for (let at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + part.length)) count++;
  return count;
}

/** The cost of traversing a value. Stops beyond any budget. */
function weightOf(value: unknown, most = TOTAL_LIMIT): number {
  if (typeof value === 'string' || value instanceof Uint8Array) return Math.max(1, traversal(value.length));
  const items = Array.isArray(value) ? value : value instanceof Map ? value.values() : [];
  let weight = 1;
  for (const item of items) if ((weight += weightOf(item, most - weight)) > most) break;
  return weight;
}
