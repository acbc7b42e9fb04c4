/** What the load balancer's controller may do, and its speakers, which are the nodes' service proxies. */
import type { KubeObject } from '#machinery/object.ts';
import type { PolicyObject } from './node-bootstrap-policy.ts';

const RBAC = 'rbac.authorization.k8s.io';
const CONTROLLER = 'capstan:controller:load-balancer-controller';
const SPEAKER = 'capstan:load-balancer-speaker';
/** Made with the add-on's definitions; nothing but the speakers' Leases is in it. */
const SPEAKER_NAMESPACE = 'capstan-load-balancer';
const labels = { 'app.kubernetes.io/managed-by': 'capstan' };
const EVENTS = {
  apiGroups: ['', 'events.k8s.io'],
  resources: ['events'],
  verbs: ['create', 'patch', 'update'],
};
const READ = ['get', 'list', 'watch'];
const SPEAKERS = [
  { apiGroup: RBAC, kind: 'Group', name: 'system:nodes' },
  { apiGroup: RBAC, kind: 'User', name: 'system:kube-proxy' },
];

export const LOAD_BALANCER_POLICY: readonly PolicyObject[] = [
  role('clusterroles', {
    name: CONTROLLER,
    rules: [
      { apiGroups: [''], resources: ['services'], verbs: [...READ, 'patch', 'update'] },
      { apiGroups: [''], resources: ['services/status'], verbs: ['patch', 'update'] },
      { apiGroups: [''], resources: ['namespaces'], verbs: [...READ, 'create'] },
      {
        apiGroups: ['networking.k8s.io'],
        resources: ['ipaddresses'],
        verbs: [...READ, 'create', 'update', 'delete'],
      },
      {
        apiGroups: ['apiextensions.k8s.io'],
        resources: ['customresourcedefinitions'],
        verbs: ['get', 'create', 'patch'],
      },
      {
        apiGroups: ['network.capstan.dev'],
        resources: ['ipaddresspools', 'l2advertisements'],
        verbs: READ,
      },
      {
        apiGroups: ['network.capstan.dev'],
        resources: ['ipaddresspools/status'],
        verbs: ['patch', 'update'],
      },
      EVENTS,
    ],
  }),
  binding('clusterrolebindings', {
    name: CONTROLLER,
    subjects: [{ kind: 'ServiceAccount', name: 'load-balancer-controller', namespace: 'kube-system' }],
  }),
  role('clusterroles', {
    name: SPEAKER,
    rules: [
      {
        apiGroups: ['network.capstan.dev'],
        resources: ['ipaddresspools', 'l2advertisements'],
        verbs: ['list', 'watch'],
      },
    ],
  }),
  binding('clusterrolebindings', { name: SPEAKER, subjects: SPEAKERS }),
  role('roles', {
    name: SPEAKER,
    namespace: SPEAKER_NAMESPACE,
    rules: [
      {
        apiGroups: ['coordination.k8s.io'],
        resources: ['leases'],
        verbs: [...READ, 'create', 'patch', 'delete'],
      },
    ],
  }),
  binding('rolebindings', { name: SPEAKER, namespace: SPEAKER_NAMESPACE, subjects: SPEAKERS }),
];

interface At {
  readonly name: string;
  readonly namespace?: string;
}

function role(
  resource: 'clusterroles' | 'roles',
  { rules, ...at }: At & { readonly rules: readonly object[] },
): PolicyObject {
  const kind = resource === 'roles' ? 'Role' : 'ClusterRole';
  return {
    resource,
    object: { apiVersion: `${RBAC}/v1`, kind, metadata: { ...at, labels }, rules } as KubeObject,
  };
}

function binding(
  resource: 'clusterrolebindings' | 'rolebindings',
  { subjects, ...at }: At & { readonly subjects: readonly object[] },
): PolicyObject {
  const isRole = resource === 'rolebindings';
  return {
    resource,
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: isRole ? 'RoleBinding' : 'ClusterRoleBinding',
      metadata: { ...at, labels },
      roleRef: { apiGroup: RBAC, kind: isRole ? 'Role' : 'ClusterRole', name: at.name },
      subjects,
    } as KubeObject,
  };
}
