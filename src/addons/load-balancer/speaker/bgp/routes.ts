/** Which prefixes a node announces to which peer, with which attributes. Pure. */
import type { EndpointSlice, Node, Service } from '#api/types.ts';
import { formatIP, parseCIDR, parseIP } from '#machinery/ip.ts';
import type { Stored } from '#machinery/object.ts';
import type { BGPAdvertisement, Community } from '../../bgp-api.ts';
import { matchesAny, type AddressPool } from '../../pools.ts';
import { announcedAddresses, isExcluded, isServedFrom, selectsPool } from '../elect.ts';

export interface RouteAttributes {
  readonly localPref: number | undefined;
  /** '64512:100' and 'large:64512:1:2', sorted. */
  readonly communities: readonly string[];
}

interface RoutesInput {
  readonly node: Stored<Node>;
  readonly services: readonly Stored<Service>[];
  readonly slicesOf: (service: Service) => readonly EndpointSlice[];
  readonly pools: readonly AddressPool[];
  readonly advertisements: readonly Stored<BGPAdvertisement>[];
  readonly communities: readonly Stored<Community>[];
  /** Names of those that this node has a session with. */
  readonly peers: readonly string[];
}

interface Routes {
  /** By the peer's name and the prefix. */
  readonly ofPeer: ReadonlyMap<string, ReadonlyMap<string, RouteAttributes>>;
  /** By address: the first Service that has it, and the peers that are told. */
  readonly announced: ReadonlyMap<
    string,
    { readonly service: Stored<Service>; readonly peers: readonly string[] }
  >;
  /** What cannot be announced as an advertisement says: a sentence by the advertisement's name. */
  readonly problems: ReadonlyMap<string, string>;
}

const COMMUNITY = /^(\d{1,5}):(\d{1,5})$/;
const LARGE_COMMUNITY = /^large:(\d{1,10}):(\d{1,10}):(\d{1,10})$/;

export function computeRoutes(input: RoutesInput): Routes {
  const ofPeer = new Map<string, Map<string, RouteAttributes>>(input.peers.map((peer) => [peer, new Map()]));
  const announced = new Map<string, { service: Stored<Service>; peers: string[] }>();
  const problems = new Map<string, string>();
  if (isExcluded(input.node)) return { ofPeer, announced, problems };
  const advertisements = input.advertisements.filter(
    ({ spec: { nodeSelectors = [] } = {} }) =>
      nodeSelectors.length === 0 || matchesAny(nodeSelectors, input.node.metadata.labels),
  );
  for (const [address, { pool, services }] of announcedAddresses(input)) {
    const [service] = services;
    if (
      !service ||
      !services.every((one) => isServedFrom(input.node.metadata.name, { ...input, service: one, address }))
    )
      continue;
    for (const advertisement of advertisements.filter(({ spec }) => selectsPool(spec ?? {}, pool))) {
      const found = prefixAndAttributes(advertisement, { address, pool, communities: input.communities });
      if ('problem' in found) {
        problems.set(advertisement.metadata.name, found.problem);
        continue;
      }
      const chosen = advertisement.spec?.peers ?? [];
      for (const peer of input.peers.filter((name) => chosen.length === 0 || chosen.includes(name))) {
        const routes = ofPeer.get(peer)!;
        routes.set(found.prefix, merge(routes.get(found.prefix), found.attributes));
        const known = announced.get(address);
        if (!known) announced.set(address, { service, peers: [peer] });
        else if (!known.peers.includes(peer)) known.peers.push(peer);
      }
    }
  }
  return { ofPeer, announced, problems };
}

interface PrefixInput {
  readonly address: string;
  readonly pool: AddressPool;
  readonly communities: readonly Stored<Community>[];
}

function prefixAndAttributes(
  { spec = {} }: Stored<BGPAdvertisement>,
  { address, pool, communities }: PrefixInput,
): { prefix: string; attributes: RouteAttributes } | { problem: string } {
  const { family } = parseIP(address)!;
  const length = family === 4 ? (spec.aggregationLength ?? 32) : (spec.aggregationLengthV6 ?? 128);
  const { network } = parseCIDR(`${address}/${length}`)!;
  const last = network + (1n << BigInt((family === 4 ? 32 : 128) - length)) - 1n;
  const prefix = `${formatIP({ family, bits: network })}/${length}`;
  const name = family === 4 ? 'IPv4' : 'IPv6';
  // Somebody else's addresses would be drawn here, too.
  if (!pool.ranges.some((range) => range.family === name && range.first <= network && last <= range.last))
    return {
      problem: `${prefix} is not whole in IPAddressPool ${pool.name}: its aggregation length is too short`,
    };
  const values: string[] = [];
  for (const text of spec.communities ?? []) {
    const value = communityValue(text, communities);
    if (value === undefined)
      return {
        problem: `community "${text}" is neither like 64512:100 or large:64512:1:2 nor the name of one of a Community`,
      };
    values.push(value);
  }
  return { prefix, attributes: { localPref: spec.localPref, communities: sorted(values) } };
}

function communityValue(text: string, communities: readonly Stored<Community>[]): string | undefined {
  const alias = communities
    .flatMap(({ spec }) => spec.communities ?? [])
    .find(({ name }) => name === text)?.value;
  const value = alias ?? text;
  const isWithin = (numbers: readonly string[], limit: number): boolean =>
    numbers.every((number) => Number(number) <= limit);
  const short = COMMUNITY.exec(value);
  if (short) return isWithin(short.slice(1), 0xffff) ? value : undefined;
  const large = LARGE_COMMUNITY.exec(value);
  return large && isWithin(large.slice(1), 0xffffffff) ? value : undefined;
}

/** Of two advertisements for one prefix: all communities, and the higher preference. */
function merge(before: RouteAttributes | undefined, after: RouteAttributes): RouteAttributes {
  if (!before) return after;
  const preferences = [before.localPref, after.localPref].filter((one) => one !== undefined);
  return {
    localPref: preferences.length > 0 ? Math.max(...preferences) : undefined,
    communities: sorted([...before.communities, ...after.communities]),
  };
}

function sorted(values: readonly string[]): string[] {
  return [...new Set(values)].sort();
}
