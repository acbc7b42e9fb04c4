/**
 * What is to be written and removed so that each namespace has the copies of its ancestors' objects of one kind. Pure.
 *
 * The highest source that goes to a namespace wins there, also over an object of that name of its own, as with HNC: the copy of an administrator's object cannot be
 * kept away by one that is made first.
 */
import type { ResourceRef } from '#client/client.ts';
import { deepEqual } from '#machinery/json.ts';
import type { Labels } from '#machinery/labels.ts';
import { formatApiVersion, type KubeObject, type Stored } from '#machinery/object.ts';
import { errorMessage } from '#stdx/log.ts';
import {
  INHERITED_FROM,
  isTreeKey,
  MANAGER,
  type SynchronizationMode,
} from '#component-helpers/hierarchy/names.ts';
import type { Forest } from '#component-helpers/hierarchy/forest.ts';
import { SelectorProblem, shouldPropagate } from '#component-helpers/hierarchy/selectors.ts';

export interface CopyWrite {
  readonly copy: KubeObject;
  readonly source: Stored;
  /** To be replaced. */
  readonly existing?: Stored | undefined;
}

interface SourceProblem {
  readonly source: Stored;
  readonly reason: string;
  readonly message: string;
}

export interface PropagationPlan {
  readonly write: readonly CopyWrite[];
  readonly remove: readonly Stored[];
  /** Copies, with those to be written. */
  readonly propagated: number;
  readonly sources: number;
  readonly problems: readonly SourceProblem[];
}

interface PropagationInput {
  readonly forest: Forest;
  readonly ref: ResourceRef;
  readonly mode: SynchronizationMode;
  /** Of all namespaces. */
  readonly objects: readonly Stored[];
  /** Namespaces that take no new objects, since they are being deleted. */
  readonly closed: ReadonlySet<string>;
}

/** What a copy has of its own. */
const NOT_COPIED: ReadonlySet<string> = new Set(['apiVersion', 'kind', 'metadata', 'status']);

export function planPropagation(input: PropagationInput): PropagationPlan {
  const { forest, mode } = input;
  const planning = new Planning(input);
  if (mode !== 'Ignore') for (const namespace of forest.topDown()) planning.visit(namespace);
  return planning.plan;
}

class Planning {
  readonly plan = {
    write: [] as CopyWrite[],
    remove: [] as Stored[],
    propagated: 0,
    sources: 0,
    problems: [] as SourceProblem[],
  };
  readonly #input: PropagationInput;
  readonly #objects = new Map<string, Map<string, Stored>>();
  /** Namespace, then name. */
  readonly #sources = new Map<string, Map<string, Stored>>();
  readonly #reported = new Set<string>();

  constructor(input: PropagationInput) {
    this.#input = input;
    for (const object of input.objects) {
      const namespace = object.metadata.namespace ?? '';
      const known = this.#objects.get(namespace) ?? new Map<string, Stored>();
      this.#objects.set(namespace, known.set(object.metadata.name, object));
    }
  }

  /** After its ancestors. */
  visit(namespace: string): void {
    const { forest } = this.#input;
    const wanted = this.#inheritedBy(namespace);
    const isHalted = forest.haltedRootOf(namespace) !== undefined;
    const sources = new Map<string, Stored>();
    const existing = this.#objects.get(namespace) ?? new Map<string, Stored>();
    for (const [name, object] of existing) {
      const isCopy = object.metadata.labels?.[INHERITED_FROM] !== undefined;
      if (!isCopy && !wanted.has(name)) sources.set(name, object);
      if (object.metadata.deletionTimestamp || isHalted) continue;
      if (isCopy && !wanted.has(name)) this.plan.remove.push(object);
    }
    this.#sources.set(namespace, sources);
    this.plan.sources += sources.size;
    for (const source of sources.values()) this.#reportFinalizers(source);
    if (isHalted) return;
    for (const [name, source] of wanted) this.#keep(namespace, { source, existing: existing.get(name) });
  }

  #keep(
    namespace: string,
    { source, existing }: { readonly source: Stored; readonly existing: Stored | undefined },
  ): void {
    if (existing?.metadata.deletionTimestamp || this.#input.closed.has(namespace)) return;
    const copy = copyOf(source, { namespace, ref: this.#input.ref });
    this.plan.propagated++;
    if (!existing || !isTrue(existing, copy)) this.plan.write.push({ copy, source, existing });
  }

  /** By name: the highest source that goes there. */
  #inheritedBy(namespace: string): Map<string, Stored> {
    const { forest, ref, mode } = this.#input;
    const wanted = new Map<string, Stored>();
    let labels: Labels | undefined;
    for (const ancestor of forest.ancestorsOf(namespace))
      for (const [name, source] of this.#sources.get(ancestor) ?? []) {
        if (wanted.has(name)) continue;
        labels ??= { ...forest.get(namespace)?.labels, ...forest.treeLabelsOf(namespace) };
        try {
          if (shouldPropagate(source, { ref, mode, labels })) wanted.set(name, source);
        } catch (error) {
          if (!(error instanceof SelectorProblem)) throw error;
          this.#report(source, { reason: 'CannotParseSelector', message: errorMessage(error) });
        }
      }
    return wanted;
  }

  #reportFinalizers(source: Stored): void {
    const { forest, mode } = this.#input;
    if (mode !== 'Propagate' || !source.metadata.finalizers?.length) return;
    if (forest.childrenOf(source.metadata.namespace ?? '').length === 0) return;
    this.#report(source, {
      reason: 'CannotPropagateObject',
      message: 'Objects with finalizers cannot be propagated',
    });
  }

  #report(source: Stored, problem: { readonly reason: string; readonly message: string }): void {
    const key = `${source.metadata.uid} ${problem.reason}`;
    if (this.#reported.has(key)) return;
    this.#reported.add(key);
    this.plan.problems.push({ source, ...problem });
  }
}

function copyOf(
  source: Stored,
  { namespace, ref }: { readonly namespace: string; readonly ref: ResourceRef },
): KubeObject {
  const { metadata } = source;
  return {
    ...bodyOf(source),
    apiVersion: formatApiVersion(ref),
    kind: ref.kind,
    metadata: {
      name: metadata.name,
      namespace,
      labels: {
        ...foreignKeys(metadata.labels),
        'app.kubernetes.io/managed-by': MANAGER,
        [INHERITED_FROM]: metadata.namespace!,
      },
      annotations: foreignKeys(metadata.annotations),
    },
  };
}

function bodyOf(object: KubeObject): object {
  return Object.fromEntries(Object.entries(object).filter(([field]) => !NOT_COPIED.has(field)));
}

function foreignKeys(given: Readonly<Record<string, string>> = {}): Record<string, string> {
  return Object.fromEntries(Object.entries(given).filter(([key]) => !isTreeKey(key)));
}

function isTrue(existing: Stored, copy: KubeObject): boolean {
  const { labels, annotations } = existing.metadata;
  return (
    labels?.[INHERITED_FROM] === copy.metadata?.labels?.[INHERITED_FROM] &&
    deepEqual(foreignKeys(labels), foreignKeys(copy.metadata?.labels)) &&
    deepEqual(foreignKeys(annotations), foreignKeys(copy.metadata?.annotations)) &&
    deepEqual(bodyOf(existing), bodyOf(copy))
  );
}
