/** Equal shares of an address range: which are taken, and the next free one. In memory, no I/O. After upstream's cidrset. */
import { formatCIDR, parseCIDR, type CIDRBlock } from '#machinery/ip.ts';

/** More shares than this are no sensible cluster, and their table would be large. As upstream. */
const MAX_SHARES_BITS = 16;

export class CIDRSet {
  readonly #block: CIDRBlock;
  readonly #maskSize: number;
  readonly #width: number;
  readonly #size: number;
  /** How many hold a share: ranges of other sizes may overlap it. */
  readonly #holders = new Map<number, number>();
  /** Shares are given in turn, so that one that became free rests for long. */
  #next = 0;

  /** Throws an Error that says what is wrong with the range. */
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

  /** Takes the next free share; undefined when all are taken. */
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

  /** Takes what lies in this range; a range of elsewhere takes nothing. */
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

/** Within -1 and size. */
function clamp(index: bigint, size: number): number {
  return index < 0n ? -1 : index >= BigInt(size) ? size : Number(index);
}
