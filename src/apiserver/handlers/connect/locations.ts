/**
 * The target of a connect subresource: pod → node → kubelet, pod → its address, service → one of its endpoints. Pure decisions over
 * objects, with upstream's messages (registry/core/{pod,node,service}).
 */
import { isIPv6 } from 'node:net';
import { statusErrors } from '#machinery/errors.ts';
import { cidrContains, parseCIDR, parseIP } from '#machinery/ip.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { InternalApi } from '../../registry/loopback-client.ts';
import { plainError, proxyError } from './errors.ts';

interface ContainerPort {
  readonly containerPort: number;
}
interface Container {
  readonly name: string;
  readonly ports?: readonly ContainerPort[];
}
export interface PodObject extends KubeObject {
  readonly spec?: {
    readonly nodeName?: string;
    readonly containers?: readonly Container[];
    readonly initContainers?: readonly Container[];
    readonly ephemeralContainers?: readonly Container[];
  };
  readonly status?: { readonly podIP?: string; readonly podIPs?: readonly { readonly ip?: string }[] };
}
interface NodeObject extends KubeObject {
  readonly status?: {
    readonly addresses?: readonly { readonly type: string; readonly address: string }[];
    readonly daemonEndpoints?: { readonly kubeletEndpoint?: { readonly Port?: number } };
  };
}
interface ServiceObject extends KubeObject {
  readonly spec?: {
    readonly ipFamilies?: readonly string[];
    readonly ports?: readonly { readonly name?: string; readonly port: number }[];
  };
}
interface EndpointSliceObject extends KubeObject {
  readonly addressType?: string;
  readonly endpoints?: readonly {
    readonly addresses: readonly string[];
    readonly nodeName?: string;
    readonly conditions?: { readonly ready?: boolean };
    readonly targetRef?: { readonly name?: string; readonly namespace?: string };
  }[];
  readonly ports?: readonly { readonly name?: string; readonly port?: number; readonly protocol?: string }[];
}

interface KubeletEndpoint {
  readonly host: string;
  readonly port: number;
}

/** Addresses that every machine of a cluster can resolve come first. */
const ADDRESS_TYPES: readonly string[] = [
  'InternalIP',
  'ExternalIP',
  'InternalDNS',
  'ExternalDNS',
  'Hostname',
];
const DEFAULT_KUBELET_PORT = 10250;

/** The container that exec, attach or log means. Throws BadRequest. */
export function chooseContainer(pod: PodObject, wanted: string): string {
  const name = pod.metadata?.name ?? '';
  const containers = pod.spec?.containers ?? [];
  const initContainers = pod.spec?.initContainers ?? [];
  if (wanted !== '') {
    const all = [...containers, ...initContainers, ...(pod.spec?.ephemeralContainers ?? [])];
    if (all.some((container) => container.name === wanted)) return wanted;
    throw statusErrors.badRequest(`container ${wanted} is not valid for pod ${name}`);
  }
  const [only, ...others] = containers;
  if (!only) throw statusErrors.badRequest(`a container name must be specified for pod ${name}`);
  if (others.length === 0) return only.name;
  const names = [...initContainers, ...containers, ...(pod.spec?.ephemeralContainers ?? [])]
    .map((container) => container.name)
    .join(' ');
  throw statusErrors.badRequest(
    `a container name must be specified for pod ${name}, choose one of: [${names}]`,
  );
}

/** Throws BadRequest for a pod that no node has. */
export function requireNodeName(pod: PodObject): string {
  const nodeName = pod.spec?.nodeName;
  if (!nodeName)
    throw statusErrors.badRequest(`pod ${pod.metadata?.name ?? ''} does not have a host assigned`);
  return nodeName;
}

/** Throws NotFound for a deleted node. */
export function kubeletEndpoint(internal: InternalApi, nodeName: string): KubeletEndpoint {
  const node = internal.get({ group: '', resource: 'nodes' }, { name: nodeName }) as NodeObject | undefined;
  if (!node) throw statusErrors.notFound({ group: '', resource: 'nodes', name: nodeName });
  refuseSimulated(internal, nodeName);
  const addresses = node.status?.addresses ?? [];
  const chosen = ADDRESS_TYPES.map((type) => addresses.find((address) => address.type === type)).find(
    (address) => address !== undefined,
  );
  if (!chosen)
    throw plainError(
      `no preferred addresses found; known addresses: [${addresses.map(({ type, address }) => `{${type} ${address}}`).join(' ')}]`,
    );
  return {
    host: chosen.address,
    port: node.status?.daemonEndpoints?.kubeletEndpoint?.Port || DEFAULT_KUBELET_PORT,
  };
}

const SIMULATED = 'capstan.dev/simulated';

