/** Operators on values: arithmetic with 64-bit bounds, order across number types, membership, and access by key. Reads and results are charged. */
import { traversal, type Meter } from './budget.ts';
import { Duration, INT_MAX, INT_MIN, Message, Optional, UnorderedList, UnsignedInt } from './datatypes.ts';
import { equalValues } from './equality.ts';
import { EvaluationError, NoSuchOverloadError } from './errors.ts';
import { Timestamp } from './timestamp.ts';
import { DefaultingMap } from './values.ts';
import type { BinaryOperator } from './ast.ts';

type Operator = (left: unknown, right: unknown, meter: Meter) => unknown;

export const OPERATORS: Readonly<Record<BinaryOperator, Operator>> = {
  '==': (left, right, meter) => equalValues(left, right, meter),
  '!=': (left, right, meter) => !equalValues(left, right, meter),
  '<': (left, right, meter) => order(left, right, meter) === -1,
  '<=': (left, right, meter) => [-1, 0].includes(order(left, right, meter)),
  '>': (left, right, meter) => order(left, right, meter) === 1,
  '>=': (left, right, meter) => [0, 1].includes(order(left, right, meter)),
  in: isMember,
  '+': add,
  '-': subtract,
  '*': (left, right) => {
    if (typeof left === 'bigint' && typeof right === 'bigint') return int(left * right);
    if (typeof left === 'number' && typeof right === 'number') return left * right;
    if (left instanceof UnsignedInt && right instanceof UnsignedInt)
      return new UnsignedInt(left.value * right.value);
    throw new NoSuchOverloadError();
  },
  '/': (left, right) => {
    if (typeof left === 'bigint' && typeof right === 'bigint')
      return int(left / divisor(right, 'division by zero'));
    if (typeof left === 'number' && typeof right === 'number') return left / right;
    if (left instanceof UnsignedInt && right instanceof UnsignedInt)
      return new UnsignedInt(left.value / divisor(right.value, 'division by zero'));
    throw new NoSuchOverloadError();
  },
  '%': (left, right) => {
    if (typeof left === 'bigint' && typeof right === 'bigint')
      return left % divisor(right, 'modulus by zero');
    if (left instanceof UnsignedInt && right instanceof UnsignedInt)
      return new UnsignedInt(left.value % divisor(right.value, 'modulus by zero'));
    throw new NoSuchOverloadError();
  },
};

function int(value: bigint): bigint {
  if (value < INT_MIN || value > INT_MAX) throw new EvaluationError('integer overflow');
  return value;
}

function divisor(value: bigint, otherwise: string): bigint {
  if (value === 0n) throw new EvaluationError(otherwise);
  return value;
}

export function negate(value: unknown): unknown {
  if (typeof value === 'bigint') return int(-value);
  if (typeof value === 'number') return -value;
  throw new NoSuchOverloadError();
}

function add(left: unknown, right: unknown, meter: Meter): unknown {
  if (typeof left === 'bigint' && typeof right === 'bigint') return int(left + right);
  if (typeof left === 'number' && typeof right === 'number') return left + right;
  meter.charge(sizeOf(left) + sizeOf(right));
  if (typeof left === 'string' && typeof right === 'string') return left + right;
  if (Array.isArray(left) && Array.isArray(right))
    return left instanceof UnorderedList
      ? joined(left, right, meter)
      : [...(left as unknown[]), ...(right as unknown[])];
  if (left instanceof UnsignedInt && right instanceof UnsignedInt)
    return new UnsignedInt(left.value + right.value);
  if (left instanceof Uint8Array && right instanceof Uint8Array)
    return new Uint8Array(Buffer.concat([left, right]));
  if (left instanceof Duration && right instanceof Duration)
    return new Duration(left.nanoseconds + right.nanoseconds);
  if (left instanceof Timestamp && right instanceof Duration) return left.plus(right);
  if (left instanceof Duration && right instanceof Timestamp) return right.plus(left);
  throw new NoSuchOverloadError();
}

function subtract(left: unknown, right: unknown): unknown {
  if (typeof left === 'bigint' && typeof right === 'bigint') return int(left - right);
  if (typeof left === 'number' && typeof right === 'number') return left - right;
  if (left instanceof UnsignedInt && right instanceof UnsignedInt)
    return new UnsignedInt(left.value - right.value);
  if (left instanceof Duration && right instanceof Duration)
    return new Duration(left.nanoseconds - right.nanoseconds);
  if (left instanceof Timestamp && right instanceof Timestamp) return left.since(right);
  if (left instanceof Timestamp && right instanceof Duration) return left.minus(right);
  throw new NoSuchOverloadError();
}

