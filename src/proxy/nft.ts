/**
 * Renders the model as the desired content of one nftables table of one address family, and the difference of two contents as a script for `nft -f -`, which applies it in one
 * transaction. Lookups use maps keyed by address, protocol and port, so the cost of a packet does not grow with the number of services.
 *
 *   prerouting, output ─► services ─► map service-ips / service-nodeports ─► svc-… (or ext-…) ─► random choice ─► ep-… ─► dnat
 *   forward, input, output (after dnat) ─► map no-endpoints ─► reject or drop            postrouting ─► marked? masquerade
 *   prerouting, output (before them) ─► map guarded-ips ─► gd-… ─► drop but for the ranges allowed
 *   forward, output (after dnat): still to a cluster address? a port that no Service has ─► reject; to one that no Service has (yet) ─► drop
 */
import { createHash } from 'node:crypto';
import { nftDifference, type NftContent, type NftDifference } from '#stdx/nft-difference.ts';
import type { EndpointTarget, ServicePortModel } from './model.ts';

/** The sets are affinity sets, with their timeout in seconds. */
export type TableContent = NftContent<number>;

/** What all services together add to the table. */
interface Networks {
  /** Ranges that cluster addresses are taken from, for instance 10.96.0.0/16. */
  readonly serviceCIDRs: readonly string[];
}

export interface RenderOptions {
  /** As nft names the address family. */
  readonly family: 'ip' | 'ip6';
  readonly table: string;
  /** Of this family. */
  readonly podCIDR: string;
  /** One bit of the packet mark, this cluster's own. */
  readonly mark: number;
}

/** nft's type of an address. */
const ADDRESS = { ip: 'ipv4_addr', ip6: 'ipv6_addr' } as const;

const AT_ADDRESS = ' . inet_proto . inet_service : verdict';
const AT_PORT = 'inet_proto . inet_service : verdict';
/** The type of each map's keys begins with an address, or does not. */
const MAPS: Readonly<Record<string, typeof AT_ADDRESS | typeof AT_PORT>> = {
  'guarded-ips': AT_ADDRESS,
  'service-ips': AT_ADDRESS,
  'service-nodeports': AT_PORT,
  'no-endpoints': AT_ADDRESS,
  'no-endpoints-nodeports': AT_PORT,
};

/** Sets of addresses. */
const SETS: readonly string[] = ['cluster-ips'];

/**
 * Drops packets to cluster addresses without a Service, or whose Service the proxy has not processed yet. If they left the machine, conntrack would keep an
 * untranslated entry, and later packets from the same port would bypass the Service for minutes. The client sends dropped packets again.
 */
const UNALLOCATED = 'unallocated';

export const MASQUERADE_MARK = 0x4000;

export function tableName(clusterId: string): string {
  return `capstan-services-${clusterId}`;
}

/** The static part: base chains, maps and helper chains. Replaces the whole table. */
export function renderBase({ family, table, mark }: RenderOptions): string {
  const keep = (0xffffffff & ~mark) >>> 0;
  // A packet with the source ::1 cannot leave the machine, so node ports are not served there, as upstream.
  const local = family === 'ip6' ? 'ip6 daddr != ::1 fib daddr type local' : 'fib daddr type local';
  return [
    `add table ${family} ${table}`,
    `delete table ${family} ${table}`,
    `table ${family} ${table} {`,
    ...Object.entries(MAPS).map(
      ([name, type]) => `  map ${name} { type ${type === AT_ADDRESS ? ADDRESS[family] : ''}${type}; }`,
    ),
    ...SETS.map((name) => `  set ${name} { type ${ADDRESS[family]}; }`),
    '  chain mark-for-masquerade {',
    `    meta mark set meta mark | ${hex(mark)}`,
    '  }',
    '  chain refuse {',
    '    meta l4proto tcp reject with tcp reset',
    '    reject',
    '  }',
    '  chain services {',
    `    ${family} daddr . meta l4proto . th dport vmap @service-ips`,
    `    ${local} meta l4proto . th dport vmap @service-nodeports`,
    '  }',
    '  chain unserved {',
    `    ${family} daddr . meta l4proto . th dport vmap @no-endpoints`,
    `    ${local} meta l4proto . th dport vmap @no-endpoints-nodeports`,
    '  }',
    `  chain ${UNALLOCATED} { }`,
    '  chain no-such-port {',
    `    ${family} daddr @cluster-ips goto refuse`,
    `    jump ${UNALLOCATED}`,
    '  }',
    '  chain guard {',
    `    ${family} daddr . meta l4proto . th dport vmap @guarded-ips`,
    '  }',
    ...(family === 'ip' ? LOOPBACK_CHAINS : []),
    '  chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }',
    '  chain nat-output { type nat hook output priority -100; jump services; }',
    '  chain nat-postrouting {',
    '    type nat hook postrouting priority srcnat;',
    `    meta mark & ${hex(mark)} == 0 return`,
    `    meta mark set meta mark & ${hex(keep)}`,
    '    masquerade fully-random',
    '  }',
    '  chain filter-prerouting { type filter hook prerouting priority -110; ct state new jump guard; }',
    '  chain filter-input { type filter hook input priority -110; ct state new jump unserved; }',
    '  chain filter-forward { type filter hook forward priority -110; ct state new jump unserved; ct state new jump no-such-port; }',
    '  chain filter-output { type filter hook output priority -110; ct state new jump guard; }',
    '  chain filter-output-translated { type filter hook output priority -90; ct state new jump unserved; ct state new jump no-such-port; }',
    '}',
    '',
  ].join('\n');
}

