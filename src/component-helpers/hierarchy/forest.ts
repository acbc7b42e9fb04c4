/**
 * The trees of namespaces: who is whose parent, what is wrong with that, and what labels follow. The controller builds one of all namespaces for each reconcile; admission
 * keeps one that follows the cluster. Every answer is worked out from parents and children when it is asked for.
 *
 *   subnamespace-of, spec.parent ─► parents ─► cycles, missing and excluded parents ─► halted subtrees ─► children, tree labels, cascading deletion
 */
import { DEPTH_SUFFIX, INCLUDED_NAMESPACE, isExcluded } from './names.ts';

export interface TreeNamespace {
  readonly name: string;
  /** Undefined: a root. It may not exist. */
  readonly parent?: string | undefined;
  /** Its parent is that of its annotation, and an anchor should be there. */
  readonly isSubnamespace?: boolean;
  /** Another manager's: a root, whose own tree labels its descendants get too. */
  readonly isExternal?: boolean;
  readonly allowsCascadingDeletion?: boolean;
  readonly labels: Readonly<Record<string, string>>;
  /** Whether its parent has its anchor; of subnamespaces only. */
  readonly hasAnchor?: boolean;
  /** A sentence for each that its configuration asks for and must not. */
  readonly illegalLabel?: string | undefined;
  readonly illegalAnnotation?: string | undefined;
}

interface TreeCondition {
  readonly type: 'ActivitiesHalted' | 'BadConfiguration';
  readonly reason: string;
  readonly message: string;
}

export class Forest {
  readonly #namespaces = new Map<string, TreeNamespace>();
  readonly #children = new Map<string, Set<string>>();
  /** Of those that were asked for since they changed. */
  readonly #sorted = new Map<string, readonly string[]>();

  /** Excluded namespaces are left out. */
  constructor(all: Iterable<TreeNamespace> = []) {
    for (const one of all) this.put(one);
  }

  /** Added, or replaced. */
  put(namespace: TreeNamespace): void {
    const { name, parent } = namespace;
    if (isExcluded(name)) return;
    this.remove(name);
    this.#namespaces.set(name, namespace);
    if (parent === undefined) return;
    const siblings = this.#children.get(parent);
    if (siblings) siblings.add(name);
    else this.#children.set(parent, new Set([name]));
    this.#sorted.delete(parent);
  }

  remove(name: string): void {
    const parent = this.#namespaces.get(name)?.parent;
    this.#namespaces.delete(name);
    if (parent === undefined) return;
    const siblings = this.#children.get(parent);
    siblings?.delete(name);
    if (siblings?.size === 0) this.#children.delete(parent);
    this.#sorted.delete(parent);
  }

