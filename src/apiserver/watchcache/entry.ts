/**
 * One version of one stored object in the watch cache: its bytes as readers get them (JSON of the storage version, with resourceVersion), and the
 * values that selectors need, computed on first use. Immutable except for the location of its bytes: once listed, in a slab shared with its
 * neighbours, where items of built-in lists have no kind and apiVersion, as upstream's.
 */
import type { Stored } from '#machinery/object.ts';
import { withoutResourceVersion, withResourceVersion } from '#machinery/serialize.ts';
import type { ParsedObjects } from './parsed-objects.ts';

export class CacheEntry {
  readonly key: string;
  /** The write that made this version; for the last state of a deleted object, the delete's. */
  readonly revision: number;
  /** As stored until first read, then with resourceVersion. */
  #bytes: Buffer;
  #spliced = false;
  /** True while #bytes is a part of a slab shared with its neighbours. */
  #inSlab = false;
  /** The prefix that #bytes omit after their opening brace: '{"kind":"Pod","apiVersion":"v1",'. */
  #head: Buffer | undefined;
  /** Protobuf of the storage version as an item of a list, after the first request for it; in a slab of its own once listed. */
  protobufItem: Buffer | undefined;
  /** Owned by ParsedObjects, which bounds it. */
  parsed: Stored | undefined;
  /** The size that ParsedObjects counted for it: its bytes change as they are read and laid out. */
  parsedBytes = 0;
  /** Second chance of ParsedObjects. */
  touched = false;
  #labels: Readonly<Record<string, string>> | undefined;
  #fields: Readonly<Record<string, string>> | undefined;

  /** value: as stored, without resourceVersion. */
  constructor(key: string, { revision, value }: { readonly revision: number; readonly value: Buffer }) {
    this.key = key;
    this.revision = revision;
    this.#bytes = value;
  }

  /** JSON of the storage version, resourceVersion included. */
  get bytes(): Buffer {
    if (this.#head) return Buffer.concat([this.#head, this.#bytes.subarray(1)]);
    return this.#whole();
  }

  beginsWith(head: Buffer): boolean {
    return this.#head !== undefined || beginsWith(this.#whole(), head);
  }

  /** From the end of the prefix, with which they must begin, or else after the opening brace. */
  bytesAfter(head: Buffer | undefined): Buffer {
    return this.#head ? this.#bytes.subarray(1) : this.#whole().subarray(head ? head.length : 1);
  }

  #whole(): Buffer {
    if (!this.#spliced) {
      this.#bytes = withResourceVersion(this.#bytes, String(this.revision), KEPT);
      this.#spliced = true;
    }
    return this.#bytes;
  }

  /** The same bytes at another revision: the object of a DELETED event. */
  at(revision: number): CacheEntry {
    return new CacheEntry(this.key, {
      revision,
      value: this.#spliced ? withoutResourceVersion(this.bytes) : this.#bytes,
    });
  }

  /** Without splicing: for memory bounds. */
  get byteLength(): number {
    return this.#bytes.length;
  }

  /** The same bytes are now stored in a slab; with a prefix, those without it. */
  moveTo(slab: Buffer, head?: Buffer): void {
    this.#bytes = slab;
    this.#head = head;
    this.#inSlab = true;
  }

  /** Called when the entry leaves the live cache: a reference to it must not retain a whole slab. */
  detach(): void {
    this.protobufItem = undefined;
    if (!this.#inSlab) return;
    this.#bytes = this.#head ? this.bytes : Buffer.from(this.#bytes);
    this.#head = undefined;
    this.#inSlab = false;
  }

  /** Shared: never change it. */
  object(parsed: ParsedObjects): Stored {
    return parsed.of(this);
  }

  labels(parsed: ParsedObjects): Readonly<Record<string, string>> {
    return (this.#labels ??= parsed.of(this).metadata?.labels ?? NO_LABELS);
  }

  fields(
    parsed: ParsedObjects,
    compute: (object: Stored) => Readonly<Record<string, string>>,
  ): Readonly<Record<string, string>> {
    return (this.#fields ??= compute(parsed.of(this)));
  }
}

function beginsWith(bytes: Buffer, head: Buffer): boolean {
  return bytes.length >= head.length && head.compare(bytes, 0, head.length) === 0;
}

const KEPT = { kept: true };
const NO_LABELS: Readonly<Record<string, string>> = Object.freeze({});
