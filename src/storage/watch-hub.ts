/**
 * The watches of one store: dispatches events, replays the log to watches that are behind, and handles listeners that throw.
 *
 *   watch(after) ──▶ catching up ── reached the newest revision ──▶ live ── stop() │ listener threw │ store closed ──▶ ended
 *                        └── compaction overtook it ─────────────────────────────────────────────────────────────────▶ ended
 *
 * A watch becomes live in the same tick in which it has read the newest log entry, so there is neither gap nor duplicate.
 */
import { type Revision, StoreError, type StoreEvent, type StoreWatch, type WatchOptions } from './store.ts';

/** Maximum number of log entries read at once while catching up; then it yields to the event loop. */
const CATCH_UP_SLICE = 512;

interface WatchSource {
  readonly revision: Revision;
  readonly compactedRevision: Revision;
  /** Events after this revision, at most `limit` log entries, and the revision up to which the log was read. */
  replay(
    prefix: string,
    options: { after: Revision; limit: number },
  ): { events: StoreEvent[]; reached: Revision };
}

interface Watch {
  readonly options: WatchOptions;
  /** All matching events up to this revision were delivered. */
  reached: Revision;
  ended: boolean;
}

export class WatchHub {
  readonly #source: WatchSource;
  /** Live watches by prefix: those with the same prefix share one array of events. */
  readonly #live = new Map<string, Set<Watch>>();
  readonly #catchingUp = new Set<Watch>();

  constructor(source: WatchSource) {
    this.#source = source;
  }

  get size(): number {
    let size = this.#catchingUp.size;
    for (const watches of this.#live.values()) size += watches.size;
    return size;
  }

  watch(options: WatchOptions): StoreWatch {
    const watch: Watch = { options, reached: options.afterRevision, ended: false };
    if (watch.reached < this.#source.compactedRevision)
      throw compacted(watch.reached, this.#source.compactedRevision);
    if (watch.reached >= this.#source.revision) {
      this.#goLive(watch);
    } else {
      this.#catchingUp.add(watch);
      // Not before the caller has its handle; a backlog of one slice is still delivered before newer writes are acknowledged.
      queueMicrotask(() => this.#catchUp(watch));
    }
    return { stop: () => this.#remove(watch) };
  }

  /** Whether a live watch matches this key. */
  wants(key: string): boolean {
    for (const prefix of this.#live.keys()) if (key.startsWith(prefix)) return true;
    return false;
  }

  /** Delivers one committed batch to the live watches. Watches that are catching up read it from the log. */
  publish(events: readonly StoreEvent[]): void {
    for (const [prefix, watches] of this.#live) {
      const matching = prefix === '' ? events : events.filter((event) => event.key.startsWith(prefix));
      if (matching.length === 0) continue;
      // A copy, because a listener may start and stop watches.
      for (const watch of Array.from(watches)) this.#deliver(watch, matching);
    }
  }

  closeAll(error: StoreError): void {
    const all = [...this.#catchingUp, ...[...this.#live.values()].flatMap((watches) => [...watches])];
    for (const watch of all) this.#end(watch, error);
  }

  #deliver(watch: Watch, events: readonly StoreEvent[]): void {
    if (watch.ended) return;
    const fresh =
      events[0]!.revision > watch.reached ? events : events.filter((event) => event.revision > watch.reached);
    if (fresh.length === 0) return;
    watch.reached = fresh.at(-1)!.revision;
    try {
      watch.options.onEvents(fresh);
    } catch (error) {
      this.#end(watch, error instanceof Error ? error : new Error(String(error)));
    }
  }

  #catchUp(watch: Watch): void {
    if (watch.ended) return;
    const source = this.#source;
    if (watch.reached < source.compactedRevision)
      return this.#end(watch, compacted(watch.reached, source.compactedRevision));
    let reached: Revision;
    try {
      const slice = source.replay(watch.options.prefix, { after: watch.reached, limit: CATCH_UP_SLICE });
      reached = slice.reached;
      if (slice.events.length > 0) this.#deliver(watch, slice.events);
    } catch (error) {
      return this.#end(watch, error instanceof Error ? error : new Error(String(error)));
    }
    if (watch.ended) return;
    watch.reached = Math.max(watch.reached, reached);
    if (watch.reached < source.revision) {
      setImmediate(() => this.#catchUp(watch));
      return;
    }
    this.#catchingUp.delete(watch);
    this.#goLive(watch);
  }

  #goLive(watch: Watch): void {
    const watches = this.#live.get(watch.options.prefix);
    if (watches) watches.add(watch);
    else this.#live.set(watch.options.prefix, new Set([watch]));
  }

  #remove(watch: Watch): void {
    watch.ended = true;
    this.#catchingUp.delete(watch);
    const watches = this.#live.get(watch.options.prefix);
    if (watches?.delete(watch) && watches.size === 0) this.#live.delete(watch.options.prefix);
  }

  #end(watch: Watch, error: Error): void {
    if (watch.ended) return;
    this.#remove(watch);
    try {
      watch.options.onClose?.(error);
    } catch (thrown) {
      // Other watches must not be affected, but the error must be reported.
      queueMicrotask(() => {
        throw thrown;
      });
    }
  }
}

export function compacted(revision: Revision, floor: Revision): StoreError {
  return new StoreError(
    'compacted',
    `Cannot read revision ${revision}: history up to revision ${floor} was compacted`,
  );
}
