/**
 * Kernel state of the pod network: the device of tunnels, routes, and route lookups. Our routes are identified by their protocol number and a metric of the
 * node (two nodes may share a machine), so that no other route is changed or removed.
 */
import { existsSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { ContainerdError } from '../containerd/errors.ts';
import type { ContainerdLayout } from '../containerd/layout.ts';
import { run } from '../containerd/run.ts';
import { computeEndpoint, deriveMac, overheadBytes, type PodNetworkMode, type Route } from './peers.ts';

/** The number that `ip route` shows for our routes. */
const ROUTE_PROTOCOL = 201;
const VXLAN_PORT = 4789;
const DEFAULT_MTU = 1_500;
/** IPv6 needs so much. */
const LEAST_MTU = 1_280;
const MOST_MTU = 65_485;

export type NetworkNames = Pick<ContainerdLayout, 'id' | 'overlay' | 'bridge' | 'tunnelTable'>;

function routeMetric({ id }: NetworkNames): number {
  return 0x10000 + Number.parseInt(id.slice(0, 4), 16);
}

export function ownAddresses(): ReadonlySet<string> {
  return new Set(
    Object.values(networkInterfaces()).flatMap((found) => (found ?? []).map(({ address }) => address)),
  );
}

/** What fits into a packet between nodes. Devices are asked of `ip`, not of /sys, which may show another network namespace's. */
export async function podMtu(nodeAddress: string, mode: PodNetworkMode): Promise<number> {
  const links = await show<{
    readonly mtu?: number;
    readonly addr_info?: readonly { readonly local?: string }[];
  }>(['ip', '-json', 'address', 'show']);
  const uplink = links.find(({ addr_info: addresses }) =>
    addresses?.some(({ local }) => local === nodeAddress),
  );
  const usable = (uplink?.mtu ?? DEFAULT_MTU) - overheadBytes(mode, nodeAddress);
  // The loopback's is larger than any device takes.
  return Math.min(Math.max(usable, LEAST_MTU), MOST_MTU);
}

interface OverlayOptions {
  readonly mode: PodNetworkMode;
  readonly podCIDRs: readonly string[];
  readonly nodeAddress: string;
  readonly vxlanId: number;
  readonly mtu: number;
}

/** Idempotent; a device that differs is recreated. Throws ContainerdError 'network'. */
export async function ensureOverlay({ overlay }: NetworkNames, options: OverlayOptions): Promise<void> {
  const { podCIDRs, mtu } = options;
  if (!(await isAsWanted(overlay, options))) {
    await ip(['link', 'delete', overlay], 'Cannot find device');
    await ip(`link add ${overlay} ${describeDevice(options)}`.split(' '));
  }
  await ip(['link', 'set', overlay, 'mtu', String(mtu), 'up']);
  // What is translated on its way into the tunnel gets this address, so that answers come back through it.
  for (const endpoint of podCIDRs.map(computeEndpoint))
    await ip(
      isIPv6(endpoint)
        ? ['address', 'replace', `${endpoint}/128`, 'dev', overlay, 'nodad']
        : ['address', 'replace', `${endpoint}/32`, 'dev', overlay],
    );
}

function describeDevice({ mode, podCIDRs, nodeAddress, vxlanId }: OverlayOptions): string {
  if (mode === 'wireguard') return 'type wireguard';
  return `address ${deriveMac(podCIDRs)} type vxlan id ${vxlanId} local ${nodeAddress} dstport ${VXLAN_PORT} nolearning`;
}

interface LinkDetails {
  readonly address?: string;
  readonly linkinfo?: {
    readonly info_kind?: string;
    readonly info_data?: {
      readonly id?: number;
      readonly local?: string;
      readonly local6?: string;
      readonly port?: number;
      readonly learning?: boolean;
    };
  };
}

async function isAsWanted(
  overlay: string,
  { mode, podCIDRs, nodeAddress, vxlanId }: OverlayOptions,
): Promise<boolean> {
  const link = await linkOf(overlay);
  if (mode === 'wireguard') return link?.linkinfo?.info_kind === 'wireguard';
  const data = link?.linkinfo?.info_data;
  return (
    link?.address === deriveMac(podCIDRs) &&
    data?.id === vxlanId &&
    (data.local ?? data.local6) === nodeAddress &&
    data.port === VXLAN_PORT &&
    data.learning === false
  );
}

async function linkOf(name: string): Promise<LinkDetails | undefined> {
  const { code, stdout } = await run(['ip', '-json', '-details', 'link', 'show', 'dev', name]);
  return code === 0 ? (JSON.parse(stdout) as LinkDetails[])[0] : undefined;
}

/** The device by which each of these addresses is on the same segment; others are left out. */
export async function onLinkDevices(addresses: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  for (const address of addresses) {
    const { code, stdout } = await run(['ip', '-json', 'route', 'get', address]);
    if (code !== 0) continue;
    const [route] = JSON.parse(stdout) as {
      readonly gateway?: string;
      readonly via?: unknown;
      readonly dev?: string;
      readonly type?: string;
    }[];
    if (
      route?.dev !== undefined &&
      route.gateway === undefined &&
      route.via === undefined &&
      route.type !== 'local'
    )
      found.set(address, route.dev);
  }
  return found;
}

interface KernelRoute {
  readonly dst?: string;
  readonly gateway?: string;
  readonly dev?: string;
  readonly metric?: number;
}
interface KernelNeighbour {
  readonly dst?: string;
  readonly lladdr?: string;
  readonly state?: readonly string[];
}
interface KernelForward {
  readonly mac?: string;
  readonly dst?: string;
}

/** Makes the kernel have these routes and no other of ours. Returns how much was changed. Throws ContainerdError 'network'. */
export async function applyRoutes(names: NetworkNames, routes: readonly Route[]): Promise<number> {
  const overlayIsThere = (await linkOf(names.overlay)) !== undefined;
  const [kernel, kernel6, neighbours, forwards] = await Promise.all([
    show<KernelRoute>(['ip', '-json', 'route', 'show', 'proto', String(ROUTE_PROTOCOL)]),
    existsSync('/proc/net/ipv6_route')
      ? show<KernelRoute>(['ip', '-6', '-json', 'route', 'show', 'proto', String(ROUTE_PROTOCOL)])
      : [],
    overlayIsThere ? show<KernelNeighbour>(['ip', '-json', 'neigh', 'show', 'dev', names.overlay]) : [],
    overlayIsThere ? show<KernelForward>(['bridge', '-json', 'fdb', 'show', 'dev', names.overlay]) : [],
  ]);
  const own = [...kernel, ...kernel6].filter(({ metric }) => metric === routeMetric(names));
  const tunnels = routes.filter((route) => route.tunnel);
  const commands = [
    ...neighbourCommands(names, { neighbours, tunnels }),
    ...routeCommands(names, { own, routes }),
  ];
  const forwardCommands = fdbCommands(names, { forwards, tunnels });
  await batch('bridge', forwardCommands);
  await batch('ip', commands);
  return commands.length + forwardCommands.length;
}

function routeCommands(
  names: NetworkNames,
  { own, routes }: { readonly own: readonly KernelRoute[]; readonly routes: readonly Route[] },
): string[] {
  const metric = routeMetric(names);
  const text = ({ podCIDR, via, dev }: Route): string => `${podCIDR} ${via} ${dev}`;
  const there = new Set(own.map(({ dst, gateway, dev }) => `${dst} ${gateway} ${dev}`));
  const wanted = new Set(routes.map(({ podCIDR }) => podCIDR));
  const changed = routes.filter((route) => !there.has(text(route)));
  // The kernel refuses a changed device in an IPv6 route through the gateway's own range: the old route goes first.
  const replaced = new Set(
    changed.map(({ podCIDR }) => podCIDR).filter((podCIDR) => isIPv6(podCIDR.split('/')[0] ?? '')),
  );
  return [
    ...own
      .filter(({ dst }) => !wanted.has(dst ?? '') || replaced.has(dst ?? ''))
      .map(({ dst }) => `route delete ${dst} proto ${ROUTE_PROTOCOL} metric ${metric}`),
    ...changed.map(
      ({ podCIDR, via, dev, tunnel }) =>
        `route replace ${podCIDR}${via === undefined ? '' : ` via ${via}`} dev ${dev}${tunnel ? ' onlink' : ''} proto ${ROUTE_PROTOCOL} metric ${metric}`,
    ),
  ];
}

function neighbourCommands(
  { overlay }: NetworkNames,
  {
    neighbours,
    tunnels,
  }: { readonly neighbours: readonly KernelNeighbour[]; readonly tunnels: readonly Route[] },
): string[] {
  const permanent = neighbours.filter(({ state }) => state?.includes('PERMANENT'));
  const there = new Set(permanent.map(({ dst, lladdr }) => `${dst} ${lladdr}`));
  const wanted = new Set(tunnels.map(({ via }) => via));
  return [
    ...permanent
      .filter(({ dst }) => !wanted.has(dst ?? ''))
      .map(({ dst }) => `neigh delete ${dst} dev ${overlay}`),
    ...tunnels
      .filter(({ via, tunnel }) => !there.has(`${via} ${tunnel?.mac}`))
      .map(({ via, tunnel }) => `neigh replace ${via} lladdr ${tunnel?.mac} dev ${overlay} nud permanent`),
  ];
}

function fdbCommands(
  { overlay }: NetworkNames,
  { forwards, tunnels }: { readonly forwards: readonly KernelForward[]; readonly tunnels: readonly Route[] },
): string[] {
  const text = (mac: string | undefined, dst: string | undefined): string => `${mac} ${dst}`;
  const there = new Set(forwards.map(({ mac, dst }) => text(mac, dst)));
  // Routes of both families lead to one endpoint.
  const wanted = new Map(tunnels.map(({ tunnel }) => [text(tunnel?.mac, tunnel?.address), tunnel]));
  return [
    ...forwards
      .filter(({ mac, dst }) => dst !== undefined && !wanted.has(text(mac, dst)))
      .map(({ mac, dst }) => `fdb delete ${mac} dev ${overlay} dst ${dst}`),
    ...[...wanted]
      .filter(([key]) => !there.has(key))
      .map(([, tunnel]) => `fdb append ${tunnel?.mac} dev ${overlay} dst ${tunnel?.address} self permanent`),
  ];
}

/** Our routes and the VXLAN device. Returns what could not be removed, one sentence each. */
export async function removePodNetwork(names: NetworkNames): Promise<string[]> {
  try {
    await applyRoutes(names, []);
    if (await linkOf(names.overlay)) await ip(['link', 'delete', names.overlay]);
    return [];
  } catch (error) {
    return [(error as Error).message];
  }
}

async function show<T>(command: readonly [string, ...string[]]): Promise<T[]> {
  const { code, stdout, stderr } = await run(command);
  if (code !== 0) throw failure(command.join(' '), { code, stderr });
  return stdout.trim() === '' ? [] : (JSON.parse(stdout) as T[]);
}

async function batch(tool: 'ip' | 'bridge', commands: readonly string[]): Promise<void> {
  if (commands.length === 0) return;
  // One that fails (its device is gone, say) does not keep the others from being done.
  const { code, stderr } = await run([tool, '-force', '-batch', '-'], { input: `${commands.join('\n')}\n` });
  if (code !== 0) throw failure(`${tool} -batch`, { code, stderr });
}

async function ip(words: readonly string[], ...fine: readonly string[]): Promise<void> {
  const { code, stderr } = await run(['ip', ...words]);
  if (code === 0 || fine.some((text) => stderr.includes(text))) return;
  if (stderr.includes('Unknown device type'))
    throw new ContainerdError(
      'network',
      words.includes('wireguard')
        ? 'the kernel has no WireGuard: use --pod-network auto on all nodes, or a kernel with the module wireguard'
        : 'the kernel has no VXLAN: use --pod-network direct where nodes share a segment',
    );
  throw failure(`ip ${words.join(' ')}`, { code, stderr });
}

function failure(
  what: string,
  { code, stderr }: { readonly code: number | undefined; readonly stderr: string },
): ContainerdError {
  return code === undefined
    ? new ContainerdError('network', 'ip and bridge are not installed: apt-get install iproute2')
    : new ContainerdError('network', `${what} failed: ${stderr.trim()}`);
}
