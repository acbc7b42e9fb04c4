/** Functions of strings: cel-go's standard ones and ext.Strings. */
import { weightOf, andResult, readInputs, searchInput } from '../charges.ts';
import { traversal } from '../budget.ts';
import { UnsignedInt } from '../datatypes.ts';
import { textOf } from '../equality.ts';
import { literalInt, ONE, passItems, readAndKeep, readArgument, readInput } from '../estimates.ts';
import type { Functions } from '../functions.ts';
import { sizeOf } from '../operators.ts';
import {
  bounded,
  fixed,
  productOfSizes,
  sumOfSizes,
  times,
  TRAVERSAL,
  type Estimate,
  type Size,
} from '../sizes.ts';
import { fail, type Add } from './add.ts';

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

export const textSize = (text: string): bigint => BigInt(points(text).length);

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

const searchText: Estimate = ({ target, args }) =>
  args.length === 1
    ? { cost: bounded(times(target.size.max, TRAVERSAL) * times(args[0]!.size.max, TRAVERSAL)) }
    : ONE;

const splitEstimate: Estimate = ({ target: { size }, args: [, most] }) => ({
  cost: times(size.max, 2 * TRAVERSAL),
  size: { min: 0, max: (most && literalInt(most)) ?? size.max },
});

const joinEstimate: Estimate = ({ target: { size: list, item }, args: [separator] }) => {
  const separators = { min: Math.max(0, list.min - 1), max: Math.max(0, list.max - 1) };
  const items = item ? productOfSizes(list, item.size) : fixed(0);
  const size = separator ? sumOfSizes(items, productOfSizes(separator.size, separators)) : items;
  return { cost: times(size.max, TRAVERSAL), size };
};

const chargeJoin = andResult(readInputs, ([list, separator]) =>
  Array.isArray(list) ? list.reduce((sum: number, item) => sum + sizeOf(item) + sizeOf(separator), 0) : 0,
);

export const TEXTS: Functions = {
  'string.startsWith(string): bool': {
    estimate: readArgument,
    run: (text: string, part: string) => text.startsWith(part),
  },
  'string.endsWith(string): bool': {
    estimate: readArgument,
    run: (text: string, part: string) => text.endsWith(part),
  },
  'string.contains(string): bool': {
    estimate: searchText,
    charge: searchInput,
    run: (text: string, part: string) => text.includes(part),
  },
  'string.lowerAscii(): string': {
    estimate: readAndKeep,
    run: (text: string) => text.replaceAll(/[A-Z]+/g, (part) => part.toLowerCase()),
  },
  'string.upperAscii(): string': {
    estimate: readAndKeep,
    run: (text: string) => text.replaceAll(/[a-z]+/g, (part) => part.toUpperCase()),
  },
  'string.trim(): string': { estimate: readAndKeep, run: (text: string) => text.trim() },
  'string.indexOf(string): int': {
    estimate: passItems,
    charge: searchInput,
    run: (text: string, part: string) => pointsBefore(text, text.indexOf(part)),
  },
  'string.indexOf(string, int): int': {
    estimate: passItems,
    charge: searchInput,
    run: (text: string, part: string, from: bigint) =>
      pointsBefore(text, text.indexOf(part, requireIndex(text, from))),
  },
  'string.lastIndexOf(string): int': {
    estimate: passItems,
    charge: searchInput,
    run: (text: string, part: string) => pointsBefore(text, text.lastIndexOf(part)),
  },
  'string.lastIndexOf(string, int): int': {
    estimate: passItems,
    charge: searchInput,
    run: (text: string, part: string, from: bigint) =>
      pointsBefore(text, text.lastIndexOf(part, requireIndex(text, from))),
  },
  'string.substring(int): string': {
    estimate: readAndKeep,
    run: (text: string, from: bigint) => slice(text, Number(from), points(text).length),
  },
  'string.substring(int, int): string': {
    estimate: readAndKeep,
    run: (text: string, from: bigint, to: bigint) => slice(text, Number(from), Number(to)),
  },
  'string.split(string): list<string>': {
    estimate: splitEstimate,
    charge: searchInput,
    run: (text: string, separator: string) => splitText(text, separator, -1n),
  },
  'string.split(string, int): list<string>': { estimate: splitEstimate, charge: searchInput, run: splitText },
  'list<string>.join(): string': {
    estimate: joinEstimate,
    charge: chargeJoin,
    run: (list: readonly unknown[]) => joinTexts(list, ''),
  },
  'list<string>.join(string): string': { estimate: joinEstimate, charge: chargeJoin, run: joinTexts },
};