/**
 * A simulated node and its pods have invented addresses, which may exist on the real network: nothing is ever sent to them.
 * Throws ServiceUnavailable with the reason.
 */
function refuseSimulated(internal: InternalApi, nodeName: string | undefined): void {
  if (isSimulatedNode(internal, nodeName))
    throw statusErrors.unavailable(
      `node "${nodeName}" is simulated: its pods run no containers, so there is nothing to connect to`,
    );
}

export function isSimulatedNode(internal: InternalApi, nodeName: string | undefined): boolean {
  const node = nodeName ? internal.get({ group: '', resource: 'nodes' }, { name: nodeName }) : undefined;
  return node?.metadata?.annotations?.[SIMULATED] === 'true';
}

interface SchemeNamePort {
  readonly scheme: '' | 'http' | 'https';
  readonly name: string;
  readonly port: string;
}

/** 'name', 'name:port', 'scheme:name:port' with an optional empty port; undefined for anything else. */
function splitSchemeNamePort(id: string): SchemeNamePort | undefined {
  const parts = id.split(':');
  const [scheme, name, port] =
    parts.length === 1
      ? ['', id, '']
      : parts.length === 2
        ? ['', parts[0] ?? '', parts[1] ?? '']
        : parts.length === 3
          ? [parts[0] ?? '', parts[1] ?? '', parts[2] ?? '']
          : ['', '', ''];
  if (name === '' || (scheme !== '' && scheme !== 'http' && scheme !== 'https')) return undefined;
  return { scheme, name, port };
}

/** Throws NotFound and BadRequest. */
export function podProxyTarget(
  internal: InternalApi,
  of: { readonly namespace: string; readonly id: string },
): URL {
  const parts = splitSchemeNamePort(of.id);
  if (!parts) throw statusErrors.badRequest(`invalid pod request "${of.id}"`);
  const pod = internal.get({ group: '', resource: 'pods' }, { name: parts.name, namespace: of.namespace }) as
    | PodObject
    | undefined;
  if (!pod) throw statusErrors.notFound({ group: '', resource: 'pods', name: parts.name });
  refuseSimulated(internal, pod.spec?.nodeName);
  const port =
    parts.port ||
    String(
      pod.spec?.containers
        ?.map((container) => container.ports?.[0]?.containerPort)
        .find((number) => number !== undefined) ?? '',
    );
  const ip = pod.status?.podIPs?.[0]?.ip ?? pod.status?.podIP ?? '';
  if (!isProxyable(ip)) throw statusErrors.badRequest('address not allowed');
  return targetUrl({ scheme: parts.scheme || 'http', host: ip, port });
}

interface NodeProxyTarget {
  readonly url: URL;
  /** With the API server's kubelet certificate. */ readonly kubelet: boolean;
}

export function nodeProxyTarget(internal: InternalApi, id: string): NodeProxyTarget {
  const parts = splitSchemeNamePort(id);
  if (!parts) throw statusErrors.badRequest(`invalid node request "${id}"`);
  const { host, port } = kubeletEndpoint(internal, parts.name);
  if (parts.port === '' || parts.port === String(port))
    return { url: targetUrl({ scheme: 'https', host, port: String(port) }), kubelet: true };
  if (parseIP(host) && !isProxyable(host)) throw statusErrors.badRequest('address not allowed');
  return { url: targetUrl({ scheme: parts.scheme || 'http', host, port: parts.port }), kubelet: false };
}

interface ServiceTargetOptions {
  readonly namespace: string;
  readonly id: string;
  /** 0 ≤ x < 1 */
  readonly random: () => number;
}

/** One ready endpoint, at random. Throws BadRequest, NotFound, ServiceUnavailable. */
export function serviceProxyTarget(
  internal: InternalApi,
  { namespace, id, random }: ServiceTargetOptions,
): URL {
  const parts = splitSchemeNamePort(id);
  if (!parts) throw statusErrors.badRequest(`invalid service request "${id}"`);
  const service = internal.get({ group: '', resource: 'services' }, { name: parts.name, namespace }) as
    | ServiceObject
    | undefined;
  if (!service) throw statusErrors.notFound({ group: '', resource: 'services', name: parts.name });
  const portName = servicePortName(service, parts);
  const slices = internal.list(
    { group: 'discovery.k8s.io', resource: 'endpointslices' },
    { namespace },
  ) as EndpointSliceObject[];
  const endpoints = ofFirstFamily(
    service,
    slices.filter((slice) => slice.metadata?.labels?.['kubernetes.io/service-name'] === parts.name),
  ).flatMap((slice) => readyEndpoints(slice, portName));
  const start = Math.floor(random() * endpoints.length);
  const chosen = [...endpoints.slice(start), ...endpoints.slice(0, start)].find((endpoint) =>
    isPodsOwn(internal, endpoint, namespace),
  );
  if (!chosen) throw statusErrors.unavailable(`no endpoints available for service "${id}"`);
  refuseSimulated(internal, chosen.nodeName);
  if (!isProxyable(chosen.address)) throw statusErrors.badRequest('address not allowed');
  return targetUrl({ scheme: parts.scheme || 'http', host: chosen.address, port: String(chosen.port) });
}

