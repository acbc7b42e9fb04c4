/** What Capstan's own parts may do beyond upstream's default roles: made and completed at each start as those are, so that an upgrade brings what a new version needs. */
import {
  AUTO_UPDATE_ANNOTATION,
  reconcilePolicy,
  type PolicyObject,
} from '#apiserver/authz/reconcile-policy.ts';
import { createIfAbsent } from '#apiserver/bootstrap/create-if-absent.ts';
import type { InternalApi } from '#apiserver/registry/loopback-client.ts';
import { CAPACITY_POLICY } from './capacity-policy.ts';
import { EDGE_POLICY } from './edge-policy.ts';
import { NODE_BOOTSTRAP } from './node-bootstrap-policy.ts';
import {
  binding,
  EVENTS,
  granted,
  group,
  labels,
  RBAC,
  READ,
  role,
  serviceAccount,
  user,
} from './policy-objects.ts';

const DNS = serviceAccount('coredns');
const PROXY = user('system:kube-proxy');
const AUTOSCALER = serviceAccount('cluster-autoscaler');

/** Permissions of delegated authentication and authorization for metrics endpoints: as upstream's roles give to the scheduler and the controller manager. */
const DELEGATION: readonly PolicyObject[] = [
  binding({
    name: 'capstan:component-auth-delegator',
    role: 'system:auth-delegator',
    subjects: [DNS, PROXY, AUTOSCALER],
  }),
  binding({
    name: 'capstan:component-authentication-reader',
    namespace: 'kube-system',
    role: 'extension-apiserver-authentication-reader',
    subjects: [DNS, PROXY, AUTOSCALER, group('system:nodes')],
  }),
];

/** metrics-server's manifest has the same role: both are one. */
const METRICS_READER = role({
  name: 'system:aggregated-metrics-reader',
  labels: {
    ...labels,
    'rbac.authorization.k8s.io/aggregate-to-admin': 'true',
    'rbac.authorization.k8s.io/aggregate-to-edit': 'true',
    'rbac.authorization.k8s.io/aggregate-to-view': 'true',
  },
  rules: [{ apiGroups: ['metrics.k8s.io'], resources: ['pods', 'nodes'], verbs: READ }],
});

/** What a controller needs that approves certificate requests of one signer. */
function approver({
  name,
  signer,
  more = [],
}: {
  readonly name: string;
  readonly signer: string;
  readonly more?: Parameters<typeof granted>[0]['rules'];
}): readonly PolicyObject[] {
  return granted({
    name: `capstan:controller:${name}`,
    subjects: [serviceAccount(name)],
    rules: [
      {
        apiGroups: ['certificates.k8s.io'],
        resources: ['certificatesigningrequests/approval'],
        verbs: ['update'],
      },
      {
        apiGroups: ['certificates.k8s.io'],
        resources: ['signers'],
        resourceNames: [signer],
        verbs: ['approve'],
      },
      { apiGroups: ['authorization.k8s.io'], resources: ['subjectaccessreviews'], verbs: ['create'] },
      ...more,
    ],
  });
}

