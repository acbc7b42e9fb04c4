/** cel-go's standard functions, and those of ext.Strings: conversions, sizes, texts, optional values. */
import { Duration, INT_MAX, INT_MIN, Optional, TypeValue, UnsignedInt } from './datatypes.ts';
import { EvaluationError } from './errors.ts';
import type { Functions } from './functions.ts';
import { Timestamp } from './timestamp.ts';

const same = (value: unknown): unknown => value;

function fail(message: string): never {
  throw new EvaluationError(message);
}

// ----------------------------------------------------------------------------------------------------------- conversions

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
  'bytes(string): bytes': (text: string) => new Uint8Array(Buffer.from(text)),
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
  'string(bytes): string': (value: Uint8Array) => {
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(value);
    } catch {
      return fail('invalid UTF-8 in bytes, cannot convert to string');
    }
  },
};

// ----------------------------------------------------------------------------------------------------------------- sizes

const textSize = (text: string): bigint => BigInt(points(text).length);
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

// ----------------------------------------------------------------------------------------------------------------- texts

/** Places in texts count code points. */
function points(text: string): string | string[] {
  return /[\ud800-\udfff]/.test(text) ? Array.from(text) : text;
}

function slice(text: string, from: number, to: number): string {
  const characters = points(text);
  if (from < 0 || from > characters.length) fail(`index out of range: ${from}`);
  if (to < 0 || to > characters.length) fail(`index out of range: ${to}`);
  if (from > to) fail(`invalid substring range. start: ${from}, end: ${to}`);
  const part = characters.slice(from, to);
  return typeof part === 'string' ? part : part.join('');
}

/** Code points before a place of the text. */
const pointsBefore = (text: string, at: number): bigint => (at < 0 ? -1n : textSize(text.slice(0, at)));

function requireIndex(text: string, at: bigint): number {
  if (at < 0n || at > textSize(text)) fail(`index out of range: ${at}`);
  return slice(text, 0, Number(at)).length;
}

function splitText(text: string, separator: string, most: bigint): string[] {
  if (most === 0n) return [];
  const parts = separator === '' ? Array.from(text) : text.split(separator);
  if (most < 0n || BigInt(parts.length) <= most) return parts;
  const kept = Number(most) - 1;
  return [...parts.slice(0, kept), parts.slice(kept).join(separator)];
}

function joinTexts(list: readonly unknown[], separator: string): string {
  if (!list.every((item) => typeof item === 'string')) fail('no such overload');
  return list.join(separator);
}

export const TEXTS: Functions = {
  'string.startsWith(string): bool': (text: string, part: string) => text.startsWith(part),
  'string.endsWith(string): bool': (text: string, part: string) => text.endsWith(part),
  'string.contains(string): bool': (text: string, part: string) => text.includes(part),
  'string.lowerAscii(): string': (text: string) => text.replaceAll(/[A-Z]+/g, (part) => part.toLowerCase()),
  'string.upperAscii(): string': (text: string) => text.replaceAll(/[a-z]+/g, (part) => part.toUpperCase()),
  'string.trim(): string': (text: string) => text.trim(),
  'string.indexOf(string): int': (text: string, part: string) => pointsBefore(text, text.indexOf(part)),
  'string.indexOf(string, int): int': (text: string, part: string, from: bigint) =>
    pointsBefore(text, text.indexOf(part, requireIndex(text, from))),
  'string.lastIndexOf(string): int': (text: string, part: string) =>
    pointsBefore(text, text.lastIndexOf(part)),
  'string.lastIndexOf(string, int): int': (text: string, part: string, from: bigint) =>
    pointsBefore(text, text.lastIndexOf(part, requireIndex(text, from))),
  'string.substring(int): string': (text: string, from: bigint) =>
    slice(text, Number(from), points(text).length),
  'string.substring(int, int): string': (text: string, from: bigint, to: bigint) =>
    slice(text, Number(from), Number(to)),
  'string.split(string): list<string>': (text: string, separator: string) => splitText(text, separator, -1n),
  'string.split(string, int): list<string>': splitText,
  'list<string>.join(): string': (list: readonly unknown[]) => joinTexts(list, ''),
  'list<string>.join(string): string': joinTexts,
};

// -------------------------------------------------------------------------------------------------------------- optional

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
