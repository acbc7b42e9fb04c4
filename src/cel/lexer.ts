/** Tokens of expressions, after the CEL specification's lexis: names, numbers, texts and bytes in their four forms, and signs. */
import { SyntaxIssue, type Issue } from './errors.ts';
import { INT_MAX, UnsignedInt } from './datatypes.ts';

export interface Token {
  readonly kind: 'name' | 'keyword' | 'literal' | 'sign' | 'end';
  /** As written; a literal is shortened. */
  readonly text: string;
  readonly at: number;
  readonly value?: bigint | number | string | Uint8Array | UnsignedInt;
  /** A number without a sign may be the smallest int behind a minus, which alone it must not be. */
  readonly isNumber?: boolean;
}

const SPACE = /(?:[ \t\n\r\f]|\/\/[^\n]*)*/y;
const NAME = /[A-Za-z_][A-Za-z0-9_]*/y;
const NUMBER =
  /0[xX][0-9a-fA-F]+[uU]?|(?:[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?)|[0-9]+[uU]?/y;
const TEXT_START = /(?:[rR][bB]?|[bB][rR]?)?("""|'''|"|')/y;
const SIGN = /==|!=|<=|>=|&&|\|\||[-+*/%<>!()[\]{}.,:?]/y;
const KEYWORDS = new Set(['true', 'false', 'null', 'in']);

interface Tokenized {
  readonly tokens: readonly Token[];
  /** An invalid character, which was skipped. */
  readonly issues: readonly Issue[];
}

export function tokenize(source: string): Tokenized {
  const tokens: Token[] = [],
    issues: Issue[] = [];
  let at = 0;
  const matched = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    return pattern.exec(source)?.[0];
  };
  for (;;) {
    at += matched(SPACE)?.length ?? 0;
    if (at >= source.length) break;
    const number = matched(NUMBER);
    if (number !== undefined && !(number.startsWith('.') && endsPrimary(tokens.at(-1)))) {
      const { value, problem } = parseFlagNumber(number);
      if (problem !== undefined) issues.push({ message: problem, at });
      tokens.push({ kind: 'literal', text: number, at, value, isNumber: true });
      at += number.length;
      continue;
    }
    const start = matched(TEXT_START);
    if (start !== undefined) {
      const read = readText(source, { at, start });
      if ('failedAt' in read) issues.push(unrecognized(source, { at, failedAt: read.failedAt }));
      else {
        const text = source.slice(at, Math.min(read.end, at + 100));
        tokens.push({ kind: 'literal', text, at, value: read.value });
        if (read.problem) issues.push(read.problem);
      }
      at = 'failedAt' in read ? read.failedAt + 1 : read.end;
      continue;
    }
    const name = matched(NAME),
      text = name ?? matched(SIGN);
    if (text === undefined) {
      // An incomplete operator needs its second character.
      const failedAt = HALF_OPERATORS.has(source[at]!) ? at + 1 : at;
      issues.push(unrecognized(source, { at, failedAt }));
      at = failedAt + 1;
      continue;
    }
    tokens.push({ kind: name === undefined ? 'sign' : KEYWORDS.has(name) ? 'keyword' : 'name', text, at });
    at += text.length;
  }
  tokens.push({ kind: 'end', text: '<EOF>', at: source.length });
  return { tokens, issues };
}

const HALF_OPERATORS = new Set(['=', '&', '|']);

/** A dot behind it selects a field. */
function endsPrimary(token: Token | undefined): boolean {
  return token !== undefined && (token.kind === 'name' || /^[)\]}]$/.test(token.text));
}

const MAX_SHOWN = 100;

/** As ANTLR reports it: with the character that fits no token any more. */
function unrecognized(
  source: string,
  { at, failedAt }: { readonly at: number; readonly failedAt: number },
): Issue {
  const text = source
    .slice(at, Math.min(failedAt + 1, at + MAX_SHOWN))
    .replaceAll('\n', '\\n')
    .replaceAll('\r', '\\r')
    .replaceAll('\t', '\\t');
  return { message: `Syntax error: token recognition error at: '${text}'`, at };
}

interface NumberRead {
  readonly value: bigint | number | UnsignedInt;
  readonly problem?: string;
}

function parseFlagNumber(text: string): NumberRead {
  const isHex = /^0[xX]/.test(text);
  if (!isHex && /[.eE]/.test(text)) {
    const value = Number(text);
    return Number.isFinite(value) ? { value } : { value: 0, problem: 'invalid double literal' };
  }
  const isUnsigned = /[uU]$/.test(text),
    digits = isUnsigned ? text.slice(0, -1) : text;
  // Parsing a long number takes quadratic time.
  const value = digits.replace(/^0+(?=\d)/, '').length > 20 ? -1n : BigInt(digits);
  if (isUnsigned) {
    if (value < 0n || value >= 2n ** 64n)
      return { value: new UnsignedInt(0n), problem: 'invalid uint literal' };
    return { value: new UnsignedInt(value) };
  }
  return value < 0n || value > INT_MAX + 1n ? { value: 0n, problem: 'invalid int literal' } : { value };
}

// ----------------------------------------------------------------------------------------------------------------- texts

type TextRead =
  | { readonly value: string | Uint8Array; readonly end: number; readonly problem?: Issue | undefined }
  /** Position at which it stops being a literal. */
  | { readonly failedAt: number };

function readText(source: string, { at, start }: { readonly at: number; readonly start: string }): TextRead {
  const quote = start.replace(/^[rRbB]+/, ''),
    isRaw = /^[bB]?[rR]/.test(start),
    isBytes = /^[rR]?[bB]/.test(start);
  const from = at + start.length;
  let end = from;
  while (!source.startsWith(quote, end)) {
    const isNewline = quote.length === 1 && (source[end] === '\n' || source[end] === '\r');
    if (end >= source.length || isNewline) {
      // An unterminated triple-quoted text starts with an empty one.
      return quote.length === 3
        ? { value: isBytes ? new Uint8Array() : '', end: from - 1 }
        : { failedAt: end };
    }
    if (source[end] !== '\\' || isRaw) end++;
    else {
      const length = escapeLength(source, end);
      if (length < 0) return { failedAt: end - length };
      end += length;
    }
  }
  const written = source.slice(from, end),
    ends = end + quote.length;
  if (isRaw) return { value: isBytes ? new Uint8Array(Buffer.from(written)) : written, end: ends };
  try {
    const parts = unescaped(written, { isBytes, at: from });
    return { value: isBytes ? encodeFrameBytes(parts) : parts.join(''), end: ends };
  } catch (error) {
    if (!(error instanceof SyntaxIssue)) throw error;
    return { value: isBytes ? new Uint8Array() : '', end: ends, problem: error };
  }
}

const ESCAPE_FORMS: readonly (readonly RegExp[])[] = [
  [/[\\?"'`abfnrtv]/],
  [/u/, ...Array.from({ length: 4 }, () => /[0-9a-fA-F]/)],
  [/U/, ...Array.from({ length: 8 }, () => /[0-9a-fA-F]/)],
  [/[xX]/, /[0-9a-fA-F]/, /[0-9a-fA-F]/],
  [/[0-3]/, /[0-7]/, /[0-7]/],
];

/** Length of an escape sequence with its backslash; for an invalid one, negative: the number of its characters that could start one. */
function escapeLength(source: string, at: number): number {
  const form = ESCAPE_FORMS.find(([first]) => first!.test(source[at + 1] ?? ''));
  if (!form) return -1;
  const fits = form.findIndex((character, i) => !character.test(source[at + 1 + i] ?? ''));
  return fits < 0 ? form.length + 1 : -(fits + 1);
}

function encodeFrameBytes(parts: readonly (string | number)[]): Uint8Array {
  return new Uint8Array(
    Buffer.concat(parts.map((part) => (typeof part === 'number' ? Buffer.from([part]) : Buffer.from(part)))),
  );
}

const ESCAPES: Readonly<Record<string, string>> = {
  '\\': '\\',
  '?': '?',
  '"': '"',
  "'": "'",
  '`': '`',
  a: '\u0007',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
};
const ESCAPE =
  /[^\\]+|\\(?:([\\?"'`abfnrtv])|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|[xX]([0-9a-fA-F]{2})|([0-3][0-7]{2}))/y;

/** Numbers: bytes by themselves. */
function unescaped(
  written: string,
  { isBytes, at }: { readonly isBytes: boolean; readonly at: number },
): (string | number)[] {
  const parts: (string | number)[] = [];
  ESCAPE.lastIndex = 0;
  for (let from = 0; from < written.length; from = ESCAPE.lastIndex) {
    ESCAPE.lastIndex = from;
    const found = ESCAPE.exec(written);
    const [all = '', simple, short, long, hex, octal] = found ?? [];
    const point = parseInt(short ?? long ?? '0', 16),
      byte = hex === undefined ? octal && parseInt(octal, 8) : parseInt(hex, 16);
    const isNoPoint = point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff);
    if (!found || isNoPoint || (isBytes && (short ?? long) !== undefined))
      throw new SyntaxIssue(
        `Syntax error: token recognition error at: '${written.slice(from, from + 10)}'`,
        at + from,
      );
    if (simple !== undefined) parts.push(ESCAPES[simple]!);
    else if ((short ?? long) !== undefined) parts.push(String.fromCodePoint(point));
    else if (typeof byte === 'number') parts.push(isBytes ? byte : String.fromCodePoint(byte));
    else parts.push(all);
  }
  return parts;
}
