/** The difference between two contents of an nftables table as a script for `nft -f -`, which applies it in one transaction. Knows nothing of what the rules mean. */
import type { TableAt } from './run-nft.ts';

/** Chains and sets by name; elements of maps and sets by its name and their key. S: what distinguishes the set's declaration. */
export interface NftContent<S> {
  readonly chains: ReadonlyMap<string, readonly string[]>;
  /** Sets that come and go; those of the table's base are not among them. */
  readonly sets: ReadonlyMap<string, S>;
  /** The value is a map's verdict, '' in a set. */
  readonly elements: ReadonlyMap<string, ReadonlyMap<string, string>>;
}

export interface NftDifference {
  /** The transaction to apply; '' when nothing changed. */
  readonly script: string;
  /** Removes chains and sets that script leaves unreferenced, in a later transaction (kernels refuse to delete a chain in the transaction that removes its last reference). */
  readonly cleanup: string;
}

/** declare: the body of a set's declaration. A set whose S changes must have another name. Rules and elements that are the same objects in both are not compared. */
export function nftDifference<S>(
  at: TableAt & { readonly declare: (set: S) => string },
  { from, to }: { readonly from: NftContent<S>; readonly to: NftContent<S> },
): NftDifference {
  const table = `${at.family} ${at.table}`;
  const lines: string[] = [];
  for (const [name, set] of to.sets)
    if (from.sets.get(name) !== set) lines.push(`add set ${table} ${name} { ${at.declare(set)} }`);
  const changed = [...to.chains].filter(([name, rules]) => !sameRules(from.chains.get(name), rules));
  for (const [name] of changed) if (!from.chains.has(name)) lines.push(`add chain ${table} ${name}`);
  for (const [name, rules] of changed) {
    lines.push(`flush chain ${table} ${name}`);
    for (const rule of rules) lines.push(`add rule ${table} ${name} ${rule}`);
  }
  for (const [map, wanted] of to.elements) {
    const before = from.elements.get(map);
    if (before !== wanted)
      lines.push(...elementChanges(table, { map, before: before ?? new Map<string, string>(), wanted }));
  }
  const goneChains = [...from.chains.keys()].filter((name) => !to.chains.has(name));
  for (const name of goneChains) lines.push(`flush chain ${table} ${name}`);
  const goneSets = [...from.sets.keys()].filter((name) => !to.sets.has(name));
  return {
    script: lines.length === 0 ? '' : `${lines.join('\n')}\n`,
    cleanup: [
      ...goneChains.map((name) => `delete chain ${table} ${name}\n`),
      ...goneSets.map((name) => `delete set ${table} ${name}\n`),
    ].join(''),
  };
}

interface ElementChange {
  readonly map: string;
  readonly before: ReadonlyMap<string, string>;
  readonly wanted: ReadonlyMap<string, string>;
}

function elementChanges(table: string, { map, before, wanted }: ElementChange): string[] {
  const text = ([key, verdict]: readonly [string, string]): string =>
    verdict === '' ? key : `${key} : ${verdict}`;
  const removed = [...before].filter(([key, verdict]) => wanted.get(key) !== verdict).map(text);
  const added = [...wanted].filter(([key, verdict]) => before.get(key) !== verdict).map(text);
  return [
    ...(removed.length > 0 ? [`delete element ${table} ${map} { ${removed.join(', ')} }`] : []),
    ...(added.length > 0 ? [`add element ${table} ${map} { ${added.join(', ')} }`] : []),
  ];
}

function sameRules(a: readonly string[] | undefined, b: readonly string[]): boolean {
  return a === b || (a !== undefined && a.length === b.length && a.every((rule, index) => rule === b[index]));
}
