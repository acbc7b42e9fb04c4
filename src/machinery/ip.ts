/** IP addresses and CIDR blocks in Kubernetes' formats: strict (no leading zeros), and legacy, as older API fields accept them. */

export interface IPAddress {
  /** 4 also for an IPv4-mapped IPv6 address, which Go treats as IPv4. */
  readonly family: 4 | 6;
  /** 32 or 128 bits. */
  readonly bits: bigint;
  /** Written as ::ffff:a.b.c.d. */
  readonly mapped: boolean;
  /** Written with leading zeros in a decimal part, which strict parsers refuse. */
  readonly leadingZeros: boolean;
}

export interface CIDRBlock {
  /** The address as written, including host bits. */
  readonly address: IPAddress;
  readonly prefixLength: number;
  /** First address of the block. */
  readonly network: bigint;
}

/** As in ipFamilies and addressType. */
export type IPFamily = 'IPv4' | 'IPv6';

/** Of an address or a range that is valid. */
export function ipFamily(text: string): IPFamily {
  return text.includes(':') ? 'IPv6' : 'IPv4';
}

/** Of valid ranges with commas between: that of the first one, the cluster's default. */
export function defaultFamily(ranges: string): IPFamily {
  return ipFamily(ranges.split(',', 1)[0] ?? '');
}

/** Parses leniently (leading zeros are decimal); undefined when invalid. Zones are not allowed. */
export function parseIP(text: string): IPAddress | undefined {
  return text.includes(':') ? parseIPv6(text) : parseIPv4(text);
}

function parseIPv4(text: string): IPAddress | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  let bits = 0;
  let leadingZeros = false;
  for (const part of parts) {
    if (!/^[0-9]{1,3}$/.test(part)) return undefined;
    const octet = Number(part);
    if (octet > 255) return undefined;
    if (part.length > 1 && part.startsWith('0')) leadingZeros = true;
    bits = bits * 256 + octet;
  }
  return { family: 4, bits: BigInt(bits), mapped: false, leadingZeros };
}

const MAPPED_PREFIX = 0xffffn << 32n;

function parseIPv6(text: string): IPAddress | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = parseGroups(halves[0]!, halves.length === 1);
  const tail = halves.length === 2 ? parseGroups(halves[1]!, true) : { groups: [], leadingZeros: false };
  if (!head || !tail) return undefined;
  const missing = 8 - head.groups.length - tail.groups.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  const groups = [...head.groups, ...Array.from({ length: missing }, () => 0), ...tail.groups];
  const bits = groups.reduce((sum, group) => (sum << 16n) | BigInt(group), 0n);
  const leadingZeros = head.leadingZeros || tail.leadingZeros;
  return bits >> 32n === 0xffffn
    ? { family: 4, bits: bits - MAPPED_PREFIX, mapped: true, leadingZeros }
    : { family: 6, bits, mapped: false, leadingZeros };
}

function parseGroups(
  text: string,
  mayEndWithIPv4: boolean,
): { groups: number[]; leadingZeros: boolean } | undefined {
  const groups: number[] = [];
  if (text === '') return { groups, leadingZeros: false };
  let leadingZeros = false;
  const parts = text.split(':');
  for (const [index, part] of parts.entries()) {
    if (part.includes('.') && mayEndWithIPv4 && index === parts.length - 1) {
      const embedded = parseIPv4(part);
      if (!embedded) return undefined;
      leadingZeros = embedded.leadingZeros;
      groups.push(Number(embedded.bits >> 16n), Number(embedded.bits & 0xffffn));
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) {
      groups.push(Number.parseInt(part, 16));
    } else {
      return undefined;
    }
  }
  return { groups, leadingZeros };
}

/** Canonical text: dotted for IPv4 (mapped addresses too), RFC 5952 for IPv6. */
export function formatIP({ family, bits }: { readonly family: 4 | 6; readonly bits: bigint }): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => String((bits >> shift) & 0xffn)).join('.');
  const groups = Array.from({ length: 8 }, (_, index) =>
    Number((bits >> BigInt((7 - index) * 16)) & 0xffffn),
  );
  const zeros = longestZeroRun(groups);
  const hex = (list: number[]): string => list.map((group) => group.toString(16)).join(':');
  return zeros.length < 2
    ? hex(groups)
    : `${hex(groups.slice(0, zeros.start))}::${hex(groups.slice(zeros.start + zeros.length))}`;
}

