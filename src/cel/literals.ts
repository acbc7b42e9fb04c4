/** What literals of a checked expression must be beyond their types, as upstream's validators have it: items of one type, texts of times and durations that are some. */
import { TypeError as CelTypeError } from '@marcbachmann/cel-js';
import { parseGoDuration } from '#machinery/go-duration.ts';
import { timeMs } from '#machinery/time.ts';
import type { Type } from './cost.ts';
import { upstreamType } from './errors.ts';
import { childrenOf, type SyntaxNode } from './syntax.ts';

/** Throws the evaluator's type error for the first that is not. */
export function checkLiterals(node: SyntaxNode): void {
  check(node, false);
}

/** isExempt: within what is formatted, which may be of any type. */
function check(node: SyntaxNode, isExempt: boolean): void {
  const { op } = node;
  if (op === 'list' && !isExempt) requireOneType(node.args as SyntaxNode[]);
  if (op === 'map' && !isExempt)
    for (const part of [0, 1] as const)
      requireOneType((node.args as (readonly [SyntaxNode, SyntaxNode])[]).map((entry) => entry[part]));
  if (op === 'call') requireTime(node);
  const name = op === 'call' || op === 'rcall' ? (node.args as string[])[0]! : '',
    formats = op === 'rcall' && name === 'format';
  // The fields of what is constructed are no map to the author.
  const fields =
    op === 'call' && name.startsWith('__new') ? (node.args as [string, SyntaxNode[]])[1][1] : undefined;
  for (const child of childrenOf(node))
    (child === fields ? childrenOf(child) : [child]).forEach((inner) => check(inner, isExempt || formats));
}

function typeOf(node: SyntaxNode): Type {
  return (node as SyntaxNode & { readonly checkedType?: Type }).checkedType ?? { kind: 'dyn', name: 'dyn' };
}

/** A type that is open may be any. */
function isOpen({ kind, name }: Type): boolean {
  return kind === 'dyn' || kind === 'param' || /\bdyn\b|[<, ][A-Z][>,]/.test(name);
}

function requireOneType(items: readonly SyntaxNode[]): void {
  let expected: Type | undefined;
  for (const item of items) {
    const type = typeOf(item);
    if (isOpen(type)) continue;
    expected ??= type;
    if (type.name !== expected.name)
      throw new CelTypeError(
        `expected type '${upstreamType(expected.name)}' but found '${upstreamType(type.name)}'`,
        item as never,
      );
  }
}

const READERS: Readonly<Record<string, (text: string) => boolean>> = {
  timestamp: (text) => timeMs(text) !== undefined,
  duration: isDuration,
};

function requireTime({ args }: SyntaxNode): void {
  const [name, [argument]] = args as readonly [string, readonly SyntaxNode[]];
  const reads = Object.hasOwn(READERS, name) ? READERS[name] : undefined;
  if (reads && argument?.op === 'value' && typeof argument.args === 'string' && !reads(argument.args))
    throw new CelTypeError(`invalid ${name} argument`, argument as never);
}

function isDuration(text: string): boolean {
  try {
    parseGoDuration(text);
    return true;
  } catch {
    return false;
  }
}
