/** What the scheduler watches. */
import type { PodGroup } from '#api/generated/types/scheduling-v1alpha2.ts';
import type {
  Namespace,
  Node,
  Pod,
  PodDisruptionBudget,
  ReplicaSet,
  ReplicationController,
  Service,
  StatefulSet,
} from '#api/types.ts';
import type { Client, Informer } from '#client/client.ts';
import {
  deviceClasses,
  namespaces,
  nodes,
  podDisruptionBudgets,
  podGroupsV1alpha2,
  pods,
  replicaSets,
  replicationControllers,
  resourceClaims,
  resourceSlices,
  services,
  statefulSets,
} from '#client/refs.ts';
import type { DeviceInformers } from './dra/device-state.ts';
import { storageInformers, type StorageInformers } from './storage.ts';

export interface Informers extends StorageInformers, DeviceInformers {
  readonly pods: Informer<Pod>;
  readonly nodes: Informer<Node>;
  readonly namespaces: Informer<Namespace>;
  readonly services: Informer<Service>;
  readonly replicaSets: Informer<ReplicaSet>;
  readonly replicationControllers: Informer<ReplicationController>;
  readonly statefulSets: Informer<StatefulSet>;
  readonly budgets: Informer<PodDisruptionBudget>;
  /** With the gate GenericWorkload. */
  readonly podGroups?: Informer<PodGroup>;
}

export function schedulerInformers(api: Client, { groups }: { readonly groups: boolean }): Informers {
  return {
    pods: api.informer(pods),
    nodes: api.informer(nodes),
    namespaces: api.informer(namespaces),
    services: api.informer(services),
    replicaSets: api.informer(replicaSets),
    replicationControllers: api.informer(replicationControllers),
    statefulSets: api.informer(statefulSets),
    ...storageInformers(api),
    budgets: api.informer(podDisruptionBudgets),
    resourceClaims: api.informer(resourceClaims),
    deviceClasses: api.informer(deviceClasses),
    resourceSlices: api.informer(resourceSlices),
    ...(groups ? { podGroups: api.informer(podGroupsV1alpha2) } : {}),
  };
}
