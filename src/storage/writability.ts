/**
 * A Store that remembers whether it takes writes, for health checks: it forwards everything, and records the result of the last write. It is logged once
 * when writes begin to fail and once when they succeed again. While they fail it asks for a write now and then, since a server that is not ready may get
 * none from clients.
 *
 *   writable ──write refused by the disk, or store not reachable──► failing ──write done──► writable
 *                                                                    │  ▲
 *                                                                    '──┘ probe() every PROBE_MS
 */
import type { Clock, Timer } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import {
  StoreError,
  type DeleteOptions,
  type PutOptions,
  type Revision,
  type Store,
  type StoreErrorCode,
} from './store.ts';

export interface WatchedStore extends Store {
  /** Why the last write could not be done; undefined while writes are done. */
  readonly writeProblem: string | undefined;
  /** Called while writes fail: should write something small that changes nothing of note. It may reject. */
  probeBy(probe: () => Promise<void>): void;
  /** No more probes; writes go through as before. */
  stopProbing(): void;
}

const PROBE_MS = 5_000;

/** The others are answers about the request: a conflict, say. */
const STORE_FAULTS: ReadonlySet<StoreErrorCode> = new Set(['no-space', 'read-only', 'io', 'unavailable']);

export function watchWrites(
  store: Store,
  { clock, log }: { readonly clock: Clock; readonly log: Logger },
): WatchedStore {
  let problem: string | undefined;
  let probe: (() => Promise<void>) | undefined;
  let timer: Timer | undefined;
  let stopped = false;
  const tryLater = (): void => {
    if (stopped) return;
    timer ??= clock.after(PROBE_MS, () => {
      timer = undefined;
      if (problem === undefined || stopped) return;
      // Its outcome is seen as every write's is.
      void Promise.resolve(probe?.())
        .catch(() => {})
        .then(() => problem === undefined || tryLater());
    });
  };
  const done = (): void => {
    if (problem === undefined) return;
    problem = undefined;
    log.info('the store takes writes again');
  };
  const failed = (error: unknown): void => {
    if (!(error instanceof StoreError) || !STORE_FAULTS.has(error.code)) return;
    if (problem === undefined) log.error('the store does not take writes', { error: errorMessage(error) });
    problem = error.message;
    tryLater();
  };
  const watched = <T>(write: Promise<T>): Promise<T> => {
    write.then(done, failed);
    return write;
  };
  return {
    get revision() {
      return store.revision;
    },
    get compactedRevision() {
      return store.compactedRevision;
    },
    get writeProblem() {
      return problem;
    },
    probeBy(next) {
      probe = next;
    },
    stopProbing() {
      stopped = true;
      timer?.cancel();
    },
    get: (key, options) => store.get(key, options),
    list: (prefix, options) => store.list(prefix, options),
    put: (key: string, value: Buffer, options?: PutOptions) => watched(store.put(key, value, options)),
    delete: (key: string, options?: DeleteOptions) => watched(store.delete(key, options)),
    watch: (options) => store.watch(options),
    compact: (revision: Revision) => store.compact(revision),
    stats: () => store.stats(),
    ...(store.newestRevision ? { newestRevision: () => store.newestRevision!() } : {}),
    ...(store.isStale ? { isStale: (key: string) => store.isStale!(key) } : {}),
    close: () => store.close(),
  };
}
