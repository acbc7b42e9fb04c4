/**
 * The watch cache: all stored objects in memory, kept current by one store watch. Reads and watches of the API are served from here.
 * The store delivers an event before it acknowledges the write, so this cache is never behind a write acknowledged by this server. Where other
 * servers write too, consistent reads wait for caughtUp().
 *
 *   empty --start()--> filling --list done, watch open--> live --watch lost--> filling … --stop()--> stopped
 */
import type { Clock, Timer } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { KubeObject, Stored } from '#machinery/object.ts';
import {
  StoreError,
  type Store,
  type StoreEvent,
  type StoreWatch,
  type StoredValue,
} from '#storage/store.ts';
import { IDENTITY_PROBLEM, isEncrypted } from '../encryption/transformer.ts';
import { CacheEntry } from './entry.ts';
import { CacheEvent, WindowBudget } from './events.ts';
import { Freshness } from './freshness.ts';
import { ParsedObjects } from './parsed-objects.ts';
import { ResourceCache, type CacheListener, type ResourceCacheOptions } from './resource-cache.ts';

const STORAGE_ROOT = '/registry/';

/** Bound of the JSON bytes whose parsed forms are kept. */
const PARSED_BYTES = 8 * 1024 * 1024;
const FILL_PAGE = 4000;
const RETRY_MS = 500;
/** Above it, adding a kind refills the cache. */
const MAX_UNCLAIMED = 10_000;
/** Between questions how far a replay is. */
const PROGRESS_MS = 100;
/** The store tells nothing for so long: the watch is refused, and its client comes again. */
const MAX_SILENCE_MS = 10_000;
/** A longer log of the store is not replayed for one watch: 410, and the client relists. */
const MAX_REPLAYED_EVENTS = 100_000;

interface WatchCacheOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Logger;
}

export class WatchCache {
  readonly parsed = new ParsedObjects(PARSED_BYTES);
  readonly #windows = new WindowBudget();
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #byPrefix = new Map<string, ResourceCache>();
  /** First segments under the root that are followed by a second ('services/specs/'). */
  readonly #twoSegments = new Set<string>();
  readonly #handedOver = new Map<Buffer, KubeObject>();
  readonly #freshness: Freshness | undefined;
  #watch: StoreWatch | undefined;
  /** First two segments of keys under which objects are stored that no cache holds. Only where other servers write. */
  readonly #unclaimed = new Set<string>();
  #revision = 0;
  #live = false;
  /** Why it is not live. */
  #problem: string | undefined;
  #stopped = false;

