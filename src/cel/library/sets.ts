/** Lists as sets: cel-go's ext.Sets. */
import type { Meter } from '../budget.ts';
import { equalValues } from '../equality.ts';
import { ONE } from '../estimates.ts';
import { bounded, productOfSizes, times, type Estimate } from '../sizes.ts';
import type { Add } from './add.ts';

const compareSets =
  (factor: number): Estimate =>
  ({ args }) =>
    args.length === 2
      ? { cost: bounded(times(productOfSizes(args[0]!.size, args[1]!.size).max, factor) + 1) }
      : ONE;

export function addSets(add: Add): void {
  const contains = (list: readonly unknown[], items: readonly unknown[], meter: Meter): boolean => {
    meter.charge(list.length * items.length);
    return items.every((item) => list.some((candidate) => equalValues(candidate, item, meter)));
  };
  add('sets.contains(list<A>, list<A>): bool', { estimate: compareSets(1), run: contains });
  add('sets.equivalent(list<A>, list<A>): bool', {
    estimate: compareSets(2),
    run: (list: readonly unknown[], other: readonly unknown[], meter: Meter) =>
      contains(list, other, meter) && contains(other, list, meter),
  });
  add('sets.intersects(list<A>, list<A>): bool', {
    estimate: compareSets(1),
    run: (list: readonly unknown[], other: readonly unknown[], meter: Meter) => {
      meter.charge(list.length * other.length);
      return list.some((item) => other.some((candidate) => equalValues(candidate, item, meter)));
    },
  });
}
