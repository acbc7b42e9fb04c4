/**
 * One version of one stored object in the watch cache: its bytes as every reader gets them (JSON of the storage version, with
 * resourceVersion), and what selectors ask of it, worked out only when first asked for. Immutable but for where its bytes lie.
 */
import { assert } from '#stdx/assert.ts';
import type { KubeObject } from '#machinery/object.ts';
import { withResourceVersion } from '#machinery/serialize.ts';
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
  /** Kept by ParsedObjects, bounded there. */
  parsed: KubeObject | undefined;
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
    if (!this.#spliced) {
      this.#bytes = withResourceVersion(this.#bytes, String(this.revision), KEPT);
      this.#spliced = true;
    }
    return this.#bytes;
  }

  /** These bytes as of another revision: what a DELETED event carries. */
  at(revision: number): CacheEntry {
    return new CacheEntry(this.key, { revision, value: this.#spliced ? withoutResourceVersion(this.#bytes) : this.#bytes });
  }

  /** Without splicing: for memory bounds. */
  get byteLength(): number { return this.#bytes.length; }

  /** The same bytes now lie in a slab. */
  moveTo(slab: Buffer): void {
    this.#bytes = slab;
    this.#inSlab = true;
  }

  /** Called when the entry leaves the live cache: what remembers it must not keep a whole slab alive. */
  detach(): void {
    if (!this.#inSlab) return;
    this.#bytes = Buffer.from(this.#bytes);
    this.#inSlab = false;
  }

  /** Shared: never change it. */
  object(parsed: ParsedObjects): KubeObject {
    return parsed.of(this);
  }

  labels(parsed: ParsedObjects): Readonly<Record<string, string>> {
    return (this.#labels ??= parsed.of(this).metadata?.labels ?? NO_LABELS);
  }

  fields(parsed: ParsedObjects, compute: (object: KubeObject) => Readonly<Record<string, string>>): Readonly<Record<string, string>> {
    return (this.#fields ??= compute(parsed.of(this)));
  }
}

const KEPT = { kept: true };
const SPLICED = Buffer.from('"metadata":{"resourceVersion":"');
const QUOTE = 0x22;
const COMMA = 0x2c;

/** Undoes withResourceVersion. */
function withoutResourceVersion(bytes: Buffer): Buffer {
  const found = bytes.indexOf(SPLICED);
  assert(found > 0, 'bytes of a cache entry begin with their resourceVersion');
  const start = found + '"metadata":{'.length;
  let end = bytes.indexOf(QUOTE, found + SPLICED.length) + 1;
  if (bytes[end] === COMMA) end++;
  return Buffer.concat([bytes.subarray(0, start), bytes.subarray(end)]);
}

const NO_LABELS: Readonly<Record<string, string>> = Object.freeze({});
