/** The forest, of what the caches have of namespaces, hierarchies and anchors. */
import type { Namespace } from '#api/types.ts';
import { namespaces } from '#client/refs.ts';
import type { Client } from '#client/client.ts';
import { objectKey, type Stored } from '#machinery/object.ts';
import { hierarchyConfigurations, subnamespaceAnchors } from './api.ts';
import {
  HIERARCHY,
  type HierarchyConfiguration,
  type SubnamespaceAnchor,
} from '#component-helpers/hierarchy/names.ts';
import { Forest } from '#component-helpers/hierarchy/forest.ts';
import { anchorKeyOf, treeNamespace } from '#component-helpers/hierarchy/tree-namespace.ts';

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
    forest: new Forest(
      all.map((one) =>
        treeNamespace(one, {
          hierarchy: hierarchies.get(one.metadata.name),
          anchor: anchors.get(anchorKeyOf(one) ?? ''),
        }),
      ),
    ),
    namespaces: new Map(all.map((one) => [one.metadata.name, one])),
    hierarchies,
    anchors,
    anchored: new Set([...anchors.values()].map(({ metadata }) => metadata.namespace ?? '')),
  };
}
