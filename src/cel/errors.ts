/** What goes wrong with expressions, in the words cel-go has for it. */
import type { Environment } from '@marcbachmann/cel-js';
import { LINEAR_MATCHES, syntaxWording } from './syntax-errors.ts';

/** The expression is no expression of what it may use; the message shows the place. */
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

/** What the evaluator throws. */
interface EvaluatorError {
  readonly summary?: string;
  readonly code?: string;
  readonly message: string;
  readonly range?: { readonly start: number };
  readonly node?: ErrorNode;
}
interface ErrorNode {
  readonly op: string;
  readonly args: unknown;
  readonly start: number;
  readonly end: number;
  readonly checkedType?: { readonly name: string };
}

/** As cel-go names a type of the evaluator's: 'list(optional_type(int))'. */
export function upstreamType(name: string): string {
  return name
    .replace(/^list$/, 'list<dyn>')
    .replace(/^map$/, 'map<dyn, dyn>')
    .replaceAll(/google\.protobuf\.(Timestamp|Duration)/g, (_, type: string) => type.toLowerCase())
    .replaceAll(/\bnull\b/g, 'null_type')
    .replaceAll(/\boptional\b(?=<)/g, 'optional_type')
    .replaceAll(/([<, ])[A-Z](?=[>,])/g, '$1dyn')
    .replaceAll('<', '(')
    .replaceAll('>', ')');
}

interface DescribeOptions {
  /** Where it was compiled, to tell unknown functions from wrong arguments. */
  readonly env?: Environment;
  /** What the expression was rewritten from. */
  readonly original?: { readonly text: string; at(place: number): number };
}

/** An error of compilation as cel-go prints it. */
export function describeError(
  error: unknown,
  text: string,
  { env, original = { text, at: (place) => place } }: DescribeOptions = {},
): string {
  const { summary, message, code } = error as EvaluatorError;
  const start = Math.min(
    original.at(Math.max(0, Math.min(placeOf(error as EvaluatorError, text), text.length))),
    original.text.length,
  );
  return locate(
    wording({
      code,
      text: summary ?? message,
      env,
      node: (error as EvaluatorError).node,
      at: { expression: original.text, start },
    }),
    { text: original.text, start },
  );
}

/** Of an operator itself, of a call's parenthesis, of the dot before a field that is missing. */
function placeOf({ code, range, node }: EvaluatorError, text: string): number {
  const start = range?.start ?? 0;
  if (code === 'no_such_key' || (code === 'cannot_index_type' && node?.op === '.')) return start - 1;
  if (code === 'cannot_index_type' && node?.op === '[]')
    return Math.max(text.indexOf('[', (node.args as readonly ErrorNode[])[0]!.end), start);
  if (!node || !Array.isArray(node.args)) return start;
  const after = (from: number, sign: string): number => Math.max(text.indexOf(sign, from), start);
  const [first, second] = node.args as unknown as readonly [ErrorNode | string, ErrorNode?];
  if (code === 'incompatible_ternary_branches' && typeof first === 'object') return after(first.end, '?');
  if (code === 'no_such_overload' && typeof first === 'object') return after(first.end, node.op);
  if (code !== 'no_matching_overload' || typeof first !== 'string') return start;
  return after(text.indexOf(first, node.op === 'rcall' ? second!.end : start), '(');
}

/** Characters (code points) of an expression: cel-go's limit. */
const MAX_SOURCE_CHARACTERS = 100_000;

/** Throws CelCompileError. */
export function requireReadable(source: string): void {
  if (source.length <= MAX_SOURCE_CHARACTERS) return;
  const size = Array.from(source).length;
  if (size > MAX_SOURCE_CHARACTERS)
    throw new CelCompileError(
      `ERROR: <input>:-1:0: expression code point size exceeds limit: size: ${size}, limit ${MAX_SOURCE_CHARACTERS}`,
    );
}

export function locate(
  problem: string,
  { text, start }: { readonly text: string; readonly start: number },
): string {
  // Nothing can be shown of what is not there.
  if (text === '') return `ERROR: <input>:1:0: ${problem}`;
  const line = text.slice(0, start).split('\n').length;
  const column = start - (text.lastIndexOf('\n', start - 1) + 1);
  return `ERROR: <input>:${line}:${column + 1}: ${problem}\n | ${text.split('\n')[line - 1] ?? ''}\n | ${'.'.repeat(column)}^`;
}

interface Wording {
  readonly code: string | undefined;
  readonly text: string;
  readonly env: Environment | undefined;
  readonly node: ErrorNode | undefined;
  readonly at: { readonly expression: string; readonly start: number };
}

