/** Which node announces which address. Every node computes the same from the same objects. Pure. */
import { createHash } from 'node:crypto';
import { isIPv6 } from 'node:net';
import type { EndpointSlice, Node, Service } from '#api/types.ts';
import type { Stored } from '#machinery/object.ts';
import type { L2Advertisement } from '../api.ts';
import type { BGPAdvertisement } from '../bgp-api.ts';
import { isBalanced } from '../api.ts';
import { matchesAny, poolHas, type AddressPool } from '../pools.ts';

/** One that this node is to announce. */
interface Announcement {
  readonly address: string;
  /** The first Service that has it, for the event. */
  readonly service: Stored<Service>;
  /** Empty: those that fit the address. */
  readonly interfaces: readonly string[];
}

interface ElectInput {
  readonly node: string;
  readonly services: readonly Stored<Service>[];
  readonly slicesOf: (service: Service) => readonly EndpointSlice[];
  readonly pools: readonly AddressPool[];
  readonly advertisements: readonly Stored<L2Advertisement>[];
  /** Live nodes that announce the pool. */
  readonly announcersOf: (pool: string) => readonly string[];
}

const EXCLUDED = 'node.kubernetes.io/exclude-from-external-load-balancers';

/** Addresses of the cluster that some node should announce, with the pool of each. */
export function announcedAddresses({
  services,
  pools,
}: Pick<ElectInput, 'services' | 'pools'>): ReadonlyMap<
  string,
  { pool: AddressPool; services: Stored<Service>[] }
> {
  const found = new Map<string, { pool: AddressPool; services: Stored<Service>[] }>();
  for (const service of services) {
    if (!isBalanced(service)) continue;
    for (const { ip } of service.status?.loadBalancer?.ingress ?? []) {
      const known = ip === undefined ? undefined : found.get(ip);
      const pool = known?.pool ?? (ip === undefined ? undefined : pools.find((one) => poolHas(one, ip)));
      if (ip === undefined || !pool) continue;
      found.set(ip, { pool, services: [...(known?.services ?? []), service] });
    }
  }
  return found;
}

export function electAnnouncements(input: ElectInput): Announcement[] {
  const { node, slicesOf, advertisements, announcersOf } = input;
  const won: Announcement[] = [];
  for (const [address, { pool, services }] of announcedAddresses(input)) {
    const [service] = services;
    const candidates = announcersOf(pool.name).filter((one) =>
      services.every((each) => !isLocal(each) || isServedFrom(one, { service: each, address, slicesOf })),
    );
    if (!service || electedNode(candidates, address) !== node) continue;
    won.push({ address, service, interfaces: interfacesFor(pool, advertisements) });
  }
  return won;
}

/** The highest hash: each address has an order of all nodes of its own, so a node that leaves moves its own addresses alone. */
function electedNode(candidates: readonly string[], address: string): string | undefined {
  const ranked = candidates.map((node) => ({
    node,
    rank: createHash('sha256').update(`${node}#${address}`).digest('hex'),
  }));
  return ranked.toSorted((a, b) => (a.rank < b.rank ? 1 : -1))[0]?.node;
}

interface ServedInput extends Pick<ElectInput, 'slicesOf'> {
  readonly service: Service;
  readonly address: string;
}

/** An endpoint of the address's family serves, for a Service of policy Local on this node: others get its traffic from every node. */
export function isServedFrom(node: string, { service, address, slicesOf }: ServedInput): boolean {
  const family = isIPv6(address) ? 'IPv6' : 'IPv4';
  return slicesOf(service).some(
    ({ addressType, endpoints = [] }) =>
      addressType === family &&
      endpoints.some(
        ({ nodeName, conditions }) =>
          (!isLocal(service) || nodeName === node) && (conditions?.serving ?? conditions?.ready ?? true),
      ),
  );
}

function isLocal({ spec }: Service): boolean {
  return spec?.externalTrafficPolicy === 'Local';
}

/** No load balancer should lead traffic to it. */
export function isExcluded({ metadata: { labels, deletionTimestamp } }: Stored<Node>): boolean {
  return labels?.[EXCLUDED] !== undefined || deletionTimestamp !== undefined;
}

interface Routed {
  readonly routed: readonly Pick<BGPAdvertisement, 'spec'>[];
}

/** Announced by BGP, and by no L2Advertisement. */
export function isRoutedOnly(
  pool: AddressPool,
  { advertisements, routed }: Pick<ElectInput, 'advertisements'> & Routed,
): boolean {
  return (
    routed.some(({ spec = {} }) => selectsPool(spec, pool)) &&
    !advertisements.some(({ spec }) => selectsPool(spec, pool))
  );
}

/** The pools that a node announces to its segment: those whose advertisements select it, and those that have none, of BGP (`routed`) neither. */
export function poolsOfNode(
  node: Stored<Node>,
  { pools, advertisements, routed }: Pick<ElectInput, 'pools' | 'advertisements'> & Routed,
): string[] {
  const { labels } = node.metadata;
  if (isExcluded(node)) return [];
  return pools
    .filter((pool) => {
      if (isRoutedOnly(pool, { advertisements, routed })) return false;
      const own = advertisements.filter(({ spec }) => selectsPool(spec, pool));
      return (
        own.length === 0 ||
        own.some(
          ({ spec: { nodeSelectors = [] } }) =>
            nodeSelectors.length === 0 || matchesAny(nodeSelectors, labels),
        )
      );
    })
    .map(({ name }) => name);
}

function interfacesFor(
  pool: AddressPool,
  advertisements: readonly Stored<L2Advertisement>[],
): readonly string[] {
  return [
    ...new Set(
      advertisements
        .filter(({ spec }) => selectsPool(spec, pool))
        .flatMap(({ spec }) => spec.interfaces ?? []),
    ),
  ];
}

export function selectsPool(
  {
    ipAddressPools = [],
    ipAddressPoolSelectors = [],
  }: Pick<L2Advertisement['spec'], 'ipAddressPools' | 'ipAddressPoolSelectors'>,
  { name, source }: AddressPool,
): boolean {
  if (ipAddressPools.length === 0 && ipAddressPoolSelectors.length === 0) return true;
  return ipAddressPools.includes(name) || matchesAny(ipAddressPoolSelectors, source.metadata.labels);
}
