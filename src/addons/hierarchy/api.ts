/**
 * The kinds of the Hierarchical Namespace Controller, so that its users' objects work unchanged: references, and the definitions that clusters with trees have.
 */
import type { CustomResourceDefinition } from '#api/types.ts';
import type { ResourceRef } from '#client/client.ts';
import {
  CONFIG,
  GROUP_NAME,
  HIERARCHY,
  type HierarchicalResourceQuota,
  type HierarchyConfiguration,
  type HNCConfiguration,
  type SubnamespaceAnchor,
} from '#component-helpers/hierarchy/names.ts';
import {
  CONDITIONS,
  customResource,
  flag,
  integer,
  mapOf,
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

/** Selects its definition. */
export function selectDefinition({ plural, group }: ResourceRef): { readonly fieldSelector: string } {
  return { fieldSelector: `metadata.name=${plural}.${group}` };
}

/** Not those of HNC itself. */
export function isOurs<T extends CustomResourceDefinition>(definition: T | undefined): definition is T {
  return definition?.metadata?.labels?.['app.kubernetes.io/managed-by'] === 'capstan';
}

const PAIRS = listOf(record({ key: text(), value: text() }, { required: ['key', 'value'] }));

export const hierarchicalResourceQuotas: ResourceRef<HierarchicalResourceQuota> = {
  ...GROUP,
  plural: 'hierarchicalresourcequotas',
  kind: 'HierarchicalResourceQuota',
  namespaced: true,
};

const AMOUNTS = mapOf({
  anyOf: [{ type: 'integer' }, { type: 'string' }],
  'x-kubernetes-int-or-string': true,
});

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
  customResource({
    ref: hierarchicalResourceQuotas,
    singular: 'hierarchicalresourcequota',
    shortNames: ['hrq'],
    isSpecRequired: false,
    columns: ['Request:.status.requestsSummary', 'Limit:.status.limitsSummary'],
    spec: record({ hard: AMOUNTS }),
    status: record({ hard: AMOUNTS, used: AMOUNTS, requestsSummary: text(), limitsSummary: text() }),
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
