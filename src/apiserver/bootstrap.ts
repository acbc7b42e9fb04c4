/**
 * What a new cluster has from its first second, as upstream's post-start hooks make it: system namespaces, the kubernetes Service and
 * its endpoints, system priority classes, flow control defaults, the service CIDR, published client CA. Idempotent.
 */
import { isStatusError } from '#machinery/errors.ts';
import { deepEqual } from '#machinery/json.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { GroupResource, InternalApi } from './internal.ts';

export interface BootstrapOptions {
  readonly internal: InternalApi;
  /** Of the kubernetes Service. */
  readonly serviceAddress: string;
  readonly advertiseAddress: { readonly ip: string; readonly port: number } | undefined;
  readonly clientCa: string | undefined;
  readonly requestHeader: PublishedRequestHeader | undefined;
}

/** What extension API servers must know to believe this server's X-Remote-* headers. */
export interface PublishedRequestHeader {
  /** PEM. */
  readonly ca: string;
  readonly allowedNames: readonly string[];
  /** As configured, in the proxy's spelling. */
  readonly usernameHeaders: readonly string[];
  readonly uidHeaders: readonly string[];
  readonly groupHeaders: readonly string[];
  readonly extraHeaderPrefixes: readonly string[];
}

const NAMESPACES = ['default', 'kube-system', 'kube-public', 'kube-node-lease'];
const core = (resource: string): GroupResource => ({ group: '', resource });

export async function bootstrapCluster(options: BootstrapOptions): Promise<void> {
  const { internal } = options;
  await Promise.all([
    ...NAMESPACES.map((name) => createIfAbsent(internal, core('namespaces'), { apiVersion: 'v1', kind: 'Namespace', metadata: { name } })),
    ...priorityClasses().map((object) => createIfAbsent(internal, { group: 'scheduling.k8s.io', resource: 'priorityclasses' }, object)),
    ...flowControl().map(({ resource, object }) => createIfAbsent(internal, { group: 'flowcontrol.apiserver.k8s.io', resource }, object)),
    kubernetesService(options),
    kubernetesEndpoints(options),
    authenticationConfigMap(options),
  ]);
}

async function createIfAbsent(internal: InternalApi, resource: GroupResource, object: KubeObject): Promise<void> {
  const { name = '', namespace } = object.metadata ?? {};
  if (internal.get(resource, { name, namespace })) return;
  try {
    await internal.create(resource, object);
  } catch (error) {
    // Another server was faster.
    if (!isStatusError(error, 'AlreadyExists')) throw error;
  }
}

async function kubernetesService({ internal, serviceAddress, advertiseAddress }: BootstrapOptions): Promise<void> {
  await createIfAbsent(internal, core('services'), {
    apiVersion: 'v1', kind: 'Service', metadata: { name: 'kubernetes', namespace: 'default', labels: { component: 'apiserver', provider: 'kubernetes' } },
    spec: {
      type: 'ClusterIP', clusterIP: serviceAddress, clusterIPs: [serviceAddress], ipFamilies: ['IPv4'], ipFamilyPolicy: 'SingleStack', sessionAffinity: 'None',
      ports: [{ name: 'https', protocol: 'TCP', port: 443, targetPort: advertiseAddress?.port ?? 6443 }],
    },
  });
}

/** Where the kubernetes Service leads: this server. */
async function kubernetesEndpoints({ internal, advertiseAddress }: BootstrapOptions): Promise<void> {
  // Endpoints may not be loopback addresses: such a server is reached by no pod anyway.
  if (!advertiseAddress || advertiseAddress.ip.startsWith('127.') || advertiseAddress.ip === '::1') return;
  const { ip, port } = advertiseAddress;
  const name = 'kubernetes', namespace = 'default';
  await createOrUpdate(internal, core('endpoints'), {
    apiVersion: 'v1', kind: 'Endpoints', metadata: { name, namespace, labels: { 'endpointslice.kubernetes.io/skip-mirror': 'true' } },
    subsets: [{ addresses: [{ ip }], ports: [{ name: 'https', port, protocol: 'TCP' }] }],
  }, 'subsets');
  const slices = { group: 'discovery.k8s.io', resource: 'endpointslices' };
  await createOrUpdate(internal, slices, {
    apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', metadata: { name, namespace, labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4', endpoints: [{ addresses: [ip], conditions: { ready: true } }], ports: [{ name: 'https', port, protocol: 'TCP' }],
  }, 'endpoints', 'ports');
}