const OBJECTS: readonly PolicyObject[] = [
  ...DELEGATION,
  METRICS_READER,
  ...EDGE_POLICY,
  ...CAPACITY_POLICY,
  ...granted({
    name: 'system:coredns',
    subjects: [DNS],
    rules: [
      {
        apiGroups: [''],
        resources: ['endpoints', 'services', 'pods', 'namespaces'],
        verbs: ['list', 'watch'],
      },
      { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list', 'watch'] },
    ],
  }),
  ...granted({
    name: 'capstan:publish-dns',
    namespace: 'kube-system',
    subjects: [DNS],
    rules: [
      { apiGroups: [''], resources: ['services'], verbs: ['create', 'get', 'update'] },
      {
        apiGroups: ['discovery.k8s.io'],
        resources: ['endpointslices'],
        verbs: ['create', 'get', 'update', 'delete'],
      },
      { apiGroups: [''], resources: ['endpoints/restricted'], verbs: ['create'] },
      { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices/restricted'], verbs: ['create'] },
    ],
  }),
  ...granted({
    name: 'capstan:lease-dns',
    namespace: 'kube-system',
    subjects: [DNS],
    rules: [{ apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['create', 'get', 'patch'] }],
  }),
  ...granted({
    name: 'capstan:controller:leased-endpointslice-controller',
    subjects: [serviceAccount('leased-endpointslice-controller')],
    rules: [
      { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['get', 'delete'] },
      { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['delete'] },
    ],
  }),
  ...approver({ name: 'kubelet-serving-approver', signer: 'kubernetes.io/kubelet-serving' }),
  ...approver({
    name: 'expired-node-approver',
    signer: 'kubernetes.io/kube-apiserver-client-kubelet',
    more: [{ apiGroups: [''], resources: ['nodes'], verbs: ['get'] }],
  }),
  ...granted({
    name: 'capstan:controller:local-path-provisioner',
    subjects: [serviceAccount('local-path-provisioner')],
    rules: [
      {
        apiGroups: [''],
        resources: ['persistentvolumes'],
        verbs: ['create', 'delete', 'get', 'list', 'update', 'watch'],
      },
      {
        apiGroups: [''],
        resources: ['persistentvolumeclaims'],
        verbs: ['get', 'list', 'update', 'watch'],
      },
      { apiGroups: [''], resources: ['nodes'], verbs: READ },
      {
        apiGroups: ['storage.k8s.io'],
        resources: ['storageclasses'],
        verbs: ['create', 'get', 'list', 'watch'],
      },
      EVENTS,
    ],
  }),
  ...granted({
    name: 'capstan:controller:proportional-autoscaler',
    subjects: [serviceAccount('proportional-autoscaler')],
    rules: [
      { apiGroups: [''], resources: ['configmaps'], verbs: ['create'] },
      { apiGroups: ['apps'], resources: ['deployments'], verbs: ['list'] },
      { apiGroups: [''], resources: ['nodes'], verbs: ['patch'] },
      {
        apiGroups: ['discovery.k8s.io'],
        resources: ['endpointslices'],
        verbs: ['create', 'delete', 'list', 'update'],
      },
      { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices/restricted'], verbs: ['create'] },
      { apiGroups: [''], resources: ['endpoints/restricted'], verbs: ['create'] },
      {
        apiGroups: ['apps'],
        resources: ['deployments/scale', 'replicasets/scale', 'statefulsets/scale'],
        verbs: ['get', 'update'],
      },
      { apiGroups: [''], resources: ['replicationcontrollers/scale'], verbs: ['get', 'update'] },
      EVENTS,
    ],
  }),
  ...granted({
    name: 'capstan:controller:node-remediation',
    subjects: [serviceAccount('node-remediation')],
    rules: [
      { apiGroups: [''], resources: ['nodes'], verbs: ['get', 'patch', 'update'] },
      { apiGroups: [''], resources: ['pods'], verbs: ['list'] },
      { apiGroups: [''], resources: ['pods/eviction'], verbs: ['create'] },
      EVENTS,
    ],
  }),
  ...granted({
    name: 'capstan:readiness-status',
    namespace: 'kube-system',
    subjects: [serviceAccount('readiness-controller')],
    rules: [
      { apiGroups: [''], resources: ['configmaps'], verbs: ['create'] },
      {
        apiGroups: [''],
        resources: ['configmaps'],
        resourceNames: ['capstan-readiness-status'],
        verbs: ['get', 'patch'],
      },
      EVENTS,
    ],
  }),
  ...granted({
    name: 'capstan:readiness-reader',
    subjects: [user('system:kube-controller-manager')],
    rules: [{ nonResourceURLs: ['/flagz', '/metrics'], verbs: ['get'] }],
  }),
  ...granted({
    name: 'capstan:login',
    subjects: [group('system:authenticated')],
    rules: [{ nonResourceURLs: ['/capstan/login'], verbs: ['post'] }],
  }),
];

/** The API server towards nodes, upstream's role for the kubelet API; and the part that simulates nodes. */
const USERS: readonly PolicyObject[] = [
  binding({
    name: 'capstan:apiserver-kubelet-client',
    role: 'system:kubelet-api-admin',
    subjects: [user('kube-apiserver-kubelet-client')],
  }),
  ...granted({
    name: 'capstan:simulated-nodes',
    subjects: [user('system:capstan:simulated-nodes')],
    rules: [
      { apiGroups: [''], resources: ['nodes'], verbs: ['create', 'get', 'list', 'watch'] },
      { apiGroups: [''], resources: ['nodes/status'], verbs: ['patch', 'update'] },
      { apiGroups: [''], resources: ['pods'], verbs: ['delete', 'get', 'list', 'watch'] },
      { apiGroups: [''], resources: ['pods/status'], verbs: ['patch', 'update'] },
      { apiGroups: [''], resources: ['persistentvolumes'], verbs: ['list', 'patch', 'watch'] },
      {
        apiGroups: ['coordination.k8s.io'],
        resources: ['leases'],
        verbs: ['create', 'get', 'patch', 'update'],
      },
    ],
  }),
];

export async function addonPolicy(internal: InternalApi): Promise<void> {
  await Promise.all([...OBJECTS, ...USERS, ...NODE_BOOTSTRAP].map((one) => ensure(internal, one)));
}

/** kubeadm's are its administrators' once they exist. */
function ensure(internal: InternalApi, policy: PolicyObject): Promise<void> {
  const { resource, object } = policy;
  return object.metadata?.annotations?.[AUTO_UPDATE_ANNOTATION] === undefined
    ? createIfAbsent(internal, { group: RBAC, resource }, object)
    : reconcilePolicy(internal, policy);
}
