/** Ranges of addresses as the rules take them: blocks less their exceptions, merged. Pure. */
import { formatIP, parseCIDR, parseIP, type CIDRBlock } from '#machinery/ip.ts';

/** As nft names the address families. */
export type Family = 'ip' | 'ip6';

export const FAMILIES: readonly Family[] = ['ip', 'ip6'];

export interface AddressRange {
  readonly first: bigint;
  readonly last: bigint;
}

const LAST: Readonly<Record<Family, bigint>> = { ip: (1n << 32n) - 1n, ip6: (1n << 128n) - 1n };

export function familyOf(text: string): Family {
  return text.includes(':') ? 'ip6' : 'ip';
}

/** As the rules and the kernel's sets write it; undefined for what is no address. */
export function canonicalAddress(text: string): string | undefined {
  const parsed = parseIP(text);
  return parsed && formatIP(parsed);
}

/** Empty for a family that the block is not of, where nothing is left of it, or where it cannot be parsed. */
export function blockRanges(
  cidr: string,
  { except = [], family }: { readonly except?: readonly string[] | undefined; readonly family: Family },
): AddressRange[] {
  const block = parseCIDR(cidr);
  if (!block || familyOfBlock(block) !== family) return [];
  let left: readonly AddressRange[] = [rangeOf(block)];
  for (const text of except) {
    const hole = parseCIDR(text);
    if (hole && familyOfBlock(hole) === family)
      left = left.flatMap((range) => subtract(range, rangeOf(hole)));
  }
  return [...left];
}

/** Disjoint, in order, none beside another: nft refuses elements that overlap. */
export function mergeRanges(ranges: readonly AddressRange[]): AddressRange[] {
  const merged: { first: bigint; last: bigint }[] = [];
  for (const range of [...ranges].sort((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0))) {
    const previous = merged.at(-1);
    if (previous && range.first <= previous.last + 1n) {
      if (range.last > previous.last) previous.last = range.last;
    } else merged.push({ ...range });
  }
  return merged;
}

export function isWholeFamily(ranges: readonly AddressRange[], family: Family): boolean {
  return ranges.length === 1 && ranges[0]?.first === 0n && ranges[0].last === LAST[family];
}

export function rangeText({ first, last }: AddressRange, family: Family): string {
  const text = (bits: bigint): string => formatIP({ family: family === 'ip6' ? 6 : 4, bits });
  return first === last ? text(first) : `${text(first)}-${text(last)}`;
}

function familyOfBlock({ address }: CIDRBlock): Family {
  return address.family === 6 ? 'ip6' : 'ip';
}

function rangeOf({ address, network, prefixLength }: CIDRBlock): AddressRange {
  const hostBits = BigInt((address.family === 4 ? 32 : 128) - prefixLength);
  return { first: network, last: network + (1n << hostBits) - 1n };
}

function subtract(range: AddressRange, hole: AddressRange): AddressRange[] {
  if (hole.last < range.first || hole.first > range.last) return [range];
  return [
    ...(hole.first > range.first ? [{ first: range.first, last: hole.first - 1n }] : []),
    ...(hole.last < range.last ? [{ first: hole.last + 1n, last: range.last }] : []),
  ];
}
