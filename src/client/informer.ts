/**
 * An informer: a cache of one resource, kept up to date by list and watch. Behaves as client-go's reflector.
 *
 *   listing --all pages in the cache--> watching --stream ends--> watching (from the last resourceVersion)
 *      ^  backoff on failure               |  410, or "too large resource version"
 *      '-----------------------------------'
 *
 * The first list has resourceVersion 0 (the server's watch cache), after 410 it has '' (the most recent). A relist is compared with
 * the cache, so handlers see added, updated and deleted also for missed events; `deleted` then gets the last known
 * state. Retries forever, with 0.8 to 30 s of jittered backoff: only its owner stops an informer.
 */
import type { KubeList, KubeObject, Stored } from '#machinery/object.ts';
import { formatApiVersion, objectKey } from '#machinery/object.ts';
import { StatusError } from '#machinery/errors.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { Random } from '#stdx/random.ts';
import { ObjectCache, type IndexFunction } from './cache.ts';
import type { Informer, InformerHandler, ResourceRef, SelectOptions, WatchEvent } from './client.ts';
import { abortReason } from './transport-error.ts';

interface ListQuery extends SelectOptions {
  limit: number;
  continue?: string;
  resourceVersion?: string;
}
interface WatchQuery extends SelectOptions {
  resourceVersion: string;
  signal: AbortSignal;
  allowWatchBookmarks: boolean;
  timeoutSeconds: number;
}

interface InformerOptions<T extends KubeObject> {
  readonly ref: ResourceRef<T>;
  readonly select: SelectOptions;
  readonly list: (query: ListQuery) => Promise<KubeList<Stored<T>>>;
  /** Events in batches as they arrive; throws StatusError for an ERROR event. */
  readonly watch: (query: WatchQuery) => AsyncIterable<WatchEvent<Stored<T>>[]>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly random: Random;
}

export interface StoppableInformer<T extends KubeObject> extends Informer<T> {
  /** Resolves when the last handler call is over. */
  stop(): Promise<void>;
}

const PAGE_SIZE = 500;
const BACKOFF_MIN_MS = 800;
const BACKOFF_MAX_MS = 30_000;
/** Backoff is reset after a list and watch that lasted this long. */
const BACKOFF_RESET_MS = 120_000;
const MIN_WATCH_SECONDS = 300;
/** A watch that ends earlier without an event counts as a failure. */
const SHORT_WATCH_MS = 1_000;
/** A long relist yields to the event loop after this many objects. */
const SLICE = 1_000;
const BY_NAMESPACE = 'namespace';

export function createInformer<T extends KubeObject>(options: InformerOptions<T>): StoppableInformer<T> {
  return new ReflectingInformer(options);
}

class ReflectingInformer<T extends KubeObject> implements StoppableInformer<T> {
  readonly #options: InformerOptions<T>;
  readonly #log: Logger;
  readonly #cache = new ObjectCache<Stored<T>>();
  /** Replaced, never changed in place: a handler may subscribe during iteration. */
  #handlers: readonly InformerHandler<Stored<T>>[] = [];
  readonly #abort = new AbortController();
  readonly #running: Promise<void>;
  readonly #apiVersion: string;
  readonly #firstSync = Promise.withResolvers<void>();
  #hasSynced = false;
  /** '' before the first list. */
  #resourceVersion = '';
  #listNewest = false;
  #mustList = true;
  #backoffMs = BACKOFF_MIN_MS;
  /** The last watch expired, and no event came since. */
  #expired = false;

  constructor(options: InformerOptions<T>) {
    this.#options = options;
    this.#log = options.log.with({ informer: options.ref.plural });
    this.#apiVersion = formatApiVersion(options.ref);
    if (options.ref.namespaced) this.#cache.addIndex(BY_NAMESPACE, namespaceOf);
    // Avoids an unhandled rejection when stop() rejects the first sync.
    this.#firstSync.promise.catch(() => {});
    this.#running = this.#run();
  }

  get hasSynced(): boolean {
    return this.#hasSynced;
  }