const replaceEstimate: Estimate = ({ target: { size: text }, args }) => {
  if (args.length < 2) return ONE;
  const replacement = { from: args[0]!.size, to: args[1]!.size };
  return {
    cost: times(text.max, 2 * TRAVERSAL),
    size: { min: shortestReplaced(text, replacement), max: longestReplaced(text, replacement) },
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

const chargeReplace = andResult(searchInput, ([text, from, to]) =>
  typeof text === 'string' && typeof from === 'string' && typeof to === 'string'
    ? traversal(countOccurrences(text, from) * to.length)
    : 0,
);

function countOccurrences(text: string, part: string): number {
  if (part === '') return text.length + 1;
  let count = 0;
  for (let at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + part.length)) count++;
  return count;
}

const chargeFormat = andResult(readInputs, ([, args]) => weightOf(args));

const quoteEstimate: Estimate = ({ target: { size } }) => ({
  cost: times(size.max, TRAVERSAL),
  size: { min: size.min + 2, max: bounded(size.max * 2 + 2) },
});

export function addStrings(add: Add): void {
  add('string.charAt(int): string', (text: string, at: bigint) => {
    const characters = Array.from(text);
    if (at < 0n || at > BigInt(characters.length)) fail(`index out of range: ${at}`);
    return characters[Number(at)] ?? '';
  });
  add('string.replace(string, string): string', {
    estimate: replaceEstimate,
    charge: chargeReplace,
    run: (text: string, from: string, to: string) => text.replaceAll(from, () => to),
  });
  add('string.replace(string, string, int): string', {
    estimate: replaceEstimate,
    charge: chargeReplace,
    run: (text: string, from: string, to: string, times: bigint) =>
      replaceSome(text, { from, to, times: Number(times) }),
  });
  add('string.format(list<dyn>): string', {
    estimate: readInput,
    charge: chargeFormat,
    run: (template: string, args: readonly unknown[]) => format(template, args),
  });
  add('strings.quote(string): string', { estimate: quoteEstimate, run: (text: string) => quoted(text) });
}

const ESCAPES: Readonly<Record<string, string>> = {
  '\u0007': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
  '\\': '\\\\',
  '"': '\\"',
};

/** As a literal; invalid characters become the replacement character. */
function quoted(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return `"${text.toWellFormed().replaceAll(/[\u0007\b\f\n\r\t\v\\"]/g, (character) => ESCAPES[character]!)}"`;
}

function replaceSome(
  text: string,
  { from, to, times }: { readonly from: string; readonly to: string; readonly times: number },
): string {
  if (times < 0) return text.replaceAll(from, () => to);
  let done = 0;
  return text.replaceAll(from, (found) => (done++ < times ? to : found));
}

function format(template: string, args: readonly unknown[]): string {
  let next = 0;
  return template.replaceAll(
    /%(?:\.(\d+))?([a-zA-Z%])/g,
    (_, precision: string | undefined, verb: string) => {
      if (verb === '%') return '%';
      if (next >= args.length) fail(`index ${next} out of range`);
      const value = args[next++];
      switch (verb) {
        case 's':
          return textOf(value);
        case 'd':
          return typeof value === 'bigint' || value instanceof UnsignedInt
            ? String(value)
            : fail('integer clause can only be used on integers');
        case 'f':
          return Number(value).toFixed(precision === undefined ? 6 : Number(precision));
        case 'e':
          return Number(value)
            .toExponential(precision === undefined ? 6 : Number(precision))
            .replace(/e([+-])(\d)$/, 'e$10$2');
        case 'b':
          return typeof value === 'boolean' ? (value ? '1' : '0') : BigInt(value as bigint).toString(2);
        case 'o':
          return BigInt(value as bigint).toString(8);
        case 'x':
          return typeof value === 'string'
            ? Buffer.from(value).toString('hex')
            : BigInt(value as bigint).toString(16);
        case 'X':
          return (
            typeof value === 'string'
              ? Buffer.from(value).toString('hex')
              : BigInt(value as bigint).toString(16)
          ).toUpperCase();
        default:
          return fail(
            `could not parse formatting clause: unrecognized formatting clause ${JSON.stringify(verb)}`,
          );
      }
    },
  );
}
