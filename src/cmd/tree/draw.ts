/** Trees of namespaces as text, with their conditions as footnotes. Pure. */
import { SUBNAMESPACE_OF, type HierarchyConfiguration } from '#component-helpers/hierarchy/names.ts';
import type { Namespace } from '#api/types.ts';
import type { Stored } from '#machinery/object.ts';

interface Trees {
  /** Undefined: all, each once. */
  readonly roots: readonly string[] | undefined;
  readonly namespaces: readonly Stored<Namespace>[];
  readonly hierarchies: readonly Stored<HierarchyConfiguration>[];
}

export function drawTrees(trees: Trees): string[] {
  return new Drawing(trees).lines;
}

class Drawing {
  readonly #namespaces: ReadonlyMap<string, Stored<Namespace>>;
  readonly #hierarchies: ReadonlyMap<string, Stored<HierarchyConfiguration>>;
  readonly #trees: string[] = [];
  readonly #notes: string[] = [];
  #hasSubnamespace = false;

  constructor({ roots, namespaces, hierarchies }: Trees) {
    this.#namespaces = new Map(namespaces.map((one) => [one.metadata.name, one]));
    this.#hierarchies = new Map(hierarchies.map((one) => [one.metadata.namespace ?? '', one]));
    for (const root of roots ?? this.#allRoots()) {
      this.#trees.push(this.#nameWithNotes(root));
      this.#drawChildren(root, { prefix: '', above: [root] });
    }
  }

  get lines(): string[] {
    return [
      ...this.#trees,
      ...(this.#hasSubnamespace ? ['', '[s] indicates subnamespaces'] : []),
      ...(this.#notes.length > 0
        ? ['', 'Conditions:', ...this.#notes.map((note, index) => `${index + 1}) ${note}`)]
        : []),
    ];
  }

  /** Those without a parent, and members of cycles, which no root leads to. */
  #allRoots(): string[] {
    return [...this.#namespaces.keys()]
      .filter((name) => !this.#parentOf(name) || this.#isInCycle(name))
      .toSorted();
  }

  #parentOf(name: string): string {
    return this.#hierarchies.get(name)?.spec?.parent ?? '';
  }

  #isInCycle(name: string): boolean {
    return (
      this.#hierarchies.get(name)?.status?.conditions?.some(({ reason }) => reason === 'InCycle') === true
    );
  }

  #drawChildren(
    name: string,
    { prefix, above }: { readonly prefix: string; readonly above: readonly string[] },
  ): void {
    const children = (this.#hierarchies.get(name)?.status?.children ?? []).filter(
      (child) => !above.includes(child) && !(this.#isInCycle(name) && this.#isInCycle(child)),
    );
    for (const [index, child] of children.entries()) {
      const isLast = index === children.length - 1;
      this.#trees.push(
        `${prefix}${isLast ? '└── ' : '├── '}${this.#mark(child)}${this.#nameWithNotes(child)}`,
      );
      this.#drawChildren(child, { prefix: prefix + (isLast ? '    ' : '│   '), above: [...above, child] });
    }
  }

  #mark(name: string): string {
    if (this.#namespaces.get(name)?.metadata.annotations?.[SUBNAMESPACE_OF] === undefined) return '';
    this.#hasSubnamespace = true;
    return '[s] ';
  }

  #nameWithNotes(name: string): string {
    const numbers = (this.#hierarchies.get(name)?.status?.conditions ?? []).map(({ type, reason, message }) =>
      this.#numberOf(`${type} (${reason}): ${message}`),
    );
    if (numbers.length === 0) return name;
    return `${name} (${numbers.toSorted((left, right) => left - right).join(',')})`;
  }

  #numberOf(note: string): number {
    const known = this.#notes.indexOf(note);
    return known < 0 ? this.#notes.push(note) : known + 1;
  }
}
