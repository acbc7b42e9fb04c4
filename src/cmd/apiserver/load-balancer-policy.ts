/** What the load balancer's controller may do, and its speakers, which are the nodes' service proxies. */
import type { KubeObject } from '#machinery/object.ts';
import type { PolicyObject } from './node-bootstrap-policy.ts';

const RBAC = 'rbac.authorization.k8s.io';
const CONTROLLER = 'capstan:controller:load-balancer-controller';
const SPEAKER = 'capstan:load-balancer-speaker';
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
  role({
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
  binding({
    name: CONTROLLER,
    subjects: [{ kind: 'ServiceAccount', name: 'load-balancer-controller', namespace: 'kube-system' }],
  }),
  role({
    name: SPEAKER,
    rules: [
      {
        apiGroups: ['network.capstan.dev'],
        resources: ['ipaddresspools', 'l2advertisements'],
        verbs: ['list', 'watch'],
      },
      {
        apiGroups: ['network.capstan.dev'],
        resources: ['speakers'],
        verbs: [...READ, 'create', 'patch', 'delete'],
      },
    ],
  }),
  binding({ name: SPEAKER, subjects: SPEAKERS }),
];

interface Role {
  readonly name: string;
  readonly rules: readonly object[];
}

function role({ name, rules }: Role): PolicyObject {
  return {
    resource: 'clusterroles',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRole',
      metadata: { name, labels },
      rules,
    } as KubeObject,
  };
}

function binding({
  name,
  subjects,
}: {
  readonly name: string;
  readonly subjects: readonly object[];
}): PolicyObject {
  return {
    resource: 'clusterrolebindings',
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name, labels },
      roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name },
      subjects,
    } as KubeObject,
  };
}
