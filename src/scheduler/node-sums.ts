/**
 * Sums over all nodes, kept between scheduling cycles and corrected for the nodes that changed since: the counts of pods by topology value that affinity and
 * spread constraints need, which would otherwise be made from every pod of the cluster in each cycle.
 */
import type { NodeInfo } from './node-info.ts';

/** The sum that was not used for the longest time is dropped. */
const MAX_SUMS = 64;
/** Changes that are remembered; a sum that has missed more is rebuilt. */
const MAX_CHANGES = 16_384;

export interface NodeSum {
  /** Puts what the node adds now in the place of what it added when it was last told. A node that left the API adds nothing. */
  update(node: NodeInfo): void;
}

interface Kept {
  readonly sum: NodeSum;
  /** Of the changes it has seen. */
  seen: number;
}

export class NodeSums {
  readonly #kept = new Map<string, Kept>();
  #changes: NodeInfo[] = [];
  /** The number of changes that were forgotten. */
  #forgotten = 0;

  /** A node, or the pods on it, changed. */
  changed(node: NodeInfo): void {
    if (this.#kept.size === 0) return;
    this.#changes.push(node);
    if (this.#changes.length < MAX_CHANGES) return;
    this.#forgotten += this.#changes.length;
    this.#changes = [];
  }

  /** Up to date; valid until nodes change. Equal keys are equal sums. `make` tells it all nodes. */
  of<S extends NodeSum>(key: string, make: () => S): S {
    let kept = this.#kept.get(key);
    const end = this.#forgotten + this.#changes.length;
    if (!kept || kept.seen < this.#forgotten) kept = { sum: make(), seen: end };
    while (kept.seen < end) kept.sum.update(this.#changes[kept.seen++ - this.#forgotten]!);
    this.#kept.delete(key);
    this.#kept.set(key, kept);
    if (this.#kept.size > MAX_SUMS) this.#kept.delete(this.#kept.keys().next().value!);
    return kept.sum as S;
  }
}
