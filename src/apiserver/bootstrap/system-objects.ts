/**
 * What a new cluster has from its first second, as upstream's post-start hooks make it: system namespaces, the kubernetes Service and
 * its endpoints, system priority classes, flow control defaults, the service CIDR, published client CA. Idempotent.
 */
import { isStatusError } from '#machinery/errors.ts';
import { deepEqual } from '#machinery/json.ts';
import type { KubeObject } from '#machinery/object.ts';
import { ensureFlowObjects } from '../flowcontrol/bootstrap-objects.ts';
import type { GroupResource, InternalApi } from '../registry/loopback-client.ts';

interface BootstrapOptions {
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
    ...NAMESPACES.map((name) =>
      createIfAbsent(internal, core('namespaces'), {
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name },
      }),
    ),
    ...priorityClasses().map((object) =>
      createIfAbsent(internal, { group: 'scheduling.k8s.io', resource: 'priorityclasses' }, object),
    ),
    ensureFlowObjects(internal),
    kubernetesService(options),
    kubernetesEndpoints(options),
    authenticationConfigMap(options),
  ]);
}

async function createIfAbsent(
  internal: InternalApi,
  resource: GroupResource,
  object: KubeObject,
): Promise<void> {
  const { name = '', namespace } = object.metadata ?? {};
  if (internal.get(resource, { name, namespace })) return;
  try {
    await internal.create(resource, object);
  } catch (error) {
    // Another server was faster.
    if (!isStatusError(error, 'AlreadyExists')) throw error;
  }
}

async function kubernetesService({
  internal,
  serviceAddress,
  advertiseAddress,
}: BootstrapOptions): Promise<void> {
  await createIfAbsent(internal, core('services'), {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      name: 'kubernetes',
      namespace: 'default',
      labels: { component: 'apiserver', provider: 'kubernetes' },
    },
    spec: {
      type: 'ClusterIP',
      clusterIP: serviceAddress,
      clusterIPs: [serviceAddress],
      ipFamilies: ['IPv4'],
      ipFamilyPolicy: 'SingleStack',
      sessionAffinity: 'None',
      ports: [{ name: 'https', protocol: 'TCP', port: 443, targetPort: advertiseAddress?.port ?? 6443 }],
    },
  });
}

/** Where the kubernetes Service leads: this server. */
async function kubernetesEndpoints({ internal, advertiseAddress }: BootstrapOptions): Promise<void> {
  // Endpoints may not be loopback addresses: such a server is reached by no pod anyway.
  if (!advertiseAddress || advertiseAddress.ip.startsWith('127.') || advertiseAddress.ip === '::1') return;
  const { ip, port } = advertiseAddress;
  const name = 'kubernetes',
    namespace = 'default';
  await createOrUpdate(
    internal,
    core('endpoints'),
    {
      apiVersion: 'v1',
      kind: 'Endpoints',
      metadata: { name, namespace, labels: { 'endpointslice.kubernetes.io/skip-mirror': 'true' } },
      subsets: [{ addresses: [{ ip }], ports: [{ name: 'https', port, protocol: 'TCP' }] }],
    },
    'subsets',
  );
  const slices = { group: 'discovery.k8s.io', resource: 'endpointslices' };
  await createOrUpdate(
    internal,
    slices,
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name, namespace, labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      endpoints: [{ addresses: [ip], conditions: { ready: true } }],
      ports: [{ name: 'https', port, protocol: 'TCP' }],
    },
    'endpoints',
    'ports',
  );
}

async function createOrUpdate(
  internal: InternalApi,
  resource: GroupResource,
  object: KubeObject,
  ...fields: string[]
): Promise<void> {
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
async function authenticationConfigMap({
  internal,
  clientCa,
  requestHeader,
}: BootstrapOptions): Promise<void> {
  if (clientCa === undefined && requestHeader === undefined) return;
  const name = 'extension-apiserver-authentication',
    namespace = 'kube-system';
  const data: Record<string, string> = {
    ...(clientCa === undefined ? {} : { 'client-ca-file': clientCa }),
    ...(requestHeader ? requestHeaderData(requestHeader) : {}),
  };
  const current = internal.get(core('configmaps'), { name, namespace });
  if (!current)
    return createIfAbsent(internal, core('configmaps'), {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name, namespace },
      data,
    });
  await internal.modify(core('configmaps'), { name, namespace }, (stored) => {
    const before = stored['data'] as Record<string, string> | undefined;
    if (Object.entries(data).every(([key, value]) => before?.[key] === value)) return false;
    stored['data'] = { ...before, ...data };
    return true;
  });
}

function requestHeaderData({
  ca,
  allowedNames,
  usernameHeaders,
  uidHeaders,
  groupHeaders,
  extraHeaderPrefixes,
}: PublishedRequestHeader): Record<string, string> {
  return {
    'requestheader-client-ca-file': ca,
    'requestheader-allowed-names': JSON.stringify(allowedNames),
    'requestheader-username-headers': JSON.stringify(usernameHeaders),
    'requestheader-uid-headers': JSON.stringify(uidHeaders),
    'requestheader-group-headers': JSON.stringify(groupHeaders),
    'requestheader-extra-headers-prefix': JSON.stringify(extraHeaderPrefixes),
  };
}

function priorityClasses(): KubeObject[] {
  const make = (name: string, value: number, description: string): KubeObject => ({
    apiVersion: 'scheduling.k8s.io/v1',
    kind: 'PriorityClass',
    metadata: { name },
    value,
    description,
  });
  return [
    make(
      'system-node-critical',
      2_000_001_000,
      'For pods without which a node does not work: they are never moved off it.',
    ),
    make(
      'system-cluster-critical',
      2_000_000_000,
      'For pods without which the cluster does not work; they may be moved to another node.',
    ),
  ];
}
