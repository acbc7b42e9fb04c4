/** The evaluator's syntax trees: walking them, and counting what their evaluation costs. */
import type { ParseResult } from '@marcbachmann/cel-js';
import { charge } from './budget.ts';
import { LINEAR_MATCHES } from './library.ts';

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

/** Before the check: regular expressions run in linear time. */
export function rewriteMatches(node: SyntaxNode): void {
  if ((node.op === 'rcall' || node.op === 'call') && (node.args as unknown[])[0] === 'matches') (node.args as unknown[])[0] = LINEAR_MATCHES;
  for (const child of childrenOf(node)) rewriteMatches(child);
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

/** After the check: every step of an evaluation is charged. The evaluator replaces a node's evaluate on first use, so it is kept behind an accessor. */
export function countSteps(node: SyntaxNode): void {
  for (const child of childrenOf(node)) countSteps(child);
  if (node.op === 'value') return;
  let evaluate = node.evaluate;
  const counted = (...args: unknown[]): unknown => {
    charge(1);
    return evaluate.apply(node, args);
  };
  Object.defineProperty(node, 'evaluate', {
    get: () => counted,
    set: (next: SyntaxNode['evaluate']) => {
      evaluate = next;
    },
  });
}
