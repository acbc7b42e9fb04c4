/** What the parts of the edge may do, and the installer of ClusterNetworkPolicy: the load balancer's controller and speakers, which are the nodes' service proxies, and the gateway, whose account its controller and its proxies share. */
import type { PolicyObject } from '#apiserver/authz/reconcile-policy.ts';
import { EVENTS, granted, group, READ, serviceAccount, user } from './policy-objects.ts';

const CONTROLLER = 'capstan:controller:load-balancer-controller';
const SPEAKER = 'capstan:load-balancer-speaker';
const NETWORK_POLICY = 'capstan:controller:network-policy-definitions-controller';
const GATEWAY = 'capstan:controller:gateway';
const GATEWAY_API = 'capstan:controller:gateway-api';
const SPEAKERS = [group('system:nodes'), user('system:kube-proxy')];
const GATEWAYS = [serviceAccount('gateway')];

export const EDGE_POLICY: readonly PolicyObject[] = [
  ...granted({
    name: CONTROLLER,
    subjects: [serviceAccount('load-balancer-controller')],
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
  ...granted({
    name: SPEAKER,
    subjects: SPEAKERS,
    rules: [
      {
        apiGroups: ['network.capstan.dev'],
        resources: [
          'ipaddresspools',
          'l2advertisements',
          'bgppeers',
          'bgpadvertisements',
          'communities',
          'bfdprofiles',
        ],
        verbs: ['list', 'watch'],
      },
      {
        apiGroups: ['network.capstan.dev'],
        resources: ['speakers'],
        verbs: [...READ, 'create', 'patch', 'delete'],
      },
    ],
  }),
  ...granted({
    name: NETWORK_POLICY,
    subjects: [serviceAccount('network-policy-definitions-controller')],
    rules: [
      {
        apiGroups: ['apiextensions.k8s.io'],
        resources: ['customresourcedefinitions'],
        verbs: [...READ, 'create', 'patch'],
      },
    ],
  }),
  // Certificates of all namespaces: nodes may not read them, so the proxies have an account of their own.
  ...granted({
    name: GATEWAY,
    subjects: GATEWAYS,
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
  ...granted({
    name: GATEWAY_API,
    subjects: GATEWAYS,
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
  ...granted({
    name: GATEWAY,
    namespace: 'kube-system',
    subjects: GATEWAYS,
    rules: [
      { apiGroups: [''], resources: ['services'], verbs: ['create', 'update', 'delete'] },
      {
        apiGroups: ['discovery.k8s.io'],
        resources: ['endpointslices'],
        verbs: ['create', 'update', 'delete'],
      },
      { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices/restricted'], verbs: ['create'] },
      { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['create', 'patch'] },
    ],
  }),
];
