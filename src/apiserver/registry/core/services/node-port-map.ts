/**
 * The allocated node ports in the store: upstream's RangeAllocation at /registry/ranges/servicenodeports, one bit a port, changed by
 * compare-and-swap. Concurrent changes of one server share a write. The repair loop corrects the bits.
 *
 *   claim, free ─▶ waiting ─▶ a batch ─▶ bits as last seen, changed ─▶ put at the expected revision ─▶ answered
 *                                          ▲                             └── conflict: what is stored now ──┐
 *                                          └───────────────────────────────────────────────────────────────┘
 */
import { statusErrors } from '#machinery/errors.ts';
import { StoreError, type Store } from '#storage/store.ts';

const KEY = '/registry/ranges/servicenodeports';
/** Maximum of queued changes; further callers get an error that asks them to retry. */
const MAX_WAITING = 5000;
const MAX_BATCH = 500;
/** Writes of one batch that others may get ahead of. */
const MAX_ATTEMPTS = 50;

interface NodePortMapOptions {
  readonly store: Store;
  readonly range: { readonly from: number; readonly to: number };
  /** Node ports of stored Services: the initial map. */
  inUse(): Iterable<number>;
}

/** Mutates the bits; returns the ports that were refused. */
type Edit = (bits: Bits) => readonly number[];

interface Waiting {
  readonly edit: Edit;
  readonly resolve: (refused: readonly number[]) => void;
  readonly reject: (error: unknown) => void;
}

interface Known {
  readonly bits: Bits;
  /** 0: there is no map. */
  readonly revision: number;
  /** Of this moment, not of a write before. */
  readonly isFresh: boolean;
  readonly isOfRange: boolean;
}

export class NodePortMap {
  readonly #options: NodePortMapOptions;
  readonly #rangeText: string;
  readonly #waiting: Waiting[] = [];
  #known: Known | undefined;
  #running = false;

  constructor(options: NodePortMapOptions) {
    this.#options = options;
    this.#rangeText = `${options.range.from}-${options.range.to}`;
  }

  get range(): { readonly from: number; readonly to: number } {
    return this.#options.range;
  }

