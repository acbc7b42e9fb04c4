/**
 * Computes from Services and EndpointSlices, for each service port and one address family, its addresses and the endpoints of its connections. Pure; independent of nftables.
 * Follows upstream's service proxy (categorized endpoints, terminating endpoints as a last resort).
 */
import { createHash } from 'node:crypto';
import type { EndpointSlice, Service } from '#api/types.ts';
import { formatIP, parseIP } from '#machinery/ip.ts';
import type { ServiceHealth } from './health-checks.ts';

export interface EndpointTarget {
  readonly ip: string;
  readonly port: number;
  readonly local: boolean;
}

export interface ServicePortModel {
  /** 'namespace/name:port' */
  readonly key: string;
  /** 8 hex digits of key: names its chains. */
  readonly id: string;
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly port: number;
  readonly clusterIPs: readonly string[];
  /** External and load balancer addresses. */
  readonly externalIPs: readonly string[];
  readonly nodePort: number | undefined;
  /** Load balancer addresses that only these ranges may reach. */
  readonly guarded: { readonly ips: readonly string[]; readonly ranges: readonly string[] } | undefined;
  /** ClientIP affinity in seconds. */
  readonly affinitySeconds: number | undefined;
  /** Takes connections to cluster addresses. */
  readonly clusterEndpoints: readonly EndpointTarget[];
  /** Takes connections from outside to node ports and external addresses. */
  readonly externalEndpoints: readonly EndpointTarget[];
  /** All serving endpoints, terminating ones included: existing connections to them may continue. */
  readonly servingEndpoints: readonly EndpointTarget[];
  /** Outside connections go to local endpoints only and keep their source address. */
  readonly externalLocal: boolean;
  /** There are endpoints somewhere, though none here for a Local policy: drop rather than reject, as upstream does. */
  readonly anyEndpoints: boolean;
}

export type Family = 'IPv4' | 'IPv6';

interface ModelInput {
  /** Only addresses and endpoints of this family. */
  readonly family: Family;
  readonly services: readonly Service[];
  /** Slices of one service. */
  readonly slicesOf: (namespace: string, name: string) => readonly EndpointSlice[];
  readonly nodeName: string;
  /** This node's topology.kubernetes.io/zone. */
  readonly zone?: string | undefined;
}

interface Candidate extends EndpointTarget {
  readonly ready: boolean;
  readonly servingTerminating: boolean;
  readonly nodes: readonly string[];
  readonly zones: readonly string[];
}

const DEFAULT_AFFINITY_SECONDS = 10_800;
/** EndpointSlices with this label are only for DNS. */
const HEADLESS = 'service.kubernetes.io/headless';
const ANYWHERE = { IPv4: '0.0.0.0/0', IPv6: '::/0' } as const;

export function buildModel(input: ModelInput): Map<string, ServicePortModel> {
  const model = new Map<string, ServicePortModel>();
  for (const service of input.services)
    for (const port of servicePorts(service, input)) model.set(port.key, port);
  return model;
}

export function servicePorts(service: Service, input: Omit<ModelInput, 'services'>): ServicePortModel[] {
  const { spec, metadata } = service;
  const { family } = input;
  const clusterIPs = ofFamily(family, spec?.clusterIPs ?? (spec?.clusterIP ? [spec.clusterIP] : []));
  if (!spec || spec.type === 'ExternalName' || clusterIPs.length === 0) return [];
  const label = metadata?.labels?.['service.kubernetes.io/service-proxy-name'];
  if (label !== undefined) return [];
  const slices = input
    .slicesOf(metadata?.namespace ?? '', metadata?.name ?? '')
    .filter((slice) => slice.addressType === family && slice.metadata?.labels?.[HEADLESS] === undefined);
  const external = spec.type === 'LoadBalancer' || spec.type === 'NodePort';
  const balancer = ofFamily(
    family,
    (service.status?.loadBalancer?.ingress ?? []).flatMap(({ ip, ipMode }) =>
      ip && ipMode !== 'Proxy' ? [ip] : [],
    ),
  );
  const ranges = (spec.loadBalancerSourceRanges ?? [])
    .map((range) => range.trim())
    .filter((range) => familyOf(range.split('/')[0]) === family);
  const affinity =
    spec.sessionAffinity === 'ClientIP'
      ? (spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? DEFAULT_AFFINITY_SECONDS)
      : undefined;
  return (spec.ports ?? []).map((port) => {
    const key = `${metadata?.namespace}/${metadata?.name}:${port.name ?? ''}`;
    const protocol = (port.protocol ?? 'TCP').toLowerCase() as ServicePortModel['protocol'];
    const candidates = candidatesOf(slices, {
      portName: port.name ?? '',
      protocol: port.protocol ?? 'TCP',
      nodeName: input.nodeName,
    });
    const local = usable(candidates.filter((one) => one.local)),
      near = usable(nearest(candidates, input));
    const externalLocal = external && spec.externalTrafficPolicy === 'Local';
    return {
      key,
      id: createHash('sha256').update(`${key}/${protocol}`).digest('hex').slice(0, 8),
      protocol,
      port: port.port,
      clusterIPs,
      externalIPs: [...ofFamily(family, spec.externalIPs ?? []), ...balancer],
      nodePort: external ? port.nodePort : undefined,
      guarded:
        spec.type === 'LoadBalancer' &&
        balancer.length > 0 &&
        ranges.length > 0 &&
        !ranges.includes(ANYWHERE[family])
          ? { ips: balancer, ranges }
          : undefined,
      affinitySeconds: affinity,
      clusterEndpoints: spec.internalTrafficPolicy === 'Local' ? local : near,
      externalEndpoints: externalLocal ? local : near,
      servingEndpoints: candidates
        .filter((one) => one.ready || one.servingTerminating)
        .map(({ ip, port: number, local: here }) => ({ ip, port: number, local: here })),
      externalLocal,
      anyEndpoints: usable(candidates).length > 0,
    };
  });
}

