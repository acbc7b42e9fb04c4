/** What literals of a checked expression must be beyond their types, as upstream's validators have it: items of one type, texts of patterns, times and durations that are some. */
import { parseGoDuration } from '#machinery/go-duration.ts';
import { listChildren, type Node } from './ast.ts';
import { upstreamType, type Issue } from './errors.ts';
import { compiledPattern } from './library/patterns.ts';
import { Timestamp } from './timestamp.ts';
import type { Type } from './type.ts';

export function checkLiterals(root: Node): readonly Issue[] {
  const issues: Issue[] = [];
  check(root, { isExempt: false, issues });
  return issues;
}

interface Walk {
  /** Inside a formatted value, which may be of any type. */
  readonly isExempt: boolean;
  readonly issues: Issue[];
}

function check(node: Node, { isExempt, issues }: Walk): void {
  if (node.kind === 'list' && !isExempt)
    requireOneType(
      node.items.map(({ value }) => value),
      issues,
    );
  if (node.kind === 'map' && !isExempt)
    for (const part of ['key', 'value'] as const)
      requireOneType(
        node.entries.map((entry) => entry[part]),
        issues,
      );
  if (node.kind === 'call') requireReadable(node.name, { argument: node.args.at(-1), issues });
  const formats = node.kind === 'call' && node.name === 'format';
  for (const child of listChildren(node)) check(child, { isExempt: isExempt || formats, issues });
}

/** A type that is open may be any. */
function isOpen({ kind, keyType, valueType }: Type): boolean {
  return (
    kind === 'dyn' ||
    (keyType !== undefined && isOpen(keyType)) ||
    (valueType !== undefined && isOpen(valueType))
  );
}

function requireOneType(items: readonly Node[], issues: Issue[]): void {
  let expected: Type | undefined;
  for (const { type, at } of items) {
    if (isOpen(type)) continue;
    expected ??= type;
    if (type.name === expected.name) continue;
    const message = `expected type '${upstreamType(expected.name)}' but found '${upstreamType(type.name)}'`;
    issues.push({ message, at });
    return;
  }
}

/** By function: whether it accepts a literal. Literals of other types are the type checker's concern. */
const READERS: Readonly<Record<string, (value: unknown) => boolean>> = {
  timestamp: (value) =>
    typeof value === 'bigint'
      ? succeeds(() => Timestamp.fromSeconds(value))
      : acceptsText(value, Timestamp.parse),
  duration: (value) => acceptsText(value, parseGoDuration),
  matches: (value) => acceptsText(value, compiledPattern),
};

function requireReadable(
  name: string,
  { argument, issues }: { readonly argument: Node | undefined; readonly issues: Issue[] },
): void {
  const reads = Object.hasOwn(READERS, name) ? READERS[name] : undefined;
  if (reads && argument?.kind === 'literal' && !reads(argument.value))
    issues.push({ message: `invalid ${name} argument`, at: argument.at });
}

function acceptsText(value: unknown, read: (text: string) => unknown): boolean {
  return typeof value !== 'string' || succeeds(() => read(value));
}

function succeeds(read: () => unknown): boolean {
  try {
    read();
    return true;
  } catch {
    return false;
  }
}
