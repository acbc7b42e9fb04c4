/** How neighbouring entries are laid out as one slab: items of a JSON list, or of a protobuf one. */
import type { CacheEntry } from './entry.ts';
import { Slab } from './slab.ts';

export interface LaidOut {
  readonly slab: Slab;
  /** Where each entry starts in the slab. */
  readonly offsets: readonly number[];
}

export interface SlabForm {
  readonly encoding: 'json' | 'protobuf';
  /** Bytes between two items. */
  readonly separatorBytes: number;
  /** Laid out before other requests have their turn. */
  readonly turnBytes: number;
  /** Moves the entries' bytes into the slab. */
  layOut(entries: readonly CacheEntry[]): LaidOut;
}

const COMMA = 0x2c,
  OPENING_BRACE = 0x7b;

/** '{…},{…}'; head: the prefix that items omit, in place of their opening brace. */
export function jsonForm(head: Buffer | undefined): SlabForm {
  const layOut = (entries: readonly CacheEntry[]): LaidOut => {
    const heads = entries.map((entry) => (head && entry.beginsWith(head) ? head : undefined));
    const items = entries.map((entry, index) => entry.bytesAfter(heads[index]));
    const bytes = Buffer.allocUnsafeSlow(items.reduce((sum, item) => sum + item.length + 2, -1));
    const offsets: number[] = [];
    let offset = 0;
    for (const [index, item] of items.entries()) {
      if (offset > 0) bytes[offset++] = COMMA;
      offsets.push(offset);
      bytes[offset] = OPENING_BRACE;
      bytes.set(item, offset + 1);
      const end = offset + 1 + item.length;
      entries[index]!.moveTo(bytes.subarray(offset, end), heads[index]);
      offset = end;
    }
    return { slab: new Slab(bytes), offsets };
  };
  return { encoding: 'json', separatorBytes: 1, turnBytes: 2 * 1024 * 1024, layOut };
}

/** encode: an entry as a field of its list, from protobufItem where present. */
export function protobufForm(encode: (entry: CacheEntry) => Buffer): SlabForm {
  const layOut = (entries: readonly CacheEntry[]): LaidOut => {
    const items = entries.map(encode);
    const bytes = Buffer.allocUnsafeSlow(items.reduce((sum, item) => sum + item.length, 0));
    const offsets: number[] = [];
    let offset = 0;
    for (const [index, item] of items.entries()) {
      offsets.push(offset);
      bytes.set(item, offset);
      entries[index]!.protobufItem = bytes.subarray(offset, offset + item.length);
      offset += item.length;
    }
    return { slab: new Slab(bytes), offsets };
  };
  return { encoding: 'protobuf', separatorBytes: 0, turnBytes: 128 * 1024, layOut };
}
