/** What Capstan's own parts may do beyond upstream's default roles; made at start when missing, never changed after (an administrator may). */
import type { InternalApi } from '#apiserver/registry/loopback-client.ts';
import { isStatusError } from '#machinery/errors.ts';
import { EDGE_POLICY } from './edge-policy.ts';
import { NODE_BOOTSTRAP, type PolicyObject } from './node-bootstrap-policy.ts';

const RBAC = 'rbac.authorization.k8s.io';
const DNS = { kind: 'ServiceAccount', name: 'coredns', namespace: 'kube-system' };
const labels = { 'app.kubernetes.io/managed-by': 'capstan' };

const PROXY = { kind: 'User', apiGroup: RBAC, name: 'system:kube-proxy' };

/** Permissions of delegated authentication and authorization for metrics endpoints: as upstream's roles give to the scheduler and the controller manager. */
const DELEGATION: readonly PolicyObject[] = [
  {
    resource: 'clusterrolebindings',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name: 'capstan:component-auth-delegator', labels },
      roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name: 'system:auth-delegator' },
      subjects: [DNS, PROXY],
    },
  },
  {
    resource: 'rolebindings',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'RoleBinding',
      metadata: { name: 'capstan:component-authentication-reader', namespace: 'kube-system', labels },
      roleRef: { apiGroup: RBAC, kind: 'Role', name: 'extension-apiserver-authentication-reader' },
      subjects: [DNS, PROXY, { kind: 'Group', apiGroup: RBAC, name: 'system:nodes' }],
    },
  },
];

/** metrics-server's manifest has the same role: both are one. */
const METRICS_READER: PolicyObject = {
  resource: 'clusterroles',
  object: {
    apiVersion: `${RBAC}/v1`,
    kind: 'ClusterRole',
    metadata: {
      name: 'system:aggregated-metrics-reader',
      labels: {
        ...labels,
        'rbac.authorization.k8s.io/aggregate-to-admin': 'true',
        'rbac.authorization.k8s.io/aggregate-to-edit': 'true',
        'rbac.authorization.k8s.io/aggregate-to-view': 'true',
      },
    },
    rules: [{ apiGroups: ['metrics.k8s.io'], resources: ['pods', 'nodes'], verbs: ['get', 'list', 'watch'] }],
  },
};

