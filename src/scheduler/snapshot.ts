/**
 * What one scheduling decision sees: the nodes as they are at this moment. Decisions are synchronous, so the snapshot shares the cache's
 * NodeInfos instead of copying them; preemption and nominated pods are tried on copies of single nodes.
 */
import type { NodeInfo } from './node-info.ts';
import type { NamespaceLabels, PodInfo, PodMatcher } from './pod-info.ts';
import type { ResourceClaims } from './resource-claims.ts';

export interface PersistentVolumes {
  /** How a pod's claim stands: bound to a volume usable on nodes the function accepts, or why not. */
  claim(
    namespace: string,
    name: string,
  ):
    | { readonly nodeFits: (node: Pick<NodeInfo, 'name' | 'labels'>) => boolean }
    | { readonly problem: string };
}

export interface Snapshot {
  /** Only nodes that exist in the API, in zone-interleaved order. */
  readonly nodes: readonly NodeInfo[];
  /** Also nodes that pods are on but which are not in the API (`node` undefined). */
  readonly byName: ReadonlyMap<string, NodeInfo>;
  /** Nodes with pods that have any pod affinity or anti-affinity, and those with required anti-affinity. */
  readonly withAffinity: Iterable<NodeInfo>;
  readonly withRequiredAntiAffinity: Iterable<NodeInfo>;
  /** On how many nodes an image is, by its name. */
  readonly imageNodes: ReadonlyMap<string, number>;
  readonly namespaceLabels: NamespaceLabels;
  /** Selects the pods that the same Services and the same controller stand behind, for default spreading; undefined = there are none. */
  readonly defaultSelector: (pod: PodInfo) => PodMatcher | undefined;
  readonly volumes: PersistentVolumes;
  readonly resourceClaims: ResourceClaims;
  /** Pods that were promised this node and are not there yet. */
  readonly nominated: (node: string) => readonly PodInfo[];
}
