/** The watch cache of one stored resource: its live entries, its newest events, and those who listen. */
import type { KubeObject, Stored } from '#machinery/object.ts';
import type { StoreEvent } from '#storage/store.ts';
import { CacheEntry } from './entry.ts';
import { CacheEvent, EventWindow, WindowBudget } from './events.ts';
import type { ParsedObjects } from './parsed-objects.ts';
import { jsonForm, type SlabForm } from './slab-forms.ts';
import { SortedEntries } from './sorted-entries.ts';

/** A follower of the resource. deliver is synchronous and must not throw; flush is called once after each batch that called deliver. */
export interface CacheListener {
  /** Only keys with this prefix are delivered; a full key means that one object (nothing else can have it as prefix, since '/' follows none). */
  readonly keyPrefix: string;
  deliver(event: CacheEvent): void;
  flush?(): void;
  /** The cache lost its store and was refilled: delivered events may have gaps. The listener is unsubscribed. */
  reset(): void;
}

export interface ResourceCacheOptions {
  /** '/registry/pods/' */
  readonly prefix: string;
  readonly parsed: ParsedObjects;
  /** Values of every selectable field of an object. */
  readonly fieldsOf: (object: KubeObject) => Readonly<Record<string, string>>;
  /** The prefix of stored objects that items of lists omit, in place of their opening brace. */
  readonly itemHead?: Buffer | undefined;
  /** Shared by all caches of a server. Default: one of its own. */
  readonly windows?: WindowBudget;
}

export class ResourceCache {
  readonly prefix: string;
  readonly parsed: ParsedObjects;
  readonly entries = new SortedEntries();
  readonly jsonForm: SlabForm;
  /** Keys that are stored but not among the entries, and why: see unreadable.ts. */
  readonly unreadable = new Map<string, string>();
  readonly fieldsOf: (object: KubeObject) => Readonly<Record<string, string>>;
  /** Number of writes applied, and of refills. */
  eventsReceived = 0;
  fills = 0;
  /** Lists served from the cache, those at the newest revision, and the number of items visited and returned. */
  readonly lists = { served: 0, consistent: 0, fetched: 0, returned: 0 };
  /** Likewise of those served from the store's history. */
  readonly historicLists = { served: 0, fetched: 0, returned: 0 };
  /** Objects handed to watches at their beginning. */
  initialEvents = 0;
  /** Revision of the newest write to this resource, or of the fill. */
  lastRevision = 0;
  readonly #budget: WindowBudget;
  #window: EventWindow;
  /** By exact keyPrefix: an event looks up each prefix of its key that listeners have. */
  readonly #listeners = new Map<string, Set<CacheListener>>();

  constructor({ prefix, parsed, fieldsOf, itemHead, windows = new WindowBudget() }: ResourceCacheOptions) {
    this.#budget = windows;
    this.#window = new EventWindow(0, windows);
    this.jsonForm = jsonForm(itemHead);
    this.prefix = prefix;
    this.parsed = parsed;
    this.fieldsOf = fieldsOf;
  }

  key({ namespace, name }: { readonly namespace: string; readonly name: string }): string {
    return namespace === '' ? this.prefix + name : `${this.prefix}${namespace}/${name}`;
  }

  labels(entry: CacheEntry): Readonly<Record<string, string>> {
    return entry.labels(this.parsed);
  }

  fields(entry: CacheEntry): Readonly<Record<string, string>> {
    return entry.fields(this.parsed, this.fieldsOf);
  }

  get listenerCount(): number {
    let count = 0;
    for (const set of this.#listeners.values()) count += set.size;
    return count;
  }

  /** Watches one object; without a name, objects created in the namespace. */
  listenersOf({ namespace, name }: { readonly namespace: string; readonly name: string }): number {
    const listeners = this.#listeners;
    let count = listeners.get(this.prefix)?.size ?? 0;
    if (namespace !== '') count += listeners.get(`${this.prefix}${namespace}/`)?.size ?? 0;
    if (name !== '') count += listeners.get(this.key({ namespace, name }))?.size ?? 0;
    return count;
  }

  fill(entries: readonly CacheEntry[], revision: number): void {
    this.fills++;
    this.entries.load(entries);
    this.lastRevision = revision;
    this.#window.release();
    this.#window = new EventWindow(revision, this.#budget);
    this.endWatches();
  }

  /** Resets every listener, as after a refill. */
  endWatches(): void {
    const listeners = [...this.#listeners.values()].flatMap((set) => [...set]);
    this.#listeners.clear();
    for (const listener of listeners) listener.reset();
  }

  /** Applies a committed write and delivers it. touched collects listeners to flush. */
  apply(
    event: StoreEvent,
    { object, touched }: { readonly object: Stored | undefined; readonly touched: Set<CacheListener> },
  ): void {
    const { key, revision, value } = event;
    this.eventsReceived++;
    let current: CacheEntry | undefined;
    let previous: CacheEntry | undefined;
    if (value !== undefined) {
      current = new CacheEntry(key, { revision, value: value.value });
      if (object) this.parsed.keep(current, object);
      previous = this.entries.set(current);
    } else {
      previous = this.entries.delete(key);
      if (previous === undefined) return;
    }
    this.lastRevision = revision;
    const change = new CacheEvent({ revision, key, current, previous });
    this.#window.push(change);
    this.#handOut(change, touched);
    change.dropFrames();
  }

  /** The events after the revision, undefined when the window does not reach that far back. */
  eventsAfter(revision: number): CacheEvent[] | undefined {
    return this.#window.after(revision);
  }

  subscribe(listener: CacheListener): () => void {
    let set = this.#listeners.get(listener.keyPrefix);
    if (!set) this.#listeners.set(listener.keyPrefix, (set = new Set()));
    set.add(listener);
    return () => {
      const current = this.#listeners.get(listener.keyPrefix);
      current?.delete(listener);
      if (current?.size === 0) this.#listeners.delete(listener.keyPrefix);
    };
  }

  #handOut(change: CacheEvent, touched: Set<CacheListener>): void {
    if (this.#listeners.size === 0) return;
    const { key } = change;
    this.#deliver(this.prefix, { change, touched });
    const slash = key.indexOf('/', this.prefix.length);
    if (slash > 0) this.#deliver(key.slice(0, slash + 1), { change, touched });
    this.#deliver(key, { change, touched });
  }

  #deliver(
    prefix: string,
    { change, touched }: { readonly change: CacheEvent; readonly touched: Set<CacheListener> },
  ): void {
    const set = this.#listeners.get(prefix);
    if (set === undefined) return;
    for (const listener of set) {
      listener.deliver(change);
      touched.add(listener);
    }
  }
}
