/** Equality of CEL values, and their text in formatted messages. */

interface Comparable { compare(other: unknown): number }

export function equalValues(left: unknown, right: unknown): boolean {
  if (left === right) return true;
  if (typeof left !== typeof right) return isNumeric(left) && isNumeric(right) && Number(left) === Number(right);
  if (typeof left !== 'object' || typeof right !== 'object' || left === null || right === null) return false;
  if (left instanceof Date || right instanceof Date) return left instanceof Date && right instanceof Date && left.getTime() === right.getTime();
  if (Array.isArray(left) || Array.isArray(right)) return Array.isArray(left) && Array.isArray(right) && left.length === right.length && left.every((item, i) => equalValues(item, right[i]));
  if (left instanceof Map || right instanceof Map) return left instanceof Map && right instanceof Map && left.size === right.size && [...left].every(([key, value]) => right.has(key) && equalValues(value, right.get(key)));
  if (left instanceof Uint8Array || right instanceof Uint8Array) return left instanceof Uint8Array && right instanceof Uint8Array && Buffer.compare(left, right) === 0;
  if (left.constructor !== right.constructor) return false;
  if (typeof (left as Partial<Comparable>).compare === 'function') return (left as Comparable).compare(right) === 0;
  const names = Object.keys(left);
  if (names.length === 0 && Object.keys(right).length === 0) return String(left) === String(right);
  return names.length === Object.keys(right).length && names.every((name) => equalValues((left as Record<string, unknown>)[name], (right as Record<string, unknown>)[name]));
}

function isNumeric(value: unknown): boolean {
  return typeof value === 'bigint' || typeof value === 'number';
}

export function textOf(value: unknown): string {
  if (value instanceof Date) return value.toISOString().replace(/\.000Z$/, 'Z');
  if (Array.isArray(value)) return `[${value.map(textOf).join(', ')}]`;
  if (value instanceof Map) return `{${[...value].map(([key, inner]) => `${textOf(key)}:${textOf(inner)}`).join(', ')}}`;
  return String(value);
}
