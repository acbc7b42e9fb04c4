/**
 * A Store wrapper that tracks whether writes succeed, for health checks: it forwards everything, and records the result of the last write. It logs once
 * when writes start to fail and once when they succeed again. While they fail it probes with a write periodically, because a server that is not ready may
 * get no writes from clients.
 *
 *   writable ──write failed by the disk, or store unreachable──────► failing ──write done──► writable
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
  /** The error of the last write; undefined while writes succeed. */
  readonly writeProblem: string | undefined;
  /** Called while writes fail: should write something small without side effects. It may reject. */
  probeBy(probe: () => Promise<void>): void;
  /** Stops probing; writes are still forwarded. */
  stopProbing(): void;
}

const PROBE_MS = 5_000;

/** Other errors concern the request: a conflict, say. */
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
      // Its result is recorded as that of any write.
      void Promise.resolve(probe?.())
        .catch(() => {})
        .then(() => problem === undefined || tryLater());
    });
  };
  const done = (): void => {
    if (problem === undefined) return;
    problem = undefined;
    log.info('store is writable again');
  };
  const failed = (error: unknown): void => {
    if (!(error instanceof StoreError) || !STORE_FAULTS.has(error.code)) return;
    if (problem === undefined) log.error('the store is not writable', { error: errorMessage(error) });
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
