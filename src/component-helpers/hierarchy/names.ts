/**
 * hnc.x-k8s.io/v1alpha2: fields, labels and annotations of the Hierarchical Namespace Controller's kinds, for the controllers that keep trees of namespaces and for the
 * admission that guards them.
 */
import type { ResourceList } from '../pod-resources.ts';
import type { KubeObject } from '#machinery/object.ts';

export const GROUP_NAME = 'hnc.x-k8s.io';

interface MetaKVP {
  readonly key: string;
  readonly value: string;
}

export interface ManagedMetadata {
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

export interface HierarchicalResourceQuota extends KubeObject {
  readonly spec?: { readonly hard?: ResourceList };
  readonly status?: {
    readonly hard?: ResourceList;
    /** In the namespace and its descendants. */
    readonly used?: ResourceList;
    readonly requestsSummary?: string;
    readonly limitsSummary?: string;
  };
}

/** Of the ResourceQuota in each namespace of a tree with quotas: the strictest limits that hold there, and what the namespace uses of them. */
export const TREE_QUOTA = `hrq.${GROUP_NAME}`;
/** Its label. */
export const TREE_QUOTA_LABEL = `${GROUP_NAME}/hrq`;

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
