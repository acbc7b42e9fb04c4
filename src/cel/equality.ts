/** Equality of CEL values, and their text in formatted messages. */
import { Optional } from '@marcbachmann/cel-js';
import { charge, traversal } from './budget.ts';

interface Comparable {
  compare(other: unknown): number;
}

/** What is compared is charged as it is. */
export function equalValues(left: unknown, right: unknown): boolean {
  if (left === right) {
    if (typeof left === 'string' && left.length > 10) charge(traversal(left.length));
    return true;
  }
  if (typeof left !== typeof right)
    return isNumeric(left) && isNumeric(right) && Number(left) === Number(right);
  if (typeof left !== 'object' || typeof right !== 'object' || left === null || right === null) return false;
  charge(1);
  if (Array.isArray(left)) return Array.isArray(right) && equalLists(left, right);
  if (isMap(left)) return isMap(right) && equalMaps(left, right);
  if (left.constructor !== right.constructor) return false;
  if (left instanceof Date) return left.getTime() === (right as Date).getTime();
  if (left instanceof Uint8Array) {
    charge(traversal(left.length));
    return Buffer.compare(left, right as Uint8Array) === 0;
  }
  if (left instanceof Optional)
    return left.hasValue()
      ? (right as Optional).hasValue() && equalValues(left.value(), (right as Optional).value())
      : !(right as Optional).hasValue();
  if (typeof (left as Partial<Comparable>).compare === 'function')
    return (left as Comparable).compare(right) === 0;
  return equalObjects(left as Record<string, unknown>, right as Record<string, unknown>);
}

function equalLists(left: readonly unknown[], right: readonly unknown[]): boolean {
  if (left.length !== right.length) return false;
  charge(left.length);
  for (let i = 0; i < left.length; i++) if (!equalValues(left[i], right[i])) return false;
  return true;
}

/** Maps of JSON are Maps, those of literals plain objects. */
function isMap(value: object): boolean {
  return value instanceof Map || value.constructor === Object || value.constructor === undefined;
}

function equalMaps(left: object, right: object): boolean {
  const [a, b] = [left, right].map((map) => (map instanceof Map ? map : new Map(Object.entries(map)))) as [
    Map<unknown, unknown>,
    Map<unknown, unknown>,
  ];
  if (a.size !== b.size) return false;
  charge(a.size);
  for (const key of a.keys()) if (!b.has(key) || !equalValues(a.get(key), b.get(key))) return false;
  return true;
}

/** Instances of types that schemas declare; others are what their text says. */
function equalObjects(left: Record<string, unknown>, right: Record<string, unknown>): boolean {
  const names = Object.keys(left);
  if (names.length === 0 && Object.keys(right).length === 0) return String(left) === String(right);
  return (
    names.length === Object.keys(right).length && names.every((name) => equalValues(left[name], right[name]))
  );
}

function isNumeric(value: unknown): boolean {
  return typeof value === 'bigint' || typeof value === 'number';
}

export function textOf(value: unknown): string {
  if (value instanceof Date) return value.toISOString().replace(/\.000Z$/, 'Z');
  if (Array.isArray(value)) return `[${value.map(textOf).join(', ')}]`;
  if (typeof value === 'object' && value !== null && isMap(value))
    return `{${(value instanceof Map ? [...value] : Object.entries(value)).map(([key, inner]) => `${textOf(key)}:${textOf(inner)}`).join(', ')}}`;
  return String(value);
}
