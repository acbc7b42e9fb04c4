/**
 * Peer-aggregated discovery: this server's groups and those of its peers in one list, each server's own order kept where the servers agree, after upstream's
 * SortDiscoveryGroupsTopo. What this server serves itself it describes itself.
 */
type Entry = Readonly<Record<string, unknown>>;

interface DiscoveredVersion {
  readonly version: string;
  readonly resources: readonly Entry[];
  readonly freshness: string;
}

/** APIGroupDiscovery. */
export interface DiscoveredGroup {
  readonly metadata: { readonly name?: string };
  readonly versions: readonly DiscoveredVersion[];
}

/** Of one peer; resources by name. */
export type PeerGroups = readonly {
  readonly name: string;
  readonly versions: readonly {
    readonly version: string;
    readonly resources: ReadonlyMap<string, Entry>;
    readonly freshness: string;
  }[];
}[];

export function mergePeerGroups(
  own: readonly DiscoveredGroup[],
  peers: readonly PeerGroups[],
): readonly DiscoveredGroup[] {
  const lists = [own, ...peers.map((groups) => groups.filter(({ name }) => name !== '').map(asGroup))];
  return mergeNamed(lists, { nameOf: ({ metadata }) => metadata.name ?? '', merge: mergeGroups });
}

function asGroup({ name, versions }: PeerGroups[number]): DiscoveredGroup {
  return {
    metadata: { name },
    versions: versions.map(({ version, resources, freshness }) => ({
      version,
      resources: [...resources.values()],
      freshness,
    })),
  };
}

function mergeGroups(one: DiscoveredGroup, other: DiscoveredGroup): DiscoveredGroup {
  const nameOf = ({ version }: DiscoveredVersion): string => version;
  return { ...one, versions: mergeNamed([one.versions, other.versions], { nameOf, merge: mergeVersions }) };
}

function mergeVersions(one: DiscoveredVersion, other: DiscoveredVersion): DiscoveredVersion {
  const nameOf = ({ resource }: Entry): string => String(resource);
  const merge = (own: Entry): Entry => own;
  return { ...one, resources: mergeNamed([one.resources, other.resources], { nameOf, merge }) };
}

interface Merging<T> {
  readonly nameOf: (one: T) => string;
  readonly merge: (one: T, other: T) => T;
}

function mergeNamed<T>(lists: readonly (readonly T[])[], { nameOf, merge }: Merging<T>): T[] {
  const merged = new Map<string, T>();
  for (const one of lists.flat()) {
    const before = merged.get(nameOf(one));
    merged.set(nameOf(one), before === undefined ? one : merge(before, one));
  }
  return commonOrder(lists.map((list) => list.map(nameOf))).map((name) => merged.get(name)!);
}

/** An order that keeps that of each list; where lists contradict each other, the first one's, then names. */
export function commonOrder(orders: readonly (readonly string[])[]): string[] {
  const after = new Map<string, Set<string>>();
  const waitsFor = new Map<string, number>();
  for (const order of orders) {
    for (const [index, name] of order.entries()) {
      if (!after.has(name)) after.set(name, new Set());
      if (!waitsFor.has(name)) waitsFor.set(name, 0);
      const previous = order[index - 1];
      if (previous === undefined || previous === name || after.get(previous)!.has(name)) continue;
      after.get(previous)!.add(name);
      waitsFor.set(name, waitsFor.get(name)! + 1);
    }
  }
  const first = orders[0] ?? [];
  const rank = (name: string): number => (first.includes(name) ? first.indexOf(name) : Infinity);
  const ordered: string[] = [];
  while (waitsFor.size > 0) {
    const free = [...waitsFor].filter(([, count]) => count === 0).map(([name]) => name);
    // Contradicting orders: the circle is cut at the first of those left.
    const candidates = free.length > 0 ? free.toSorted() : [...waitsFor.keys()].toSorted(byRank(rank));
    const next = candidates[0]!;
    waitsFor.delete(next);
    ordered.push(next);
    for (const later of after.get(next)!) {
      const count = waitsFor.get(later);
      if (count !== undefined) waitsFor.set(later, count - 1);
    }
  }
  return ordered;
}

function byRank(rank: (name: string) => number): (one: string, other: string) => number {
  return (one, other) => {
    const difference = rank(one) - rank(other);
    return Number.isNaN(difference) || difference === 0 ? (one < other ? -1 : 1) : difference;
  };
}
