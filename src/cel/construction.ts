/**
 * Objects that expressions make: Object{spec: Object.spec{replicas: 3}}, JSONPatch{op: "add", path: "/spec/replicas", value: 3}. The evaluator
 * has no syntax for them: its source is rewritten to calls of functions with a map of the fields, and places of errors are told in the original.
 */
import { EvaluationError, Optional, type Environment } from '@marcbachmann/cel-js';
import { CelCompileError, locate } from './errors.ts';

/** A value of a constructed type. */
export class CelObject {
  /** 'Object.spec', 'JSONPatch' */
  readonly typeName: string;
  readonly fields: ReadonlyMap<string, unknown>;

  constructor(typeName: string, fields: ReadonlyMap<string, unknown>) {
    this.typeName = typeName;
    this.fields = fields;
  }
}

class RootObject extends CelObject {}
class JSONPatch extends CelObject {}
class JSONPatchNamespace {}

const PATCH_FIELDS = ['op', 'path', 'from', 'value'];
const MAKERS: Readonly<Record<string, string>> = { Object: '__newObject', JSONPatch: '__newJSONPatch' };
const PART_MAKER = '__newObjectPart';

export function addConstruction(
  env: Environment,
  add: (signature: string, handler: (...args: never[]) => unknown) => void,
): void {
  for (const [name, ctor] of [
    ['Object', RootObject],
    ['Object.part', CelObject],
    ['JSONPatch', JSONPatch],
    ['jsonpatch.Namespace', JSONPatchNamespace],
  ] as const)
    env.registerType(name, { ctor, fields: {} } as never);
  env.registerConstant('jsonpatch', 'jsonpatch.Namespace', new JSONPatchNamespace());
  add('jsonpatch.Namespace.escapeKey(string): string', (_: JSONPatchNamespace, key: string) =>
    key.replaceAll('~', '~0').replaceAll('/', '~1'),
  );
  add(
    `${MAKERS['Object']}(string, map): Object`,
    (name: string, fields: object) => new RootObject(name, present(fields)),
  );
  add(
    `${PART_MAKER}(string, map): Object.part`,
    (name: string, fields: object) => new CelObject(name, present(fields)),
  );
  add(`${MAKERS['JSONPatch']}(string, map): JSONPatch`, (name: string, fields: object) => {
    const entries = present(fields);
    for (const field of ['op', 'path', 'from'])
      if (entries.has(field) && typeof entries.get(field) !== 'string')
        throw new EvaluationError(`unexpected type for field ${field} of JSONPatch: must be a string`);
    return new JSONPatch(name, entries);
  });
}

/** Fields written with ? that have no value are left out. */
function present(fields: object): Map<string, unknown> {
  const entries = new Map<string, unknown>();
  for (const [key, value] of fields instanceof Map
    ? (fields as Map<string, unknown>)
    : Object.entries(fields)) {
    if (!key.startsWith('?')) entries.set(key, value);
    else if (!(value instanceof Optional))
      throw new EvaluationError(`field ${key.slice(1)} is written as optional, but its value is not`);
    else if (value.hasValue()) entries.set(key.slice(1), value.value());
  }
  return entries;
}

export interface Rewritten {
  readonly source: string;
  /** Where a place of the rewritten source is in the original. */
  at(place: number): number;
}

interface Token {
  readonly text: string;
  readonly start: number;
  readonly kind: 'name' | 'sign' | 'other';
}

