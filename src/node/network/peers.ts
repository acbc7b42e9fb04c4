/**
 * Computes from the Nodes the kernel state by which this machine's pods reach those of other nodes: for each range of each other node a route, directly to
 * the node's address of that family where it is on the same segment, else through VXLAN; or through WireGuard to all. Pure; pod-network.ts acts.
 *
 * With WireGuard every range is routed to its device, also one whose node has no usable key: the device drops what has no peer, so nothing leaves unencrypted.
 *
 * One VXLAN device carries both families, over the family of this node's first address. Each endpoint has the first address of each of its node's ranges,
 * and a MAC address derived from the first range, so nothing is learned or announced.
 */
import { createHash } from 'node:crypto';
import { isIPv6 } from 'node:net';
import type { Node } from '#api/types.ts';
import { formatCIDR, formatIP, parseCIDR, parseIP } from '#machinery/ip.ts';

/** auto: direct on a shared segment, else VXLAN. */
export type PodNetworkMode = 'auto' | 'direct' | 'vxlan' | 'wireguard';

/** On a Node: its WireGuard key, base64. */
export const WIREGUARD_KEY = 'network.capstan.dev/wireguard-public-key';

/** 32 bytes in base64, as wg(8) takes them: for another text it refuses the peers of all nodes. */
const KEY = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;

export interface Peer {
  readonly nodeName: string;
  /** At most one of each family. */
  readonly addresses: readonly string[];
  readonly podCIDRs: readonly string[];
  /** Absent: the node is not in mode wireguard. */
  readonly publicKey?: string | undefined;
}

interface WireguardPeer {
  readonly publicKey: string;
  readonly address: string;
}

export interface Route {
  readonly podCIDR: string;
  /** Absent: the WireGuard device finds the peer by the range. */
  readonly via?: string | undefined;
  readonly dev: string;
  /** VXLAN: where the packets for `via` go. */
  readonly tunnel?: { readonly mac: string; readonly address: string };
  /** WireGuard: the peer; without one the device drops packets of this range. */
  readonly wireguard?: WireguardPeer | undefined;
}

/** What the mode adds to a packet between these addresses: an Ethernet frame in VXLAN, or WireGuard's header, each in UDP. */
export function overheadBytes(mode: PodNetworkMode, nodeAddress: string): number {
  if (mode === 'direct') return 0;
  const [v4, v6] = mode === 'wireguard' ? [60, 80] : [50, 70];
  return isIPv6(nodeAddress) ? v6 : v4;
}

/** The other nodes that have a range and an address. */
export function computePeers(
  nodes: readonly Node[],
  { nodeName, ownAddresses }: { readonly nodeName: string; readonly ownAddresses: ReadonlySet<string> },
): Peer[] {
  return nodes.flatMap(({ metadata, spec, status }) => {
    const name = metadata?.name ?? '';
    const podCIDRs = (spec?.podCIDRs ?? (spec?.podCIDR ? [spec.podCIDR] : [])).flatMap((range) => {
      const block = parseCIDR(range);
      return block ? [formatCIDR(block)] : [];
    });
    const internal = (status?.addresses ?? []).flatMap(({ type, address }) => {
      const parsed = type === 'InternalIP' ? parseIP(address) : undefined;
      return parsed ? [formatIP(parsed)] : [];
    });
    const addresses = [false, true].flatMap((six) => internal.find((ip) => isIPv6(ip) === six) ?? []);
    // Another node of this very machine is reached through its own bridge.
    if (name === nodeName || podCIDRs.length === 0 || addresses.length === 0) return [];
    if (addresses.some((ip) => ownAddresses.has(ip))) return [];
    const publicKey = metadata?.annotations?.[WIREGUARD_KEY];
    return [{ nodeName: name, addresses, podCIDRs, ...(publicKey === undefined ? {} : { publicKey }) }];
  });
}

interface Segment {
  readonly mode: PodNetworkMode;
  readonly overlay: string;
  /** This node's first: tunnels lead to addresses of its family. */
  readonly nodeAddress: string;
  /** This node's: ranges of other families have no pods here. */
  readonly podCIDRs: readonly string[];
  /** The device by which this address is on the same segment; undefined: it is behind a router. */
  readonly onLink: (address: string) => string | undefined;
  /** This node's, in mode wireguard. */
  readonly publicKey?: string | undefined;
}

/** At least one of them. */
interface Found {
  readonly route?: Route;
  /** One sentence: why the node cannot be reached. */
  readonly problem?: string | undefined;
}

