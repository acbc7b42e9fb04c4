/** What the parts of the edge may do, and the installer of ClusterNetworkPolicy: the load balancer's controller and speakers, which are the nodes' service proxies, and the gateway, whose account its controller and its proxies share. */
import type { KubeObject } from '#machinery/object.ts';
import type { PolicyObject } from './node-bootstrap-policy.ts';

const RBAC = 'rbac.authorization.k8s.io';
const CONTROLLER = 'capstan:controller:load-balancer-controller';
const SPEAKER = 'capstan:load-balancer-speaker';
const NETWORK_POLICY = 'capstan:controller:network-policy-definitions-controller';
const GATEWAY = 'capstan:controller:gateway';
const GATEWAY_API = 'capstan:controller:gateway-api';
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

const GATEWAYS = [{ kind: 'ServiceAccount', name: 'gateway', namespace: 'kube-system' }];

export const EDGE_POLICY: readonly PolicyObject[] = [
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
  role({
    name: NETWORK_POLICY,
    rules: [
      {
        apiGroups: ['apiextensions.k8s.io'],
        resources: ['customresourcedefinitions'],
        verbs: [...READ, 'create', 'patch'],
      },
    ],
  }),
  binding({
    name: NETWORK_POLICY,
    subjects: [
      { kind: 'ServiceAccount', name: 'network-policy-definitions-controller', namespace: 'kube-system' },
    ],
  }),
  // Certificates of all namespaces: nodes may not read them, so the proxies have an account of their own.
  role({
    name: GATEWAY,
    rules: [
      {
        apiGroups: ['networking.k8s.io'],
        resources: ['ingresses', 'ingressclasses'],
        verbs: [...READ, 'create'],
      },
      { apiGroups: ['networking.k8s.io'], resources: ['ingresses/status'], verbs: ['patch', 'update'] },
      { apiGroups: [''], resources: ['services'], verbs: READ },
      { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: READ },
      { apiGroups: [''], resources: ['secrets', 'nodes'], verbs: READ },
      EVENTS,
    ],
  }),
  binding({ name: GATEWAY, subjects: GATEWAYS }),
  // A role of its own: those that exist are never changed.
  role({
    name: GATEWAY_API,
    rules: [
      { apiGroups: [''], resources: ['namespaces'], verbs: READ },
      {
        apiGroups: ['gateway.networking.k8s.io'],
        resources: ['gateways', 'httproutes', 'grpcroutes', 'tlsroutes', 'referencegrants'],
        verbs: READ,
      },
      {
        apiGroups: ['gateway.networking.k8s.io'],
        resources: ['gatewayclasses'],
        verbs: [...READ, 'create'],
      },
      {
        apiGroups: ['gateway.networking.k8s.io'],
        resources: ['gatewayclasses', 'gateways', 'httproutes', 'grpcroutes', 'tlsroutes'].map(
          (one) => `${one}/status`,
        ),
        verbs: ['patch', 'update'],
      },
      {
        apiGroups: ['apiextensions.k8s.io'],
        resources: ['customresourcedefinitions'],
        verbs: ['get', 'list', 'create', 'patch'],
      },
    ],
  }),
  binding({ name: GATEWAY_API, subjects: GATEWAYS }),
  ...inKubeSystem(GATEWAY, {
    subjects: GATEWAYS,
    rules: [
      { apiGroups: [''], resources: ['services'], verbs: ['create', 'update', 'delete'] },
      {
        apiGroups: ['discovery.k8s.io'],
        resources: ['endpointslices'],
        verbs: ['create', 'update', 'delete'],
      },
      { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices/restricted'], verbs: ['create'] },
    ],
  }),
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

function inKubeSystem(
  name: string,
  { subjects, rules }: { readonly subjects: readonly object[]; readonly rules: readonly object[] },
): PolicyObject[] {
  const metadata = { name, namespace: 'kube-system', labels };
  const roleRef = { apiGroup: RBAC, kind: 'Role', name };
  return [
    { resource: 'roles', object: { apiVersion: `${RBAC}/v1`, kind: 'Role', metadata, rules } as KubeObject },
    {
      resource: 'rolebindings',
      object: { apiVersion: `${RBAC}/v1`, kind: 'RoleBinding', metadata, roleRef, subjects } as KubeObject,
    },
  ];
}
