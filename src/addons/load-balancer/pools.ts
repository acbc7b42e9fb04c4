/** The addresses of pools, and which pools a Service may have one of. Pure. */
import type { Namespace, Service } from '#api/types.ts';
import { compileLabelSelector, type LabelSelectorObject } from '#machinery/labels.ts';
import { formatIP, parseCIDR, parseIP, type IPFamily } from '#machinery/ip.ts';
import type { Stored } from '#machinery/object.ts';
import type { IPAddressPool } from './api.ts';

interface AddressRange {
  readonly family: IPFamily;
  readonly first: bigint;
  readonly last: bigint;
}

/** A pool as it is used. */
export interface AddressPool {
  readonly name: string;
  readonly ranges: readonly AddressRange[];
  /** One sentence for each entry that is no range. */
  readonly problems: readonly string[];
  readonly source: Stored<IPAddressPool>;
}

/** Of one pool and family that are looked at for one Service: a /64 has more than anybody can try. */
const MAXIMUM_TRIED = 65_536;

export function readPool(source: Stored<IPAddressPool>): AddressPool {
  const parsed = source.spec.addresses.map((text) => ({ text, range: parseRange(text) }));
  return {
    name: source.metadata.name,
    ranges: parsed.flatMap(({ range }) => (range ? [range] : [])),
    problems: parsed
      .filter(({ range }) => !range)
      .map(
        ({ text }) =>
          `${JSON.stringify(text)} is neither a CIDR (192.0.2.0/28) nor a range (192.0.2.10-192.0.2.20)`,
      ),
    source,
  };
}

function parseRange(text: string): AddressRange | undefined {
  const block = parseCIDR(text.trim());
  if (block) {
    const { family } = block.address;
    const size = 1n << BigInt((family === 4 ? 32 : 128) - block.prefixLength);
    return { family: familyName(family), first: block.network, last: block.network + size - 1n };
  }
  const [first, last, ...more] = text.split('-').map((one) => parseIP(one.trim()));
  if (!first || !last || more.length > 0 || first.family !== last.family || first.bits > last.bits)
    return undefined;
  return { family: familyName(first.family), first: first.bits, last: last.bits };
}

function familyName(family: 4 | 6): IPFamily {
  return family === 4 ? 'IPv4' : 'IPv6';
}

/** In order, each canonical. */
export function* addressesOf({ ranges, source }: AddressPool, family: IPFamily): Generator<string> {
  let left = MAXIMUM_TRIED;
  for (const range of ranges) {
    if (range.family !== family) continue;
    for (let bits = range.first; bits <= range.last && left > 0; bits += 1n, left -= 1)
      if (!isLeftOut(bits, { family, source })) yield formatIP({ family: family === 'IPv4' ? 4 : 6, bits });
  }
}

export function poolHas({ ranges, source }: AddressPool, address: string): boolean {
  const parsed = parseIP(address);
  if (!parsed) return false;
  const family = familyName(parsed.family);
  return (
    !isLeftOut(parsed.bits, { family, source }) &&
    ranges.some((range) => range.family === family && range.first <= parsed.bits && parsed.bits <= range.last)
  );
}

function isLeftOut(
  bits: bigint,
  { family, source }: { readonly family: IPFamily } & Pick<AddressPool, 'source'>,
): boolean {
  const end = bits & 0xffn;
  return source.spec.avoidBuggyIPs === true && family === 'IPv4' && (end === 0n || end === 255n);
}

/** Whether the pool takes Services like this one. namespace: undefined where it is not known (yet). */
export function poolTakes(
  { source: { spec } }: AddressPool,
  { service, namespace }: { readonly service: Service; readonly namespace: Namespace | undefined },
): boolean {
  const { namespaces = [], namespaceSelectors = [], serviceSelectors = [] } = spec.serviceAllocation ?? {};
  const ofNamespace =
    (namespaces.length === 0 && namespaceSelectors.length === 0) ||
    namespaces.includes(service.metadata?.namespace ?? '') ||
    (namespace !== undefined && matchesAny(namespaceSelectors, namespace.metadata?.labels));
  return (
    ofNamespace && (serviceSelectors.length === 0 || matchesAny(serviceSelectors, service.metadata?.labels))
  );
}

export function matchesAny(
  selectors: readonly LabelSelectorObject[],
  labels: Readonly<Record<string, string>> = {},
): boolean {
  return selectors.some((selector) => compileLabelSelector(selector).matches(labels));
}

/** As they are tried: 1, 2, … and those without a priority last; then by name. */
export function inPriority(pools: readonly AddressPool[]): AddressPool[] {
  const rank = ({ source: { spec } }: AddressPool): number =>
    spec.serviceAllocation?.priority || Number.MAX_SAFE_INTEGER;
  return pools.toSorted((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1));
}
