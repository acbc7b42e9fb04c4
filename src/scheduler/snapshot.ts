/**
 * The snapshot of one scheduling cycle: the nodes at this moment. Cycles are synchronous, so the snapshot shares the cache's
 * NodeInfos instead of copying them; preemption and nominated pods are simulated on copies of single nodes.
 */
import type { SchedulerCache } from './cache.ts';
import type { NodeAnswers } from './node-answers.ts';
import type { NodeInfo } from './node-info.ts';
import type { NodeSums } from './node-sums.ts';
import type { NamespaceLabels, PodInfo, PodMatcher } from './pod-info.ts';
import type { ResourceClaims } from './dra/resource-claims.ts';
import type { StorageObjects } from './storage.ts';

export interface Snapshot {
  /** Only nodes that exist in the API, in zone-interleaved order. */
  readonly nodes: readonly NodeInfo[];
  /** Includes nodes that have pods but are not in the API (`node` undefined). */
  readonly byName: ReadonlyMap<string, NodeInfo>;
  /** Nodes with pods that have any pod affinity or anti-affinity, and those with required anti-affinity. */
  readonly withAffinity: ReadonlySet<NodeInfo>;
  readonly withRequiredAntiAffinity: ReadonlySet<NodeInfo>;
  /** Number of nodes that have an image, by image name. */
  readonly imageNodes: ReadonlyMap<string, number>;
  readonly namespaceLabels: NamespaceLabels;
  /** Changes with the labels of any namespace. */
  readonly namespacesVersion: number;
  /** What earlier cycles found out about the same nodes. */
  readonly answers: NodeAnswers;
  readonly sums: NodeSums;
  /** The default selector for topology spread: the pods of the same Services and the same controller; undefined: there are none. */
  readonly defaultSelector: (pod: PodInfo) => PodMatcher | undefined;
  readonly volumes: StorageObjects;
  readonly resourceClaims: ResourceClaims;
  /** Pods nominated to this node that are not bound yet. */
  readonly nominated: (node: string) => readonly PodInfo[];
}

/** What a snapshot reads beside nodes and their pods. */
export type SnapshotFacts = Pick<
  Snapshot,
  'namespaceLabels' | 'defaultSelector' | 'volumes' | 'resourceClaims' | 'nominated'
>;

/** Reads the cache at each attempt, so one object serves all attempts. */
export function liveSnapshot(cache: SchedulerCache, facts: SnapshotFacts): Snapshot {
  return {
    ...facts,
    get nodes() {
      return cache.nodes();
    },
    byName: cache.byName,
    withAffinity: cache.withAffinity,
    withRequiredAntiAffinity: cache.withRequiredAntiAffinity,
    imageNodes: cache.imageNodes,
    get namespacesVersion() {
      return cache.namespacesVersion;
    },
    answers: cache.answers,
    sums: cache.sums,
  };
}
