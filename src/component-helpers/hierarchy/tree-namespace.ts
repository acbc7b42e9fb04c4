/** A namespace's place in the forest, of the namespace, its HierarchyConfiguration and its anchor. Pure. */
import type { Namespace } from '#api/types.ts';
import type { Stored } from '#machinery/object.ts';
import type { TreeNamespace } from './forest.ts';
import {
  MANAGED_BY,
  MANAGER,
  SUBNAMESPACE_OF,
  type HierarchyConfiguration,
  type SubnamespaceAnchor,
} from './names.ts';

/** The namespace whose subnamespace it is. One that is being deleted is none any more: its copies go as its HierarchyConfiguration does. */
export function subnamespaceOf({ metadata }: Stored<Namespace>): string | undefined {
  if (metadata.deletionTimestamp || isExternal(metadata)) return undefined;
  return metadata.annotations?.[SUBNAMESPACE_OF] || undefined;
}

function isExternal({ annotations }: Stored['metadata']): boolean {
  const manager = annotations?.[MANAGED_BY] ?? '';
  return manager !== '' && manager !== MANAGER;
}

/** 'namespace/name' of the anchor that it should have; undefined: it is no subnamespace. */
export function anchorKeyOf(namespace: Stored<Namespace>): string | undefined {
  const owner = subnamespaceOf(namespace);
  return owner === undefined ? undefined : `${owner}/${namespace.metadata.name}`;
}

interface PlaceSources {
  readonly hierarchy: HierarchyConfiguration | undefined;
  /** The one of anchorKeyOf. */
  readonly anchor: SubnamespaceAnchor | undefined;
}

export function treeNamespace(
  namespace: Stored<Namespace>,
  { hierarchy, anchor }: PlaceSources,
): TreeNamespace {
  const { name, labels = {} } = namespace.metadata;
  const spec = hierarchy?.spec ?? {};
  const owner = subnamespaceOf(namespace);
  const external = isExternal(namespace.metadata);
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
