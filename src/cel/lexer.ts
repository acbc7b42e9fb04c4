/** Tokens of expressions, after the CEL specification's lexis: names, numbers, texts and bytes in their four forms, and signs. */
import { SyntaxIssue } from './errors.ts';
import { INT_MAX, UnsignedInt } from './datatypes.ts';

export interface Token {
  readonly kind: 'name' | 'keyword' | 'literal' | 'sign' | 'end';
  /** As it is written; of a literal not in full. */
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

/** Throws SyntaxIssue. */
export function tokenize(source: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  const matched = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    return pattern.exec(source)?.[0];
  };
  for (;;) {
    at += matched(SPACE)!.length;
    if (at >= source.length) break;
    const number = matched(NUMBER);
    if (number !== undefined && !(number.startsWith('.') && endsPrimary(tokens.at(-1)))) {
      tokens.push({ kind: 'literal', text: number, at, value: numberOf(number, at), isNumber: true });
      at += number.length;
      continue;
    }
    const start = matched(TEXT_START);
    if (start !== undefined) {
      const { value, end } = readText(source, { at, start });
      tokens.push({ kind: 'literal', text: source.slice(at, Math.min(end, at + 100)), at, value });
      at = end;
      continue;
    }
    const name = matched(NAME),
      text = name ?? matched(SIGN);
    if (text === undefined) throw unrecognized(source, at);
    tokens.push({ kind: name === undefined ? 'sign' : KEYWORDS.has(name) ? 'keyword' : 'name', text, at });
    at += text.length;
  }
  tokens.push({ kind: 'end', text: '<EOF>', at: source.length });
  return tokens;
}

/** A dot behind it selects a field. */
function endsPrimary(token: Token | undefined): boolean {
  return token !== undefined && (token.kind === 'name' || /^[)\]}]$/.test(token.text));
}

function unrecognized(source: string, at: number): SyntaxIssue {
  return new SyntaxIssue(`Syntax error: token recognition error at: '${source.slice(at, at + 20)}'`, at);
}

function numberOf(text: string, at: number): bigint | number | UnsignedInt {
  const isHex = /^0[xX]/.test(text);
  if (!isHex && /[.eE]/.test(text)) {
    const value = Number(text);
    if (!Number.isFinite(value)) throw new SyntaxIssue('invalid double literal', at);
    return value;
  }
  const isUnsigned = /[uU]$/.test(text),
    digits = isUnsigned ? text.slice(0, -1) : text;
  // Reading a long number takes time that grows with its square.
  const value = digits.replace(/^0+(?=\d)/, '').length > 20 ? -1n : BigInt(digits);
  if (isUnsigned) {
    if (value < 0n || value >= 2n ** 64n) throw new SyntaxIssue('invalid uint literal', at);
    return new UnsignedInt(value);
  }
  if (value < 0n || value > INT_MAX + 1n) throw new SyntaxIssue('invalid int literal', at);
  return value;
}

// ----------------------------------------------------------------------------------------------------------------- texts

function readText(
  source: string,
  { at, start }: { readonly at: number; readonly start: string },
): { readonly value: string | Uint8Array; readonly end: number } {
  const quote = start.replace(/^[rRbB]+/, ''),
    isRaw = /^[bB]?[rR]/.test(start),
    isBytes = /^[rR]?[bB]/.test(start);
  const from = at + start.length;
  let end = from;
  while (!source.startsWith(quote, end)) {
    const isNewline = quote.length === 1 && (source[end] === '\n' || source[end] === '\r');
    if (end >= source.length || isNewline) throw unrecognized(source, at);
    end += source[end] === '\\' && !isRaw ? 2 : 1;
  }
  const written = source.slice(from, end);
  const value = isBytes
    ? bytesOf(written, { isRaw, at: from })
    : isRaw
      ? written
      : unescaped(written, { isBytes, at: from }).join('');
  return { value, end: end + quote.length };
}

function bytesOf(
  written: string,
  { isRaw, at }: { readonly isRaw: boolean; readonly at: number },
): Uint8Array {
  if (isRaw) return new Uint8Array(Buffer.from(written));
  const parts = unescaped(written, { isBytes: true, at });
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