/** Those of the Service's first family, as its Endpoints: this machine may not reach the other one. */
export function ofFirstFamily<Slice extends { readonly addressType?: string | undefined }>(
  { spec }: { readonly spec?: { readonly ipFamilies?: readonly string[] } | undefined },
  slices: readonly Slice[],
): readonly Slice[] {
  const family = spec?.ipFamilies?.[0];
  return family === undefined ? slices : slices.filter(({ addressType }) => addressType === family);
}

/** A port number is matched to the service's ports and stands for that port's name. */
function servicePortName(service: ServiceObject, { name, port }: SchemeNamePort): string {
  if (!/^\d+$/.test(port)) return port;
  const found = service.spec?.ports?.find((candidate) => candidate.port === Number(port));
  if (!found) throw statusErrors.unavailable(`no service port ${port} found for service "${name}"`);
  return found.name ?? '';
}

interface Endpoint {
  readonly address: string;
  readonly port: number;
  readonly nodeName: string | undefined;
  readonly pod: { readonly name?: string; readonly namespace?: string } | undefined;
}

function readyEndpoints(slice: EndpointSliceObject, portName: string): Endpoint[] {
  const port = slice.ports?.find((candidate) => (candidate.name ?? '') === portName)?.port;
  if (port === undefined) return [];
  return (slice.endpoints ?? [])
    .filter(({ conditions }) => conditions?.ready !== false)
    .flatMap(({ addresses, nodeName, targetRef }) =>
      addresses.map((address) => ({ address, port, nodeName, pod: targetRef })),
    );
}

/** Prevents a writer of endpoints from directing the API server to any address: the address must be one of the named pod's status. */
function isPodsOwn(internal: InternalApi, { address, pod }: Endpoint, namespace: string): boolean {
  if (!pod?.name || pod.namespace !== namespace) return false;
  const { status } = (internal.get({ group: '', resource: 'pods' }, { name: pod.name, namespace }) ??
    {}) as PodObject;
  return status?.podIPs?.some(({ ip }) => ip === address) ?? false;
}

/** Ports come from URLs, hosts from what nodes say of themselves: neither may turn the address into another ('80@elsewhere'). */
function targetUrl(of: { readonly scheme: string; readonly host: string; readonly port: string }): URL {
  if (of.port !== '' && !(/^\d{1,5}$/.test(of.port) && Number(of.port) >= 1 && Number(of.port) <= 65535))
    throw statusErrors.badRequest(`invalid port ${JSON.stringify(of.port)}`);
  const host = isIPv6(of.host) ? `[${of.host}]` : of.host;
  if (!isIPv6(of.host) && !/^[A-Za-z0-9.\-_]+$/.test(of.host))
    throw statusErrors.badRequest('address not allowed');
  return new URL(`${of.scheme}://${host}${of.port === '' ? '' : `:${of.port}`}`);
}

/** Address blocks that the API server never proxies to: itself, its link, and multicast of both. */
const NOT_PROXYABLE = [
  '0.0.0.0/32',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '224.0.0.0/24',
  '::/128',
  '::1/128',
  'fe80::/10',
  'ff01::/16',
  'ff02::/16',
].map((text) => parseCIDR(text)!);

/** Compares by value, whatever the notation. An IPv4-mapped address never belongs to a pod. */
export function isProxyable(text: string): boolean {
  const address = parseIP(text);
  return (
    address !== undefined && !address.mapped && !NOT_PROXYABLE.some((block) => cidrContains(block, address))
  );
}

/**
 * A host name, which a node may give as its address, is resolved once: every address must be proxyable, and the connection goes to
 * the one that was checked.
 */
export async function requireProxyable(
  { url, kubelet }: NodeProxyTarget,
  resolve: (host: string) => Promise<readonly string[]>,
): Promise<NodeProxyTarget> {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (kubelet || parseIP(host)) return { url, kubelet };
  const addresses = await resolve(host).catch((error: unknown) => {
    throw proxyError(error);
  });
  const [first] = addresses;
  if (first === undefined || !addresses.every(isProxyable))
    throw statusErrors.badRequest('address not allowed');
  const pinned = new URL(url);
  pinned.hostname = isIPv6(first) ? `[${first}]` : first;
  return { url: pinned, kubelet };
}
