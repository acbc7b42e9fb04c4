/** What comprehensions do with the items of a list or the entries of a map. After cel-go's standard macros and ext.TwoVarComprehensions. */
import type { ComprehensionName } from './ast.ts';
import type { Meter } from './budget.ts';
import { EvaluationError, NoSuchOverloadError } from './errors.ts';
import { checkOrdered, compareOrdered } from './order.ts';

type Entry = readonly [unknown, unknown];
interface Run {
  /** Of comprehensions with one variable, values are what that has. */
  readonly entries: Iterable<Entry>;
  readonly body: (key: unknown, value: unknown) => unknown;
  readonly chooses: ((key: unknown, value: unknown) => boolean) | undefined;
  /** Throws errors that must not be absorbed. */
  readonly absorbed: (error: unknown) => unknown;
  readonly meter: Meter;
}

export const COMPREHENSIONS: Readonly<Record<ComprehensionName, (run: Run) => unknown>> = {
  all: (run) => quantified(run, false),
  exists: (run) => quantified(run, true),
  existsOne: ({ entries, body }) => {
    let found = 0;
    for (const [key, value] of entries) if (isTrue(body(key, value))) found++;
    return found === 1;
  },
  map: transformed,
  transformList: transformed,
  filter: ({ entries, body }) => {
    const kept: unknown[] = [];
    for (const [key, value] of entries) if (isTrue(body(key, value))) kept.push(value);
    return kept;
  },
  transformMap: ({ entries, body, chooses }) => {
    const map = new Map<unknown, unknown>();
    for (const [key, value] of entries) if (!chooses || chooses(key, value)) map.set(key, body(key, value));
    return map;
  },
  transformMapEntry: mergedEntries,
  sortBy: ({ entries, body, meter }) => {
    const keyed = Array.from(entries, ([key, item]) => ({ item, key: body(key, item) }));
    checkOrdered(
      keyed.map(({ key }) => key),
      meter,
    );
    return keyed.toSorted((left, right) => compareOrdered(left.key, right.key)).map(({ item }) => item);
  },
};

function isTrue(value: unknown): boolean {
  if (typeof value === 'boolean') return value;
  throw new NoSuchOverloadError();
}

/** An error counts only if no item decides. */
function quantified({ entries, body, absorbed }: Run, deciding: boolean): boolean {
  let failure: unknown;
  for (const [key, value] of entries) {
    try {
      if (isTrue(body(key, value)) === deciding) return deciding;
    } catch (error) {
      failure ??= absorbed(error);
    }
  }
  if (failure !== undefined) throw failure;
  return !deciding;
}

function transformed({ entries, body, chooses }: Run): unknown[] {
  const made: unknown[] = [];
  for (const [key, value] of entries) if (!chooses || chooses(key, value)) made.push(body(key, value));
  return made;
}

function mergedEntries({ entries, body, chooses }: Run): Map<unknown, unknown> {
  const merged = new Map<unknown, unknown>();
  for (const [key, value] of entries) {
    if (chooses && !chooses(key, value)) continue;
    for (const [name, inner] of listEntries(body(key, value))) {
      if (merged.has(name)) throw new EvaluationError(`insert failed: key ${String(name)} already exists`);
      merged.set(name, inner);
    }
  }
  return merged;
}

/** Items of lists, keys of maps. */
export function* itemsOf(collection: unknown): Iterable<Entry> {
  if (Array.isArray(collection)) for (const item of collection) yield [undefined, item];
  else if (collection instanceof Map) for (const key of collection.keys()) yield [undefined, key];
  else throw new NoSuchOverloadError();
}

/** Indices or keys, and values. */
export function* listEntries(collection: unknown): Iterable<Entry> {
  if (Array.isArray(collection)) for (const [i, item] of collection.entries()) yield [BigInt(i), item];
  else if (collection instanceof Map) yield* collection.entries();
  else throw new NoSuchOverloadError();
}
