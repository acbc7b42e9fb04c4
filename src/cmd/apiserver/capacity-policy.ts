/** What the cluster autoscaler may do: see what the scheduler sees, mark, empty and delete Nodes, and tell what it does. */
import type { PolicyObject } from '#apiserver/authz/reconcile-policy.ts';
import { EVENTS, granted, READ, serviceAccount } from './policy-objects.ts';

const AUTOSCALER = serviceAccount('cluster-autoscaler');
const SEE = ['list', 'watch'];

export const CAPACITY_POLICY: readonly PolicyObject[] = [
  ...granted({
    name: 'capstan:cluster-autoscaler',
    subjects: [AUTOSCALER],
    rules: [
      { apiGroups: [''], resources: ['nodes'], verbs: [...READ, 'update', 'delete'] },
      { apiGroups: [''], resources: ['pods'], verbs: READ },
      { apiGroups: [''], resources: ['pods/eviction'], verbs: ['create'] },
      {
        apiGroups: [''],
        resources: [
          'namespaces',
          'persistentvolumeclaims',
          'persistentvolumes',
          'replicationcontrollers',
          'services',
        ],
        verbs: SEE,
      },
      { apiGroups: ['apps'], resources: ['daemonsets', 'replicasets', 'statefulsets'], verbs: SEE },
      { apiGroups: ['policy'], resources: ['poddisruptionbudgets'], verbs: SEE },
      {
        apiGroups: ['storage.k8s.io'],
        resources: ['csidrivers', 'csinodes', 'csistoragecapacities', 'storageclasses', 'volumeattachments'],
        verbs: SEE,
      },
      {
        apiGroups: ['resource.k8s.io'],
        resources: ['deviceclasses', 'resourceclaims', 'resourceslices'],
        verbs: SEE,
      },
      EVENTS,
    ],
  }),
  ...granted({
    name: 'capstan:cluster-autoscaler',
    namespace: 'kube-system',
    subjects: [AUTOSCALER],
    rules: [
      { apiGroups: [''], resources: ['configmaps'], verbs: ['create'] },
      {
        apiGroups: [''],
        resources: ['configmaps'],
        resourceNames: ['cluster-autoscaler-status'],
        verbs: ['get', 'patch'],
      },
      {
        apiGroups: [''],
        resources: ['configmaps'],
        resourceNames: ['cluster-autoscaler-priority-expander'],
        verbs: READ,
      },
      { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['create'] },
      {
        apiGroups: ['coordination.k8s.io'],
        resources: ['leases'],
        resourceNames: ['cluster-autoscaler'],
        verbs: ['get', 'patch', 'update'],
      },
    ],
  }),
];