const OBJECTS: readonly PolicyObject[] = [
  ...DELEGATION,
  METRICS_READER,
  ...EDGE_POLICY,
  {
    resource: 'clusterroles',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRole',
      metadata: { name: 'system:coredns', labels },
      rules: [
        {
          apiGroups: [''],
          resources: ['endpoints', 'services', 'pods', 'namespaces'],
          verbs: ['list', 'watch'],
        },
        { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list', 'watch'] },
      ],
    },
  },
  {
    resource: 'clusterrolebindings',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name: 'system:coredns', labels },
      roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name: 'system:coredns' },
      subjects: [DNS],
    },
  },
  {
    resource: 'roles',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'Role',
      metadata: { name: 'capstan:publish-dns', namespace: 'kube-system', labels },
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
    },
  },
  {
    resource: 'rolebindings',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'RoleBinding',
      metadata: { name: 'capstan:publish-dns', namespace: 'kube-system', labels },
      roleRef: { apiGroup: RBAC, kind: 'Role', name: 'capstan:publish-dns' },
      subjects: [DNS],
    },
  },
  {
    resource: 'roles',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'Role',
      metadata: { name: 'capstan:lease-dns', namespace: 'kube-system', labels },
      rules: [
        { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['create', 'get', 'patch'] },
      ],
    },
  },
  {
    resource: 'rolebindings',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'RoleBinding',
      metadata: { name: 'capstan:lease-dns', namespace: 'kube-system', labels },
      roleRef: { apiGroup: RBAC, kind: 'Role', name: 'capstan:lease-dns' },
      subjects: [DNS],
    },
  },
  {
    resource: 'clusterroles',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRole',
      metadata: { name: 'capstan:controller:leased-endpointslice-controller', labels },
      rules: [
        { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['get', 'delete'] },
        { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['delete'] },
      ],
    },
  },
  {
    resource: 'clusterrolebindings',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name: 'capstan:controller:leased-endpointslice-controller', labels },
      roleRef: {
        apiGroup: RBAC,
        kind: 'ClusterRole',
        name: 'capstan:controller:leased-endpointslice-controller',
      },
      subjects: [
        { kind: 'ServiceAccount', name: 'leased-endpointslice-controller', namespace: 'kube-system' },
      ],
    },
  },
  {
    resource: 'clusterroles',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRole',
      metadata: { name: 'capstan:controller:kubelet-serving-approver', labels },
      rules: [
        {
          apiGroups: ['certificates.k8s.io'],
          resources: ['certificatesigningrequests/approval'],
          verbs: ['update'],
        },
        {
          apiGroups: ['certificates.k8s.io'],
          resources: ['signers'],
          resourceNames: ['kubernetes.io/kubelet-serving'],
          verbs: ['approve'],
        },
        { apiGroups: ['authorization.k8s.io'], resources: ['subjectaccessreviews'], verbs: ['create'] },
      ],
    },
  },
  {
    resource: 'clusterrolebindings',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name: 'capstan:controller:kubelet-serving-approver', labels },
      roleRef: {
        apiGroup: RBAC,
        kind: 'ClusterRole',
        name: 'capstan:controller:kubelet-serving-approver',
      },
      subjects: [{ kind: 'ServiceAccount', name: 'kubelet-serving-approver', namespace: 'kube-system' }],
    },
  },
  {
    resource: 'clusterroles',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRole',
      metadata: { name: 'capstan:controller:local-path-provisioner', labels },
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
        { apiGroups: [''], resources: ['nodes'], verbs: ['get', 'list', 'watch'] },
        {
          apiGroups: ['storage.k8s.io'],
          resources: ['storageclasses'],
          verbs: ['create', 'get', 'list', 'watch'],
        },
        { apiGroups: ['', 'events.k8s.io'], resources: ['events'], verbs: ['create', 'patch', 'update'] },
      ],
    },
  },
  {
    resource: 'clusterrolebindings',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name: 'capstan:controller:local-path-provisioner', labels },
      roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name: 'capstan:controller:local-path-provisioner' },
      subjects: [{ kind: 'ServiceAccount', name: 'local-path-provisioner', namespace: 'kube-system' }],
    },
  },
  {
    resource: 'clusterroles',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRole',
      metadata: { name: 'capstan:controller:proportional-autoscaler', labels },
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
        { apiGroups: ['', 'events.k8s.io'], resources: ['events'], verbs: ['create', 'patch', 'update'] },
      ],
    },
  },
  {
    resource: 'clusterrolebindings',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name: 'capstan:controller:proportional-autoscaler', labels },
      roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name: 'capstan:controller:proportional-autoscaler' },
      subjects: [{ kind: 'ServiceAccount', name: 'proportional-autoscaler', namespace: 'kube-system' }],
    },
  },
  {
    resource: 'clusterroles',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRole',
      metadata: { name: 'capstan:controller:node-remediation', labels },
      rules: [
        { apiGroups: [''], resources: ['nodes'], verbs: ['get', 'patch', 'update'] },
        { apiGroups: [''], resources: ['pods'], verbs: ['list'] },
        { apiGroups: [''], resources: ['pods/eviction'], verbs: ['create'] },
        { apiGroups: ['', 'events.k8s.io'], resources: ['events'], verbs: ['create', 'patch', 'update'] },
      ],
    },
  },
  {
    resource: 'clusterrolebindings',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name: 'capstan:controller:node-remediation', labels },
      roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name: 'capstan:controller:node-remediation' },
      subjects: [{ kind: 'ServiceAccount', name: 'node-remediation', namespace: 'kube-system' }],
    },
  },
  {
    resource: 'roles',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'Role',
      metadata: { name: 'capstan:readiness-status', namespace: 'kube-system', labels },
      rules: [
        { apiGroups: [''], resources: ['configmaps'], verbs: ['create'] },
        {
          apiGroups: [''],
          resources: ['configmaps'],
          resourceNames: ['capstan-readiness-status'],
          verbs: ['get', 'patch'],
        },
        { apiGroups: ['', 'events.k8s.io'], resources: ['events'], verbs: ['create', 'patch', 'update'] },
      ],
    },
  },
  {
    resource: 'rolebindings',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'RoleBinding',
      metadata: { name: 'capstan:readiness-status', namespace: 'kube-system', labels },
      roleRef: { apiGroup: RBAC, kind: 'Role', name: 'capstan:readiness-status' },
      subjects: [{ kind: 'ServiceAccount', name: 'readiness-controller', namespace: 'kube-system' }],
    },
  },
  {
    resource: 'clusterroles',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRole',
      metadata: { name: 'capstan:readiness-reader', labels },
      rules: [{ nonResourceURLs: ['/flagz', '/metrics'], verbs: ['get'] }],
    },
  },
  {
    resource: 'clusterrolebindings',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name: 'capstan:readiness-reader', labels },
      roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name: 'capstan:readiness-reader' },
      subjects: [{ kind: 'User', apiGroup: RBAC, name: 'system:kube-controller-manager' }],
    },
  },
  {
    resource: 'clusterroles',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRole',
      metadata: { name: 'capstan:login', labels },
      rules: [{ nonResourceURLs: ['/capstan/login'], verbs: ['post'] }],
    },
  },
  {
    resource: 'clusterrolebindings',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name: 'capstan:login', labels },
      roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name: 'capstan:login' },
      subjects: [{ apiGroup: RBAC, kind: 'Group', name: 'system:authenticated' }],
    },
  },
];

/** The API server towards nodes, upstream's role for the kubelet API; and the part that simulates nodes. */
const USERS: readonly PolicyObject[] = [
  bindUser('capstan:apiserver-kubelet-client', {
    role: 'system:kubelet-api-admin',
    user: 'kube-apiserver-kubelet-client',
  }),
  {
    resource: 'clusterroles',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRole',
      metadata: { name: 'capstan:simulated-nodes', labels },
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
    },
  },
  bindUser('capstan:simulated-nodes', {
    role: 'capstan:simulated-nodes',
    user: 'system:capstan:simulated-nodes',
  }),
];

function bindUser(
  name: string,
  { role, user }: { readonly role: string; readonly user: string },
): PolicyObject {
  return {
    resource: 'clusterrolebindings',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name, labels },
      roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name: role },
      subjects: [{ apiGroup: RBAC, kind: 'User', name: user }],
    },
  };
}

export async function addonPolicy(internal: InternalApi): Promise<void> {
  await createMissing(internal, [...OBJECTS, ...USERS, ...NODE_BOOTSTRAP]);
}

async function createMissing(internal: InternalApi, objects: readonly PolicyObject[]): Promise<void> {
  await Promise.all(
    objects.map(async ({ resource, object }) => {
      const name = { name: object.metadata?.name ?? '', namespace: object.metadata?.namespace };
      if (internal.get({ group: RBAC, resource }, name)) return;
      await internal.create({ group: RBAC, resource }, object).catch((error: unknown) => {
        if (!isStatusError(error, 'AlreadyExists')) throw error;
      });
    }),
  );
}