async function createOrUpdate(internal: InternalApi, resource: GroupResource, object: KubeObject, ...fields: string[]): Promise<void> {
  const { name = '', namespace } = object.metadata ?? {};
  const current = internal.get(resource, { name, namespace });
  if (!current) return createIfAbsent(internal, resource, object);
  await internal.modify(resource, { name, namespace }, (stored) => {
    if (fields.every((field) => deepEqual(stored[field], object[field]))) return false;
    for (const field of fields) stored[field] = object[field];
    return true;
  });
}

/** How extension API servers are to authenticate: by the same client certificates, and by this server's word. */
async function authenticationConfigMap({ internal, clientCa, requestHeader }: BootstrapOptions): Promise<void> {
  if (clientCa === undefined && requestHeader === undefined) return;
  const name = 'extension-apiserver-authentication', namespace = 'kube-system';
  const data: Record<string, string> = { ...(clientCa === undefined ? {} : { 'client-ca-file': clientCa }), ...(requestHeader ? requestHeaderData(requestHeader) : {}) };
  const current = internal.get(core('configmaps'), { name, namespace });
  if (!current) return createIfAbsent(internal, core('configmaps'), { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace }, data });
  await internal.modify(core('configmaps'), { name, namespace }, (stored) => {
    const before = stored['data'] as Record<string, string> | undefined;
    if (Object.entries(data).every(([key, value]) => before?.[key] === value)) return false;
    stored['data'] = { ...before, ...data };
    return true;
  });
}

function requestHeaderData({ ca, allowedNames, usernameHeaders, uidHeaders, groupHeaders, extraHeaderPrefixes }: PublishedRequestHeader): Record<string, string> {
  return {
    'requestheader-client-ca-file': ca, 'requestheader-allowed-names': JSON.stringify(allowedNames), 'requestheader-username-headers': JSON.stringify(usernameHeaders),
    'requestheader-uid-headers': JSON.stringify(uidHeaders), 'requestheader-group-headers': JSON.stringify(groupHeaders), 'requestheader-extra-headers-prefix': JSON.stringify(extraHeaderPrefixes),
  };
}

function priorityClasses(): KubeObject[] {
  const make = (name: string, value: number, description: string): KubeObject => ({ apiVersion: 'scheduling.k8s.io/v1', kind: 'PriorityClass', metadata: { name }, value, description });
  return [
    make('system-node-critical', 2_000_001_000, 'For pods without which a node does not work: they are never moved off it.'),
    make('system-cluster-critical', 2_000_000_000, 'For pods without which the cluster does not work; they may be moved to another node.'),
  ];
}

// ---------------------------------------------------------------------------------------------------------- flow control

interface FlowObject { readonly resource: 'flowschemas' | 'prioritylevelconfigurations'; readonly object: KubeObject }

const FLOW_VERSION = 'flowcontrol.apiserver.k8s.io/v1';
const FLOW_ANNOTATIONS = { 'apf.kubernetes.io/autoupdate-spec': 'true' };

/** name → nominal shares, lendable percent, [queues, hand size, queue length]; no queues = reject. */
const LEVELS: Readonly<Record<string, { readonly shares: number; readonly lendable: number; readonly queuing?: readonly [number, number, number] }>> = {
  'leader-election': { shares: 10, lendable: 0, queuing: [16, 4, 50] },
  'node-high': { shares: 40, lendable: 25, queuing: [64, 6, 50] },
  system: { shares: 30, lendable: 33, queuing: [64, 6, 50] },
  'workload-high': { shares: 40, lendable: 50, queuing: [128, 6, 50] },
  'workload-low': { shares: 100, lendable: 90, queuing: [128, 6, 50] },
  'global-default': { shares: 20, lendable: 50, queuing: [128, 6, 50] },
  'catch-all': { shares: 5, lendable: 0 },
};