  constructor({ store, clock, log }: WatchCacheOptions) {
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
    this.#freshness =
      store.newestRevision &&
      new Freshness({
        newest: () => store.newestRevision!(),
        reached: () => (this.#live ? this.#revision : -1),
        requestProgress: () => this.#watch?.requestProgress?.(),
        clock,
      });
  }

  /** Other servers write to the store too. */
  get isShared(): boolean {
    return this.#freshness !== undefined;
  }

  /** Resolves when the cache has everything that any server acknowledged before. Undefined: it already has, as this is the only writer. */
  caughtUp(): Promise<void> | undefined {
    return this.#freshness?.caughtUp();
  }

  /** Likewise, but for what was acknowledged in the last so many milliseconds. */
  caughtUpWithin(ms: number): Promise<void> | undefined {
    return this.#freshness?.caughtUpWithin(ms);
  }

  /** Every event up to this revision was applied. */
  get revision(): number {
    return this.#revision;
  }
  get live(): boolean {
    return this.#live;
  }
  /** Why the cache is not live, if the store gave a reason. */
  get problem(): string | undefined {
    return this.#live ? undefined : this.#problem;
  }
  get resources(): Iterable<ResourceCache> {
    return this.#byPrefix.values();
  }

  /**
   * Resources with a common prefix share the cache. After start() only for a prefix without stored objects: later writes are cached.
   */
  add(
    prefix: string,
    { fieldsOf, itemHead }: Pick<ResourceCacheOptions, 'fieldsOf' | 'itemHead'>,
  ): ResourceCache {
    let cache = this.#byPrefix.get(prefix);
    if (!cache) {
      cache = new ResourceCache({ prefix, parsed: this.parsed, fieldsOf, itemHead, windows: this.#windows });
      this.#byPrefix.set(prefix, cache);
      if (this.#live) cache.fill([], this.#revision);
      // Another server stored objects of a kind before this one began to serve it.
      if (this.#live && this.#isUnclaimed(prefix))
        this.refill('a kind that others had stored already is served');
      const segments = prefix.slice(STORAGE_ROOT.length).split('/');
      if (segments.length > 2) this.#twoSegments.add(segments[0]!);
    }
    return cache;
  }

  /** The prefix has no writers left: its watches end. */
  remove(prefix: string): void {
    const cache = this.#byPrefix.get(prefix);
    this.#byPrefix.delete(prefix);
    cache?.fill([], this.#revision);
  }

  async start(): Promise<void> {
    await this.#fill();
  }

  stop(): void {
    this.#stopped = true;
    this.#live = false;
    this.#freshness?.stop();
    this.#watch?.stop();
  }

  /** Discards the contents. Watches end and are resumed. */
  refill(why: string): void {
    if (!this.#live) return;
    this.#watch?.stop();
    this.#lost(undefined, why);
  }

  /** Hands over the object that these bytes encode, which saves parsing them. Revoked by forget(). */
  handOver(value: Buffer, object: KubeObject): void {
    this.#handedOver.set(value, object);
  }

  forget(value: Buffer): void {
    this.#handedOver.delete(value);
  }

  /** What happened to a resource after a revision, from the window or else the store's log; undefined = no longer known. Rejects where the store does not tell. */
  eventsAfter(
    cache: ResourceCache,
    revision: number,
  ): CacheEvent[] | undefined | Promise<CacheEvent[] | undefined> {
    return cache.eventsAfter(revision) ?? this.#replay(cache, revision);
  }

  async #fill(): Promise<void> {
    this.#unclaimed.clear();
    const found = new Map<ResourceCache, CacheEntry[]>();
    const unreadable = new Map<string, string>();
    let startKey: string | undefined;
    let revision: number | undefined;
    for (;;) {
      const page = await this.#store.list(STORAGE_ROOT, {
        limit: FILL_PAGE,
        ...(startKey === undefined ? {} : { startKey }),
        ...(revision === undefined ? {} : { revision }),
      });
      revision = page.revision;
      for (const item of page.items) {
        const problem = problemOf(item);
        if (problem === undefined) this.#collect(item, found);
        else unreadable.set(item.key, problem);
      }
      if (!page.more) break;
      startKey = `${page.items.at(-1)!.key}\0`;
    }
    for (const cache of this.#byPrefix.values()) cache.fill(found.get(cache) ?? [], revision);
    this.#markUnreadable(unreadable);
    this.#revision = revision;
    this.#watch = this.#store.watch({
      prefix: STORAGE_ROOT,
      afterRevision: revision,
      onEvents: (events) => this.#take(events),
      onReached: (reached) => this.#reached(reached),
      onClose: (error) => this.#lost(error),
    });
    this.#live = true;
    this.#freshness?.moved();
  }

  #markUnreadable(problems: ReadonlyMap<string, string>): void {
    for (const cache of this.#byPrefix.values()) cache.unreadable.clear();
    for (const [key, problem] of problems) this.#cacheOf(key)?.unreadable.set(key, problem);
    if (problems.size > 0)
      this.#log.error('stored objects cannot be read', {
        objects: problems.size,
        first: [...problems.keys()][0],
        problem: [...problems.values()][0],
      });
  }

  #collect(item: StoredValue, found: Map<ResourceCache, CacheEntry[]>): void {
    const cache = this.#cacheOf(item.key);
    if (!cache) return this.#noteUnclaimed(item.key);
    let list = found.get(cache);
    if (!list) found.set(cache, (list = []));
    list.push(new CacheEntry(item.key, { revision: item.modRevision, value: item.value }));
  }

  #cacheOf(key: string): ResourceCache | undefined {
    let slash = key.indexOf('/', STORAGE_ROOT.length);
    if (slash < 0) return undefined;
    if (this.#twoSegments.has(key.slice(STORAGE_ROOT.length, slash))) slash = key.indexOf('/', slash + 1);
    return this.#byPrefix.get(key.slice(0, slash + 1));
  }

  #noteUnclaimed(key: string): void {
    if (!this.#freshness || this.#unclaimed.size >= MAX_UNCLAIMED) return;
    this.#unclaimed.add(`${key.split('/', 4).join('/')}/`);
  }

  #isUnclaimed(prefix: string): boolean {
    if (this.#unclaimed.size >= MAX_UNCLAIMED) return true;
    for (const one of this.#unclaimed) if (one.startsWith(prefix) || prefix.startsWith(one)) return true;
    return false;
  }

  #take(events: readonly StoreEvent[]): void {
    const touched = new Set<CacheListener>();
    for (const event of events) {
      const cache = this.#cacheOf(event.key);
      this.#revision = event.revision;
      if (!cache) {
        this.#noteUnclaimed(event.key);
        continue;
      }
      if (cache.unreadable.size > 0) cache.unreadable.delete(event.key);
      if (event.value?.unreadable !== undefined) {
        cache.unreadable.set(event.key, event.value.unreadable);
        cache.apply(
          { type: 'delete', key: event.key, revision: event.revision },
          { object: undefined, touched },
        );
        continue;
      }
      const object = event.value && this.#objectOf(event.value);
      if (object?.metadata) object.metadata.resourceVersion = String(event.revision);
      // The registry passes objects that have a name and a uid.
      cache.apply(event, { object: object as Stored | undefined, touched });
    }
    for (const listener of touched) listener.flush?.();
    this.#freshness?.moved();
  }

