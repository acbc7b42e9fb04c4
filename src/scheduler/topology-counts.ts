/** Amounts by topology key and its value: of pods that a pod with affinity wants, or avoids. */
import type { NodeInfo } from './node-info.ts';

/** topologyKey → its value → amount, never 0. */
export class TopologyCounts {
  readonly #byKey: Map<string, Map<string, number>>;

  constructor(from?: TopologyCounts) {
    this.#byKey = new Map(from && [...from.#byKey].map(([key, byValue]) => [key, new Map(byValue)] as const));
  }

  get isEmpty(): boolean {
    return this.#byKey.size === 0;
  }

  add(topologyKey: string, { value, by }: { readonly value: string; readonly by: number }): void {
    if (by === 0) return;
    let byValue = this.#byKey.get(topologyKey);
    if (!byValue) this.#byKey.set(topologyKey, (byValue = new Map()));
    const amount = (byValue.get(value) ?? 0) + by;
    if (amount !== 0) return void byValue.set(value, amount);
    byValue.delete(value);
    if (byValue.size === 0) this.#byKey.delete(topologyKey);
  }

  /** Of the node's domain; nodes without the label are in none. */
  at(topologyKey: string, { labels }: Pick<NodeInfo, 'labels'>): number {
    const value = labels[topologyKey];
    return value === undefined ? 0 : (this.#byKey.get(topologyKey)?.get(value) ?? 0);
  }

  /** Over all topology keys. */
  sumAt({ labels }: Pick<NodeInfo, 'labels'>): number {
    let sum = 0;
    for (const [key, byValue] of this.#byKey) {
      const value = labels[key];
      if (value !== undefined) sum += byValue.get(value) ?? 0;
    }
    return sum;
  }

  /** Whether any of them is positive at the node. */
  isAnyAt({ labels }: Pick<NodeInfo, 'labels'>): boolean {
    for (const [key, byValue] of this.#byKey) {
      const value = labels[key];
      if (value !== undefined && (byValue.get(value) ?? 0) > 0) return true;
    }
    return false;
  }
}
