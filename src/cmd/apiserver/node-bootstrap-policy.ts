/**
 * Permissions of machines that join with a bootstrap token, and of nodes that renew their certificates: kubeadm's bindings under kubeadm's names; also the
 * reads of a joined machine's service proxy and pod network, which act as its node. A deleted binding is recreated at the next start: bind another role
 * in its place to disable it.
 */
import type { KubeObject } from '#machinery/object.ts';

export interface PolicyObject {
  readonly resource: 'clusterroles' | 'clusterrolebindings' | 'roles' | 'rolebindings';
  readonly object: KubeObject;
}

const RBAC = 'rbac.authorization.k8s.io';
/** In a bootstrap token's auth-extra-groups: the token of a machine that joins as a node. */
const JOINING_NODES = 'system:bootstrappers:kubeadm:default-node-token';
const NODES = 'system:nodes';
const NODE_SERVICE_PROXY = 'capstan:node-service-proxy';
const NODE_POD_NETWORK = 'capstan:node-pod-network';
const NODE_NETWORK_POLICY = 'capstan:node-network-policy';
const REQUESTS = 'system:certificates.k8s.io:certificatesigningrequests';

function binding(
  name: string,
  { role, group }: { readonly role: string; readonly group: string },
): PolicyObject {
  return {
    resource: 'clusterrolebindings',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name },
      roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name: role },
      subjects: [{ apiGroup: RBAC, kind: 'Group', name: group }],
    },
  };
}

export const NODE_BOOTSTRAP: readonly PolicyObject[] = [
  {
    resource: 'clusterroles',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRole',
      metadata: { name: 'kubeadm:get-nodes' },
      rules: [{ apiGroups: [''], resources: ['nodes'], verbs: ['get'] }],
    },
  },
  binding('kubeadm:get-nodes', { role: 'kubeadm:get-nodes', group: JOINING_NODES }),
  binding('kubeadm:kubelet-bootstrap', { role: 'system:node-bootstrapper', group: JOINING_NODES }),
  binding('kubeadm:node-autoapprove-bootstrap', { role: `${REQUESTS}:nodeclient`, group: JOINING_NODES }),
  binding('kubeadm:node-autoapprove-certificate-rotation', {
    role: `${REQUESTS}:selfnodeclient`,
    group: NODES,
  }),
  {
    resource: 'clusterroles',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRole',
      metadata: { name: NODE_SERVICE_PROXY, labels: { 'app.kubernetes.io/managed-by': 'capstan' } },
      // Less than system:node-proxier, which may read every node: a node reads its own by the Node authorizer.
      rules: [
        { apiGroups: [''], resources: ['services'], verbs: ['list', 'watch'] },
        { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list', 'watch'] },
        { apiGroups: ['networking.k8s.io'], resources: ['servicecidrs'], verbs: ['list', 'watch'] },
      ],
    },
  },
  {
    resource: 'clusterroles',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRole',
      metadata: { name: NODE_POD_NETWORK, labels: { 'app.kubernetes.io/managed-by': 'capstan' } },
      // Each node keeps a route to the pods of every other one. Bound by `capstan init` alone: upstream's nodes read no other Node.
      rules: [{ apiGroups: [''], resources: ['nodes'], verbs: ['list', 'watch'] }],
    },
  },
  {
    resource: 'clusterroles',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRole',
      metadata: { name: NODE_NETWORK_POLICY, labels: { 'app.kubernetes.io/managed-by': 'capstan' } },
      // Peers of a policy may be on any node: what agents of network plugins read on every node.
      rules: [
        { apiGroups: [''], resources: ['pods', 'namespaces'], verbs: ['list', 'watch'] },
        { apiGroups: ['networking.k8s.io'], resources: ['networkpolicies'], verbs: ['list', 'watch'] },
        {
          apiGroups: ['policy.networking.k8s.io'],
          resources: ['clusternetworkpolicies'],
          verbs: ['list', 'watch'],
        },
      ],
    },
  },
  binding(NODE_NETWORK_POLICY, { role: NODE_NETWORK_POLICY, group: NODES }),
  binding(NODE_SERVICE_PROXY, { role: NODE_SERVICE_PROXY, group: NODES }),
];
