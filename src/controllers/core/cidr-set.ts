/** Equal subnets of a CIDR: which are allocated, and the next free one. In memory, no I/O. After upstream's cidrset. */
import { formatCIDR, parseCIDR, type CIDRBlock } from '#machinery/ip.ts';

/** Maximum number of subnets, which bounds the table. As upstream. */
const MAX_SHARES_BITS = 16;

export class CIDRSet {
  readonly #block: CIDRBlock;
  readonly #maskSize: number;
  readonly #width: number;
  readonly #size: number;
  /** Number of users of each subnet: ranges of other sizes may overlap it. */
  readonly #holders = new Map<number, number>();
  /** Allocates round-robin, so that a released subnet is reused late. */
  #next = 0;

  /** Throws an Error that describes an invalid range. */
  constructor(cidr: string, maskSize?: number) {
    const block = parseCIDR(cidr);
    if (!block) throw new Error(`cluster CIDR "${cidr}" is not an address range`);
    this.#block = block;
    this.#width = block.address.family === 4 ? 32 : 128;
    this.#maskSize = maskSize ?? (block.address.family === 4 ? 24 : 64);
    const bits = this.#maskSize - block.prefixLength;
    if (bits < 0)
      throw new Error(`cluster CIDR "${cidr}" is smaller than a node's share, /${this.#maskSize}`);
    if (bits > MAX_SHARES_BITS)
      throw new Error(
        `cluster CIDR "${cidr}" has too many shares of /${this.#maskSize}: at most 2^${MAX_SHARES_BITS}`,
      );
    this.#size = 2 ** bits;
  }

  /** Allocates the next free subnet; undefined when all are allocated. */
  allocate(): string | undefined {
    for (let tried = 0; tried < this.#size; tried++) {
      const index = (this.#next + tried) % this.#size;
      if (this.#holders.has(index)) continue;
      this.#next = (index + 1) % this.#size;
      this.#holders.set(index, 1);
      return this.#share(index);
    }
    return undefined;
  }

  /** Marks the subnets in this range as allocated; a range outside of the CIDR has no effect. */
  occupy(cidr: string): void {
    for (const index of this.#indexes(cidr)) this.#holders.set(index, (this.#holders.get(index) ?? 0) + 1);
  }

  release(cidr: string): void {
    for (const index of this.#indexes(cidr)) {
      const left = (this.#holders.get(index) ?? 0) - 1;
      if (left > 0) this.#holders.set(index, left);
      else this.#holders.delete(index);
    }
  }

  #share(index: number): string {
    const network = this.#block.network + (BigInt(index) << this.#hostBits);
    return formatCIDR({
      address: { ...this.#block.address, bits: network },
      network,
      prefixLength: this.#maskSize,
    });
  }

  get #hostBits(): bigint {
    return BigInt(this.#width - this.#maskSize);
  }

  #indexes(cidr: string): number[] {
    const taken = parseCIDR(cidr);
    if (!taken || taken.address.family !== this.#block.address.family) return [];
    const lastAddress = taken.network + (1n << BigInt(this.#width - taken.prefixLength)) - 1n;
    const first = clamp(
      (taken.network >> this.#hostBits) - (this.#block.network >> this.#hostBits),
      this.#size,
    );
    const last = clamp((lastAddress >> this.#hostBits) - (this.#block.network >> this.#hostBits), this.#size);
    if (first === last && (first === -1 || first === this.#size)) return [];
    const indexes: number[] = [];
    for (let index = Math.max(0, first); index <= Math.min(this.#size - 1, last); index++)
      indexes.push(index);
    return indexes;
  }
}

/** Clamped between -1 and size. */
function clamp(index: bigint, size: number): number {
  return index < 0n ? -1 : index >= BigInt(size) ? size : Number(index);
}
