/**
 * The address and port ranges of Services: allocated and free values, in memory; allocation.ts is the policy.
 * The lower part of each range is reserved for requested values, as upstream does.
 */
import { randomInt } from 'node:crypto';

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

export class AddressRange {
  readonly cidr: string;
  readonly #base: number;
  /** Without network and broadcast address. */
  readonly #size: number;
  readonly #reserved: number;
  readonly #held = new Set<number>();

  constructor(cidr: string) {
    const [address = '', bits = ''] = cidr.split('/');
    const length = Number(bits);
    const value = parseIpv4(address);
    if (value === undefined || !Number.isInteger(length) || length < 8 || length > 30)
      throw new Error(`service CIDR must be IPv4 with a prefix of 8 to 30 bits, not ${cidr}`);
    const total = 2 ** (32 - length);
    this.cidr = cidr;
    this.#base = value - (value % total) + 1;
    this.#size = total - 2;
    this.#reserved = reservedFor(this.#size, { divisor: 16, most: 256, least: 16 });
  }

  /** The kubernetes Service's. */
  get first(): string {
    return formatIpv4(this.#base);
  }

  get free(): number {
    return this.#size - this.#held.size;
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
      size: this.#size,
      reserved: this.#reserved,
      isTaken: (candidate) => this.#held.has(candidate),
    });
    if (offset === undefined) return undefined;
    this.#held.add(offset);
    return formatIpv4(this.#base + offset);
  }

  has(ip: string): boolean {
    return this.#offset(ip) !== undefined;
  }

  #offset(ip: string): number | undefined {
    const value = parseIpv4(ip);
    if (value === undefined) return undefined;
    const offset = value - this.#base;
    return offset >= 0 && offset < this.#size ? offset : undefined;
  }
}

/** Every range that service addresses are allocated from. The first is the cluster's own and is permanent. */
export class AddressRanges {
  readonly #own: AddressRange;
  readonly #ranges = new Map<string, AddressRange>();
  /** Of whatever range, also of none any more. */
  readonly #held = new Set<string>();

  constructor(cidr: string) {
    this.#own = new AddressRange(cidr);
    this.#ranges.set(cidr, this.#own);
  }

  /** The kubernetes Service's. */
  get first(): string {
    return this.#own.first;
  }

  usage(): readonly { readonly cidr: string; readonly held: number; readonly free: number }[] {
    return Array.from(this.#ranges.values(), ({ cidr, held, free }) => ({ cidr, held, free }));
  }

  /** Replaces the ranges to allocate from. Existing allocations stay. */
  use(cidrs: readonly string[]): void {
    for (const cidr of this.#ranges.keys()) if (!cidrs.includes(cidr)) this.#ranges.delete(cidr);
    for (const cidr of cidrs) {
      if (this.#ranges.has(cidr)) continue;
      const range = new AddressRange(cidr);
      for (const ip of this.#held) range.hold(ip);
      this.#ranges.set(cidr, range);
    }
  }

  clear(): void {
    this.#held.clear();
    for (const range of this.#ranges.values()) range.clear();
  }

  hold(ip: string): void {
    this.#held.add(ip);
    for (const range of this.#ranges.values()) range.hold(ip);
  }

  release(ip: string): void {
    this.#held.delete(ip);
    for (const range of this.#ranges.values()) range.release(ip);
  }

  next(): string | undefined {
    for (const range of this.#ranges.values()) {
      const ip = range.next();
      if (ip === undefined) continue;
      this.hold(ip);
      return ip;
    }
    return undefined;
  }

  take(ip: string): string | undefined {
    if (this.#held.has(ip) || !Array.from(this.#ranges.values()).some((range) => range.has(ip)))
      return undefined;
    this.hold(ip);
    return ip;
  }

  reasonAgainst(ip: string): string {
    return this.#held.has(ip)
      ? 'provided IP is already allocated'
      : 'the provided network does not match the current range';
  }
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

function parseIpv4(text: string): number | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (!match) return undefined;
  const bytes = match.slice(1).map(Number);
  return bytes.some((byte) => byte > 255) ? undefined : bytes.reduce((value, byte) => value * 256 + byte, 0);
}

function formatIpv4(value: number): string {
  return [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255].join('.');
}