/** The response at a Service's health check node port, by its first family; undefined for Services without one. */
export function serviceHealth(
  { metadata, spec }: Service,
  { slicesOf, nodeName }: Pick<ModelInput, 'slicesOf' | 'nodeName'>,
): ServiceHealth | undefined {
  if (spec?.type !== 'LoadBalancer' || spec.externalTrafficPolicy !== 'Local' || !spec.healthCheckNodePort)
    return undefined;
  const { namespace = '', name = '' } = metadata ?? {};
  const family = spec.ipFamilies?.[0] ?? 'IPv4';
  const here = slicesOf(namespace, name)
    .filter(({ addressType }) => addressType === family)
    .flatMap(({ endpoints = [] }) => endpoints)
    .filter((one) => one.nodeName === nodeName && (one.conditions?.ready ?? true));
  return {
    namespace,
    name,
    port: spec.healthCheckNodePort,
    localEndpoints: new Set(here.map(({ addresses }) => addresses[0])).size,
  };
}

interface PortOfInterest {
  readonly portName: string;
  readonly protocol: string;
  readonly nodeName: string;
}

/** Endpoints of one service port over all slices, without duplicates. */
function candidatesOf(
  slices: readonly EndpointSlice[],
  { portName, protocol, nodeName }: PortOfInterest,
): Candidate[] {
  const found = new Map<string, Candidate>();
  for (const slice of slices) {
    const port = (slice.ports ?? []).find(
      (one) => (one.name ?? '') === portName && (one.protocol ?? 'TCP') === protocol,
    )?.port;
    if (port === undefined) continue;
    for (const endpoint of slice.endpoints ?? []) {
      const parsed = parseIP(endpoint.addresses[0] ?? '');
      if (!parsed) continue;
      const ip = formatIP(parsed);
      const { ready, serving, terminating } = endpoint.conditions ?? {};
      const nodes = (endpoint.hints?.forNodes ?? []).map(({ name }) => name),
        zones = (endpoint.hints?.forZones ?? []).map(({ name }) => name);
      const candidate = {
        nodes,
        zones,
        ip,
        port,
        local: endpoint.nodeName === nodeName,
        ready: ready ?? true,
        servingTerminating: (serving ?? ready ?? true) && (terminating ?? false),
      };
      const before = found.get(`${ip}:${port}`);
      if (!before || (!before.ready && candidate.ready)) found.set(`${ip}:${port}`, candidate);
    }
  }
  return [...found.values()].sort((a, b) => (a.ip === b.ip ? a.port - b.port : a.ip < b.ip ? -1 : 1));
}

/**
 * Topology-aware routing: endpoints whose hints name this node, else this zone. All endpoints when there is none, or when a ready endpoint has no hint
 * (the controller does not set hints, or is updating them).
 */
function nearest(
  candidates: readonly Candidate[],
  { nodeName, zone }: Pick<ModelInput, 'nodeName' | 'zone'>,
): readonly Candidate[] {
  for (const [hints, wanted] of [
    ['nodes', nodeName],
    ['zones', zone ?? ''],
  ] as const) {
    const ready = candidates.filter((one) => one.ready);
    const here = ready.filter((one) => one[hints].includes(wanted));
    if (here.length > 0 && ready.every((one) => one[hints].length > 0)) return here;
  }
  return candidates;
}

/** Ready endpoints; when there are none, terminating endpoints that still serve. */
function usable(candidates: readonly Candidate[]): EndpointTarget[] {
  const ready = candidates.filter((one) => one.ready);
  return (ready.length > 0 ? ready : candidates.filter((one) => one.servingTerminating)).map(
    ({ ip, port, local }) => ({ ip, port, local }),
  );
}

/** The family of an address, however it is abbreviated. */
export function familyOf(address = ''): Family | undefined {
  const { family } = parseIP(address) ?? {};
  return family === undefined ? undefined : family === 4 ? 'IPv4' : 'IPv6';
}

/** Canonical: rules find a packet's address by its text. */
function ofFamily(family: Family, addresses: readonly string[]): string[] {
  return addresses.flatMap((address) => {
    const parsed = parseIP(address);
    return parsed && familyOf(address) === family ? [formatIP(parsed)] : [];
  });
}
