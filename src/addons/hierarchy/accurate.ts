/**
 * What Accurate's labels and annotations mean as trees of HNC's kinds: a plan, of namespaces and of the objects that carry its annotations. Pure.
 *
 *   parent, template of a Namespace ─► parent          propagate: update ─► goes to all descendants, the kind with AllowPropagate      from ─► copy of the highest source
 *   Roles without propagate ─► none, since Roles always propagate here          propagate: create ─► left: a copy that is made once and then its namespace's own
 */
import type { Namespace } from '#api/types.ts';
import { SELECTORS } from '#component-helpers/hierarchy/names.ts';
import type { KubeObject, Stored } from '#machinery/object.ts';
import type { ServedResource } from '#client/discovery.ts';

const PREFIX = 'accurate.cybozu.com/';
const PARENT = `${PREFIX}parent`;
const TEMPLATE = `${PREFIX}template`;
const FROM = `${PREFIX}from`;
const PROPAGATE = `${PREFIX}propagate`;
export const ACCURATE_GROUP = 'accurate.cybozu.com';

export interface Found {
  readonly ref: ServedResource;
  readonly object: Stored;
}

interface PlannedParent {
  readonly namespace: string;
  readonly parent: string;
  /** With an anchor in its parent. */
  readonly isSubnamespace: boolean;
}

interface PlannedCopy extends Found {
  /** The namespace of its source. */
  readonly source: string;
}

export interface AccuratePlan {
  /** Parents before their children. */
  readonly parents: readonly PlannedParent[];
  readonly kinds: readonly ServedResource[];
  /** To get an exception. */
  readonly annotated: readonly (Found & { readonly annotation: string })[];
  readonly copies: readonly PlannedCopy[];
  /** Sources whose copies are made once. */
  readonly left: readonly Found[];
}

export function planAccurate({
  namespaces,
  objects,
}: {
  readonly namespaces: readonly Stored<Namespace>[];
  /** Of all kinds that have a namespace. */
  readonly objects: readonly Found[];
}): AccuratePlan {
  const parents = namespaces.flatMap(({ metadata }): PlannedParent[] => {
    const parent = metadata.labels?.[PARENT] || metadata.labels?.[TEMPLATE];
    if (!parent) return [];
    return [{ namespace: metadata.name, parent, isSubnamespace: Boolean(metadata.labels?.[PARENT]) }];
  });
  const known = new Map(objects.map((one) => [keyOf(one), one]));
  const marked = objects.filter(({ object }) => !isCopy(object) && modeOf(object) !== undefined);
  const sources = marked.filter(({ object }) => modeOf(object) === 'update');
  const copies = objects.flatMap((one): PlannedCopy[] => {
    const source = isCopy(one.object) ? sourceOf(one, known) : undefined;
    return source ? [{ ...one, source: source.object.metadata.namespace! }] : [];
  });
  const held = objects.filter((one) => isEnforced(one.ref) && goesNowhere(one, parents));
  return {
    parents: parents.toSorted((left, right) => depthOf(left, parents) - depthOf(right, parents)),
    kinds: [...new Map(sources.map(({ ref }) => [`${ref.group}/${ref.plural}`, ref])).values()].filter(
      (ref) => !isEnforced(ref),
    ),
    annotated: [
      ...sources.map((one) => ({ ...one, annotation: SELECTORS.all })),
      ...held.map((one) => ({ ...one, annotation: SELECTORS.none })),
    ],
    copies,
    left: marked.filter(({ object }) => modeOf(object) !== 'update'),
  };
}

function keyOf({ ref, object }: Found, namespace = object.metadata.namespace): string {
  return `${ref.group}/${ref.plural} ${namespace}/${object.metadata.name}`;
}

function modeOf({ metadata }: KubeObject): string | undefined {
  return metadata?.annotations?.[PROPAGATE];
}

function isCopy({ metadata }: KubeObject): boolean {
  return metadata?.annotations?.[FROM] !== undefined;
}

/** Up the chain of copies that are kept true; undefined: it does not lead to a source. */
function sourceOf(copy: Found, known: ReadonlyMap<string, Found>): Found | undefined {
  const seen = new Set<Found>();
  let one: Found | undefined = copy;
  while (one && isCopy(one.object)) {
    if (seen.has(one) || modeOf(one.object) !== 'update') return undefined;
    seen.add(one);
    one = known.get(keyOf(one, one.object.metadata.annotations?.[FROM]));
  }
  return one && modeOf(one.object) === 'update' ? one : undefined;
}

/** Roles and RoleBindings always propagate. */
function isEnforced({ group, plural }: ServedResource): boolean {
  return group === 'rbac.authorization.k8s.io' && (plural === 'roles' || plural === 'rolebindings');
}

/** It stands above others and was not to go to them. */
function goesNowhere({ object }: Found, parents: readonly PlannedParent[]): boolean {
  const { namespace } = object.metadata;
  if (modeOf(object) === 'update' || !parents.some(({ parent }) => parent === namespace)) return false;
  return object.metadata.annotations?.[SELECTORS.none] === undefined;
}

function depthOf({ parent }: PlannedParent, parents: readonly PlannedParent[]): number {
  const seen = new Set<string>();
  let next: string | undefined = parent;
  while (next !== undefined && !seen.has(next)) {
    seen.add(next);
    next = parents.find(({ namespace }) => namespace === next)?.parent;
  }
  return seen.size;
}
