/** Equality of CEL values, and their text in formatted messages. */
import { traversal, type Meter } from './budget.ts';
import { CelObject, Duration, Optional, TypeValue, UnorderedList, UnsignedInt } from './datatypes.ts';
import { Timestamp } from './timestamp.ts';
import { DeclaredObject } from './values.ts';

/** Values of types that functions make have it. */
interface Comparable {
  compare(other: unknown): number;
}
interface Equatable {
  equals(other: unknown): boolean;
}

/** Comparisons are charged as they proceed. */
export function equalValues(left: unknown, right: unknown, meter: Meter): boolean {
  if (left === right) {
    if (typeof left === 'string' && left.length > 10) meter.charge(traversal(left.length));
    return true;
  }
  if (isNumeric(left)) return isNumeric(right) && equalNumbers(left, right);
  if (typeof left === 'string' && typeof right === 'string')
    meter.charge(traversal(Math.min(left.length, right.length)));
  if (typeof left !== 'object' || typeof right !== 'object' || left === null || right === null) return false;
  meter.charge(1);
  if (Array.isArray(left)) return Array.isArray(right) && equalLists(left, right, meter);
  if (left instanceof Map) return right instanceof Map && equalMaps(left, right, meter);
  return equalObjects(left, right, meter);
}

function equalObjects(left: object, right: object, meter: Meter): boolean {
  if (left instanceof DeclaredObject)
    return right instanceof DeclaredObject && equalDeclared(left, right, meter);
  if (left instanceof Uint8Array) {
    meter.charge(traversal(left.length));
    return right instanceof Uint8Array && Buffer.compare(left, right) === 0;
  }
  if (left.constructor !== right.constructor) return false;
  if (left instanceof Timestamp) return left.nanoseconds === (right as Timestamp).nanoseconds;
  if (left instanceof Duration) return left.nanoseconds === (right as Duration).nanoseconds;
  if (left instanceof TypeValue) return left.name === (right as TypeValue).name;
  if (left instanceof Optional) return equalOptionals(left, right as Optional, meter);
  if (left instanceof CelObject)
    return (
      left.typeName === (right as CelObject).typeName &&
      equalMaps(left.fields, (right as CelObject).fields, meter)
    );
  if (typeof (left as Partial<Equatable>).equals === 'function') return (left as Equatable).equals(right);
  return (
    typeof (left as Partial<Comparable>).compare === 'function' && (left as Comparable).compare(right) === 0
  );
}

function equalOptionals(left: Optional, right: Optional, meter: Meter): boolean {
  if (!left.hasValue() || !right.hasValue()) return left.hasValue() === right.hasValue();
  return equalValues(left.value(), right.value(), meter);
}

function equalLists(left: readonly unknown[], right: readonly unknown[], meter: Meter): boolean {
  if (left.length !== right.length) return false;
  if (left instanceof UnorderedList) {
    meter.charge(left.length * right.length);
    return left.every((item) => right.some((candidate) => equalValues(candidate, item, meter)));
  }
  meter.charge(left.length);
  for (let i = 0; i < left.length; i++) if (!equalValues(left[i], right[i], meter)) return false;
  return true;
}

function equalMaps(
  left: ReadonlyMap<unknown, unknown>,
  right: ReadonlyMap<unknown, unknown>,
  meter: Meter,
): boolean {
  if (left.size !== right.size) return false;
  meter.charge(left.size);
  for (const [key, value] of left) {
    const other = right.get(key);
    if (other === undefined || !equalValues(value, other, meter)) return false;
  }
  return true;
}

function equalDeclared(left: DeclaredObject, right: DeclaredObject, meter: Meter): boolean {
  const names = left.names();
  return (
    names.length === right.names().length &&
    names.every((name) => {
      const other = right.field(name);
      return other !== undefined && equalValues(left.field(name), other, meter);
    })
  );
}

function isNumeric(value: unknown): value is bigint | number | UnsignedInt {
  return typeof value === 'bigint' || typeof value === 'number' || value instanceof UnsignedInt;
}

function equalNumbers(left: bigint | number | UnsignedInt, right: bigint | number | UnsignedInt): boolean {
  const a = left instanceof UnsignedInt ? left.value : left,
    b = right instanceof UnsignedInt ? right.value : right;
  // Exact between bigint and number.
  return a == b;
}

export function textOf(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(textOf).join(', ')}]`;
  if (value instanceof Uint8Array) return Buffer.from(value).toString();
  if (value instanceof Map)
    return `{${Array.from(value, ([key, inner]) => `${textOf(key)}:${textOf(inner)}`).join(', ')}}`;
  return String(value);
}
