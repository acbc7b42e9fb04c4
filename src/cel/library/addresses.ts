/** IP addresses and CIDRs. */
import {
  cidrContains,
  formatCIDR,
  formatIP,
  parseCIDR,
  parseIP,
  type CIDRBlock,
  type IPAddress,
} from '#machinery/ip.ts';
import { ONE, readInput } from '../estimates.ts';
import { bounded, times, TRAVERSAL, type Estimate } from '../sizes.ts';
import { fail, opaque, type Add } from './add.ts';

class CelIP {
  readonly address: IPAddress;
  constructor(address: IPAddress) {
    this.address = address;
  }

  equals(other: CelIP): boolean {
    return formatIP(this.address) === formatIP(other.address);
  }
}

class CelCIDR {
  readonly block: CIDRBlock;
  constructor(block: CIDRBlock) {
    this.block = block;
  }

  equals(other: CelCIDR): boolean {
    return formatCIDR(this.block) === formatCIDR(other.block);
  }
}

export const ADDRESS_TYPES = [opaque('net.IP', CelIP), opaque('net.CIDR', CelCIDR)];

/** Addresses are compared as up to 16 bytes, which texts are read to first. */
const ADDRESS_BYTES = 16;
/** prefixes: how many are compared, too. */
const containedAddress =
  (prefixes: number): Estimate =>
  ({ args: [inner] }) => {
    if (!inner) return ONE;
    const bytes = times(2 * ADDRESS_BYTES, TRAVERSAL) + prefixes * (times(ADDRESS_BYTES, TRAVERSAL) + 1),
      isParsed = ['string', 'dyn'].includes(inner.type.name);
    return { cost: bounded(bytes + (isParsed ? times(inner.size.max, TRAVERSAL) : 0)) };
  };

function strictIP(text: string): IPAddress | undefined {
  const address = parseIP(text);
  return address?.mapped || address?.leadingZeros ? undefined : address;
}

export function addAddresses(add: Add): void {
  const ipOf = (text: string): CelIP =>
    new CelIP(
      strictIP(text) ??
        fail(
          `IP Address ${JSON.stringify(text)} parse error during conversion from string: invalid IP address`,
        ),
    );
  const cidrOf = (text: string): CelCIDR =>
    new CelCIDR(
      parseCIDR(text) ??
        fail(`CIDR ${JSON.stringify(text)} parse error during conversion from string: invalid CIDR`),
    );
  const within =
    (...blocks: string[]) =>
    ({ address }: CelIP): boolean =>
      blocks.some((block) => cidrContains(parseCIDR(block)!, address));
  add('ip(string): net.IP', { estimate: readInput, run: ipOf });
  add('isIP(string): bool', { estimate: readInput, run: (text: string) => strictIP(text) !== undefined });
  add('ip.isCanonical(string): bool', {
    estimate: ({ target }) => ({ cost: times(target.size.max, 2 * TRAVERSAL) }),
    run: (text: string) => formatIP(ipOf(text).address) === text,
  });
  add('string(net.IP): string', ({ address }: CelIP) => formatIP(address));
  add('net.IP.family(): int', ({ address }: CelIP) => BigInt(address.family));
  add('net.IP.isUnspecified(): bool', within('0.0.0.0/32', '::/128'));
  add('net.IP.isLoopback(): bool', within('127.0.0.0/8', '::1/128'));
  add('net.IP.isLinkLocalMulticast(): bool', within('224.0.0.0/24', 'ff02::/16'));
  add('net.IP.isLinkLocalUnicast(): bool', within('169.254.0.0/16', 'fe80::/10'));
  const notGlobal = within(
    '0.0.0.0/32',
    '255.255.255.255/32',
    '127.0.0.0/8',
    '169.254.0.0/16',
    '224.0.0.0/4',
    '::/128',
    '::1/128',
    'fe80::/10',
    'ff00::/8',
  );
  add('net.IP.isGlobalUnicast(): bool', (ip: CelIP) => !notGlobal(ip));
  add('cidr(string): net.CIDR', { estimate: readInput, run: cidrOf });
  add('isCIDR(string): bool', { estimate: readInput, run: (text: string) => parseCIDR(text) !== undefined });
  add('string(net.CIDR): string', ({ block }: CelCIDR) => formatCIDR(block));
  add('net.CIDR.containsIP(net.IP): bool', {
    estimate: containedAddress(0),
    run: ({ block }: CelCIDR, { address }: CelIP) => cidrContains(block, address),
  });
  add('net.CIDR.containsIP(string): bool', {
    estimate: containedAddress(0),
    run: ({ block }: CelCIDR, text: string) => cidrContains(block, ipOf(text).address),
  });
  const containsCIDR = (outer: CIDRBlock, inner: CIDRBlock): boolean =>
    outer.prefixLength <= inner.prefixLength && cidrContains(outer, inner.address);
  add('net.CIDR.containsCIDR(net.CIDR): bool', {
    estimate: containedAddress(1),
    run: (outer: CelCIDR, inner: CelCIDR) => containsCIDR(outer.block, inner.block),
  });
  add('net.CIDR.containsCIDR(string): bool', {
    estimate: containedAddress(1),
    run: (outer: CelCIDR, text: string) => containsCIDR(outer.block, cidrOf(text).block),
  });
  add('net.CIDR.ip(): net.IP', ({ block }: CelCIDR) => new CelIP(block.address));
  add(
    'net.CIDR.masked(): net.CIDR',
    ({ block }: CelCIDR) => new CelCIDR({ ...block, address: { ...block.address, bits: block.network } }),
  );
  add('net.CIDR.prefixLength(): int', ({ block }: CelCIDR) => BigInt(block.prefixLength));
}