  get lastSyncResourceVersion(): string {
    return this.#resourceVersion;
  }

  async synced(signal?: AbortSignal): Promise<void> {
    if (this.#hasSynced) return;
    if (!signal) return this.#firstSync.promise;
    if (signal.aborted) throw abortReason(signal);
    const aborted = Promise.withResolvers<never>();
    const onAbort = (): void => aborted.reject(abortReason(signal));
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      await Promise.race([this.#firstSync.promise, aborted.promise]);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  get(key: string): Stored<T> | undefined {
    return this.#cache.get(key);
  }

  list(): Stored<T>[] {
    return this.#cache.list();
  }

  listNamespace(namespace: string): Stored<T>[] {
    return this.#options.ref.namespaced ? this.#cache.byIndex(BY_NAMESPACE, namespace) : [];
  }

  addIndex(name: string, values: IndexFunction<Stored<T>>): void {
    if (name === BY_NAMESPACE) throw new TypeError('the index "namespace" is built in: use listNamespace()');
    this.#cache.addIndex(name, values);
  }

  byIndex(name: string, value: string): Stored<T>[] {
    return this.#cache.byIndex(name, value);
  }

  subscribe(handler: InformerHandler<Stored<T>>): () => void {
    // A handler that is subscribed twice is called twice.
    const own: InformerHandler<Stored<T>> = {
      ...(handler.added ? { added: (object: Stored<T>) => handler.added!(object) } : {}),
      ...(handler.updated
        ? { updated: (object: Stored<T>, previous: Stored<T>) => handler.updated!(object, previous) }
        : {}),
      ...(handler.deleted ? { deleted: (object: Stored<T>) => handler.deleted!(object) } : {}),
    };
    this.#handlers = [...this.#handlers, own];
    if (own.added) for (const object of this.#cache.list()) this.#guarded(() => own.added!(object));
    return () => {
      this.#handlers = this.#handlers.filter((other) => other !== own);
    };
  }

  async stop(): Promise<void> {
    if (!this.#abort.signal.aborted) {
      const error = new Error(`informer of ${this.#options.ref.plural} was stopped`);
      this.#firstSync.reject(error);
      this.#abort.abort(error);
    }
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, random } = this.#options;
    while (!this.#abort.signal.aborted) {
      const startedMs = clock.monotonic();
      try {
        if (this.#mustList) await this.#list();
        if (await this.#watch()) continue;
      } catch (error) {
        if (this.#abort.signal.aborted) return;
        if (this.#decideAfter(error) === 'at once') continue;
      }
      if (clock.monotonic() - startedMs > BACKOFF_RESET_MS) this.#backoffMs = BACKOFF_MIN_MS;
      const waitMs = Math.min(this.#backoffMs * (1 + random()), BACKOFF_MAX_MS);
      this.#backoffMs = Math.min(this.#backoffMs * 2, BACKOFF_MAX_MS);
      await clock.sleep(waitMs, this.#abort.signal).catch(() => {});
    }
  }

  /** Handles a failure: sets where the next round starts, and whether to back off first. */
  #decideAfter(error: unknown): 'at once' | 'after backoff' {
    if (isExpired(error)) {
      this.#log.info('resource version expired: relisting', { resourceVersion: this.#resourceVersion });
      // Twice in a row means that even the latest list is too old: back off.
      const again = this.#expired;
      this.#mustList = true;
      this.#listNewest = true;
      this.#expired = true;
      return again ? 'after backoff' : 'at once';
    }
    // Only the connection failed: the watch can be resumed. Any other error needs a new list.
    if (error instanceof StatusError && error.code !== 429 && error.code < 500) this.#mustList = true;
    this.#log.warn('list and watch failed, retrying', {
      error: errorMessage(error),
      nextMs: this.#backoffMs,
    });
    return 'after backoff';
  }

  async #list(): Promise<void> {
    const { list, select } = this.#options;
    const resourceVersion = this.#listNewest ? '' : this.#resourceVersion || '0';
    const items: Stored<T>[] = [];
    let page = await list({ ...select, limit: PAGE_SIZE, ...(resourceVersion ? { resourceVersion } : {}) });
    for (;;) {
      for (const item of page.items) items.push(item);
      const next = page.metadata?.continue;
      if (!next) break;
      this.#abort.signal.throwIfAborted();
      page = await list({ ...select, limit: PAGE_SIZE, continue: next });
    }
    this.#abort.signal.throwIfAborted();
    await this.#replace(items);
    this.#resourceVersion = page.metadata?.resourceVersion ?? '';
    this.#mustList = false;
    this.#listNewest = false;
    if (this.#hasSynced) return;
    this.#hasSynced = true;
    this.#firstSync.resolve();
  }

  async #replace(items: readonly Stored<T>[]): Promise<void> {
    const gone = new Set(this.#cache.keys());
    for (const [at, item] of items.entries()) {
      gone.delete(objectKey(item));
      this.#put(item);
      if ((at + 1) % SLICE === 0) await nextTurn();
    }
    for (const key of gone) this.#remove(key, this.#cache.get(key)!);
  }

  /** Returns true when the watch lasted: resume at once. */
  async #watch(): Promise<boolean> {
    const { watch, select, clock, random } = this.#options;
    const startedMs = clock.monotonic();
    let events = 0;
    const query = {
      ...select,
      resourceVersion: this.#resourceVersion,
      signal: this.#abort.signal,
      allowWatchBookmarks: true,
      timeoutSeconds: Math.floor(MIN_WATCH_SECONDS * (1 + random())),
    };
    for await (const batch of watch(query)) {
      if (this.#abort.signal.aborted) return true;
      for (const event of batch) this.#apply(event);
      events += batch.length;
      this.#backoffMs = BACKOFF_MIN_MS;
      this.#expired = false;
    }
    return events > 0 || clock.monotonic() - startedMs >= SHORT_WATCH_MS;
  }

  #apply({ type, object }: WatchEvent<Stored<T>>): void {
    const resourceVersion = object.metadata?.resourceVersion;
    if (type === 'ADDED' || type === 'MODIFIED') this.#put(object);
    else if (type === 'DELETED') this.#remove(objectKey(object), object);
    else if (type !== 'BOOKMARK') this.#log.warn('watch event of unknown type', { type: String(type) });
    if (resourceVersion) this.#resourceVersion = resourceVersion;
  }

  #put(object: Stored<T>): void {
    this.#trim(object);
    const key = objectKey(object);
    const known = this.#cache.get(key);
    if (known && known.metadata?.uid !== object.metadata?.uid) this.#remove(key, known);
    else if (known && known.metadata?.resourceVersion === object.metadata?.resourceVersion) return;
    const previous = this.#cache.set(key, object);
    for (const handler of this.#handlers) {
      if (previous) this.#guarded(() => handler.updated?.(object, previous));
      else this.#guarded(() => handler.added?.(object));
    }
  }

  #remove(key: string, finalState: Stored<T>): void {
    if (!this.#cache.delete(key)) return;
    this.#trim(finalState);
    for (const handler of this.#handlers) this.#guarded(() => handler.deleted?.(finalState));
  }

  /** No user of a cache reads managed fields, and they are often half of an object. */
  #trim(object: Stored<T>): void {
    object.apiVersion ??= this.#apiVersion;
    object.kind ??= this.#options.ref.kind;
    if (object.metadata?.managedFields) delete object.metadata.managedFields;
  }

  #guarded(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#log.error('informer handler threw', {
        error: error instanceof Error ? (error.stack ?? error.message) : String(error),
      });
    }
  }
}

function namespaceOf(object: KubeObject): readonly string[] {
  return [object.metadata?.namespace ?? ''];
}

/** The resource version is compacted, or (after the server's data was restored) in the future. */
function isExpired(error: unknown): boolean {
  if (!(error instanceof StatusError)) return false;
  if (error.code === 410 || error.reason === 'Expired' || error.reason === 'Gone') return true;
  return (
    error.message.includes('Too large resource version') ||
    error.status.details?.causes?.some((cause) => cause.reason === 'ResourceVersionTooLarge') === true
  );
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