type Subject = Record<string, unknown>;
const group = (name: string): Subject => ({ kind: 'Group', group: { name } });
const user = (name: string): Subject => ({ kind: 'User', user: { name } });
const account = (name: string): Subject => ({ kind: 'ServiceAccount', serviceAccount: { name, namespace: 'kube-system' } });
const everything = { resourceRules: [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'], clusterScope: true, namespaces: ['*'] }], nonResourceRules: [{ verbs: ['*'], nonResourceURLs: ['*'] }] };
const leases = { resourceRules: [{ verbs: ['get', 'create', 'update'], apiGroups: ['coordination.k8s.io'], resources: ['leases'], namespaces: ['*'] }] };

const SCHEMAS: readonly { readonly name: string; readonly level: string; readonly precedence: number; readonly by?: 'ByUser' | 'ByNamespace'; readonly rules: readonly Record<string, unknown>[] }[] = [
  { name: 'exempt', level: 'exempt', precedence: 1, rules: [{ subjects: [group('system:masters')], ...everything }] },
  { name: 'probes', level: 'exempt', precedence: 2, rules: [{ subjects: [group('system:unauthenticated'), group('system:authenticated')], nonResourceRules: [{ verbs: ['get'], nonResourceURLs: ['/healthz', '/readyz', '/livez'] }] }] },
  { name: 'system-leader-election', level: 'leader-election', precedence: 100, by: 'ByUser', rules: [{ subjects: [user('system:kube-controller-manager'), user('system:kube-scheduler'), group('system:serviceaccounts:kube-system')], ...leases }] },
  { name: 'endpoint-controller', level: 'workload-high', precedence: 150, by: 'ByUser', rules: [{ subjects: [user('system:kube-controller-manager'), account('endpoint-controller'), account('endpointslicemirroring-controller')], resourceRules: [{ verbs: ['get', 'create', 'update'], apiGroups: [''], resources: ['endpoints'], namespaces: ['*'] }] }] },
  { name: 'workload-leader-election', level: 'leader-election', precedence: 200, by: 'ByUser', rules: [{ subjects: [group('system:serviceaccounts:kube-system')], ...leases }] },
  { name: 'system-node-high', level: 'node-high', precedence: 400, by: 'ByUser', rules: [{ subjects: [group('system:nodes')], resourceRules: [{ verbs: ['*'], apiGroups: [''], resources: ['nodes', 'nodes/status'], clusterScope: true, namespaces: ['*'] }, { verbs: ['*'], apiGroups: ['coordination.k8s.io'], resources: ['leases'], namespaces: ['*'] }] }] },
  { name: 'system-nodes', level: 'system', precedence: 500, by: 'ByUser', rules: [{ subjects: [group('system:nodes')], ...everything }] },
  { name: 'kube-controller-manager', level: 'workload-high', precedence: 800, by: 'ByNamespace', rules: [{ subjects: [user('system:kube-controller-manager')], ...everything }] },
  { name: 'kube-scheduler', level: 'workload-high', precedence: 800, by: 'ByNamespace', rules: [{ subjects: [user('system:kube-scheduler')], ...everything }] },
  { name: 'kube-system-service-accounts', level: 'workload-high', precedence: 900, by: 'ByNamespace', rules: [{ subjects: [group('system:serviceaccounts:kube-system')], ...everything }] },
  { name: 'service-accounts', level: 'workload-low', precedence: 9000, by: 'ByUser', rules: [{ subjects: [group('system:serviceaccounts')], ...everything }] },
  { name: 'global-default', level: 'global-default', precedence: 9900, by: 'ByUser', rules: [{ subjects: [group('system:unauthenticated'), group('system:authenticated')], ...everything }] },
  { name: 'catch-all', level: 'catch-all', precedence: 10_000, by: 'ByUser', rules: [{ subjects: [group('system:unauthenticated'), group('system:authenticated')], ...everything }] },
];

function flowControl(): FlowObject[] {
  const levels: FlowObject[] = Object.entries(LEVELS).map(([name, { shares, lendable, queuing }]) => ({
    resource: 'prioritylevelconfigurations',
    object: {
      apiVersion: FLOW_VERSION, kind: 'PriorityLevelConfiguration', metadata: { name, annotations: FLOW_ANNOTATIONS },
      spec: {
        type: 'Limited',
        limited: {
          nominalConcurrencyShares: shares, lendablePercent: lendable,
          limitResponse: queuing ? { type: 'Queue', queuing: { queues: queuing[0], handSize: queuing[1], queueLengthLimit: queuing[2] } } : { type: 'Reject' },
        },
      },
    },
  }));
  const exempt: FlowObject = {
    resource: 'prioritylevelconfigurations',
    object: { apiVersion: FLOW_VERSION, kind: 'PriorityLevelConfiguration', metadata: { name: 'exempt', annotations: FLOW_ANNOTATIONS }, spec: { type: 'Exempt', exempt: { nominalConcurrencyShares: 0, lendablePercent: 0 } } },
  };
  const schemas: FlowObject[] = SCHEMAS.map(({ name, level, precedence, by, rules }) => ({
    resource: 'flowschemas',
    object: {
      apiVersion: FLOW_VERSION, kind: 'FlowSchema', metadata: { name, annotations: FLOW_ANNOTATIONS },
      spec: { priorityLevelConfiguration: { name: level }, matchingPrecedence: precedence, ...(by ? { distinguisherMethod: { type: by } } : {}), rules },
    },
  }));
  return [exempt, ...levels, ...schemas];
}
