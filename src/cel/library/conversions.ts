/** cel-go's conversions, sizes and optional values. */
import { Duration, INT_MAX, INT_MIN, Optional, TypeValue, UnsignedInt } from '../datatypes.ts';
import { convertFrom } from '../estimates.ts';
import type { Functions } from '../functions.ts';
import { bounded } from '../sizes.ts';
import { Timestamp } from '../timestamp.ts';
import { fail } from './add.ts';
import { textSize } from './texts.ts';

const same = (value: unknown): unknown => value;

const TRUE = new Set(['1', 't', 'true', 'TRUE', 'True', 'T']),
  FALSE = new Set(['0', 'f', 'false', 'FALSE', 'False', 'F']);

function toInt(value: bigint): bigint {
  return value < INT_MIN || value > INT_MAX ? fail('integer overflow') : value;
}

function fromDouble(value: number): bigint {
  return Number.isFinite(value) ? BigInt(Math.trunc(value)) : fail('integer overflow');
}

/** No longer than a number of 64 bits. */
function parseInteger(text: string, type: string): bigint {
  if (!/^[-+]?[0-9]{1,20}$/.test(text)) fail(`type conversion error from 'string' to '${type}'`);
  return BigInt(text.replace('+', ''));
}

function parseDouble(text: string): number {
  if (/^[-+]?inf(inity)?$/i.test(text)) return text.startsWith('-') ? -Infinity : Infinity;
  if (/^nan$/i.test(text)) return Number.NaN;
  if (!/^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$/.test(text))
    fail("type conversion error from 'string' to 'double'");
  return Number(text);
}

function doubleText(value: number): string {
  return Number.isFinite(value) ? String(value) : Number.isNaN(value) ? 'NaN' : value > 0 ? '+Inf' : '-Inf';
}

export const CONVERSIONS: Functions = {
  'dyn(A): dyn': same,
  'bool(bool): bool': same,
  'bool(string): bool': (text: string) =>
    TRUE.has(text) || (!FALSE.has(text) && fail("type conversion error from 'string' to 'bool'")),
  'bytes(bytes): bytes': same,
  'bytes(string): bytes': {
    estimate: convertFrom('string', ({ min, max }) => ({ min, max: bounded(max * 4) })),
    run: (text: string) => new Uint8Array(Buffer.from(text)),
  },
  'double(double): double': same,
  'double(int): double': Number,
  'double(uint): double': ({ value }: UnsignedInt) => Number(value),
  'double(string): double': parseDouble,
  'int(int): int': same,
  'int(uint): int': ({ value }: UnsignedInt) => toInt(value),
  'int(double): int': (value: number) => toInt(fromDouble(value)),
  'int(string): int': (text: string) => toInt(parseInteger(text, 'int')),
  'uint(uint): uint': same,
  'uint(int): uint': (value: bigint) => new UnsignedInt(value),
  'uint(double): uint': (value: number) => new UnsignedInt(fromDouble(value)),
  'uint(string): uint': (text: string) => new UnsignedInt(parseInteger(text, 'uint')),
  'string(string): string': same,
  'string(bool): string': String,
  'string(int): string': String,
  'string(uint): string': String,
  'string(double): string': doubleText,
  'string(bytes): string': {
    estimate: convertFrom('bytes', ({ min, max }) => ({ min: Math.floor(min / 4), max })),
    run: (value: Uint8Array) => {
      try {
        return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(value);
      } catch {
        return fail('invalid UTF-8 in bytes, cannot convert to string');
      }
    },
  },
};

const listSize = (list: readonly unknown[]): bigint => BigInt(list.length);
const mapSize = (map: ReadonlyMap<unknown, unknown>): bigint => BigInt(map.size);

export const SIZES: Functions = {
  'size(string): int': textSize,
  'size(bytes): int': (value: Uint8Array) => BigInt(value.length),
  'size(list<A>): int': listSize,
  'size(map<A, B>): int': mapSize,
  'string.size(): int': textSize,
  'bytes.size(): int': (value: Uint8Array) => BigInt(value.length),
  'list<A>.size(): int': listSize,
  'map<A, B>.size(): int': mapSize,
};

const present = (list: readonly Optional[]): unknown[] =>
  list.filter((item) => item.hasValue()).map((item) => item.value());

export const OPTIONALS: Functions = {
  'optional.of(A): optional<A>': (value: unknown) => Optional.of(value),
  'optional.none(): optional<A>': () => Optional.none(),
  'optional.ofNonZeroValue(A): optional<A>': (value: unknown) =>
    isZero(value) ? Optional.none() : Optional.of(value),
  'optional.unwrap(list<optional<A>>): list<A>': present,
  'optional<A>.hasValue(): bool': (value: Optional) => value.hasValue(),
  'optional<A>.value(): A': (value: Optional) => value.value(),
  // Their arguments are evaluated on demand: see program.ts.
  'optional<A>.or(optional<A>): optional<A>': same,
  'optional<A>.orValue(A): A': same,
  'list<optional<A>>.unwrapOpt(): list<A>': present,
};

function isZero(value: unknown): boolean {
  if (typeof value !== 'object') return value === '' || value === false || value === 0n || value === 0;
  if (value === null) return true;
  if (value instanceof UnsignedInt) return value.value === 0n;
  if (value instanceof Duration) return value.nanoseconds === 0n;
  if (value instanceof Timestamp) return value.isZero;
  return Array.isArray(value) || value instanceof Uint8Array
    ? value.length === 0
    : value instanceof Map && value.size === 0;
}

/** The meter is the last argument of each function. */
export const typeFunctions = (nameOf: (value: unknown) => string): Functions => ({
  'type(A): type': (value: unknown) => new TypeValue(nameOf(value)),
});
