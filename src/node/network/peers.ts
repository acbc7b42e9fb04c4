/**
 * Computes from the Nodes the kernel state by which this machine's pods reach those of other nodes: a route for each other node's range, directly to the
 * node on the same segment, else through VXLAN. IPv4. Pure; pod-network.ts acts.
 *
 * Each VXLAN endpoint has the first address of its node's range, and a MAC address derived from it, so nothing is learned or announced.
 */
import { isIPv4 } from 'node:net';
import type { Node } from '#api/types.ts';

/** auto: direct on a shared segment, else VXLAN. */
export type PodNetworkMode = 'auto' | 'direct' | 'vxlan';

interface Peer {
  readonly nodeName: string;
  readonly address: string;
  readonly podCIDR: string;
}

export interface Route {
  readonly podCIDR: string;
  readonly via: string;
  readonly dev: string;
  /** VXLAN: where the packets for `via` go. */
  readonly tunnel?: { readonly mac: string; readonly address: string };
}

/** Of an Ethernet frame in VXLAN in UDP in IPv4. */
export const VXLAN_OVERHEAD_BYTES = 50;

/** The other nodes that have a range and an address, both IPv4. */
export function computePeers(
  nodes: readonly Node[],
  { nodeName, ownAddresses }: { readonly nodeName: string; readonly ownAddresses: ReadonlySet<string> },
): Peer[] {
  return nodes.flatMap((node) => {
    const name = node.metadata?.name ?? '';
    const ranges = node.spec?.podCIDRs ?? (node.spec?.podCIDR ? [node.spec.podCIDR] : []);
    const podCIDR = ranges.find((range) => isIPv4Range(range));
    const address = node.status?.addresses?.find(
      (one) => one.type === 'InternalIP' && isIPv4(one.address),
    )?.address;
    // Another node of this very machine is reached through its own bridge.
    if (name === nodeName || podCIDR === undefined || address === undefined || ownAddresses.has(address))
      return [];
    return [{ nodeName: name, address, podCIDR }];
  });
}

interface Segment {
  readonly mode: PodNetworkMode;
  readonly overlay: string;
  /** The device by which this address is on the same segment; undefined: it is behind a router. */
  readonly onLink: (address: string) => string | undefined;
}

/** Of two nodes with one range the first by name has it: the allocator does not let that happen. */
export function routesTo(
  peers: readonly Peer[],
  { mode, overlay, onLink }: Segment,
): {
  readonly routes: readonly Route[];
  /** Nodes that cannot be reached, one sentence each. */
  readonly problems: readonly string[];
} {
  const routes = new Map<string, Route>();
  const problems: string[] = [];
  for (const { nodeName, address, podCIDR } of peers.toSorted((a, b) => (a.nodeName < b.nodeName ? -1 : 1))) {
    if (routes.has(podCIDR)) {
      problems.push(`the pod range ${podCIDR} of node ${nodeName} is another node's too`);
      continue;
    }
    const dev = mode === 'vxlan' ? undefined : onLink(address);
    if (dev !== undefined) routes.set(podCIDR, { podCIDR, via: address, dev });
    else if (mode === 'direct')
      problems.push(
        `node ${nodeName} (${address}) is not on this segment: --pod-network direct has no route to its pods`,
      );
    else {
      const via = computeEndpoint(podCIDR);
      routes.set(podCIDR, { podCIDR, via, dev: overlay, tunnel: { mac: deriveMac(via), address } });
    }
  }
  return { routes: [...routes.values()], problems };
}

/** The VXLAN endpoint of a node: the first address of its range, which no pod gets. */
export function computeEndpoint(podCIDR: string): string {
  return podCIDR.split('/')[0] ?? '';
}

/** Locally administered, one for each IPv4 address. */
export function deriveMac(address: string): string {
  const octets = address.split('.').map((octet) => Number(octet).toString(16).padStart(2, '0'));
  return ['0a', '58', ...octets].join(':');
}

function isIPv4Range(range: string): boolean {
  return isIPv4(range.split('/')[0] ?? '');
}
