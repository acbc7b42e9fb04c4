/**
 * JSONPath of printer columns, scale paths and selectable fields: fields, quoted fields, indexes, slices, wildcards and comparison filters, as in
 * kubectl's template language. Unsupported syntax is refused at compilation.
 */
import { getOwn, isJsonObject } from '#machinery/json.ts';

class JsonPathError extends Error {}

/** Every value the path leads to, in order. */
type JsonPath = (root: unknown) => unknown[];

type Step = (values: readonly unknown[], root: unknown) => unknown[];

/** text: with or without the leading dot, '.spec.replicas', '.status.conditions[?(@.type=="Ready")].status'. */
export function compileJsonPath(text: string): JsonPath {
  const steps = parse(text);
  return (root) => {
    let values: unknown[] = [root];
    for (const step of steps) {
      values = step(values, root);
      if (values.length === 0) break;
    }
    return values;
  };
}

function parse(text: string): Step[] {
  const steps: Step[] = [];
  let rest = text.startsWith('$') || text.startsWith('@') ? text.slice(1) : text;
  if (rest !== '' && rest[0] !== '.' && rest[0] !== '[') rest = `.${rest}`;
  while (rest !== '') {
    if (rest.startsWith('..')) throw new JsonPathError(`recursive descent is not supported: ${text}`);
    const { step, length } = rest[0] === '[' ? bracket(rest, text) : dot(rest, text);
    if (step) steps.push(step);
    rest = rest.slice(length);
  }
  return steps;
}

interface Parsed {
  readonly step: Step | undefined;
  readonly length: number;
}

function dot(rest: string, text: string): Parsed {
  let name = '',
    i = 1;
  for (; i < rest.length && rest[i] !== '.' && rest[i] !== '['; i++) {
    // A backslash makes the next character part of the name.
    if (rest[i] === '\\' && i + 1 < rest.length) i++;
    name += rest[i]!;
  }
  if (name === '' && i < rest.length && rest[i] !== '[')
    throw new JsonPathError(`a name is missing in ${text}`);
  if (/[{}()?@,]/.test(name)) throw new JsonPathError(`unexpected character in ${text}`);
  return { step: name === '' ? undefined : name === '*' ? wildcard : field(name), length: i };
}

function bracket(rest: string, text: string): Parsed {
  const end = closing(rest);
  if (end < 0) throw new JsonPathError(`unterminated array in ${text}`);
  const inner = rest.slice(1, end).trim();
  return { step: bracketStep(inner, text), length: end + 1 };
}

function closing(rest: string): number {
  let quote = '',
    depth = 0;
  for (let i = 0; i < rest.length; i++) {
    const character = rest[i]!;
    if (quote !== '') quote = character === quote ? '' : quote;
    else if (character === '"' || character === "'") quote = character;
    else if (character === '[') depth++;
    else if (character === ']' && --depth === 0) return i;
  }
  return -1;
}

function bracketStep(inner: string, text: string): Step {
  if (inner === '*') return wildcard;
  const quoted = /^'((?:[^'\\]|\\.)*)'$|^"((?:[^"\\]|\\.)*)"$/.exec(inner);
  if (quoted) return field((quoted[1] ?? quoted[2]!).replaceAll(/\\(.)/g, '$1'));
  if (/^-?\d+$/.test(inner)) return position(Number(inner));
  const slice = /^(-?\d*):(-?\d*)(?::(\d+))?$/.exec(inner);
  if (slice)
    return range({
      from: slice[1] ? Number(slice[1]) : undefined,
      to: slice[2] ? Number(slice[2]) : undefined,
      by: slice[3] ? Number(slice[3]) : 1,
    });
  if (inner.startsWith('?(') && inner.endsWith(')')) return filter(inner.slice(2, -1), text);
  throw new JsonPathError(`invalid array index ${inner}`);
}

function field(name: string): Step {
  return (values) =>
    values.flatMap((value) => {
      const found = isJsonObject(value) ? getOwn(value, name) : undefined;
      return found === undefined ? [] : [found];
    });
}

const wildcard: Step = (values) =>
  values.flatMap((value) =>
    Array.isArray(value) ? (value as unknown[]) : isJsonObject(value) ? Object.values(value) : [],
  );

function position(index: number): Step {
  return (values) =>
    values.flatMap((value) => {
      const found: unknown = Array.isArray(value) ? value.at(index) : undefined;
      return found === undefined ? [] : [found];
    });
}

function range({
  from,
  to,
  by,
}: {
  readonly from: number | undefined;
  readonly to: number | undefined;
  readonly by: number;
}): Step {
  if (by < 1) throw new JsonPathError('step must be > 0');
  return (values) =>
    values.flatMap((value) =>
      Array.isArray(value) ? (value.slice(from, to) as unknown[]).filter((_, i) => i % by === 0) : [],
    );
}

const COMPARISON = /^(.*?)(==|!=|<=|>=|<|>)(.*)$/;

function filter(condition: string, text: string): Step {
  if (/&&|\|\|/.test(condition))
    throw new JsonPathError(`conditions joined by && or || are not supported: ${text}`);
  const compared = COMPARISON.exec(condition.trim());
  const left = operand(compared ? compared[1]!.trim() : condition.trim(), text);
  const right = compared ? operand(compared[3]!.trim(), text) : undefined;
  const holds = (item: unknown, root: unknown): boolean => {
    const lefts = left(item, root);
    if (!right) return lefts.length > 0;
    const rights = right(item, root);
    return lefts.length > 0 && rights.length > 0 && compares(compared![2]!, lefts[0], rights[0]);
  };
  return (values, root) =>
    values.flatMap((value) =>
      Array.isArray(value) ? (value as unknown[]).filter((item) => holds(item, root)) : [],
    );
}

function operand(text: string, whole: string): (item: unknown, root: unknown) => unknown[] {
  if (text.startsWith('@') || text.startsWith('$')) {
    const path = compileJsonPath(text);
    return text.startsWith('@') ? (item) => path(item) : (_, root) => path(root);
  }
  const quoted = /^'(.*)'$|^"(.*)"$/.exec(text);
  if (quoted) return () => [quoted[1] ?? quoted[2]];
  if (text === 'true' || text === 'false') return () => [text === 'true'];
  if (text !== '' && Number.isFinite(Number(text))) return () => [Number(text)];
  throw new JsonPathError(`unrecognized operand ${text} in ${whole}`);
}

function compares(operator: string, left: unknown, right: unknown): boolean {
  if (operator === '==') return left === right;
  if (operator === '!=') return left !== right;
  if (typeof left !== typeof right || (typeof left !== 'number' && typeof left !== 'string')) return false;
  const a = left as number,
    b = right as number;
  switch (operator) {
    case '<':
      return a < b;
    case '<=':
      return a <= b;
    case '>':
      return a > b;
    default:
      return a >= b;
  }
}

/** A path of plain names, as scale paths and selectable fields are: '.spec.replicas' → ['spec', 'replicas']. Undefined for any other. */
export function simplePath(text: string): string[] | undefined {
  const names = text.split('.').slice(1);
  return text.startsWith('.') && names.every((name) => /^[A-Za-z_][A-Za-z0-9_-]*$/.test(name))
    ? names
    : undefined;
}

export function valueAt(object: unknown, names: readonly string[]): unknown {
  let value = object;
  for (const name of names) value = isJsonObject(value) ? getOwn(value, name) : undefined;
  return value;
}
