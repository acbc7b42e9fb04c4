/**
 * Walks over JSON text without building values: reports syntax errors with Go's messages, and finds duplicate fields in
 * objects. Neither uses recursion.
 */

type JsonSyntaxProblem = { readonly message: string; readonly offset: number };

const SPACE = /[ \t\r\n]*/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?/y;
const LITERALS: Readonly<Record<string, string>> = { t: 'true', f: 'false', n: 'null' };
const END = 'unexpected end of JSON input';

/** The first error, with the message of Go's encoding/json; undefined for valid text. */
export function findJsonSyntaxProblem(text: string): JsonSyntaxProblem | undefined {
  const closers: string[] = [];
  let offset = 0;
  const skipSpace = (): void => {
    SPACE.lastIndex = offset;
    SPACE.test(text);
    offset = SPACE.lastIndex;
  };
  const problem = (where: string): JsonSyntaxProblem =>
    offset >= text.length
      ? { message: END, offset: text.length }
      : {
          message: `invalid character ${quoteCharacter(String.fromCodePoint(text.codePointAt(offset)!))} ${where}`,
          offset,
        };

  let expect: 'value' | 'first-item' | 'first-key' | 'key' | 'after-value' = 'value';
  for (;;) {
    skipSpace();
    const character = text[offset];
    if (expect === 'after-value') {
      const closer = closers[closers.length - 1];
      if (closer === undefined) return offset < text.length ? problem('after top-level value') : undefined;
      if (character === closer) {
        closers.pop();
        offset++;
      } else if (character === ',') {
        offset++;
        expect = closer === '}' ? 'key' : 'value';
      } else {
        return problem(closer === '}' ? 'after object key:value pair' : 'after array element');
      }
      continue;
    }
    if ((expect === 'first-key' && character === '}') || (expect === 'first-item' && character === ']')) {
      closers.pop();
      offset++;
      expect = 'after-value';
      continue;
    }
    if (expect === 'first-key' || expect === 'key') {
      if (character !== '"') return problem('looking for beginning of object key string');
      const fault = scanString(text, offset);
      if (typeof fault !== 'number') return fault;
      offset = fault;
      skipSpace();
      if (text[offset] !== ':') return problem('after object key');
      offset++;
      expect = 'value';
      continue;
    }
    if (character === '{' || character === '[') {
      closers.push(character === '{' ? '}' : ']');
      expect = character === '{' ? 'first-key' : 'first-item';
      offset++;
      continue;
    }
    const end = scanScalar(text, offset);
    if (typeof end !== 'number') return end ?? problem('looking for beginning of value');
    offset = end;
    expect = 'after-value';
  }
}

/** Offset after the scalar, its error, or undefined when none starts here. */
function scanScalar(text: string, start: number): number | JsonSyntaxProblem | undefined {
  const first = text[start];
  if (first === undefined) return { message: END, offset: start };
  if (first === '"') return scanString(text, start);
  const literal = LITERALS[first];
  if (literal !== undefined) return scanLiteral(text, start, literal);
  NUMBER.lastIndex = start;
  if (NUMBER.test(text)) return NUMBER.lastIndex;
  if (first !== '-') return undefined;
  return start + 1 >= text.length
    ? { message: END, offset: start + 1 }
    : {
        message: `invalid character ${quoteCharacter(text[start + 1]!)} in numeric literal`,
        offset: start + 1,
      };
}

function scanLiteral(text: string, start: number, literal: string): number | JsonSyntaxProblem {
  for (let index = 1; index < literal.length; index++) {
    const character = text[start + index];
    if (character === undefined) return { message: END, offset: start + index };
    if (character !== literal[index]) {
      return {
        message: `invalid character ${quoteCharacter(character)} in literal ${literal} (expecting ${quoteCharacter(literal[index]!)})`,
        offset: start + index,
      };
    }
  }
  return start + literal.length;
}

function scanString(text: string, start: number): number | JsonSyntaxProblem {
  for (let index = start + 1; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === 0x22) return index + 1;
    if (code < 0x20)
      return {
        message: `invalid character ${quoteCharacter(text[index]!)} in string literal`,
        offset: index,
      };
    if (code !== 0x5c) continue;
    index++;
    const escape = text[index];
    if (escape === undefined) break;
    if (escape === 'u') {
      for (let digit = 1; digit <= 4; digit++) {
        const character = text[index + digit];
        if (character === undefined) return { message: END, offset: index + digit };
        if (!/[0-9a-fA-F]/.test(character))
          return {
            message: `invalid character ${quoteCharacter(character)} in \\u hexadecimal character escape`,
            offset: index + digit,
          };
      }
      index += 4;
    } else if (!'"\\/bfnrt'.includes(escape)) {
      return { message: `invalid character ${quoteCharacter(escape)} in string escape code`, offset: index };
    }
  }
  return { message: END, offset: text.length };
}