const TOKEN =
  /\/\/[^\n]*|[rRbB]{0,2}(?:"""(?:\\[\s\S]|(?!""")[\s\S])*"""|'''(?:\\[\s\S]|(?!''')[\s\S])*'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|[A-Za-z_][A-Za-z0-9_]*|[0-9][0-9A-Za-z.]*|[\s\S]/g;

/** Blanks and comments go: they mean nothing. */
function tokensOf(source: string): Token[] {
  const tokens: Token[] = [];
  for (const { 0: text, index: start } of source.matchAll(TOKEN)) {
    if (/^\s|^\/\//.test(text)) continue;
    tokens.push({
      text,
      start,
      kind: /^[A-Za-z_][A-Za-z0-9_]*$/.test(text) ? 'name' : text.length === 1 ? 'sign' : 'other',
    });
  }
  return tokens;
}

/** Throws CelCompileError for types that cannot be made. */
export function rewriteConstruction(source: string): Rewritten {
  const tokens = tokensOf(source);
  const writer = new Writer();
  /** What each open bracket is: of a construction, its type. */
  const open: { readonly type: string | undefined }[] = [];
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i]!,
      before = tokens[i - 1];
    const type = token.kind === 'name' && before?.text !== '.' ? typeAt(tokens, i) : undefined;
    if (type) {
      const name = type.names.join('.'),
        maker = type.names.length > 1 && type.names[0] === 'Object' ? PART_MAKER : MAKERS[name];
      if (!maker)
        throw new CelCompileError(
          locate(`undeclared reference to '${name}' (in container '')`, {
            text: source,
            start: tokens[type.brace]!.start,
          }),
        );
      writer.put(`${maker}("${name}", `, token.start);
      writer.put('{', tokens[type.brace]!.start);
      open.push({ type: name });
      i = type.brace;
      continue;
    }
    const construct = open.at(-1)?.type;
    const isField =
      construct !== undefined &&
      (before?.text === '{' || before?.text === ',') &&
      (token.kind === 'name' || token.text === '?');
    if (isField) {
      const isOptional = token.text === '?',
        key = isOptional ? (tokens[++i] ?? token) : token;
      if (construct === 'JSONPatch' && !PATCH_FIELDS.includes(key.text))
        throw new CelCompileError(
          locate(`undefined field '${key.text}'`, { text: source, start: key.start }),
        );
      writer.put(`"${isOptional ? '?' : ''}${key.text}"`, token.start);
      continue;
    }
    if ('([{'.includes(token.text)) open.push({ type: undefined });
    const closed = ')]}'.includes(token.text) ? open.pop() : undefined;
    writer.put(token.text, token.start);
    if (closed?.type !== undefined) writer.put(')', token.start);
  }
  return { source: writer.text, at: (place) => writer.origin(place) };
}

/** A dotted name with a brace behind it: only a construction is written so. */
function typeAt(
  tokens: readonly Token[],
  from: number,
): { readonly names: readonly string[]; readonly brace: number } | undefined {
  const names = [tokens[from]!.text];
  let i = from + 1;
  for (; tokens[i]?.text === '.' && tokens[i + 1]?.kind === 'name'; i += 2) names.push(tokens[i + 1]!.text);
  return tokens[i]?.text === '{' && names[0] !== 'in' ? { names, brace: i } : undefined;
}

/** A space between words, which were apart. */
class Writer {
  text = '';
  #endsInWord = false;
  readonly #places: { readonly at: number; readonly origin: number }[] = [];

  put(text: string, origin: number): void {
    if (this.#endsInWord && /^["'\w]/.test(text)) this.text += ' ';
    this.#endsInWord = /\w$/.test(text);
    this.#places.push({ at: this.text.length, origin });
    this.text += text;
  }

  origin(place: number): number {
    const found = this.#places.findLast(({ at }) => at <= place);
    return found ? found.origin + (place - found.at) : place;
  }
}

/** Types must say where their values stand: Object.spec is what field spec of Object holds. Answers what is wrong. */
export function misplacedType(value: unknown): string | undefined {
  return value instanceof RootObject ? misplacedWithin(value, 'Object') : undefined;
}

function misplacedWithin(value: unknown, path: string): string | undefined {
  if (Array.isArray(value)) return firstOf(value, (item) => misplacedWithin(item, path));
  if (value instanceof Map) return firstOf(value.values(), (item) => misplacedWithin(item, path));
  if (!(value instanceof CelObject)) return undefined;
  if (value.typeName !== path)
    return `unexpected type name ${JSON.stringify(value.typeName)}, expected ${JSON.stringify(path)}, which matches field name path from root Object type`;
  return firstOf(value.fields, ([name, inner]) => misplacedWithin(inner, `${path}.${name}`));
}

function firstOf<T>(items: Iterable<T>, find: (item: T) => string | undefined): string | undefined {
  for (const item of items) {
    const found = find(item);
    if (found !== undefined) return found;
  }
  return undefined;
}
