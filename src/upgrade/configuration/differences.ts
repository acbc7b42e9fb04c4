/** Two values of a configuration side by side, leaf by leaf. Pure. */
import { isJsonObject } from '#machinery/json.ts';

/** 'kubelet.maxPods: (none) -> 50', in the order of the fields. */
export function differences(path: string, { before, after }: { before: unknown; after: unknown }): string[] {
  if (!isJsonObject(before) && !isJsonObject(after))
    return isSame(before, after) ? [] : [`${path}: ${shown(before)} -> ${shown(after)}`];
  const [from, to] = [before, after].map((value) => (isJsonObject(value) ? value : {}));
  return [...new Set([...Object.keys(from!), ...Object.keys(to!)])].flatMap((name) =>
    differences(`${path}.${name}`, { before: from![name], after: to![name] }),
  );
}

/** Without regard to the order of keys and to those that are absent. */
export function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));
}

function shown(value: unknown): string {
  if (value === undefined) return '(none)';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, one]) => one !== undefined)
      .toSorted(([a], [b]) => a.localeCompare(b))
      .map(([key, one]) => [key, sorted(one)]),
  );
}
