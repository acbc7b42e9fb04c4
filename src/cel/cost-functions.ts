/** Estimated costs and result sizes of functions, by name, as upstream's environment has them. */
import {
  bounded,
  fixed,
  productOfSizes,
  sumOfSizes,
  times,
  TRAVERSAL,
  UNBOUNDED,
  type Call,
  type Size,
  type Sizes,
} from './sizes.ts';
import type { Node } from './ast.ts';

/** size: undefined if it is that of the call's type. */
interface CallEstimate {
  readonly cost: number;
  readonly size?: Size | undefined;
}
type Estimate = (
  call: { readonly target: Node; readonly args: readonly Node[] },
  estimator: Sizes,
) => CallEstimate;

const ONE: CallEstimate = { cost: 1 };
const PATTERN = 0.25,
  MAX_NAME_PATTERN = 128,
  ALLOCATED = 11;

/** Of a call without what its receiver and arguments cost. */
export function callEstimate({ name, target, args }: Call, estimator: Sizes): CallEstimate {
  const member = target && (Object.hasOwn(MEMBERS, name) ? MEMBERS[name] : undefined);
  if (member) return member({ target, args }, estimator);
  const global = !target && args.length > 0 && (Object.hasOwn(GLOBALS, name) ? GLOBALS[name] : undefined);
  return global ? global({ target: args[0]!, args }, estimator) : ONE;
}

const isText = (name: string): boolean => name === 'string' || name === 'bytes';
const read: Estimate = ({ target }, estimator) => ({ cost: times(estimator.size(target).max, TRAVERSAL) });
const readTwice: Estimate = ({ target }, estimator) => ({
  cost: times(estimator.size(target).max, 2 * TRAVERSAL),
});
const readAndKept: Estimate = ({ target }, estimator) => ({
  cost: times(estimator.size(target).max, TRAVERSAL),
  size: estimator.size(target),
});
const readArgument: Estimate = ({ args }, estimator) =>
  args.length === 1 ? { cost: times(estimator.size(args[0]!).max, TRAVERSAL) } : ONE;

/** A pattern costs its length at each position of the text. */
function patternCost(text: Size, pattern: Size): number {
  return bounded(times(bounded(text.max + 1), TRAVERSAL) * times(pattern.max, PATTERN));
}

const matches: Estimate = ({ target, args }, estimator) =>
  args.length === 1 ? { cost: patternCost(estimator.size(target), estimator.size(args[0]!)) } : ONE;
const find: Estimate = ({ target, args }, estimator) => {
  const text = estimator.size(target);
  return args.length > 0
    ? { cost: patternCost(text, estimator.size(args[0]!)), size: { min: 0, max: text.max } }
    : ONE;
};
/** Every item is visited, texts completely. */
const passItems: Estimate = ({ target }, estimator) => {
  const size = estimator.size(target),
    item = estimator.itemOf(target);
  if (!item) return { cost: times(size.max, TRAVERSAL) };
  return { cost: bounded(size.max * (1 + (isText(item.type.name) ? times(item.size.max, TRAVERSAL) : 0))) };
};

const replace: Estimate = ({ target, args }, estimator) => {
  if (args.length < 2) return ONE;
  const text = estimator.size(target),
    from = estimator.size(args[0]!),
    to = estimator.size(args[1]!);
  return {
    cost: times(text.max, 2 * TRAVERSAL),
    size: { min: shortestReplaced(text, { from, to }), max: longestReplaced(text, { from, to }) },
  };
};

interface Replacement {
  readonly from: Size;
  readonly to: Size;
}

function longestReplaced(text: Size, { from, to }: Replacement): number {
  if (from.min === 0) return bounded(bounded(text.max + 1) * to.max + text.max);
  return to.max <= from.min ? text.max : bounded(Math.ceil(text.max / from.min) * to.max);
}

function shortestReplaced(text: Size, { from, to }: Replacement): number {
  if (from.max === 0) return bounded(bounded(text.min + 1) * to.min + text.min);
  return from.max <= to.min ? text.min : bounded(Math.ceil(text.min / from.max) * to.min);
}

const split: Estimate = ({ target, args }, estimator) => {
  const text = estimator.size(target),
    most = args[1];
  return {
    cost: times(text.max, 2 * TRAVERSAL),
    size: { min: 0, max: (most && literalInt(most)) ?? text.max },
  };
};

const join: Estimate = ({ target, args }, estimator) => {
  const list = estimator.size(target),
    item = estimator.itemOf(target),
    separators = { min: Math.max(0, list.min - 1), max: Math.max(0, list.max - 1) };
  const items = item ? productOfSizes(list, item.size) : fixed(0);
  const size =
    args.length > 0 ? sumOfSizes(items, productOfSizes(estimator.size(args[0]!), separators)) : items;
  return { cost: times(size.max, TRAVERSAL), size };
};