  /** On a shared store, another server may have made the same bytes of the same update, which this one's is refused for, and tried again with its object. */
  #objectOf({ value, createRevision, modRevision }: StoredValue): KubeObject | undefined {
    const isOurs = !this.isShared || createRevision === modRevision;
    return isOurs ? this.#handedOver.get(value) : undefined;
  }

  #reached(revision: number): void {
    if (revision > this.#revision) this.#revision = revision;
    this.#freshness?.moved();
  }

  #lost(error: Error | undefined, why = 'the store watch ended'): void {
    if (this.#stopped) return;
    this.#live = false;
    this.#problem = error?.message;
    this.#log.error(`${why}, refilling the cache`, error === undefined ? {} : { error: errorMessage(error) });
    this.#clock.after(RETRY_MS, () => {
      if (this.#stopped) return;
      this.#fill().catch((failure: unknown) => this.#lost(failure instanceof Error ? failure : undefined));
    });
  }

  /** Reads the store's log from a revision up to now. */
  #replay(cache: ResourceCache, after: number): Promise<CacheEvent[] | undefined> {
    const upTo = this.#revision;
    const clock = this.#clock;
    return new Promise((resolve, reject) => {
      const events: CacheEvent[] = [];
      let replay: StoreWatch | undefined;
      let settled = false;
      let asking: Timer | undefined;
      let heardMs = clock.monotonic();
      const ask = (): void => {
        if (clock.monotonic() - heardMs > MAX_SILENCE_MS) {
          fail(new StoreError('unavailable', `The store did not tell its log in ${MAX_SILENCE_MS / 1000} s`));
          return replay?.stop();
        }
        replay?.requestProgress?.();
        asking = clock.after(PROGRESS_MS, ask);
      };
      const settle = (result: CacheEvent[] | undefined): void => {
        settled = true;
        asking?.cancel();
        resolve(result);
        replay?.stop();
      };
      /** Only what was compacted is forgotten: a store that cannot be reached still has it. */
      const fail = (
        error: unknown = new StoreError('unavailable', "The replay of the store's log ended"),
      ): void => {
        if (error instanceof StoreError && error.code === 'compacted') return settle(undefined);
        settled = true;
        asking?.cancel();
        reject(error instanceof Error ? error : new Error(String(error)));
      };
      const onEvents = (batch: readonly StoreEvent[]): void => {
        heardMs = clock.monotonic();
        for (const event of batch) {
          if (settled) return;
          if (event.revision <= upTo && event.key.startsWith(cache.prefix)) {
            // The previous state was dropped, so its match with a selector is unknown.
            if (
              (!event.previous && event.value?.createRevision !== event.revision) ||
              event.value?.unreadable !== undefined ||
              event.previous?.unreadable !== undefined
            )
              settle(undefined);
            else events.push(eventFromLog(event));
          }
          if (events.length > MAX_REPLAYED_EVENTS) settle(undefined);
        }
        // One revision can delete several keys, so only after the batch.
        if (!settled && batch.at(-1)!.revision >= upTo) settle(events);
      };
      try {
        replay = this.#store.watch({
          // A store that is asked how far it is need not tell of the others: after the loss of a server, all its watches come here at once.
          prefix: this.#freshness ? cache.prefix : STORAGE_ROOT,
          afterRevision: after,
          onEvents,
          onReached(reached) {
            heardMs = clock.monotonic();
            if (reached >= upTo) settle(events);
          },
          onClose: fail,
        });
        if (settled) replay.stop();
        // The newest revision may be of a key that this watch does not match.
        else if (replay.requestProgress) ask();
      } catch (error) {
        fail(error);
      }
    });
  }
}

/** Why it cannot be read. A server without encryption at rest may find objects that an earlier configuration encrypted. */
function problemOf({ value, unreadable }: StoredValue): string | undefined {
  return unreadable ?? (isEncrypted(value) ? IDENTITY_PROBLEM : undefined);
}

function eventFromLog({ key, revision, value, previous }: StoreEvent): CacheEvent {
  return new CacheEvent({
    revision,
    key,
    current: value && new CacheEntry(key, { revision, value: value.value }),
    previous: previous && new CacheEntry(key, { revision: previous.modRevision, value: previous.value }),
  });
}
