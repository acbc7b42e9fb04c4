/** The forest, of what the caches have of namespaces, hierarchies and anchors. */
import type { Namespace } from '#api/types.ts';
import { namespaces } from '#client/refs.ts';
import type { Client } from '#client/client.ts';
import { objectKey, type Stored } from '#machinery/object.ts';
import {
  HIERARCHY,
  hierarchyConfigurations,
  MANAGED_BY,
  MANAGER,
  SUBNAMESPACE_OF,
  subnamespaceAnchors,
  type HierarchyConfiguration,
  type SubnamespaceAnchor,
} from './api.ts';
import { Forest, type TreeNamespace } from './forest.ts';

export interface Woods {
  readonly forest: Forest;
  /** Excluded ones too. */
  readonly namespaces: ReadonlyMap<string, Stored<Namespace>>;
  readonly hierarchies: ReadonlyMap<string, Stored<HierarchyConfiguration>>;
  readonly anchors: ReadonlyMap<string, Stored<SubnamespaceAnchor>>;
  /** Namespaces with anchors. */
  readonly anchored: ReadonlySet<string>;
}

export function readForest(shared: Client): Woods {
  const all = shared.informer(namespaces).list();
  const hierarchies = new Map(
    shared
      .informer(hierarchyConfigurations)
      .list()
      .filter(({ metadata }) => metadata.name === HIERARCHY)
      .map((one) => [one.metadata.namespace ?? '', one]),
  );
  const anchors = new Map(
    shared
      .informer(subnamespaceAnchors)
      .list()
      .map((one) => [objectKey(one), one]),
  );
  return {
    forest: new Forest(all.map((one) => treeNamespace(one, { hierarchies, anchors }))),
    namespaces: new Map(all.map((one) => [one.metadata.name, one])),
    hierarchies,
    anchors,
    anchored: new Set([...anchors.values()].map(({ metadata }) => metadata.namespace ?? '')),
  };
}

/** The namespace whose subnamespace it is. One that is being deleted is none any more: its copies go as its HierarchyConfiguration does. */
export function subnamespaceOf({ metadata }: Stored<Namespace>): string | undefined {
  if (metadata.deletionTimestamp || isExternal(metadata)) return undefined;
  return metadata.annotations?.[SUBNAMESPACE_OF] || undefined;
}

function isExternal({ annotations }: Stored['metadata']): boolean {
  const manager = annotations?.[MANAGED_BY] ?? '';
  return manager !== '' && manager !== MANAGER;
}

function treeNamespace(
  namespace: Stored<Namespace>,
  { hierarchies, anchors }: Pick<Woods, 'hierarchies' | 'anchors'>,
): TreeNamespace {
  const { name, labels = {} } = namespace.metadata;
  const spec = hierarchies.get(name)?.spec ?? {};
  const owner = subnamespaceOf(namespace);
  const external = isExternal(namespace.metadata);
  const anchor = owner === undefined ? undefined : anchors.get(`${owner}/${name}`);
  const managed = anchor?.spec ?? spec;
  return {
    name,
    parent: external ? undefined : (owner ?? (spec.parent || undefined)),
    isSubnamespace: owner !== undefined,
    isExternal: external,
    allowsCascadingDeletion: spec.allowCascadingDeletion === true,
    labels,
    hasAnchor: anchor !== undefined,
    illegalLabel: illegal('label', managed.labels),
    illegalAnnotation: illegal('annotation', managed.annotations),
  };
}

/** None is managed. */
function illegal(
  what: 'label' | 'annotation',
  given: readonly { readonly key: string }[] = [],
): string | undefined {
  const last = given.at(-1);
  return last && `Not a legal managed ${what} (set via --managed-namespace-${what}): ${last.key}`;
}
