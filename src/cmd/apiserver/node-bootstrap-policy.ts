/**
 * Permissions of machines that join with a bootstrap token, and of nodes that renew their certificates, before or after their end: kubeadm's bindings under kubeadm's names; also the
 * reads of a joined machine's service proxy and pod network, which act as its node. A deleted binding is recreated at the next start: bind another role
 * in its place to disable it. Bindings are never changed; Capstan's roles are completed at each start.
 */
import type { PolicyObject } from '#apiserver/authz/reconcile-policy.ts';
import { EXPIRED_NODE_CLIENT, EXPIRED_NODES } from '#component-helpers/expired-node.ts';
import { binding, group, role } from './policy-objects.ts';

/** In a bootstrap token's auth-extra-groups: the token of a machine that joins as a node. */
const JOINING_NODES = 'system:bootstrappers:kubeadm:default-node-token';
const NODES = 'system:nodes';
const NODE_SERVICE_PROXY = 'capstan:node-service-proxy';
const NODE_POD_NETWORK = 'capstan:node-pod-network';
const NODE_NETWORK_POLICY = 'capstan:node-network-policy';
const NODE_EXPIRED = 'capstan:node-autoapprove-expired';
const EXPIRED_BOOTSTRAP = 'capstan:expired-node-bootstrap';
const REQUESTS = 'system:certificates.k8s.io:certificatesigningrequests';

/** kubeadm's have no labels. */
const bindGroup = (name: string, of: { readonly role: string; readonly to: string }): PolicyObject =>
  binding({ name, role: of.role, subjects: [group(of.to)], labels: {} });

export const NODE_BOOTSTRAP: readonly PolicyObject[] = [
  role({
    name: 'kubeadm:get-nodes',
    rules: [{ apiGroups: [''], resources: ['nodes'], verbs: ['get'] }],
    labels: {},
  }),
  bindGroup('kubeadm:get-nodes', { role: 'kubeadm:get-nodes', to: JOINING_NODES }),
  bindGroup('kubeadm:kubelet-bootstrap', { role: 'system:node-bootstrapper', to: JOINING_NODES }),
  bindGroup('kubeadm:node-autoapprove-bootstrap', { role: `${REQUESTS}:nodeclient`, to: JOINING_NODES }),
  bindGroup('kubeadm:node-autoapprove-certificate-rotation', {
    role: `${REQUESTS}:selfnodeclient`,
    to: NODES,
  }),
  bindGroup(EXPIRED_BOOTSTRAP, { role: 'system:node-bootstrapper', to: EXPIRED_NODES }),
  role({
    name: NODE_EXPIRED,
    rules: [
      {
        apiGroups: ['certificates.k8s.io'],
        resources: [`certificatesigningrequests/${EXPIRED_NODE_CLIENT}`],
        verbs: ['create'],
      },
    ],
  }),
  bindGroup(NODE_EXPIRED, { role: NODE_EXPIRED, to: EXPIRED_NODES }),
  role({
    name: NODE_SERVICE_PROXY,
    // Less than system:node-proxier, which may read every node: a node reads its own by the Node authorizer.
    rules: [
      { apiGroups: [''], resources: ['services'], verbs: ['list', 'watch'] },
      { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list', 'watch'] },
      { apiGroups: ['networking.k8s.io'], resources: ['servicecidrs'], verbs: ['list', 'watch'] },
    ],
  }),
  role({
    name: NODE_POD_NETWORK,
    // Each node keeps a route to the pods of every other one. Bound by `capstan init` alone: upstream's nodes read no other Node.
    rules: [{ apiGroups: [''], resources: ['nodes'], verbs: ['list', 'watch'] }],
  }),
  role({
    name: NODE_NETWORK_POLICY,
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
  }),
  bindGroup(NODE_NETWORK_POLICY, { role: NODE_NETWORK_POLICY, to: NODES }),
  bindGroup(NODE_SERVICE_PROXY, { role: NODE_SERVICE_PROXY, to: NODES }),
];