/** IPv4 only: of IPv6 the kernel itself drops packets with the loopback address that come from elsewhere. */
const LOOPBACK_CHAINS: readonly string[] = [
  // route_localnet accepts packets to 127.0.0.0/8 from any interface: only this machine may use such addresses.
  '  chain martians {',
  '    type filter hook prerouting priority raw;',
  '    iif != lo ip daddr 127.0.0.0/8 counter drop',
  '    iif != lo ip saddr 127.0.0.0/8 counter drop',
  '  }',
  // route_localnet is needed for node ports on 127.0.0.1; without this chain, neighbours on the link could reach programs that listen on loopback only.
  '  chain guard-loopback {',
  '    type filter hook input priority -120;',
  '    iifname "lo" accept',
  '    ct status dnat accept',
  '    ip saddr != 127.0.0.0/8 ip daddr 127.0.0.0/8 drop',
  '  }',
];

/** The content of the table after renderBase. */
export function emptyContent(): TableContent {
  return { chains: new Map([[UNALLOCATED, []]]), sets: new Map(), elements: noElements() };
}

function noElements(): Map<string, Map<string, string>> {
  return new Map([...Object.keys(MAPS), ...SETS].map((name) => [name, new Map<string, string>()]));
}

/** What one service port adds to the table. */
export interface RenderedPort {
  readonly chains: ReadonlyMap<string, readonly string[]>;
  readonly sets: ReadonlyMap<string, number>;
  readonly elements: readonly { readonly map: string; readonly key: string; readonly verdict: string }[];
}

/** `known` caches what was rendered before: most ports do not change between renders. */
export function renderContent(
  model: Iterable<ServicePortModel>,
  {
    serviceCIDRs,
    known = new WeakMap(),
    ...options
  }: RenderOptions & Networks & { readonly known?: WeakMap<ServicePortModel, RenderedPort> },
): TableContent {
  // One rule each: ranges may overlap, which a set does not take.
  const chains = new Map<string, readonly string[]>([
    [UNALLOCATED, [...new Set(serviceCIDRs)].sort().map((range) => `${options.family} daddr ${range} drop`)],
  ]);
  const sets = new Map<string, number>();
  const elements = noElements();
  for (const port of [...model].sort((a, b) => (a.key < b.key ? -1 : 1))) {
    let rendered = known.get(port);
    if (!rendered) known.set(port, (rendered = renderPort(port, options)));
    for (const [name, rules] of rendered.chains) chains.set(name, rules);
    for (const [name, seconds] of rendered.sets) sets.set(name, seconds);
    for (const { map, key, verdict } of rendered.elements) {
      const into = elements.get(map);
      // When two Services claim the same address and port, the first in order keeps it.
      if (into && !into.has(key)) into.set(key, verdict);
    }
  }
  return { chains, sets, elements };
}

function renderPort(port: ServicePortModel, { family, podCIDR }: RenderOptions): RenderedPort {
  const chains = new Map<string, readonly string[]>();
  const sets = new Map<string, number>();
  const elements: { map: string; key: string; verdict: string }[] = [];
  for (const target of new Map(
    [...port.clusterEndpoints, ...port.externalEndpoints].map((one) => [endpointChain(port, one), one]),
  ).values()) {
    if (port.affinitySeconds !== undefined) sets.set(affinitySet(port, target), port.affinitySeconds);
    chains.set(endpointChain(port, target), endpointRules(port, { target, family }));
  }
  renderAddresses(port, { chains, put: (map, entry) => elements.push({ map, ...entry }), family, podCIDR });
  return { chains, sets, elements };
}

interface Output {
  readonly chains: Map<string, readonly string[]>;
  readonly put: (map: string, entry: { readonly key: string; readonly verdict: string }) => void;
  readonly family: RenderOptions['family'];
  readonly podCIDR: string;
}

