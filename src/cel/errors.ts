/** Errors of expressions, with cel-go's texts. */
import type { Type } from './type.ts';

/** The expression does not compile; the message shows the positions. */
export class CelCompileError extends Error {
  override readonly name = 'CelCompileError';
}

/** The expression has no result for these values: 'no such key: x'. */
export class CelRuntimeError extends Error {
  override readonly name: string = 'CelRuntimeError';
}

/** It cost more than it may. */
export class CelCostError extends CelRuntimeError {
  override readonly name = 'CelCostError';
}

/** An error of an operator or a function; others absorb it: true || error. */
export class EvaluationError extends Error {}

/** No function or operator accepts these values. */
export class NoSuchOverloadError extends EvaluationError {
  constructor() {
    super('no such overload');
  }
}

/** An error and its position. */
export interface Issue {
  readonly message: string;
  /** In UTF-16 units from the start. */
  readonly at: number;
}

/** What an expression is refused for. */
export class SyntaxIssue extends Error {
  readonly at: number;

  constructor(message: string, at: number) {
    super(message);
    this.at = at;
  }
}

/** Every problem that was met before the text made no sense any more, or all of them. */
export class SyntaxErrors extends Error {
  readonly issues: readonly Issue[];

  constructor(issues: readonly Issue[]) {
    super(issues.map(({ message }) => message).join('; '));
    this.issues = issues;
  }
}

/** As cel-go names a type: 'list(optional_type(int))'. */
export function upstreamType(name: string): string {
  return name
    .replace(/^list$/, 'list<dyn>')
    .replace(/^map$/, 'map<dyn, dyn>')
    .replaceAll(/google\.protobuf\.(Timestamp|Duration)/g, (_, type: string) => type.toLowerCase())
    .replaceAll(/\bnull\b/g, 'null_type')
    .replaceAll(/\boptional\b(?=<)/g, 'optional_type')
    .replaceAll('<', '(')
    .replaceAll('>', ')');
}

/** Overloads are reported with the value's name for the type of null. */
export function overloadMessage(
  name: string,
  { target, args }: { readonly target?: Type | undefined; readonly args: readonly Type[] },
): string {
  const shown = (type: Type): string => upstreamType(type.name).replaceAll('null_type', 'null');
  return `found no matching overload for '${name}' applied to '${target ? `${shown(target)}.` : ''}(${args.map(shown).join(', ')})'`;
}

export function undeclaredMessage(name: string): string {
  return `undeclared reference to '${name}' (in container '')`;
}

/** Characters (code points) of an expression: cel-go's limit. */
const MAX_SOURCE_CHARACTERS = 100_000;
/** Maximum of errors reported for one expression: cel-go's. */
const MAX_ISSUES = 100;

/** Throws CelCompileError. */
export function requireReadable(source: string): void {
  if (source.length <= MAX_SOURCE_CHARACTERS) return;
  const size = Array.from(source).length;
  if (size > MAX_SOURCE_CHARACTERS)
    throw new CelCompileError(
      `ERROR: <input>:-1:0: expression code point size exceeds limit: size: ${size}, limit ${MAX_SOURCE_CHARACTERS}`,
    );
}

/** In the order of their places, each with its line. */
export function compileError(issues: readonly Issue[], source: string): CelCompileError {
  const shown = issues.slice(0, MAX_ISSUES).toSorted((left, right) => left.at - right.at);
  return new CelCompileError(shown.map((issue) => located(issue, source)).join('\n'));
}

function located({ message, at }: Issue, source: string): string {
  // A position outside the text cannot be shown.
  if (source === '') return `ERROR: <input>:1:0: ${message}`;
  const start = Math.min(at, source.length),
    line = source.slice(0, start).split('\n').length,
    column = Array.from(source.slice(source.lastIndexOf('\n', start - 1) + 1, start)).length;
  return `ERROR: <input>:${line}:${column + 1}: ${message}\n | ${source.split('\n')[line - 1] ?? ''}\n | ${'.'.repeat(column)}^`;
}

/** An error of evaluation; what: 'rule', 'expression'. */
export function runtimeMessage(
  error: unknown,
  { text, what }: { readonly text: string; readonly what: string },
): string {
  return error instanceof NoSuchOverloadError
    ? `'${error.message}': call arguments did not match a supported operator, function or macro signature for ${what}: ${text}`
    : `${error instanceof Error ? error.message : String(error)} evaluating ${what}: ${text}`;
}
