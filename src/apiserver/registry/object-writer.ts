/** Objects into the store and out of it: serialised once, unchanged ones not written, removals with the revision they are of. */
import { performance } from 'node:perf_hooks';
import { sameButForTimes } from '#machinery/apply/managed-fields.ts';
import { statusErrors } from '#machinery/errors.ts';
import { deepClone, jsonEqual } from '#machinery/json.ts';
import type { KubeObject } from '#machinery/object.ts';
import { serializeObject, withResourceVersion } from '#machinery/serialize.ts';
import { StoreError, type Store, type WriteSource } from '#storage/store.ts';
import type { Metrics } from '../nonresource/metrics.ts';
import type { CacheEntry } from '../watchcache/entry.ts';
import type { WatchCache } from '../watchcache/watch-cache.ts';
import type { VersionCodec } from './endpoints.ts';
import { isStoreConflict, nameOf } from './errors.ts';
import type { StoredEndpoint } from './write-request.ts';

/** Result of a write: bytes of the storage version with resourceVersion. The object is shared: never mutate it. */
export interface Written {
  readonly object: KubeObject;
  readonly bytes: Buffer;
  readonly created: boolean;
}

interface RemoveOptions {
  readonly key: string;
  /** The revision that is removed. */
  readonly expected: number;
  readonly dryRun: boolean;
  readonly by: WriteSource;
}

interface PutOptions {
  readonly key: string;
  /** The revision that is replaced; 0: there is none. */
  readonly expected: number;
  readonly dryRun: boolean;
  readonly by: WriteSource;
  readonly created: boolean;
  /** The stored object; an equal new object is not written. */
  readonly entry?: CacheEntry;
  readonly ignoresTimes?: boolean;
}

export interface ObjectWriterParts {
  readonly store: Store;
  readonly cache: WatchCache;
  readonly metrics: Metrics;
}

export class ObjectWriter {
  readonly #parts: ObjectWriterParts;

  constructor(parts: ObjectWriterParts) {
    this.#parts = parts;
  }

  async put(endpoint: StoredEndpoint, object: KubeObject, options: PutOptions): Promise<Written> {
    const { store, cache } = this.#parts;
    const { key, expected, dryRun, by, created, entry } = options;
    if (endpoint.codec) return this.#putConverted(endpoint, object, { ...options, codec: endpoint.codec });
    delete object.metadata!.resourceVersion;
    const value = serializeObject(object);
    if (entry) {
      const unchanged = withResourceVersion(value, String(entry.revision));
      if (unchanged.equals(entry.bytes) && (dryRun || !(await this.#isStale(key))))
        return { object: endpoint.cache.parsed.of(entry), bytes: entry.bytes, created };
      // The same fields in another order, or with other times, are as long.
      if (unchanged.length === entry.bytes.length) {
        const before = endpoint.cache.parsed.of(entry);
        const isSame = options.ignoresTimes ? sameButForTimes : jsonEqual;
        if (
          isSame(
            { ...object, metadata: { ...object.metadata, resourceVersion: String(entry.revision) } },
            before,
          ) &&
          (dryRun || !(await this.#isStale(key)))
        )
          return { object: before, bytes: entry.bytes, created };
      }
    }
    if (dryRun && entry) object.metadata!.resourceVersion = String(entry.revision);
    if (dryRun)
      return { object, bytes: entry ? withResourceVersion(value, String(entry.revision)) : value, created };
    const ttlSeconds = endpoint.resource.behaviour.ttlSeconds;
    cache.handOver(value, object);
    const timing = this.#parts.metrics.store.of(endpoint.groupResource, expected === 0 ? 'create' : 'update'),
      begunMs = performance.now();
    try {
      const stored = await store.put(key, value, { expected, by, ttlSeconds, decoded: object });
      timing.succeeded(begunMs);
      const current = endpoint.cache.entries.get(key);
      const bytes =
        current?.revision === stored.modRevision
          ? current.bytes
          : withResourceVersion(value, String(stored.modRevision));
      object.metadata!.resourceVersion = String(stored.modRevision);
      return { object, bytes, created };
    } catch (error) {
      timing.failed(begunMs);
      throw error;
    } finally {
      cache.forget(value);
    }
  }

  /** True where the stored form is outdated (encrypted with a replaced key): an equal object is written again. */
  async #isStale(key: string): Promise<boolean> {
    return (await this.#parts.store.isStale?.(key)) ?? false;
  }

  /** Like put, for an object stored through a codec; returns the object in its own version. */
  async #putConverted(
    endpoint: StoredEndpoint,
    object: KubeObject,
    { codec, ...options }: PutOptions & { readonly codec: VersionCodec },
  ): Promise<Written> {
    delete object.metadata!.resourceVersion;
    const stored = await codec.write(object);
    const written = await this.put(
      { ...endpoint, codec: undefined },
      stored === object ? deepClone(object) : stored,
      options,
    );
    const { resourceVersion } = written.object.metadata ?? {};
    const seen = codec.readBack(written.object, object);
    if (resourceVersion !== undefined) seen.metadata = { ...seen.metadata, resourceVersion };
    return {
      object: seen,
      get bytes() {
        return Buffer.from(JSON.stringify(seen));
      },
      created: written.created,
    };
  }

  /** Returns the revision of the removal; for a dry run the expected one. */
  async remove(
    endpoint: StoredEndpoint,
    last: KubeObject,
    { key, expected, dryRun, by }: RemoveOptions,
  ): Promise<number> {
    if (dryRun) return expected;
    const timing = this.#parts.metrics.store.of(endpoint.groupResource, 'delete'),
      begunMs = performance.now();
    try {
      const { revision } = await this.#parts.store.delete(key, { expected, by });
      timing.succeeded(begunMs);
      return revision;
    } catch (error) {
      timing.failed(begunMs);
      if (!(error instanceof StoreError) || error.code !== 'not-found') throw error;
      throw statusErrors.notFound(nameOf(endpoint, last.metadata?.name ?? ''));
    }
  }

  /** Removes an object whose update removed its last finalizer. The response has the revision of the updated object, which is never stored. */
  async removeWithUpdate(
    endpoint: StoredEndpoint,
    next: KubeObject,
    options: RemoveOptions,
  ): Promise<Written> {
    await this.remove(endpoint, next, options);
    return removedObject(next, options.expected);
  }

  /** Removes an object marked at that revision, even if it was written since. Afterwards it is deleted, or another of that name exists. */
  async removeMarked(endpoint: StoredEndpoint, marked: KubeObject, options: RemoveOptions): Promise<Written> {
    let { expected } = options;
    for (;;) {
      try {
        return removedObject(marked, await this.remove(endpoint, marked, { ...options, expected }));
      } catch (error) {
        if (!isStoreConflict(error)) throw error;
        await this.#parts.cache.caughtUp();
        const entry = endpoint.cache.entries.get(options.key);
        if (!entry || endpoint.cache.parsed.of(entry).metadata?.uid !== marked.metadata?.uid)
          return removedObject(marked, expected);
        expected = entry.revision;
      }
    }
  }
}

/** A removed object, as it was last. */
export function removedObject(last: KubeObject, revision: number): Written {
  const resourceVersion = String(revision);
  return {
    object: { ...last, metadata: { ...last.metadata, resourceVersion } },
    bytes: withResourceVersion(serializeObject(last), resourceVersion),
    created: false,
  };
}
