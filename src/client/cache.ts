/** The store of an informer: objects by key, with indexes. Synchronous; independent of list and watch. */
import type { KubeObject } from '#machinery/object.ts';
import { assert } from '#stdx/assert.ts';

export type IndexFunction<T> = (object: T) => readonly string[];

interface Index<T> {
  readonly values: IndexFunction<T>;
  readonly keys: Map<string, Set<string>>;
}

export class ObjectCache<T extends KubeObject> {
  readonly #objects = new Map<string, T>();
  readonly #indexes = new Map<string, Index<T>>();

  get size(): number {
    return this.#objects.size;
  }

  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  keys(): IterableIterator<string> {
    return this.#objects.keys();
  }

  list(): T[] {
    return [...this.#objects.values()];
  }

  /** Returns the previous object. */
  set(key: string, object: T): T | undefined {
    const previous = this.#objects.get(key);
    this.#objects.set(key, object);
    for (const index of this.#indexes.values()) reindex(index, { key, object, previous });
    return previous;
  }

  delete(key: string): T | undefined {
    const previous = this.#objects.get(key);
    if (!previous) return undefined;
    this.#objects.delete(key);
    for (const index of this.#indexes.values()) reindex(index, { key, object: undefined, previous });
    return previous;
  }

  addIndex(name: string, values: IndexFunction<T>): void {
    const existing = this.#indexes.get(name);
    if (existing) {
      assert(existing.values === values, `index ${name} is declared once, or again with the same function`);
      return;
    }
    const index: Index<T> = { values, keys: new Map() };
    this.#indexes.set(name, index);
    for (const [key, object] of this.#objects) reindex(index, { key, object, previous: undefined });
  }

  byIndex(name: string, value: string): T[] {
    const index = this.#indexes.get(name);
    assert(index, `index ${name} is declared before it is read`);
    const objects: T[] = [];
    for (const key of index.keys.get(value) ?? []) objects.push(this.#objects.get(key)!);
    return objects;
  }
}

function reindex<T>(
  index: Index<T>,
  {
    key,
    object,
    previous,
  }: { readonly key: string; readonly object: T | undefined; readonly previous: T | undefined },
): void {
  const before = previous === undefined ? NONE : index.values(previous);
  const after = object === undefined ? NONE : index.values(object);
  if (sameValues(before, after)) return;
  for (const value of before) {
    const keys = index.keys.get(value);
    keys?.delete(key);
    if (keys?.size === 0) index.keys.delete(value);
  }
  for (const value of after) {
    const keys = index.keys.get(value);
    if (keys) keys.add(key);
    else index.keys.set(value, new Set([key]));
  }
}

const NONE: readonly string[] = [];

function sameValues(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((value, at) => value === b[at]);
}
