/**
 * hnc.x-k8s.io/v1alpha2: the kinds of the Hierarchical Namespace Controller with its fields, labels and annotations, so that its users' objects work unchanged.
 * HierarchicalResourceQuota is not among them: a quota that is not held at admission would be none.
 */
import type { CustomResourceDefinition } from '#api/types.ts';
import type { ResourceRef } from '#client/client.ts';
import type { KubeObject } from '#machinery/object.ts';
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

const GROUP_NAME = 'hnc.x-k8s.io';
const GROUP = { group: GROUP_NAME, version: 'v1alpha2' };

interface MetaKVP {
  readonly key: string;
  readonly value: string;
}

interface ManagedMetadata {
  /** None may be set: which labels are managed is an option of HNC's own manager that has no counterpart here. */
  readonly labels?: readonly MetaKVP[];
  readonly annotations?: readonly MetaKVP[];
}

export interface HierarchyCondition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionTime: string;
}

export interface HierarchyConfiguration extends KubeObject {
  readonly spec?: ManagedMetadata & {
    readonly parent?: string;
    readonly allowCascadingDeletion?: boolean;
  };
  readonly status?: {
    readonly children?: readonly string[];
    readonly conditions?: readonly HierarchyCondition[];
  };
}

export type AnchorState = 'Missing' | 'Ok' | 'Conflict' | 'Forbidden';

export interface SubnamespaceAnchor extends KubeObject {
  readonly spec?: ManagedMetadata;
  /** The field's name is upstream's. */
  readonly status?: { readonly status?: AnchorState };
}

export type SynchronizationMode = 'Propagate' | 'AllowPropagate' | 'Remove' | 'Ignore';

export interface ResourceSpec {
  readonly group?: string;
  readonly resource: string;
  /** Default: Propagate. */
  readonly mode?: SynchronizationMode;
}

export interface ResourceStatus {
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly mode: SynchronizationMode;
  readonly numPropagatedObjects?: number;
  readonly numSourceObjects?: number;
}

export interface HNCConfiguration extends KubeObject {
  readonly spec?: { readonly resources?: readonly ResourceSpec[] };
  readonly status?: {
    readonly resources?: readonly ResourceStatus[];
    readonly conditions?: readonly HierarchyCondition[];
  };
}

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

/** The only name of a HierarchyConfiguration, and of the HNCConfiguration, that counts. */
export const HIERARCHY = 'hierarchy';
export const CONFIG = 'config';

export const SUBNAMESPACE_OF = `${GROUP_NAME}/subnamespace-of`;
/** An annotation: another manager than this one makes the namespace's tree labels. */
export const MANAGED_BY = `${GROUP_NAME}/managed-by`;
export const INHERITED_FROM = `${GROUP_NAME}/inherited-from`;
export const INCLUDED_NAMESPACE = `${GROUP_NAME}/included-namespace`;
export const DEPTH_SUFFIX = `.tree.${GROUP_NAME}/depth`;
export const ANCHOR_FINALIZER = GROUP_NAME;
export const HIERARCHY_FINALIZER = `${GROUP_NAME}/hasSubnamespace`;
/** Of events, and the managed-by label of copies. */
export const MANAGER = GROUP_NAME;
export const SELECTORS = {
  select: `propagate.${GROUP_NAME}/select`,
  treeSelect: `propagate.${GROUP_NAME}/treeSelect`,
  none: `propagate.${GROUP_NAME}/none`,
  all: `propagate.${GROUP_NAME}/all`,
};

/** As HNC's manifests exclude them. */
const EXCLUDED: ReadonlySet<string> = new Set([
  'kube-system',
  'kube-public',
  'kube-node-lease',
  'hnc-system',
]);

export function isExcluded(namespace: string): boolean {
  return EXCLUDED.has(namespace);
}

/** Labels and annotations that are the tree's own and go to no copy. */
export function isTreeKey(key: string): boolean {
  const slash = key.indexOf('/');
  return slash > 0 && key.slice(0, slash).endsWith(GROUP_NAME);
}

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
