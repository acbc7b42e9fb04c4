/** Sizes of values and costs of reading them, as cost estimates count them. */
import type { Type } from './type.ts';

/** Characters, bytes, items or entries. */
export interface Size {
  readonly min: number;
  readonly max: number;
}
/** Sizes and costs are counted in 64 bits upstream and stay there. */
export const UNBOUNDED = 2 ** 64 - 1;
export const UNKNOWN: Size = { min: 0, max: UNBOUNDED };

export const bounded = (value: number): number => Math.min(value, UNBOUNDED);
/** Of passing over so much, rounded up. */
export const times = (size: number, factor: number): number =>
  bounded(Math.ceil(Number((size * factor).toPrecision(15))));
export const fixed = (size: number): Size => ({ min: size, max: size });
export const sumOfSizes = (left: Size, right: Size): Size => ({
  min: bounded(left.min + right.min),
  max: bounded(left.max + right.max),
});
export const productOfSizes = (left: Size, right: Size): Size => ({
  min: bounded(left.min * right.min),
  max: bounded(left.max * right.max),
});
export const union = (left: Size, right: Size): Size => ({
  min: Math.min(left.min, right.min),
  max: Math.max(left.max, right.max),
});

export const TRAVERSAL = 0.1;

/** The receiver or an argument of a call, for estimates. */
export interface Operand {
  readonly type: Type;
  readonly size: Size;
  /** Type and size of a list's items; undefined where the value is not a list. */
  readonly item: { readonly type: Type; readonly size: Size } | undefined;
  /** The value of a literal. */
  readonly literal: unknown;
}

/** size: undefined if it is that of the call's type. */
export interface CallEstimate {
  readonly cost: number;
  readonly size?: Size | undefined;
}

/** Of a call without what its receiver and arguments cost. target: the first argument of a global function. */
export type Estimate = (call: {
  readonly target: Operand;
  readonly args: readonly Operand[];
}) => CallEstimate;
