/** The evaluator's syntax trees: walking them, and counting what their evaluation costs. */
import { TypeError as CelTypeError, type ParseResult } from '@marcbachmann/cel-js';
import { charge, TOTAL_LIMIT, traversal } from './budget.ts';
import { equalValues } from './equality.ts';
import { compiledPattern } from './library.ts';
import { LINEAR_MATCHES } from './syntax-errors.ts';

/** What is used of the evaluator's nodes; args by op as its documentation has them. */
export interface SyntaxNode {
  readonly op: string;
  args: unknown;
  evaluate: (...args: unknown[]) => unknown;
}

export function rootOf(parsed: ParseResult): SyntaxNode {
  return parsed.ast as unknown as SyntaxNode;
}

export function isNode(value: unknown): value is SyntaxNode {
  return typeof value === 'object' && value !== null && 'op' in value && 'args' in value;
}

export function childrenOf({ args }: SyntaxNode): SyntaxNode[] {
  const found: SyntaxNode[] = [];
  const collect = (value: unknown): void => {
    if (isNode(value)) found.push(value);
    else if (Array.isArray(value)) value.forEach(collect);
  };
  collect(args);
  return found;
}

/** The node and all below it, in the order they stand. */
export function nodesOf(node: SyntaxNode): SyntaxNode[] {
  return [node, ...childrenOf(node).flatMap(nodesOf)];
}

export function uses(node: SyntaxNode, variable: string): boolean {
  return (
    (node.op === 'id' && node.args === variable) || childrenOf(node).some((child) => uses(child, variable))
  );
}

/** Methods of the evaluator's own that CEL has not. */
const FOREIGN = new Set(['json', 'hex', 'base64', 'at', 'string']);

/** What an expression may use beside what all may. */
export interface Allowed {
  /** cel.bind(): upstream has it for device selectors alone. */
  readonly binds?: boolean;
}

/** Before the check: regular expressions run in linear time, fields that has() asks for are checked, and what is no CEL is refused. */
export function prepare(node: SyntaxNode, allowed: Allowed = {}): void {
  const isMember = node.op === 'rcall',
    name = isMember || node.op === 'call' ? (node.args as string[])[0] : undefined;
  if (isMember && FOREIGN.has(name!))
    throw unknown('function', { name: name!, node: placedAtCall(node, name!) });
  if (isMember && name === 'bind' && !allowed.binds) refuseBind(node);
  if ((isMember || node.op === 'call') && name === 'matches') {
    requirePattern(childrenOf(node).at(-1));
    (node.args as unknown[])[0] = LINEAR_MATCHES;
  }
  if (node.op === 'call' && name === 'has') checkPresence(node);
  for (const child of childrenOf(node)) prepare(child, allowed);
}

function unknown(what: string, { name, node }: { readonly name: string; readonly node: SyntaxNode }): Error {
  return new CelTypeError({ code: 'unknown_variable', message: `Unknown ${what}: ${name}`, node } as never);
}

/** Where the arguments begin. */
function placedAtCall(node: SyntaxNode, name: string): SyntaxNode {
  const { end, input } = node as SyntaxNode & Placed,
    receiver = (node.args as (SyntaxNode & Placed)[])[1]!;
  return {
    start: input.indexOf('(', input.indexOf(name, receiver.end)),
    end,
    input,
  } as unknown as SyntaxNode;
}

interface Placed {
  readonly start: number;
  readonly end: number;
  readonly input: string;
}

function refuseBind({ args }: SyntaxNode): void {
  const receiver = (args as SyntaxNode[])[1]!;
  if (receiver.op === 'id' && receiver.args === 'cel')
    throw unknown('variable', { name: 'cel', node: receiver });
}

/** The evaluator looks at what stands before the dots alone: a type that has not the field at all is an error too. */
function checkPresence(node: SyntaxNode): void {
  const field = childrenOf(node)[0],
    types = node as SyntaxNode & { check: (checker: Checker, node: unknown, context: unknown) => unknown };
  if (field?.op !== '.') return;
  const { check } = types;
  types.check = (checker, ...rest) => {
    const type = check.call(node, checker, ...rest);
    try {
      checker.check(field, rest[1]);
    } catch (error) {
      throw isOf(error, field) ? missingIn(node, { field, error }) : error;
    }
    return type;
  };
}

function isOf(error: unknown, field: SyntaxNode): boolean {
  const { code = '', node } = error as { readonly code?: string; readonly node?: unknown };
  return (code === 'no_such_key' || code === 'cannot_index_type') && node === field;
}

/** cel-go tells the place of the parenthesis. */
function missingIn(
  node: SyntaxNode,
  { field, error }: { readonly field: SyntaxNode; readonly error: unknown },
): Error {
  const { start, end, input } = node as SyntaxNode & Placed,
    { code, summary } = error as { readonly code: string; readonly summary: string };
  return new CelTypeError({
    code,
    message: summary,
    node: { op: field.op, start: start + 'has('.length, end, input },
    cause: error,
  } as never);
}

/** A pattern that stands in the expression is looked at before it is ever used. */
function requirePattern(node: SyntaxNode | undefined): void {
  if (node?.op !== 'value' || typeof node.args !== 'string') return;
  try {
    compiledPattern(node.args);
  } catch {
    throw new CelTypeError('invalid matches argument', node as never);
  }
}

/** Before the check: node becomes what template is, in its place in the tree. */
export function becomes(node: SyntaxNode, template: SyntaxNode): void {
  const types = template as SyntaxNode & Checkable;
  Object.assign(node, {
    // Nothing here is asynchronous.
    candidates: { async: false },
    check: (checker: Checker, _: unknown, context: unknown) => checker.check(types, context),
    evaluate: (evaluator: unknown, _: unknown, context: unknown) => types.evaluate(evaluator, types, context),
  });
}

