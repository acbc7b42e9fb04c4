/**
 * Compares the watch cache with the store, for each resource every five minutes, as upstream's cacher does by digests: here by keys and revisions,
 * which also names the difference. A difference is reported, and the cache is refilled. It reads keys only, in pages, one resource after the other,
 * and compares in one turn of the event loop.
 *
 *   keys of the store at revision R ─▶ cache has reached R ─▶ compared, except for changes after R ─▶ same │ different
 */
import type { Clock, Timer } from '#stdx/clock.ts';
import { Counter } from '#stdx/instruments.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { Revision, Store } from '#storage/store.ts';
import type { ResourceCache } from './resource-cache.ts';
import type { WatchCache } from './watch-cache.ts';

const INTERVAL_MS = 5 * 60_000;
const PAGE = 2_000;
/** Between two resources. */
const PAUSE_MS = 50;

interface ConsistencyOptions {
  readonly store: Store;
  readonly cache: WatchCache;
  readonly clock: Clock;
  readonly log: Logger;
  /** 'group="G",resource="R"', undefined for a resource that is no longer served. */
  readonly computeLabels: (cache: ResourceCache) => string | undefined;
  readonly onDifference: (message: string) => void;
}

type Outcome = 'success' | 'failure' | 'error';

export class ConsistencyChecker {
  readonly #options: ConsistencyOptions;
  readonly #checks = new Counter(
    'apiserver_storage_consistency_checks_total',
    'Comparisons of the watch cache with the store, by group, resource and status.',
  );
  #timer: Timer | undefined;
  #stopped = false;

  constructor(options: ConsistencyOptions) {
    this.#options = options;
  }

  start(): void {
    if (this.#stopped) return;
    this.#timer = this.#options.clock.after(INTERVAL_MS, () => void this.round().finally(() => this.start()));
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  metrics(): string {
    return this.#checks.render().join('\n');
  }

  /** Never rejects. */
  async round(): Promise<void> {
    const { cache, clock, computeLabels, log } = this.#options;
    for (const one of Array.from(cache.resources)) {
      if (this.#stopped) return;
      const labels = computeLabels(one);
      if (labels === undefined) continue;
      const outcome = await this.#check(one).catch((error: unknown): Outcome => {
        log.debug('the watch cache was not compared', { resource: one.prefix, error: errorMessage(error) });
        return 'error';
      });
      this.#checks.add(`${labels},status="${outcome}"`);
      await clock.sleep(PAUSE_MS);
    }
  }

  async #check(cache: ResourceCache): Promise<Outcome> {
    const { fills } = cache;
    const { keys, revision } = await this.#storedKeys(cache.prefix);
    await this.#options.cache.caughtUp();
    if (cache.fills !== fills || !this.#options.cache.live || this.#options.cache.revision < revision)
      return 'error';
    const difference = differenceOf(cache, { keys, revision });
    if (difference === undefined) return 'error';
    if (difference.length === 0) return 'success';
    const message = `The watch cache of ${cache.prefix} differs from the store at revision ${revision}: ${difference.slice(0, 3).join('; ')}${difference.length > 3 ? `; ${difference.length - 3} more` : ''}`;
    this.#options.log.error(message);
    this.#options.onDifference(message);
    this.#options.cache.refill('the cache differs from the store');
    return 'failure';
  }

  async #storedKeys(
    prefix: string,
  ): Promise<{ readonly keys: Map<string, Revision>; readonly revision: Revision }> {
    const keys = new Map<string, Revision>();
    let revision: Revision | undefined;
    let startKey = prefix;
    for (;;) {
      const page = await this.#options.store.list(prefix, {
        keysOnly: true,
        limit: PAGE,
        startKey,
        ...(revision === undefined ? {} : { revision }),
      });
      revision = page.revision;
      for (const { key, modRevision } of page.items) keys.set(key, modRevision);
      if (!page.more) return { keys, revision };
      startKey = `${page.items.at(-1)!.key}\0`;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

/** Undefined where too much has changed since to tell. */
function differenceOf(
  cache: ResourceCache,
  { keys, revision }: { readonly keys: ReadonlyMap<string, Revision>; readonly revision: Revision },
): string[] | undefined {
  const since = cache.eventsAfter(revision);
  if (!since) return undefined;
  const changed = new Set(since.map(({ key }) => key));
  const found: string[] = [];
  for (const [key, stored] of keys) {
    if (changed.has(key) || cache.unreadable.has(key)) continue;
    const cached = cache.entries.get(key)?.revision;
    if (cached !== stored) found.push(`${key} is ${cached ?? 'absent'}, stored at ${stored}`);
  }
  for (const { key, revision: cached } of cache.entries.list(cache.prefix))
    if (!changed.has(key) && !keys.has(key)) found.push(`${key} is ${cached}, not stored`);
  return found;
}