  /** All or none. Returns nothing on success; else every port in use, so that the next proposal avoids them. */
  claim(ports: readonly number[]): Promise<readonly number[]> {
    if (ports.length === 0) return Promise.resolve([]);
    return this.#change((bits) => {
      if (ports.some((port) => bits.has(port))) return bits.ports();
      for (const port of ports) bits.set(port, true);
      return [];
    });
  }

  async free(ports: readonly number[]): Promise<void> {
    if (ports.length === 0) return;
    await this.#change((bits) => {
      for (const port of ports) bits.set(port, false);
      return [];
    });
  }

  /** Replaces the bits, by a caller that listed the Services after reading the map. */
  async repair(
    decide: (taken: readonly number[]) => Iterable<number> | Promise<Iterable<number>>,
  ): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      // The stored map has another range: rebuild it.
      const { bits, revision, isOfRange } = await this.#read({ anyRange: true });
      const wanted = new Bits(this.#options.range);
      for (const port of await decide(bits.ports())) wanted.set(port, true);
      if (revision > 0 && isOfRange && wanted.equals(bits)) return;
      try {
        await this.#put(wanted, revision);
        return;
      } catch (error) {
        if (!isConflict(error) || attempt >= MAX_ATTEMPTS) throw error;
      }
    }
  }

  #change(edit: Edit): Promise<readonly number[]> {
    if (this.#waiting.length >= MAX_WAITING)
      return Promise.reject(
        statusErrors.tooManyRequests('too many allocations of node ports are waiting', 1),
      );
    const promise = new Promise<readonly number[]>((resolve, reject) =>
      this.#waiting.push({ edit, resolve, reject }),
    );
    if (!this.#running) {
      this.#running = true;
      void this.#run();
    }
    return promise;
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, MAX_BATCH);
      try {
        const refused = await this.#writeBatch(batch);
        batch.forEach(({ resolve }, i) => resolve(refused[i]!));
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.#running = false;
  }

  async #writeBatch(batch: readonly Waiting[]): Promise<(readonly number[])[]> {
    let known = this.#known ?? (await this.#read());
    for (let attempt = 1; ; attempt++) {
      const next = known.bits.copy();
      const refused = batch.map(({ edit }) => edit(next));
      // Refusals are based on the current map, never on an older copy.
      if (!known.isFresh && refused.some((ports) => ports.length > 0)) {
        known = await this.#read();
        continue;
      }
      if (next.equals(known.bits) && known.revision > 0) {
        if (known.isFresh) return refused;
        known = await this.#read();
        continue;
      }
      try {
        const revision = await this.#put(next, known.revision);
        this.#known = { bits: next, revision, isFresh: false, isOfRange: true };
        return refused;
      } catch (error) {
        this.#known = undefined;
        if (!isConflict(error)) throw error;
        if (attempt >= MAX_ATTEMPTS)
          throw statusErrors.tooManyRequests('too many conflicts over node ports, please try again', 1);
        known = await this.#read();
      }
    }
  }

  /** anyRange: bits of another range are left out instead of refused. */
  async #read({ anyRange = false } = {}): Promise<Known> {
    const { store, range, inUse } = this.#options;
    const stored = await store.get(KEY);
    const bits = new Bits(range);
    if (!stored) {
      for (const port of inUse()) bits.set(port, true);
      return { bits, revision: 0, isFresh: true, isOfRange: true };
    }
    const map = JSON.parse(stored.value.toString()) as { range?: string; data?: string };
    const isOfRange = (map.range ?? '') === '' || map.range === this.#rangeText;
    if (!isOfRange && !anyRange)
      throw statusErrors.internal(
        `the stored node port range ${map.range} does not match the current range ${this.#rangeText}`,
      );
    if (isOfRange) bits.load(Buffer.from(map.data ?? '', 'base64'));
    return { bits, revision: stored.modRevision, isFresh: true, isOfRange };
  }

  async #put(bits: Bits, expected: number): Promise<number> {
    const object = {
      kind: 'RangeAllocation',
      apiVersion: 'v1',
      metadata: {},
      range: this.#rangeText,
      data: bits.toBase64(),
    };
    const { modRevision } = await this.#options.store.put(KEY, Buffer.from(JSON.stringify(object)), {
      expected,
    });
    return modRevision;
  }
}

function isConflict(error: unknown): boolean {
  return error instanceof StoreError && error.code === 'conflict';
}

/** A number of as many bits as there are ports: the lowest bit is the first port's. Ports out of the range are ignored. */
class Bits {
  readonly #from: number;
  readonly #size: number;
  readonly #set = new Set<number>();

  constructor({ from, to }: { readonly from: number; readonly to: number }) {
    this.#from = from;
    this.#size = to - from + 1;
  }

  /** Big-endian, leading zeros left out. */
  load(bytes: Buffer): void {
    for (let offset = 0; offset < Math.min(this.#size, bytes.length * 8); offset++)
      if ((bytes[bytes.length - 1 - (offset >> 3)]! >> (offset & 7)) & 1) this.#set.add(offset);
  }

  toBase64(): string {
    const highest = Math.max(-1, ...this.#set);
    const bytes = Buffer.alloc((highest >> 3) + 1);
    for (const offset of this.#set) bytes[bytes.length - 1 - (offset >> 3)]! |= 1 << (offset & 7);
    return bytes.toString('base64');
  }

  has(port: number): boolean {
    return this.#set.has(port - this.#from);
  }

  set(port: number, isTaken: boolean): void {
    const offset = port - this.#from;
    if (offset < 0 || offset >= this.#size) return;
    if (isTaken) this.#set.add(offset);
    else this.#set.delete(offset);
  }

  ports(): number[] {
    return Array.from(this.#set, (offset) => offset + this.#from);
  }

  equals(other: Bits): boolean {
    return this.#set.size === other.#set.size && this.#set.isSubsetOf(other.#set);
  }

  copy(): Bits {
    const copy = new Bits({ from: this.#from, to: this.#from + this.#size - 1 });
    for (const offset of this.#set) copy.#set.add(offset);
    return copy;
  }
}