interface Checkable {
  readonly op: string;
}
interface Checker {
  check(node: Checkable, context: unknown): unknown;
}

type Handle = (...args: unknown[]) => unknown;
interface Counted extends SyntaxNode {
  handle?: Handle;
  /** The expression. */ readonly input?: string;
}

/** Errors, which operators may absorb, take the evaluator far longer than other steps: at each step they pass. */
const ERROR_COST = 20;

/**
 * After the check: every step of an evaluation is charged, and what operators and functions read and make. The evaluator replaces a node's
 * evaluate on first use, so it is kept behind an accessor.
 */
export function countSteps(node: Counted): void {
  for (const child of childrenOf(node)) countSteps(child);
  if (node.op === 'value') return;
  chargeOperands(node);
  let evaluate = node.evaluate;
  const errorCost = ERROR_COST + traversal(node.input?.length ?? 0);
  const counted = (...args: unknown[]): unknown => {
    charge(1);
    try {
      return evaluate.apply(node, args);
    } catch (error) {
      charge(errorCost);
      throw error;
    }
  };
  Object.defineProperty(node, 'evaluate', {
    get: () => counted,
    set: (next: SyntaxNode['evaluate']) => {
      evaluate = next;
    },
  });
}

/** Parts of a time in a time zone, which the platform works out slowly. */
const ZONED = new Set([
  'getDate',
  'getDayOfMonth',
  'getDayOfWeek',
  'getDayOfYear',
  'getFullYear',
  'getHours',
  'getMilliseconds',
  'getMinutes',
  'getMonth',
  'getSeconds',
]);
const ZONE_COST = 500;

/** Functions that look for one text in another. */
const SEARCHES = new Set(['contains', 'indexOf', 'lastIndexOf', 'split', 'replace']);

/** What some functions make is told before they make it: it may be far more than they are given. */
const MADE: Readonly<Record<string, (args: readonly unknown[]) => number>> = {
  replace: ([text, from, to]) =>
    typeof text === 'string' && typeof from === 'string' && typeof to === 'string'
      ? traversal(occurrences(text, from) * to.length)
      : 0,
  join: ([list, separator]) =>
    Array.isArray(list) ? list.reduce((sum: number, item) => sum + sizeOf(item) + sizeOf(separator), 0) : 0,
  format: ([, args]) => weightOf(args),
};

function occurrences(text: string, part: string): number {
  if (part === '') return text.length + 1;
  let count = 0;
  for (let at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + part.length)) count++;
  return count;
}

/** What a step reads is charged before it is read, what it makes once it is made: a doubled list can be doubled again only while that is paid. */
function chargeOperands(node: Counted): void {
  const { handle, op } = node;
  if (!handle) return;
  const name = Array.isArray(node.args) && typeof node.args[0] === 'string' ? node.args[0] : '';
  switch (op) {
    case '==':
    case '!=':
      node.handle = (left, right, ...rest) => {
        if (isCollection(left) && isCollection(right)) return equalValues(left, right) === (op === '==');
        charge(Math.min(sizeOf(left), sizeOf(right)));
        return handle(left, right, ...rest);
      };
      break;
    case 'in':
      node.handle = (item, container, ...rest) => {
        if (!Array.isArray(container)) return handle(item, container, ...rest);
        charge(container.length);
        return container.some((candidate) => equalValues(candidate, item));
      };
      break;
    case '<':
    case '<=':
    case '>':
    case '>=':
    case '+':
      node.handle = (left, right, ...rest) => {
        charge(op === '+' ? sizeOf(left) + sizeOf(right) : Math.min(sizeOf(left), sizeOf(right)));
        return handle(left, right, ...rest);
      };
      break;
    case 'call':
    case 'rcall':
      node.handle = (args, ...rest) => {
        const sizes = (args as unknown[]).map((arg) => (Array.isArray(arg) ? 0 : sizeOf(arg)));
        charge(
          SEARCHES.has(name) && sizes.length > 1
            ? sizes[0]! * Math.max(1, sizes[1]!)
            : sizes.reduce((sum, size) => sum + size, 0),
        );
        if (ZONED.has(name) && sizes.length > 1) charge(ZONE_COST);
        if (MADE[name]) charge(MADE[name](args as unknown[]));
        const result = handle(args, ...rest);
        charge(sizeOf(result));
        return result;
      };
      break;
    default:
  }
}

/** Of passing over it; of lists each item. */
function sizeOf(value: unknown): number {
  if (typeof value === 'string' || value instanceof Uint8Array) return traversal(value.length);
  return Array.isArray(value) ? value.length : 0;
}

/** The evaluator's own comparison of these is slow, and not charged. */
function isCollection(value: unknown): value is object {
  return (
    typeof value === 'object' &&
    value !== null &&
    (Array.isArray(value) || value instanceof Map || value.constructor === Object)
  );
}

/** Of passing over all that a value holds. Ends when nobody could pay for it. */
function weightOf(value: unknown, most = MOST_WEIGHT): number {
  if (typeof value === 'string' || value instanceof Uint8Array) return Math.max(1, traversal(value.length));
  if (typeof value !== 'object' || value === null) return 1;
  const items: Iterable<unknown> = Array.isArray(value)
    ? value
    : value instanceof Map
      ? value.values()
      : Object.values(value);
  let weight = 1;
  for (const item of items) if ((weight += weightOf(item, most - weight)) > most) break;
  return weight;
}

const MOST_WEIGHT = TOTAL_LIMIT;