function quoteCharacter(character: string): string {
  if (character === "'") return String.raw`'\''`;
  if (character > '\u007f') return `'${firstByte(character)}'`;
  return character === '"' ? `'"'` : `'${JSON.stringify(character).slice(1, -1)}'`;
}

/** Go's decoder works on bytes, and shows the first byte of a character as a character. */
function firstByte(character: string): string {
  const byte = Buffer.from(character)[0]!;
  return byte < 0xa0 ? `\\u00${byte.toString(16)}` : String.fromCharCode(byte);
}

/** Position of the closing quote of the string that starts here, in valid text. */
function endOfString(text: string, start: number): number {
  for (let quote = text.indexOf('"', start + 1); quote >= 0; quote = text.indexOf('"', quote + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(quote - 1 - backslashes) === 0x5c) backslashes++;
    if (backslashes % 2 === 0) return quote;
  }
  return text.length;
}

export interface JsonStructure {
  /** Maximum nesting of objects and lists. */
  readonly depth: number;
  /** In all objects, including duplicates. */
  readonly fields: number;
  /** An estimate of the number of values: at least half of them. */
  readonly values: number;
}

/** For valid text; for invalid text the result is arbitrary, in the same time. */
export function parseStructure(text: string): JsonStructure {
  let depth = 0,
    deepest = 0,
    fields = 0,
    values = 0;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === 0x22) {
      // Most of a text are short strings: walking is faster than searching for their ends.
      for (index++; index < text.length; index++) {
        const inside = text.charCodeAt(index);
        if (inside === 0x22) break;
        if (inside === 0x5c) index++;
      }
    } else if (code === 0x3a) fields++;
    else if (code === 0x2c) values++;
    else if (code === 0x7b || code === 0x5b) {
      values++;
      if (++depth > deepest) deepest = depth;
    } else if (code === 0x7d || code === 0x5d) depth--;
  }
  return { depth: deepest, fields, values };
}

interface Level {
  readonly keys: Set<string> | undefined;
  readonly path: readonly (string | number)[];
  index: number;
  key: string;
}

/** Upstream's maximum number of strict errors for one body. */
const MAXIMUM_PROBLEMS = 100;

/** 'duplicate field "spec.replicas"' for every duplicate field, in valid text. Each path once. */
export function findDuplicateFields(text: string): string[] {
  const problems = new Set<string>();
  walkFields(text, (path, isRepeated) => {
    if (isRepeated) problems.add(`duplicate field ${JSON.stringify(fieldPath(path()))}`);
    return problems.size < MAXIMUM_PROBLEMS;
  });
  return [...problems];
}

/** path: names and indexes down to the field; computed on demand. isRepeated: a duplicate in its object. false stops the walk. */
type FieldVisitor = (path: () => readonly (string | number)[], isRepeated: boolean) => boolean;

/** Visits every field of valid text in order of appearance. */
export function walkFields(text: string, visit: FieldVisitor): void {
  const levels: Level[] = [];
  let level: Level | undefined;
  for (let index = 0; index < text.length; index++) {
    switch (text.charCodeAt(index)) {
      case 0x22: {
        const end = endOfString(text, index);
        if (level?.keys && isKey(text, end)) {
          const raw = text.slice(index + 1, end);
          const at = level;
          at.key = raw.includes('\\') ? (JSON.parse(`"${raw}"`) as string) : raw;
          const isRepeated = level.keys.has(at.key);
          level.keys.add(at.key);
          if (!visit(() => placeOf(at), isRepeated)) return;
        }
        index = end;
        break;
      }
      case 0x7b:
      case 0x5b:
        if (level) levels.push(level);
        level = {
          keys: text.charCodeAt(index) === 0x7b ? new Set() : undefined,
          path: level ? placeOf(level) : [],
          index: 0,
          key: '',
        };
        break;
      case 0x7d:
      case 0x5d:
        level = levels.pop();
        break;
      case 0x2c:
        if (level && !level.keys) level.index++;
        break;
      default:
    }
  }
}

function isKey(text: string, closingQuote: number): boolean {
  SPACE.lastIndex = closingQuote + 1;
  SPACE.test(text);
  return text.charCodeAt(SPACE.lastIndex) === 0x3a;
}

function placeOf({ path, keys, key, index }: Level): (string | number)[] {
  return [...path, keys ? key : index];
}

/** spec.containers[0].image */
export function fieldPath(path: readonly (string | number)[]): string {
  let text = '';
  for (const part of path) text += typeof part === 'number' ? `[${part}]` : text === '' ? part : `.${part}`;
  return text;
}
