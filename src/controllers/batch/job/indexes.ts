/** Sets of completion indexes in the format of a Job's status: '1,3-5,7'. Immutable. */

export class IndexSet {
  readonly #indexes: ReadonlySet<number>;

  private constructor(indexes: ReadonlySet<number>) {
    this.#indexes = indexes;
  }

  static readonly empty = new IndexSet(new Set());

  /** Invalid entries and those not below `completions` are ignored. */
  static parse(text: string | undefined, completions: number): IndexSet {
    const indexes = new Set<number>();
    for (const part of (text ?? '').split(',')) {
      const match = /^(\d+)(?:-(\d+))?$/.exec(part);
      if (!match) continue;
      const last = Math.min(Number(match[2] ?? match[1]), completions - 1);
      for (let index = Number(match[1]); index <= last; index++) indexes.add(index);
    }
    return new IndexSet(indexes);
  }

  get size(): number {
    return this.#indexes.size;
  }

  has(index: number): boolean {
    return this.#indexes.has(index);
  }

  with(more: Iterable<number>): IndexSet {
    return new IndexSet(new Set([...this.#indexes, ...more]));
  }

  countOf(other: IndexSet): number {
    let count = 0;
    for (const index of other.#indexes) if (this.#indexes.has(index)) count += 1;
    return count;
  }

  toString(): string {
    const parts: string[] = [];
    const sorted = [...this.#indexes].sort((a, b) => a - b);
    for (let at = 0; at < sorted.length;) {
      let end = at;
      while (sorted[end + 1] === sorted[end]! + 1) end += 1;
      // As upstream, two neighbours are written as two indexes.
      parts.push(
        end === at
          ? `${sorted[at]}`
          : end === at + 1
            ? `${sorted[at]},${sorted[end]}`
            : `${sorted[at]}-${sorted[end]}`,
      );
      at = end + 1;
    }
    return parts.join(',');
  }
}
