/**
 * The address and port ranges of Services: allocated and free values, in memory; allocation.ts is the policy.
 * The lower part of each range is reserved for requested values, as upstream does.
 */
import { randomInt } from 'node:crypto';
import { formatIP, ipFamily, parseCIDR, parseIP, type IPFamily } from '#machinery/ip.ts';
import { isServiceCIDR, SERVICE_CIDR_PREFIXES } from '#machinery/service-cidr.ts';

/** Upstream's split of a range: the first part, at least 16 and at most `most`, is used by itself only when the rest is full. */
function reservedFor(
  size: number,
  { divisor, most, least }: { readonly divisor: number; readonly most: number; readonly least: number },
): number {
  if (size <= least) return 0;
  return Math.min(most, Math.max(least, Math.floor(size / divisor)));
}

function freeNumber({
  size,
  reserved,
  isTaken,
}: {
  readonly size: number;
  readonly reserved: number;
  isTaken(offset: number): boolean;
}): number | undefined {
  const scan = (from: number, to: number): number | undefined => {
    const count = to - from;
    if (count <= 0) return undefined;
    const start = randomInt(count);
    for (let i = 0; i < count; i++) {
      const offset = from + ((start + i) % count);
      if (!isTaken(offset)) return offset;
    }
    return undefined;
  };
  return scan(reserved, size) ?? scan(0, reserved);
}

/** Addresses given without being asked for come from the first so many of a range: as many as random numbers reach. */
const MOST_DYNAMIC = 2 ** 47;

export class AddressRange {
  readonly cidr: string;
  readonly family: IPFamily;
  /** The first address after the network's own. */
  readonly #base: bigint;
  /** Without the network's address and, of IPv4, the broadcast address. */
  readonly #size: bigint;
  readonly #dynamic: number;
  readonly #reserved: number;
  /** Offsets from the base: bigint where a number is not exact. */
  readonly #held = new Set<number | bigint>();

  constructor(cidr: string) {
    const block = parseCIDR(cidr);
    if (!block || !isServiceCIDR(cidr))
      throw new Error(
        `service CIDR must be IPv4 with a prefix of 8 to 30 bits or IPv6 with 64 to 126, not ${cidr}`,
      );
    this.cidr = cidr;
    this.family = ipFamily(cidr);
    const { width } = SERVICE_CIDR_PREFIXES[this.family];
    this.#base = block.network + 1n;
    this.#size = (1n << BigInt(width - block.prefixLength)) - (this.family === 'IPv4' ? 2n : 1n);
    this.#dynamic = Math.min(Number(this.#size), MOST_DYNAMIC);
    this.#reserved = reservedFor(this.#dynamic, { divisor: 16, most: 256, least: 16 });
  }

  /** The kubernetes Service's. */
  get first(): string {
    return this.#format(0);
  }

