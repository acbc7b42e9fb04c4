/**
 * What one scheduling decision sees: the nodes as they are at this moment. Decisions are synchronous, so the snapshot shares the cache's
 * NodeInfos instead of copying them; preemption makes copies of the nodes it tries on.
 */
import type { NodeInfo } from './node-info.ts';
import type { NamespaceLabels } from './pod-info.ts';

export interface OwnerSelectors {
  /** The label selectors of the Services, ReplicaSets, … that own or select pods like this one (for default spreading); see plugins/pod-topology-spread.ts. */
  (namespace: string, labels: Readonly<Record<string, string>>): readonly { matches(labels: Readonly<Record<string, string>>): boolean }[];
}

export interface PersistentVolumes {
  /** How a pod's claim stands: bound to a volume usable on nodes the function accepts, or why not. */
  claim(namespace: string, name: string): { readonly nodeFits: (labels: Readonly<Record<string, string>>) => boolean } | { readonly problem: string };
}

export interface Snapshot {
  /** Only nodes that exist in the API, in zone-interleaved order. */
  readonly nodes: readonly NodeInfo[];
  readonly byName: ReadonlyMap<string, NodeInfo>;
  readonly namespaceLabels: NamespaceLabels;
  readonly servicesSelecting: OwnerSelectors;
  readonly volumes: PersistentVolumes;
}