function literalInt(node: Node): number | undefined {
  return node.kind === 'literal' && typeof node.value === 'bigint' ? Number(node.value) : undefined;
}

/** Addresses are compared as up to 16 bytes, which texts are read to first. */
const ADDRESS_BYTES = 16;
const contained =
  (often: number, more: number): Estimate =>
  ({ args }, estimator) => {
    if (args.length === 0) return ONE;
    const bytes = times(2 * ADDRESS_BYTES, TRAVERSAL) + often * times(ADDRESS_BYTES, TRAVERSAL) + more,
      isParsed = ['string', 'dyn'].includes(estimator.typeOf(args[0]!).name);
    return { cost: bounded(bytes + (isParsed ? times(estimator.size(args[0]!).max, TRAVERSAL) : 0)) };
  };

const allocating = (size: Size, factor: number): CallEstimate => ({
  cost: bounded(times(size.max, factor) + ALLOCATED),
  size,
});
const square = (size: Size): Size => productOfSizes(size, size);

const slice: Estimate = ({ target, args }, estimator) => {
  if (args.length !== 2) return ONE;
  const from = literalInt(args[0]!) ?? 0,
    to = literalInt(args[1]!) ?? estimator.size(target).max;
  return allocating(fixed(Math.max(0, to - from)), 1);
};
const sort: Estimate = ({ target }, estimator) => {
  const item = estimator.itemOf(target)?.type;
  return allocating(
    square(estimator.size(target)),
    !item || isText(item.name) || item.kind === 'dyn' ? 2 + TRAVERSAL : 2,
  );
};
const reverse: Estimate = ({ target }, estimator) =>
  estimator.typeOf(target).name === 'string' ? ONE : allocating(estimator.size(target), 1);

const MEMBERS: Readonly<Record<string, Estimate>> = {
  matches,
  find,
  findAll: find,
  startsWith: readArgument,
  endsWith: readArgument,
  contains: ({ target, args }, estimator) =>
    args.length === 1
      ? {
          cost: bounded(
            times(estimator.size(target).max, TRAVERSAL) * times(estimator.size(args[0]!).max, TRAVERSAL),
          ),
        }
      : ONE,
  isSorted: passItems,
  sum: passItems,
  max: passItems,
  min: passItems,
  indexOf: passItems,
  lastIndexOf: passItems,
  lowerAscii: readAndKept,
  upperAscii: readAndKept,
  substring: readAndKept,
  trim: readAndKept,
  replace,
  split,
  join,
  format: read,
  containsIP: contained(0, 0),
  containsCIDR: contained(1, 1),
  validate: ({ args }, estimator) =>
    args.length > 0
      ? { cost: times(times(estimator.size(args[0]!).max, TRAVERSAL), MAX_NAME_PATTERN * PATTERN) }
      : ONE,
  slice,
  reverse,
  sort,
  flatten: ({ target, args }, estimator) =>
    allocating(estimator.size(target), args.length === 0 ? 1 : (literalInt(args[0]!) ?? UNBOUNDED)),
  distinct: ({ target }, estimator) => allocating(square(estimator.size(target)), 2),
};

const sets =
  (factor: number): Estimate =>
  ({ args }, estimator) => {
    if (args.length !== 2) return ONE;
    return {
      cost: bounded(
        times(productOfSizes(estimator.size(args[0]!), estimator.size(args[1]!)).max, factor) + 1,
      ),
    };
  };

/** A conversion that accepts one type; a dyn argument may have that type. */
const converting =
  (from: string, result: (size: Size) => Size): Estimate =>
  ({ target }, estimator) => {
    const { name, kind } = estimator.typeOf(target);
    if (name !== from && kind !== 'dyn') return ONE;
    const size = estimator.size(target),
      cost = times(size.max, TRAVERSAL);
    return { cost: kind === 'dyn' ? Math.max(1, cost) : cost, size: result(size) };
  };

const GLOBALS: Readonly<Record<string, Estimate>> = {
  url: readAndKept,
  'jsonpatch.escapeKey': readAndKept,
  cidr: read,
  isIP: read,
  isCIDR: read,
  ip: read,
  quantity: read,
  isQuantity: read,
  semver: read,
  isSemver: read,
  'ip.isCanonical': readTwice,
  'strings.quote': ({ target }, estimator) => {
    const { min, max } = estimator.size(target);
    return { cost: times(max, TRAVERSAL), size: { min: min + 2, max: bounded(max * 2 + 2) } };
  },
  bytes: converting('string', ({ min, max }) => ({ min, max: bounded(max * 4) })),
  string: converting('bytes', ({ min, max }) => ({ min: Math.floor(min / 4), max })),
  'lists.range': ({ args }) => allocating(fixed(literalInt(args[0]!) ?? UNBOUNDED), 1),
  'sets.contains': sets(1),
  'sets.intersects': sets(1),
  'sets.equivalent': sets(2),
};