/** Of two nodes with one range the first by name has it: the allocator does not let that happen. Of two with one WireGuard key, too: a copied disk. */
export function routesTo(
  peers: readonly Peer[],
  segment: Segment,
): {
  readonly routes: readonly Route[];
  /** Nodes that cannot be reached, one sentence each. */
  readonly problems: readonly string[];
} {
  const routes = new Map<string, Route>();
  const problems = new Set<string>();
  const sorted = peers.toSorted((a, b) => (a.nodeName < b.nodeName ? -1 : 1));
  const keyOwners = new Map(sorted.toReversed().map(({ publicKey, nodeName }) => [publicKey, nodeName]));
  for (const peer of sorted)
    for (const podCIDR of peer.podCIDRs) {
      if (!segment.podCIDRs.some((own) => isIPv6Range(own) === isIPv6Range(podCIDR))) continue;
      const { route, problem } = routes.has(podCIDR)
        ? { problem: `the pod range ${podCIDR} of node ${peer.nodeName} is another node's too` }
        : routeTo(podCIDR, { peer, segment, keyOwners });
      if (problem !== undefined) problems.add(problem);
      if (route) routes.set(podCIDR, route);
    }
  return { routes: [...routes.values()], problems: [...problems] };
}

interface Context {
  readonly peer: Peer;
  readonly segment: Segment;
  /** Names of nodes. */
  readonly keyOwners: ReadonlyMap<string | undefined, string>;
}

function routeTo(podCIDR: string, context: Context): Found {
  if (context.segment.mode === 'wireguard') return wireguardRoute(podCIDR, context);
  const { nodeName, publicKey } = context.peer;
  if (publicKey !== undefined)
    return {
      problem: `node ${nodeName} has --pod-network wireguard, this node ${context.segment.mode}: it is the same on all nodes`,
    };
  const found = plainRoute(podCIDR, context);
  return typeof found === 'string' ? { problem: found } : { route: found };
}

/** A text is why there is none. */
function plainRoute(podCIDR: string, { peer, segment }: Context): Route | string {
  const { nodeName, addresses, podCIDRs } = peer;
  const { mode, overlay, onLink, nodeAddress } = segment;
  const near = addresses.find((ip) => isIPv6(ip) === isIPv6Range(podCIDR));
  const dev = near === undefined || mode === 'vxlan' ? undefined : onLink(near);
  if (near !== undefined && dev !== undefined) return { podCIDR, via: near, dev };
  if (mode === 'direct')
    return near === undefined
      ? `node ${nodeName} has no address of the family of its pod range ${podCIDR}: --pod-network direct has no route to its pods`
      : `node ${nodeName} (${near}) is not on this segment: --pod-network direct has no route to its pods`;
  const address = tunnelAddress(peer, nodeAddress);
  if (address === undefined) return lacksFamily(nodeName, nodeAddress);
  return {
    podCIDR,
    via: computeEndpoint(podCIDR),
    dev: overlay,
    tunnel: { mac: deriveMac(podCIDRs), address },
  };
}

function tunnelAddress({ addresses }: Peer, nodeAddress: string): string | undefined {
  return addresses.find((ip) => isIPv6(ip) === isIPv6(nodeAddress));
}

function lacksFamily(nodeName: string, nodeAddress: string): string {
  return `node ${nodeName} has no address of the family of ${nodeAddress}, which tunnels of this node begin at`;
}

function wireguardRoute(podCIDR: string, context: Context): Found {
  const wireguard = wireguardPeer(context);
  const route = { podCIDR, dev: context.segment.overlay };
  return typeof wireguard === 'string' ? { route, problem: wireguard } : { route: { ...route, wireguard } };
}

/** A text is why there is none. */
function wireguardPeer({ peer, segment, keyOwners }: Context): WireguardPeer | string {
  const { publicKey, nodeName } = peer;
  const address = tunnelAddress(peer, segment.nodeAddress);
  if (publicKey === undefined)
    return `node ${nodeName} has no annotation ${WIREGUARD_KEY}: start it with --pod-network wireguard`;
  if (!KEY.test(publicKey)) return `the annotation ${WIREGUARD_KEY} of node ${nodeName} is no WireGuard key`;
  const owner = publicKey === segment.publicKey ? 'this node' : keyOwners.get(publicKey);
  if (owner !== nodeName)
    return `node ${nodeName} has the same WireGuard key as ${owner === 'this node' ? owner : `node ${owner}`}: remove wireguard.key in its data directory and restart it`;
  return address === undefined ? lacksFamily(nodeName, segment.nodeAddress) : { publicKey, address };
}

/** The VXLAN endpoint of a node in one family: the first address of its range, which no pod gets. */
export function computeEndpoint(podCIDR: string): string {
  return podCIDR.split('/')[0] ?? '';
}

/** Of a node's VXLAN device: locally administered, one for each first range. */
export function deriveMac([podCIDR = '']: readonly string[]): string {
  const endpoint = computeEndpoint(podCIDR);
  const tail = isIPv6(endpoint)
    ? [...createHash('sha256').update(endpoint).digest().subarray(0, 5)]
    : [0x58, ...endpoint.split('.').map(Number)];
  return [0x0a, ...tail].map((octet) => octet.toString(16).padStart(2, '0')).join(':');
}

function isIPv6Range(range: string): boolean {
  return isIPv6(computeEndpoint(range));
}
