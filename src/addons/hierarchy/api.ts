/**
 * The kinds of the Hierarchical Namespace Controller, so that its users' objects work unchanged.
 * HierarchicalResourceQuota is not among them: a quota that is not held at admission would be none.
 */
import type { CustomResourceDefinition } from '#api/types.ts';
import type { ResourceRef } from '#client/client.ts';
import {
  CONFIG,
  GROUP_NAME,
  HIERARCHY,
  type HierarchyConfiguration,
  type HNCConfiguration,
  type SubnamespaceAnchor,
} from '#component-helpers/hierarchy/names.ts';
import {
  CONDITIONS,
  customResource,
  flag,
  integer,
  listOf,
  oneOf,
  record,
  text,
} from '../definitions/custom-resource.ts';

const GROUP = { group: GROUP_NAME, version: 'v1alpha2' };

export const hierarchyConfigurations: ResourceRef<HierarchyConfiguration> = {
  ...GROUP,
  plural: 'hierarchyconfigurations',
  kind: 'HierarchyConfiguration',
  namespaced: true,
};

export const subnamespaceAnchors: ResourceRef<SubnamespaceAnchor> = {
  ...GROUP,
  plural: 'subnamespaceanchors',
  kind: 'SubnamespaceAnchor',
  namespaced: true,
};

export const hncConfigurations: ResourceRef<HNCConfiguration> = {
  ...GROUP,
  plural: 'hncconfigurations',
  kind: 'HNCConfiguration',
  namespaced: false,
};

const PAIRS = listOf(record({ key: text(), value: text() }, { required: ['key', 'value'] }));

export const HIERARCHY_DEFINITIONS: readonly CustomResourceDefinition[] = [
  customResource({
    ref: subnamespaceAnchors,
    singular: 'subnamespaceanchor',
    shortNames: ['subns'],
    isSpecRequired: false,
    columns: ['Status:.status.status'],
    spec: record({ labels: PAIRS, annotations: PAIRS }),
    status: record({ status: text() }),
  }),
  customResource({
    ref: hncConfigurations,
    singular: 'hncconfiguration',
    onlyName: CONFIG,
    isSpecRequired: false,
    spec: record({
      resources: listOf(
        record(
          { group: text(), resource: text(), mode: oneOf('Propagate', 'Ignore', 'Remove', 'AllowPropagate') },
          { required: ['resource'] },
        ),
      ),
    }),
    status: record({
      resources: listOf(
        record(
          {
            group: text(),
            version: text(),
            resource: text(),
            mode: text(),
            numPropagatedObjects: integer({ minimum: 0 }),
            numSourceObjects: integer({ minimum: 0 }),
          },
          { required: ['group', 'resource', 'version'] },
        ),
      ),
      conditions: CONDITIONS,
    }),
  }),
  // The last: the controller begins when this one is established.
  customResource({
    ref: hierarchyConfigurations,
    singular: 'hierarchyconfiguration',
    onlyName: HIERARCHY,
    isSpecRequired: false,
    columns: ['Parent:.spec.parent'],
    spec: record({
      parent: text(),
      allowCascadingDeletion: flag(),
      labels: PAIRS,
      annotations: PAIRS,
    }),
    status: record({ children: listOf(text()), conditions: CONDITIONS }),
  }),
];
