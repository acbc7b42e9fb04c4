/** Shapes of cost estimates that several functions share, as upstream's environment has them; functions name theirs in their entries. */
import {
  bounded,
  productOfSizes,
  times,
  TRAVERSAL,
  type CallEstimate,
  type Estimate,
  type Operand,
  type Size,
} from './sizes.ts';

export const ONE: CallEstimate = { cost: 1 };
/** Cost of a pattern's character for each place of the text. */
export const PATTERN = 0.25;
/** Cost of a list that a function makes. */
const ALLOCATED = 11;

export const isText = (name: string): boolean => name === 'string' || name === 'bytes';

/** The input is read completely. */
export const readInput: Estimate = ({ target }) => ({ cost: times(target.size.max, TRAVERSAL) });
/** The input is read, and the result is as large. */
export const readAndKeep: Estimate = ({ target }) => ({
  cost: times(target.size.max, TRAVERSAL),
  size: target.size,
});
/** The argument is read, not the receiver. */
export const readArgument: Estimate = ({ args }) =>
  args.length === 1 ? { cost: times(args[0]!.size.max, TRAVERSAL) } : ONE;

/** Every item is visited, texts completely. */
export const passItems: Estimate = ({ target: { size, item } }) => {
  if (!item) return { cost: times(size.max, TRAVERSAL) };
  return { cost: bounded(size.max * (1 + (isText(item.type.name) ? times(item.size.max, TRAVERSAL) : 0))) };
};

/** A list of this size is made. */
export const allocate = (size: Size, factor: number): CallEstimate => ({
  cost: bounded(times(size.max, factor) + ALLOCATED),
  size,
});
export const square = (size: Size): Size => productOfSizes(size, size);

/** A conversion that accepts one type; a dyn argument may have that type. */
export const convertFrom =
  (from: string, result: (size: Size) => Size): Estimate =>
  ({ target: { type, size } }) => {
    const isDyn = type.kind === 'dyn';
    if (type.name !== from && !isDyn) return ONE;
    const cost = times(size.max, TRAVERSAL);
    return { cost: isDyn ? Math.max(1, cost) : cost, size: result(size) };
  };

export function literalInt({ literal }: Operand): number | undefined {
  return typeof literal === 'bigint' ? Number(literal) : undefined;
}
