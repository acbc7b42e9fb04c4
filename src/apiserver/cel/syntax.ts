/** The evaluator's syntax trees: walking them, and counting what their evaluation costs. */
import { TypeError as CelTypeError, type ParseResult } from '@marcbachmann/cel-js';
import { charge, TOTAL_LIMIT, traversal } from './budget.ts';
import { equalValues } from './equality.ts';
import { compiledPattern, LINEAR_MATCHES } from './library.ts';

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

export function uses(node: SyntaxNode, variable: string): boolean {
  return (node.op === 'id' && node.args === variable) || childrenOf(node).some((child) => uses(child, variable));
}

/** Methods of the evaluator's own that CEL has not. */
const FOREIGN = new Set(['json', 'hex', 'base64', 'at', 'string']);

/** Before the check: regular expressions run in linear time, and what is no CEL is refused. */
export function rewriteMatches(node: SyntaxNode): void {
  if (node.op === 'rcall' && FOREIGN.has((node.args as string[])[0]!)) {
    throw new CelTypeError({ code: 'unknown_variable', message: `Unknown function: ${(node.args as string[])[0]}`, node } as never);
  }
  if ((node.op === 'rcall' || node.op === 'call') && (node.args as unknown[])[0] === 'matches') {
    requirePattern(childrenOf(node).at(-1));
    (node.args as unknown[])[0] = LINEAR_MATCHES;
  }
  for (const child of childrenOf(node)) rewriteMatches(child);
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

interface Checkable { readonly op: string }
interface Checker { check(node: Checkable, context: unknown): unknown }

type Handle = (...args: unknown[]) => unknown;
interface Counted extends SyntaxNode { handle?: Handle; /** The expression. */ readonly input?: string }

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
const ZONED = new Set(['getDate', 'getDayOfMonth', 'getDayOfWeek', 'getDayOfYear', 'getFullYear', 'getHours', 'getMilliseconds', 'getMinutes', 'getMonth', 'getSeconds']);
const ZONE_COST = 500;

/** Functions that look for one text in another. */
const SEARCHES = new Set(['contains', 'indexOf', 'lastIndexOf', 'split', 'replace']);

/** What some functions make is told before they make it: it may be far more than they are given. */
const MADE: Readonly<Record<string, (args: readonly unknown[]) => number>> = {
  replace: ([text, from, to]) => (typeof text === 'string' && typeof from === 'string' && typeof to === 'string' ? traversal(occurrences(text, from) * to.length) : 0),
  join: ([list, separator]) => (Array.isArray(list) ? list.reduce((sum: number, item) => sum + sizeOf(item) + sizeOf(separator), 0) : 0),
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
    case '==': case '!=':
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
    case '<': case '<=': case '>': case '>=': case '+':
      node.handle = (left, right, ...rest) => {
        charge(op === '+' ? sizeOf(left) + sizeOf(right) : Math.min(sizeOf(left), sizeOf(right)));
        return handle(left, right, ...rest);
      };
      break;
    case 'call': case 'rcall':
      node.handle = (args, ...rest) => {
        const sizes = (args as unknown[]).map((arg) => (Array.isArray(arg) ? 0 : sizeOf(arg)));
        charge(SEARCHES.has(name) && sizes.length > 1 ? sizes[0]! * Math.max(1, sizes[1]!) : sizes.reduce((sum, size) => sum + size, 0));
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
  return typeof value === 'object' && value !== null && (Array.isArray(value) || value instanceof Map || value.constructor === Object);
}

/** Of passing over all that a value holds. Ends when nobody could pay for it. */
function weightOf(value: unknown, most = MOST_WEIGHT): number {
  if (typeof value === 'string' || value instanceof Uint8Array) return Math.max(1, traversal(value.length));
  if (typeof value !== 'object' || value === null) return 1;
  const items: Iterable<unknown> = Array.isArray(value) ? value : value instanceof Map ? value.values() : Object.values(value);
  let weight = 1;
  for (const item of items) if ((weight += weightOf(item, most - weight)) > most) break;
  return weight;
}

const MOST_WEIGHT = TOTAL_LIMIT;