function renderAddresses(port: ServicePortModel, { chains, put, family, podCIDR }: Output): void {
  const at = (ip: string): string => `${ip} . ${port.protocol} . ${port.port}`;
  const cluster = `svc-${port.id}`;
  const external = `ext-${port.id}`;
  const unserved = port.anyEndpoints ? 'drop' : 'goto refuse';
  for (const ip of port.clusterIPs) put('cluster-ips', { key: ip, verdict: '' });
  if (port.guarded) {
    chains.set(`gd-${port.id}`, [
      ...port.guarded.ranges.map((range) => `${family} saddr ${range} return`),
      'drop',
    ]);
    for (const ip of port.guarded.ips) put('guarded-ips', { key: at(ip), verdict: `goto gd-${port.id}` });
  }
  if (port.clusterEndpoints.length > 0) {
    chains.set(cluster, [
      `${family} saddr != ${podCIDR} jump mark-for-masquerade`,
      ...chooseRules(port, { targets: port.clusterEndpoints, family }),
    ]);
    for (const ip of port.clusterIPs) put('service-ips', { key: at(ip), verdict: `goto ${cluster}` });
  } else for (const ip of port.clusterIPs) put('no-endpoints', { key: at(ip), verdict: unserved });
  if (port.externalIPs.length === 0 && port.nodePort === undefined) return;
  const rules = externalRules(port, { family, podCIDR, cluster });
  if (rules.length > 0) {
    chains.set(external, rules);
    for (const ip of port.externalIPs) put('service-ips', { key: at(ip), verdict: `goto ${external}` });
    if (port.nodePort !== undefined)
      put('service-nodeports', { key: `${port.protocol} . ${port.nodePort}`, verdict: `goto ${external}` });
  }
  // With policy Local and all pods elsewhere, what is not inside traffic comes here too.
  if (port.externalEndpoints.length === 0) {
    for (const ip of port.externalIPs) put('no-endpoints', { key: at(ip), verdict: unserved });
    if (port.nodePort !== undefined)
      put('no-endpoints-nodeports', { key: `${port.protocol} . ${port.nodePort}`, verdict: unserved });
  }
}

/** Policy Local keeps the client's address; the cluster's own traffic to an outside address is treated as inside traffic. */
function externalRules(
  port: ServicePortModel,
  { family, podCIDR, cluster }: Pick<Output, 'family' | 'podCIDR'> & { readonly cluster: string },
): string[] {
  const choose = (): string[] => chooseRules(port, { targets: port.externalEndpoints, family });
  if (!port.externalLocal)
    return port.externalEndpoints.length > 0 ? ['jump mark-for-masquerade', ...choose()] : [];
  const inside =
    port.clusterEndpoints.length > 0
      ? [`${family} saddr ${podCIDR} goto ${cluster}`, `fib saddr type local goto ${cluster}`]
      : [];
  return port.externalEndpoints.length > 0 ? [...inside, ...choose()] : inside;
}

function chooseRules(
  port: ServicePortModel,
  { targets, family }: Pick<Output, 'family'> & { readonly targets: readonly EndpointTarget[] },
): string[] {
  const remembered =
    port.affinitySeconds === undefined
      ? []
      : targets.map(
          (target) => `${family} saddr @${affinitySet(port, target)} goto ${endpointChain(port, target)}`,
        );
  if (targets.length === 1 && targets[0]) return [...remembered, `goto ${endpointChain(port, targets[0])}`];
  const choices = targets.map((target, index) => `${index} : goto ${endpointChain(port, target)}`);
  // While this rule is replaced, a packet may find its map empty already. Without the last rule it would leave the chain and be rejected.
  return [
    ...remembered,
    `numgen random mod ${targets.length} vmap { ${choices.join(', ')} }`,
    `goto ${endpointChain(port, targets[0]!)}`,
  ];
}

/** Hairpin: a pod that reaches itself through its Service must see another source address than its own. */
function endpointRules(
  port: ServicePortModel,
  { target, family }: Pick<Output, 'family'> & { readonly target: EndpointTarget },
): string[] {
  const at = family === 'ip6' ? `[${target.ip}]` : target.ip;
  return [
    `${family} saddr ${target.ip} jump mark-for-masquerade`,
    ...(port.affinitySeconds === undefined
      ? []
      : [`update @${affinitySet(port, target)} { ${family} saddr }`]),
    `meta l4proto ${port.protocol} dnat to ${at}:${target.port}`,
  ];
}

function endpointChain(port: ServicePortModel, target: EndpointTarget): string {
  return `ep-${port.id}-${createHash('sha256').update(`${target.ip}:${target.port}`).digest('hex').slice(0, 8)}`;
}

/** A set's timeout cannot be changed: another timeout is another set. */
function affinitySet(port: ServicePortModel, target: EndpointTarget): string {
  return `af${endpointChain(port, target).slice(2)}-${port.affinitySeconds}`;
}

export function renderDifference(
  { family, table }: RenderOptions,
  change: { readonly from: TableContent; readonly to: TableContent },
): NftDifference {
  const declare = (seconds: number): string =>
    `type ${ADDRESS[family]}; flags dynamic,timeout; timeout ${seconds}s;`;
  return nftDifference({ family, table, declare }, change);
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(8, '0')}`;
}
