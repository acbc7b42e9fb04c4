/**
 * What filters and scores said of single nodes, kept between scheduling cycles: pods that ask for the same (the fragments that plugins sign) get the same
 * answer from a node that has not changed. In a large cluster most cycles follow one that asked the same of the same nodes, and only the node that took the
 * last pod is asked again. Decisions are those that asking every node gives.
 */
import type { NodeInfo } from './node-info.ts';

/** Of one list of plugins; the table that was not used for the longest time is dropped. */
const MAX_TABLES = 64;

/** One answer for each node, valid for one state of the node. */
export class NodeTable<T> {
  #generations = new Float64Array(0);
  #answers: (T | undefined)[] = [];

  has({ slot, generation }: NodeInfo): boolean {
    return this.#generations[slot] === generation;
  }

  /** Of a node that it has. */
  get({ slot }: NodeInfo): T {
    return this.#answers[slot] as T;
  }

  /** Copies of nodes have no place in the table. */
  set({ slot, generation }: NodeInfo, answer: T): void {
    if (slot < 0) return;
    if (slot >= this.#generations.length) this.#grow(slot);
    this.#generations[slot] = generation;
    this.#answers[slot] = answer;
  }

  #grow(slot: number): void {
    const size = 2 * slot + 64;
    const generations = new Float64Array(size);
    generations.set(this.#generations);
    this.#generations = generations;
    // Not element by element: an array with large gaps would become a dictionary.
    const answers = this.#answers;
    this.#answers = Array.from({ length: size }, (_, index) => answers[index]);
  }
}

export class NodeAnswers {
  readonly #tables = new WeakMap<object, Map<string, NodeTable<unknown>>>();

  /** owner: what answers, with its arguments. The key names the question: equal keys of one owner are equal questions. */
  table<T>(owner: object, key: string): NodeTable<T> {
    let tables = this.#tables.get(owner);
    if (!tables) this.#tables.set(owner, (tables = new Map()));
    const table = (tables.get(key) as NodeTable<T> | undefined) ?? new NodeTable<T>();
    tables.delete(key);
    tables.set(key, table);
    if (tables.size > MAX_TABLES) tables.delete(tables.keys().next().value!);
    return table;
  }
}
