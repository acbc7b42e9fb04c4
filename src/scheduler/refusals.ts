/** Why nodes were refused in one attempt: made for thousands of nodes per pod, looked up by name only when preemption is tried. */
import type { Refusal } from './plugin.ts';

/** Also a Map. */
export interface RefusalsByNode {
  readonly size: number;
  get(node: string): Refusal | undefined;
  values(): Iterable<Refusal>;
  /** In the order of the evaluation. */
  entries(): Iterable<readonly [node: string, refusal: Refusal]>;
}

export class Refusals implements RefusalsByNode {
  readonly #nodes: string[] = [];
  readonly #refusals: Refusal[] = [];
  #byNode: Map<string, Refusal> | undefined;

  /** Once for each node. */
  add(node: string, refusal: Refusal): void {
    this.#nodes.push(node);
    this.#refusals.push(refusal);
    this.#byNode = undefined;
  }

  get size(): number {
    return this.#nodes.length;
  }

  get(node: string): Refusal | undefined {
    return this.#index().get(node);
  }

  values(): Iterable<Refusal> {
    return this.#refusals;
  }

  *entries(): Iterable<readonly [string, Refusal]> {
    for (const [index, node] of this.#nodes.entries()) yield [node, this.#refusals[index]!];
  }

  #index(): Map<string, Refusal> {
    this.#byNode ??= new Map(this.#nodes.map((node, index) => [node, this.#refusals[index]!]));
    return this.#byNode;
  }
}