function wording({ code, text, env, node, at }: Wording): string {
  const name = /: (.+)$/.exec(text)?.[1] ?? '';
  switch (code) {
    case 'no_such_key':
      return `undefined field '${name}'`;
    case 'unknown_variable':
      return undeclared(name);
    case 'unexpected_token':
    case 'reserved_identifier':
    case 'expected_token':
    case 'unexpected_character':
      return `Syntax error: ${syntaxWording(text, at)}`;
    case 'no_such_overload':
      return operatorWording(name) ?? text;
    case 'no_matching_overload':
      return functionWording(text, { env, node }) ?? text;
    case 'cannot_index_type':
      if (node?.op === '[]') return indexWording(node);
      return text.replace(
        /^Cannot index type '(.+)'$/,
        (_, type: string) => `type '${upstreamType(type)}' does not support field selection`,
      );
    case 'invalid_condition_type':
      return text.replace(
        /^.* predicate must return bool, got '(.+)'$/,
        (_, type: string) => `expected type 'bool' but found '${upstreamType(type)}'`,
      );
    case 'invalid_macro_argument':
      return text.replace('has() invalid argument', 'invalid argument to has() macro');
    case 'incompatible_ternary_branches':
      return text.replace(
        /^.* got '(.+)' and '(.+)'$/,
        (_, yes: string, no: string) =>
          `found no matching overload for '_?_:_' applied to '(bool, ${upstreamType(yes)}, ${upstreamType(no)})'`,
      );
    default:
      return text.replace(
        /^Expression of type '(.+)' cannot be range of a comprehension \(must be list, map, or dynamic\)\.$/,
        (_, type: string) =>
          `expression of type '${upstreamType(type)}' cannot be range of a comprehension (must be list, map, or dynamic)`,
      );
  }
}

function undeclared(name: string): string {
  return `undeclared reference to '${name}' (in container '')`;
}

/** Overloads are told with the value's name for its type. */
function applied(...types: readonly string[]): string {
  return `'(${types.map((type) => upstreamType(type).replaceAll('null_type', 'null')).join(', ')})'`;
}

function indexWording({ args }: ErrorNode): string {
  return `found no matching overload for '_[_]' applied to ${applied(...(args as readonly ErrorNode[]).map(({ checkedType }) => checkedType?.name ?? 'dyn'))}`;
}

function operatorWording(operation: string): string | undefined {
  const binary = /^(.+) (==|!=|<=?|>=?|[-+*/%]|in) (.+)$/.exec(operation);
  if (binary)
    return `found no matching overload for '${binary[2] === 'in' ? '@in' : `_${binary[2]}_`}' applied to ${applied(binary[1]!, binary[3]!)}`;
  const unary = /^([!-])(\S+)$/.exec(operation);
  return unary ? `found no matching overload for '${unary[1]}_' applied to '(${unary[2]})'` : undefined;
}

function functionWording(text: string, { env, node }: Pick<Wording, 'env' | 'node'>): string | undefined {
  const [, receiver, name = '', args] =
    /'(?:(.+)\.)?(\w+)\((.*)\)'$/.exec(text.replace(LINEAR_MATCHES, 'matches')) ?? [];
  if (args === undefined) return undefined;
  if (
    env &&
    !env
      .getDefinitions()
      .functions.some((known) => known.name === name && !known.receiverType?.endsWith('.Namespace'))
  )
    return undeclared(name);
  // The evaluator tells a list's kind alone.
  const type =
    node?.op === 'rcall'
      ? ((node.args as readonly [string, ErrorNode])[1].checkedType?.name ?? receiver)
      : receiver;
  return `found no matching overload for '${name}' applied to '${type === undefined ? '' : `${upstreamType(type)}.`}(${upstreamType(args)})'`;
}

/** An error of evaluation; what: 'rule', 'expression'. */
export function runtimeMessage(
  error: unknown,
  { text, what }: { readonly text: string; readonly what: string },
): string {
  const { code } = error as EvaluatorError;
  if (code === 'no_such_overload' || code === 'no_matching_overload')
    return `'${runtimeWording(error)}': call arguments did not match a supported operator, function or macro signature for ${what}: ${text}`;
  return `${runtimeWording(error)} evaluating ${what}: ${text}`;
}

/** An error of evaluation alone. */
export function runtimeWording(error: unknown): string {
  const { summary, message, code } = error as EvaluatorError;
  const text = summary ?? message;
  switch (code) {
    case 'no_such_key':
      return `no such key: ${text.replace(/^No such key: /, '')}`;
    case 'index_out_of_bounds':
      return `index out of bounds: ${/index (-?\d+)/.exec(text)?.[1] ?? ''}`;
    case 'no_such_overload':
    case 'no_matching_overload':
      return 'no such overload';
    case 'optional_value_missing':
      return 'optional.none() dereference';
    case 'modulo_by_zero':
      return 'modulus by zero';
    default:
      return text.replace(/^No such key: /, '');
  }
}