  get free(): number {
    return Number(this.#size) - this.#held.size;
  }

  get held(): number {
    return this.#held.size;
  }

  clear(): void {
    this.#held.clear();
  }

  hold(ip: string): void {
    const offset = this.#offset(ip);
    if (offset !== undefined) this.#held.add(offset);
  }

  release(ip: string): void {
    const offset = this.#offset(ip);
    if (offset !== undefined) this.#held.delete(offset);
  }

  next(): string | undefined {
    const offset = freeNumber({
      size: this.#dynamic,
      reserved: this.#reserved,
      isTaken: (candidate) => this.#held.has(candidate),
    });
    if (offset === undefined) return undefined;
    this.#held.add(offset);
    return this.#format(offset);
  }

  has(ip: string): boolean {
    return this.#offset(ip) !== undefined;
  }

  #format(offset: number): string {
    return formatIP({ family: this.family === 'IPv4' ? 4 : 6, bits: this.#base + BigInt(offset) });
  }

  #offset(ip: string): number | bigint | undefined {
    if (ipFamily(ip) !== this.family) return undefined;
    const address = parseIP(ip);
    if (!address || address.mapped) return undefined;
    const offset = address.bits - this.#base;
    if (offset < 0n || offset >= this.#size) return undefined;
    return offset <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(offset) : offset;
  }
}

/** Every range that service addresses are taken from. Those that the cluster begins with say which families it has; the first is the default. */
export class AddressRanges {
  readonly families: readonly IPFamily[];
  readonly #first: string;
  readonly #ranges = new Map<string, AddressRange>();
  /** Of whatever range, also of none any more. */
  readonly #held = new Set<string>();

  /** One range, or one of each family: '10.96.0.0/12,fd00:10:96::/112'. */
  constructor(cidrs: string) {
    const own = cidrs.split(',').map((cidr) => new AddressRange(cidr));
    this.families = [...new Set(own.map(({ family }) => family))];
    if (own.length > 2 || this.families.length !== own.length)
      throw new Error(`service CIDRs must be one range or one of each family, not ${cidrs}`);
    this.#first = own[0]!.first;
    for (const range of own) this.#ranges.set(range.cidr, range);
  }

  /** The kubernetes Service's. */
  get first(): string {
    return this.#first;
  }

  usage(): readonly { readonly cidr: string; readonly held: number; readonly free: number }[] {
    return Array.from(this.#ranges.values(), ({ cidr, held, free }) => ({ cidr, held, free }));
  }

  /** These and no others are allocated from. What they hold stays held. */
  use(cidrs: readonly string[]): void {
    const before = new Map(this.#ranges);
    this.#ranges.clear();
    for (const cidr of cidrs) {
      const range = before.get(cidr) ?? new AddressRange(cidr);
      if (!before.has(cidr)) for (const ip of this.#held) range.hold(ip);
      this.#ranges.set(cidr, range);
    }
  }

  clear(): void {
    this.#held.clear();
    for (const range of this.#ranges.values()) range.clear();
  }

  hold(ip: string): void {
    this.#held.add(canonical(ip));
    for (const range of this.#ranges.values()) range.hold(ip);
  }

  release(ip: string): void {
    this.#held.delete(canonical(ip));
    for (const range of this.#ranges.values()) range.release(ip);
  }

  next(family: IPFamily): string | undefined {
    for (const range of this.#ranges.values()) {
      const ip = range.family === family ? range.next() : undefined;
      if (ip === undefined) continue;
      this.hold(ip);
      return ip;
    }
    return undefined;
  }

  take(ip: string): string | undefined {
    if (this.#held.has(canonical(ip)) || !Array.from(this.#ranges.values()).some((range) => range.has(ip)))
      return undefined;
    this.hold(ip);
    return ip;
  }

  reasonAgainst(ip: string): string {
    return this.#held.has(canonical(ip))
      ? 'provided IP is already allocated'
      : 'the provided network does not match the current range';
  }
}

/** IPv6 has several spellings, of which IPAddress objects have one. */
export function canonical(ip: string): string {
  if (!ip.includes(':')) return ip;
  const address = parseIP(ip);
  return address && !address.mapped ? formatIP(address) : ip;
}

export class PortRange {
  readonly #from: number;
  readonly #to: number;
  readonly #reserved: number;
  readonly #held = new Set<number>();

  constructor({ from, to }: { readonly from: number; readonly to: number }) {
    this.#from = from;
    this.#to = to;
    this.#reserved = reservedFor(to - from + 1, { divisor: 32, most: 128, least: 16 });
  }

  get held(): number {
    return this.#held.size;
  }

  get free(): number {
    return this.#to - this.#from + 1 - this.#held.size;
  }

  clear(): void {
    this.#held.clear();
  }

  hold(port: number): void {
    this.#held.add(port);
  }

  release(port: number): void {
    this.#held.delete(port);
  }

  next(): number | undefined {
    const offset = freeNumber({
      size: this.#to - this.#from + 1,
      reserved: this.#reserved,
      isTaken: (candidate) => this.#held.has(this.#from + candidate),
    });
    if (offset === undefined) return undefined;
    this.#held.add(this.#from + offset);
    return this.#from + offset;
  }

  /** Undefined when it is the caller's now, else why not. */
  take(port: number): string | undefined {
    if (port < this.#from || port > this.#to)
      return `provided port is not in the valid range. The range of valid ports is ${this.#from}-${this.#to}`;
    if (this.#held.has(port)) return 'provided port is already allocated';
    this.#held.add(port);
    return undefined;
  }
}