/** Items of the second list that the first has take their place there, others come behind. */
function joined(left: UnorderedList, right: readonly unknown[], meter: Meter): UnorderedList {
  meter.charge(left.length * right.length);
  const items = Array.from(left);
  for (const item of right) {
    const at = items.findIndex((known) => isSameItem(known, item, { keys: left.itemKeys, meter }));
    if (at < 0) items.push(item);
    else items[at] = item;
  }
  return UnorderedList.withKeys(items, left.itemKeys);
}

function isSameItem(
  left: unknown,
  right: unknown,
  { keys, meter }: { readonly keys: readonly string[]; readonly meter: Meter },
): boolean {
  if (keys.length === 0) return equalValues(left, right, meter);
  return keys.every((key) => equalValues(fieldOf(left, key, meter), fieldOf(right, key, meter), meter));
}

// ----------------------------------------------------------------------------------------------------------------- order

/** NaN has no order. Throws where the values are not comparable. */
function order(left: unknown, right: unknown, meter: Meter): number {
  if (isNumber(left) && isNumber(right)) return sign(parseFlagNumber(left), parseFlagNumber(right));
  meter.charge(Math.min(sizeOf(left), sizeOf(right)));
  if (typeof left === 'string' && typeof right === 'string') return sign(left, right);
  if (typeof left === 'boolean' && typeof right === 'boolean') return sign(Number(left), Number(right));
  if (left instanceof Timestamp && right instanceof Timestamp)
    return sign(left.nanoseconds, right.nanoseconds);
  if (left instanceof Duration && right instanceof Duration) return sign(left.nanoseconds, right.nanoseconds);
  if (left instanceof Uint8Array && right instanceof Uint8Array) return Buffer.compare(left, right);
  throw new NoSuchOverloadError();
}

function sign(left: bigint | number | string, right: bigint | number | string): number {
  return left < right ? -1 : left > right ? 1 : left == right ? 0 : Number.NaN;
}

function isNumber(value: unknown): value is bigint | number | UnsignedInt {
  return typeof value === 'bigint' || typeof value === 'number' || value instanceof UnsignedInt;
}

function parseFlagNumber(value: bigint | number | UnsignedInt): bigint | number {
  return value instanceof UnsignedInt ? value.value : value;
}

// ---------------------------------------------------------------------------------------------------------------- access

function isMember(item: unknown, container: unknown, meter: Meter): boolean {
  if (Array.isArray(container)) {
    meter.charge(container.length);
    return container.some((candidate) => equalValues(candidate, item, meter));
  }
  if (container instanceof DefaultingMap) return container.has(item as string);
  if (container instanceof Map) return createEntry(container, item, meter) !== undefined;
  throw new NoSuchOverloadError();
}

/** Numbers that are equal are the same key, whatever their types. undefined: there is none. */
function createEntry(map: ReadonlyMap<unknown, unknown>, key: unknown, meter: Meter): unknown {
  const known = map.get(key);
  if (known !== undefined || !isNumber(key)) return known;
  meter.charge(map.size);
  for (const [candidate, value] of map)
    if (isNumber(candidate) && equalValues(candidate, key, meter)) return value;
  return undefined;
}

/** The value of a field or key; undefined: there is none. */
function fieldOf(value: unknown, key: unknown, meter: Meter): unknown {
  if (value instanceof Map) return createEntry(value, key, meter);
  if (value instanceof Message) return typeof key === 'string' ? value.field(key, meter) : undefined;
  if (Array.isArray(value)) return value[indexOf(key)] as unknown;
  return undefined;
}

function indexOf(key: unknown): number {
  const index = isNumber(key) ? Number(parseFlagNumber(key)) : Number.NaN;
  if (!Number.isInteger(index)) throw new NoSuchOverloadError();
  return index;
}

/** Like fieldOf; throws where the field is missing. */
function requireField(value: unknown, key: unknown, meter: Meter): unknown {
  const found = fieldOf(value, key, meter);
  if (found !== undefined) return found;
  throw new EvaluationError(
    Array.isArray(value) ? `index out of bounds: ${String(key)}` : `no such key: ${String(key)}`,
  );
}

/** Selecting from an optional value returns an optional value. */
export function select(value: unknown, key: unknown, meter: Meter): unknown {
  return value instanceof Optional ? selectOptional(value, key, meter) : requireField(value, key, meter);
}

export function selectOptional(value: unknown, key: unknown, meter: Meter): Optional {
  if (!(value instanceof Optional)) return Optional.of(fieldOf(value, key, meter));
  return value.hasValue() ? Optional.of(fieldOf(value.value(), key, meter)) : value;
}

export function isPresent(value: unknown, field: string, meter: Meter): boolean {
  return value instanceof Optional
    ? value.hasValue() && isPresent(value.value(), field, meter)
    : !Array.isArray(value) && fieldOf(value, field, meter) !== undefined;
}

/** Of passing over it; of lists each item. */
export function sizeOf(value: unknown): number {
  if (typeof value === 'string' || value instanceof Uint8Array) return traversal(value.length);
  return Array.isArray(value) ? value.length : 0;
}
