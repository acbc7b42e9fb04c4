/** Maintains the number of pods of each ReplicaSet. */
import type { ReplicaSet } from '#api/types.ts';
import { compileLabelSelector } from '#machinery/labels.ts';
import type { ResourceRef } from '#client/client.ts';
import { replicaSets } from '#client/refs.ts';
import { defineReplicaManager, type Replicator } from './replica-manager.ts';

export const replicaSetController = defineReplicaManager({
  name: 'replicaset-controller',
  seesOwnWrites: {
    featureGate: 'StaleControllerConsistencyReplicaSet',
    subsystem: 'replicaset_controller',
  },
  resource: replicaSets as unknown as ResourceRef<Replicator>,
  selectorOf: (owner) => compileLabelSelector((owner as unknown as ReplicaSet).spec?.selector),
  countsTerminating: true,
});
