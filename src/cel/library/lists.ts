/** Functions of lists: Kubernetes' own and cel-go's ext.Lists. */
import type { Meter } from '../budget.ts';
import { searchInput } from '../charges.ts';
import { Optional } from '../datatypes.ts';
import { equalValues } from '../equality.ts';
import { allocate, isText, literalInt, ONE, passItems, square } from '../estimates.ts';
import { checkOrdered, compareOrdered } from '../order.ts';
import { fixed, TRAVERSAL, UNBOUNDED, type Estimate } from '../sizes.ts';
import { fail, type Add } from './add.ts';

export function addLists(add: Add): void {
  const passing =
    <R>(work: (list: readonly unknown[], rest: { readonly item: unknown; readonly meter: Meter }) => R) =>
    (list: readonly unknown[], ...args: readonly unknown[]): R => {
      const meter = args.at(-1) as Meter;
      meter.charge(list.length);
      return work(list, { item: args[0], meter });
    };
  const nonEmpty = (list: readonly unknown[], name: string): readonly unknown[] =>
    list.length === 0 ? fail(`${name} called on empty list`) : list;
  add('list<dyn>.isSorted(): bool', {
    estimate: passItems,
    run: passing((list) => list.every((item, i) => i === 0 || compareOrdered(list[i - 1], item) <= 0)),
  });
  for (const type of ['int', 'double']) {
    const zero: unknown = type === 'int' ? 0n : 0;
    add(`list<${type}>.sum(): ${type}`, {
      estimate: passItems,
      run: passing((list) => list.reduce((sum, item) => (sum as number) + (item as number), zero)),
    });
  }
  for (const type of ['int', 'double', 'string', 'bool']) {
    add(`list<${type}>.min(): ${type}`, {
      estimate: passItems,
      run: passing((list) =>
        nonEmpty(list, 'min').reduce((best, item) => (compareOrdered(item, best) < 0 ? item : best)),
      ),
    });
    add(`list<${type}>.max(): ${type}`, {
      estimate: passItems,
      run: passing((list) =>
        nonEmpty(list, 'max').reduce((best, item) => (compareOrdered(item, best) > 0 ? item : best)),
      ),
    });
  }
  add('list<A>.indexOf(A): int', {
    estimate: passItems,
    charge: searchInput,
    run: passing((list, { item, meter }) =>
      BigInt(list.findIndex((candidate) => equalValues(candidate, item, meter))),
    ),
  });
  add('list<A>.lastIndexOf(A): int', {
    estimate: passItems,
    charge: searchInput,
    run: passing((list, { item, meter }) =>
      BigInt(list.findLastIndex((candidate) => equalValues(candidate, item, meter))),
    ),
  });
}

const MAX_RANGE = 1_000_000n;

const sliceEstimate: Estimate = ({ target: { size }, args }) => {
  if (args.length !== 2) return ONE;
  const from = literalInt(args[0]!) ?? 0,
    to = literalInt(args[1]!) ?? size.max;
  return allocate(fixed(Math.max(0, to - from)), 1);
};

const sortEstimate: Estimate = ({ target: { size, item } }) =>
  allocate(square(size), !item || isText(item.type.name) || item.type.kind === 'dyn' ? 2 + TRAVERSAL : 2);

/** cel-go's ext.Lists. */
export function addListExtensions(add: Add): void {
  add('list<A>.reverse(): list<A>', {
    estimate: ({ target: { type, size } }) => (type.name === 'string' ? ONE : allocate(size, 1)),
    run: (list: readonly unknown[]) => list.toReversed(),
  });
  add('list<A>.slice(int, int): list<A>', {
    estimate: sliceEstimate,
    run: (list: readonly unknown[], from: bigint, to: bigint) => {
      if (from < 0n || to < 0n) fail(`cannot slice(${from}, ${to}), negative indexes not supported`);
      if (from > to)
        fail(`cannot slice(${from}, ${to}), start index must be less than or equal to end index`);
      if (to > BigInt(list.length)) fail(`cannot slice(${from}, ${to}), list is length ${list.length}`);
      return list.slice(Number(from), Number(to));
    },
  });
  const flatten = (list: readonly unknown[], depth: number): unknown[] =>
    list.flatMap((item) => (Array.isArray(item) && depth > 0 ? flatten(item, depth - 1) : [item]));
  add('list<dyn>.flatten(): list<dyn>', {
    estimate: ({ target }) => allocate(target.size, 1),
    run: (list: readonly unknown[]) => flatten(list, 1),
  });
  add('list<dyn>.flatten(int): list<dyn>', {
    estimate: ({ target, args }) => allocate(target.size, literalInt(args[0]!) ?? UNBOUNDED),
    run: (list: readonly unknown[], depth: bigint) =>
      depth < 0n ? fail('level must be non-negative') : flatten(list, Number(depth)),
  });
  add('list<A>.distinct(): list<A>', {
    estimate: ({ target }) => allocate(square(target.size), 2),
    run: (list: readonly unknown[], meter: Meter) => {
      const plain = new Set<unknown>(),
        kept: unknown[] = [];
      for (const item of list) {
        if (typeof item === 'object' && item !== null) {
          meter.charge(kept.length);
          if (kept.some((known) => equalValues(known, item, meter))) continue;
        } else if (plain.has(item)) continue;
        else plain.add(item);
        kept.push(item);
      }
      return kept;
    },
  });
  add('list<A>.sort(): list<A>', {
    estimate: sortEstimate,
    run: (list: readonly unknown[], meter: Meter) => {
      checkOrdered(list, meter);
      return list.toSorted(compareOrdered);
    },
  });
  add('list<A>.first(): optional<A>', (list: readonly unknown[]) =>
    list.length > 0 ? Optional.of(list[0]) : Optional.none(),
  );
  add('list<A>.last(): optional<A>', (list: readonly unknown[]) =>
    list.length > 0 ? Optional.of(list.at(-1)) : Optional.none(),
  );
  add('lists.range(int): list<int>', {
    estimate: ({ args }) => allocate(fixed(literalInt(args[0]!) ?? UNBOUNDED), 1),
    run: (end: bigint, meter: Meter) => {
      if (end > MAX_RANGE) fail(`lists.range(${end}) is longer than ${MAX_RANGE}`);
      const length = Number(end < 0n ? 0n : end);
      meter.charge(length);
      return Array.from({ length }, (_item, i) => BigInt(i));
    },
  });
}
