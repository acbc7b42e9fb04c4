/** Maintains the number of pods of each ReplicationController. */
import type { ReplicationController } from '#api/types.ts';
import { LabelSelector } from '#machinery/labels.ts';
import type { ResourceRef } from '#client/client.ts';
import { replicationControllers } from '#client/refs.ts';
import { defineReplicaManager, type Replicator } from '../apps/replica-manager.ts';

export const replicationControllerController = defineReplicaManager({
  name: 'replicationcontroller-controller',
  serviceAccount: 'replication-controller',
  eventSource: 'replication-controller',
  resource: replicationControllers as unknown as ResourceRef<Replicator>,
  selectorOf: (owner) => {
    const { selector } = (owner as unknown as ReplicationController).spec ?? {};
    return selector && Object.keys(selector).length > 0
      ? LabelSelector.fromMap(selector)
      : LabelSelector.nothing;
  },
  countsTerminating: false,
});