function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  for (let start = 0; start < groups.length; start++) {
    let length = 0;
    while (start + length < groups.length && groups[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  return best;
}

/** Parses a.b.c.d/n or IPv6/n leniently; undefined when invalid. */
export function parseCIDR(text: string): CIDRBlock | undefined {
  const slash = text.indexOf('/');
  const address = slash < 0 ? undefined : parseIP(text.slice(0, slash));
  const lengthText = text.slice(slash + 1);
  if (!address || !/^[0-9]{1,4}$/.test(lengthText)) return undefined;
  const width = address.family === 4 && !address.mapped ? 32 : 128;
  let prefixLength = Number(lengthText);
  if (prefixLength > width) return undefined;
  if (address.mapped) {
    if (prefixLength < 96) return undefined;
    prefixLength -= 96;
  }
  const hostBits = BigInt((address.family === 4 ? 32 : 128) - prefixLength);
  return { address, prefixLength, network: (address.bits >> hostBits) << hostBits };
}

/** Canonical text of the block (host bits cleared). */
export function formatCIDR(block: CIDRBlock): string {
  return `${formatIP({ family: block.address.family, bits: block.network })}/${block.prefixLength}`;
}

export function cidrContains(block: CIDRBlock, address: IPAddress): boolean {
  if (block.address.family !== address.family) return false;
  const hostBits = BigInt((address.family === 4 ? 32 : 128) - block.prefixLength);
  return address.bits >> hostBits === block.network >> hostBits;
}

export function cidrsOverlap(one: CIDRBlock, other: CIDRBlock): boolean {
  const [wide, narrow] = one.prefixLength <= other.prefixLength ? [one, other] : [other, one];
  return cidrContains(wide, { ...narrow.address, bits: narrow.network });
}

/** Upstream's rule for new fields: the problems of the text, none when it is a canonical address. */
export function validateIP(text: string): string[] {
  const address = parseIP(text);
  const problems = validateLegacyIP(text);
  if (!address || problems.length > 0) return problems;
  const canonical = formatIP(address);
  return canonical === text ? [] : [`must be in canonical form (${JSON.stringify(canonical)})`];
}

/** Upstream's rule for older fields: rejects leading zeros and mapped addresses, but allows any abbreviation. */
export function validateLegacyIP(text: string): string[] {
  const address = parseIP(text);
  if (!address) return ['must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'];
  return [
    ...(address.leadingZeros ? ['must not have leading 0s'] : []),
    ...(address.mapped && !address.leadingZeros ? ['must not be an IPv4-mapped IPv6 address'] : []),
  ];
}

/** As validateIP, for a block. */
export function validateCIDR(text: string): string[] {
  const block = parseCIDR(text);
  const problems = validateLegacyCIDR(text);
  if (!block || problems.length > 0) return problems;
  const canonical = formatCIDR(block);
  return canonical === text ? [] : [`must be in canonical form (${JSON.stringify(canonical)})`];
}

/** As validateLegacyIP, for a block; host bits must be zero. */
export function validateLegacyCIDR(text: string): string[] {
  const block = parseCIDR(text);
  if (!block) return ['must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)'];
  if (block.address.leadingZeros || /\/0[0-9]/.test(text))
    return ['must not have leading 0s in IP or prefix length'];
  if (block.address.mapped) return ['must not have an IPv4-mapped IPv6 address'];
  if (block.address.bits !== block.network) return ['must not have bits set beyond the prefix length'];
  return [];
}

/** An address with its prefix length: '10.9.8.7/24'. */
export function validateInterfaceAddress(text: string): string[] {
  const slash = text.lastIndexOf('/'),
    block = parseCIDR(text),
    address = parseIP(text.slice(0, slash));
  if (!block || !address)
    return ['must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)'];
  const canonical = `${formatIP(address)}/${block.prefixLength}`;
  return canonical === text ? [] : [`must be in canonical form (${JSON.stringify(canonical)})`];
}
