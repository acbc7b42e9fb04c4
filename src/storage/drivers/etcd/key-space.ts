/** Where the store's keys lie in etcd: below a prefix, which may stand in the place of what all keys begin with. */
import type { StoredValue } from '../../store.ts';
import { int, type KeyValue } from './protocol.ts';

interface KeyRange {
  readonly key: Buffer;
  readonly rangeEnd: Buffer;
}

const ZERO = Buffer.alloc(1);

export class KeySpace {
  readonly #prefix: string;
  readonly #replaces: string;

  constructor({ prefix, replaces }: { readonly prefix: string; readonly replaces: string }) {
    this.#prefix = prefix;
    this.#replaces = replaces;
  }

  encode(key: string): Buffer {
    return Buffer.from(
      this.#prefix + (key.startsWith(this.#replaces) ? key.slice(this.#replaces.length) : key),
    );
  }

  /** Where a list begins: etcd has no empty key. */
  startOf(key: string): Buffer {
    const start = this.encode(key);
    return start.length === 0 ? ZERO : start;
  }

  /** As etcd wants it: [key, rangeEnd). */
  rangeOf(prefix: string): KeyRange {
    const key = this.encode(prefix);
    if (key.length === 0) return { key: ZERO, rangeEnd: ZERO };
    const rangeEnd = Buffer.from(key);
    // UTF-8 has no byte 0xff.
    rangeEnd[rangeEnd.length - 1]! += 1;
    return { key, rangeEnd };
  }

  toStored({ key, value, modRevision, createRevision }: KeyValue): StoredValue {
    return {
      key: this.#replaces + key.toString('utf8', Buffer.byteLength(this.#prefix)),
      // Absent on the wire where it is empty, and then no Buffer.
      value: value.length === 0 ? Buffer.alloc(0) : value,
      modRevision: int(modRevision),
      createRevision: int(createRevision),
    };
  }
}
