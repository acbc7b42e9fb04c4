/** networking.k8s.io, discovery.k8s.io. */
import { selector } from './pods.ts';
import type { Bases } from './base-table.ts';

const ipAddress = {
  small: { spec: { parentRef: { resource: 'services', name: 's', namespace: 'default' } } },
};
const serviceCIDR = {
  small: { spec: { cidrs: ['10.200.0.0/24'] } },
  dual: { spec: { cidrs: ['10.201.0.0/24', 'fd00:1::/112'] } },
};
const backend = { service: { name: 's', port: { number: 80 } } };

export const networkingBases: Bases = {
  'networking.k8s.io/v1/Ingress': {
    small: { spec: { defaultBackend: backend } },
    rich: {
      metadata: { annotations: { 'kubernetes.io/ingress.class': 'x' } },
      spec: {
        defaultBackend: { resource: { apiGroup: 'example.com', kind: 'Bucket', name: 'b' } },
        tls: [{ hosts: ['a.example.com'], secretName: 's' }],
        rules: [
          {
            host: 'a.example.com',
            http: {
              paths: [
                { path: '/', pathType: 'Prefix', backend },
                {
                  path: '/x',
                  pathType: 'Exact',
                  backend: { service: { name: 's', port: { name: 'http' } } },
                },
                { pathType: 'ImplementationSpecific', backend },
              ],
            },
          },
          { host: '*.example.com' },
        ],
      },
    },
    classed: {
      spec: {
        ingressClassName: 'c',
        rules: [{ http: { paths: [{ path: '/', pathType: 'Prefix', backend }] } }],
      },
    },
  },
  'networking.k8s.io/v1/IngressClass': {
    small: { spec: { controller: 'example.com/c' } },
    rich: {
      spec: {
        controller: 'example.com/c',
        parameters: { apiGroup: 'example.com', kind: 'P', name: 'p', scope: 'Namespace', namespace: 'n' },
      },
    },
  },
  'networking.k8s.io/v1/NetworkPolicy': {
    small: { spec: { podSelector: {} } },
    rich: {
      spec: {
        podSelector: selector,
        policyTypes: ['Ingress', 'Egress'],
        ingress: [
          {
            from: [
              { ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] } },
              { podSelector: selector, namespaceSelector: selector },
            ],
            ports: [
              { port: 80 },
              { port: 'http', protocol: 'TCP' },
              { port: 100, endPort: 200, protocol: 'UDP' },
            ],
          },
        ],
        egress: [{ to: [{ namespaceSelector: {} }] }, {}],
      },
    },
  },
  'networking.k8s.io/v1/IPAddress': ipAddress,
  'networking.k8s.io/v1beta1/IPAddress': ipAddress,
  'networking.k8s.io/v1/ServiceCIDR': serviceCIDR,
  'networking.k8s.io/v1beta1/ServiceCIDR': serviceCIDR,
  'discovery.k8s.io/v1/EndpointSlice': {
    small: { addressType: 'IPv4', endpoints: [] },
    rich: {
      metadata: { labels: { 'kubernetes.io/service-name': 's' } },
      addressType: 'IPv4',
      endpoints: [
        {
          addresses: ['10.1.2.3'],
          conditions: { ready: true, serving: true, terminating: false },
          hostname: 'h',
          nodeName: 'n',
          zone: 'z',
          targetRef: { kind: 'Pod', name: 'p', namespace: 'x' },
          hints: { forZones: [{ name: 'z' }], forNodes: [{ name: 'n' }] },
        },
      ],
      ports: [{ name: 'http', port: 80, protocol: 'TCP', appProtocol: 'http' }],
    },
    six: {
      addressType: 'IPv6',
      endpoints: [{ addresses: ['fd00::1'] }],
      ports: [{ name: '', port: 53, protocol: 'UDP' }],
    },
    fqdn: { addressType: 'FQDN', endpoints: [{ addresses: ['a.example.com'] }], ports: [] },
  },
};