  /** The forest as it were with another parent of this namespace. */
  withParent(name: string, parent: string | undefined): Forest {
    const other = new Forest(this.#namespaces.values());
    const moved = this.#namespaces.get(name);
    if (moved) other.put({ ...moved, parent });
    return other;
  }

  /** Sorted. */
  get names(): readonly string[] {
    return [...this.#namespaces.keys()].toSorted();
  }

  get(name: string): TreeNamespace | undefined {
    return this.#namespaces.get(name);
  }

  /** Sorted. */
  childrenOf(name: string): readonly string[] {
    const known = this.#sorted.get(name);
    if (known) return known;
    const children = [...(this.#children.get(name) ?? [])].toSorted();
    this.#sorted.set(name, children);
    return children;
  }

  /** Itself not among them, also where it is in a cycle; parents before their children. */
  descendantsOf(name: string): readonly string[] {
    const found = new Set([name]);
    for (const one of found) for (const child of this.childrenOf(one)) found.add(child);
    found.delete(name);
    return [...found];
  }

  /** From the root down to its parent; of a member of a cycle, the others each once. A parent that does not exist is not among them. */
  ancestorsOf(name: string): readonly string[] {
    const found: string[] = [];
    let next = this.#namespaces.get(name)?.parent;
    while (next !== undefined && next !== name && this.#namespaces.has(next) && !found.includes(next)) {
      found.unshift(next);
      next = this.#namespaces.get(next)?.parent;
    }
    return found;
  }

  /** The members of the cycle that it is in, the first in the alphabet first, each before its child; undefined: it is in none. */
  cycleOf(name: string): readonly string[] | undefined {
    const above = this.ancestorsOf(name);
    const top = above[0] ?? name;
    if (this.#namespaces.get(top)?.parent !== name) return undefined;
    const members = [...above, name];
    const first = members.indexOf(members.toSorted()[0]!);
    return [...members.slice(first), ...members.slice(0, first)];
  }

  /** Parents before their children; a member of a cycle comes once. */
  topDown(): readonly string[] {
    const found = new Set<string>();
    const visit = (name: string): void => {
      if (found.has(name)) return;
      found.add(name);
      for (const child of this.childrenOf(name)) visit(child);
    };
    const names = this.names;
    for (const name of names) {
      const parent = this.#namespaces.get(name)?.parent;
      if (parent === undefined || !this.#namespaces.has(parent)) visit(name);
    }
    for (const name of names) visit(name);
    return [...found];
  }

  /** The lowest ancestor, or itself, that is halted by what is wrong with itself. */
  haltedRootOf(name: string): string | undefined {
    return [name, ...this.ancestorsOf(name).toReversed()].find((one) => this.#isHalted(one));
  }

  conditionsOf(name: string): readonly TreeCondition[] {
    const own = this.#problemsOf(name);
    const root = this.haltedRootOf(name);
    if (root === undefined || root === name) return own;
    const message = `Propagation paused in "${name}" and its descendants due to ActivitiesHalted condition on ancestor "${root}"`;
    return [{ type: 'ActivitiesHalted', reason: 'AncestorHaltActivities', message }, ...own];
  }

  /** Itself or any ancestor allows it. */
  allowsCascadingDeletion(name: string): boolean {
    return [name, ...this.ancestorsOf(name)].some(
      (one) => this.#namespaces.get(one)?.allowsCascadingDeletion === true,
    );
  }

  /** That the namespace should have. Above a halted one nothing is known. */
  treeLabelsOf(name: string): Readonly<Record<string, string>> {
    const labels: Record<string, string> = { [INCLUDED_NAMESPACE]: 'true' };
    const upwards = [name, ...this.ancestorsOf(name).toReversed()];
    for (const [depth, one] of upwards.entries()) {
      labels[`${one}${DEPTH_SUFFIX}`] = String(depth);
      const { isExternal, labels: own = {} } = this.#namespaces.get(one) ?? {};
      if (isExternal)
        for (const [key, value] of Object.entries(own))
          if (key.endsWith(DEPTH_SUFFIX) && /^\d+$/.test(value)) labels[key] = String(depth + Number(value));
      if (this.#isHalted(one)) break;
    }
    return labels;
  }

  #isHalted(name: string): boolean {
    const one = this.#namespaces.get(name);
    return one !== undefined && this.#haltOf(one) !== undefined;
  }

  #problemsOf(name: string): readonly TreeCondition[] {
    const one = this.#namespaces.get(name);
    if (!one) return [];
    const halted = this.#haltOf(one);
    const bad = badConfigurationOf(one);
    return [...(halted ? [halted] : []), ...(bad ? [bad] : [])];
  }

  #haltOf({ name, parent }: TreeNamespace): TreeCondition | undefined {
    const type = 'ActivitiesHalted';
    if (parent === undefined) return undefined;
    const cycle = this.cycleOf(name);
    if (cycle)
      return {
        type,
        reason: 'InCycle',
        message: `Namespace is a member of the cycle: ${[...cycle, cycle[0]].join(' <- ')}`,
      };
    if (isExcluded(parent))
      return { type, reason: 'IllegalParent', message: `Parent "${parent}" is an unmanaged namespace` };
    if (!this.#namespaces.has(parent))
      return { type, reason: 'ParentMissing', message: `Parent "${parent}" does not exist` };
    return undefined;
  }
}

/** The last that is found, since there is one condition of a type. */
function badConfigurationOf({
  isSubnamespace,
  hasAnchor,
  illegalLabel,
  illegalAnnotation,
}: TreeNamespace): TreeCondition | undefined {
  const type = 'BadConfiguration';
  if (illegalAnnotation !== undefined)
    return { type, reason: 'IllegalManagedAnnotation', message: illegalAnnotation };
  if (illegalLabel !== undefined) return { type, reason: 'IllegalManagedLabel', message: illegalLabel };
  if (isSubnamespace && !hasAnchor)
    return {
      type,
      reason: 'SubnamespaceAnchorMissing',
      message: 'The anchor is missing in the parent namespace',
    };
  return undefined;
}
