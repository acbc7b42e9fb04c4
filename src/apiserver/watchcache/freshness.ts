/**
 * Waits until the watch cache of a shared store has everything acknowledged so far: reads the store's newest revision, then waits for the cache to
 * reach it. Not used where this server is the only writer.
 *
 *   caughtUp() ─▶ one read shared by all callers until it is sent ─▶ revision ─▶ cache reached it │ progress requested every PROGRESS_MS
 *                   └── one at a time: sent at the end of the turn of the event loop, or else once the one in flight is answered,
 *                       before those who waited for that answer are served: etcd works meanwhile
 */
import type { Clock, Timer } from '#stdx/clock.ts';
import { StoreError, type Revision } from '#storage/store.ts';

const PROGRESS_MS = 100;
/** As upstream's cacher waits for a revision. */
const WAIT_MS = 3_000;

interface FreshnessOptions {
  /** Linearizable. */
  readonly newest: () => Promise<Revision>;
  /** The revision that the cache has reached; below 0 while it is being filled. */
  readonly reached: () => Revision;
  readonly requestProgress: () => void;
  readonly clock: Clock;
  /** Calls back at the end of the turn: all that have arrived with one poll of the sockets share a read. Default: setImmediate. */
  readonly defer?: ((callback: () => void) => void) | undefined;
}

type Group = ReturnType<typeof Promise.withResolvers<void>>;

interface Waiting {
  readonly revision: Revision;
  readonly untilMs: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class Freshness {
  readonly #options: FreshnessOptions;
  /** Of the callers that share the read which is not sent yet. */
  #next: Group | undefined;
  #isAsking = false;
  /** When the newest question that the cache has caught up with was sent. */
  #confirmedMs = -Infinity;
  readonly #waiting = new Set<Waiting>();
  #timer: Timer | undefined;

  constructor(options: FreshnessOptions) {
    this.#options = options;
  }

  caughtUp(): Promise<void> {
    // A read in flight may be older than a write that the caller knows of.
    if (!this.#next) {
      this.#next = Promise.withResolvers<void>();
      if (!this.#isAsking) this.#askSoon();
    }
    return this.#next.promise;
  }

  /** Everything acknowledged until so long ago. Undefined: the cache has it. */
  caughtUpWithin(ms: number): Promise<void> | undefined {
    const isFresh = this.#options.reached() >= 0 && this.#options.clock.monotonic() - this.#confirmedMs <= ms;
    return isFresh ? undefined : this.caughtUp();
  }

  #askSoon(): void {
    const { defer = setImmediate } = this.#options;
    this.#isAsking = true;
    defer(() => this.#ask());
  }

  #ask(): void {
    const group = this.#next!;
    this.#next = undefined;
    this.#isAsking = true;
    const sentMs = this.#options.clock.monotonic();
    const over = (): void => {
      this.#isAsking = false;
      if (this.#next) this.#ask();
    };
    this.#options
      .newest()
      .finally(over)
      .then((revision) => this.#reach(revision))
      .then(() => {
        this.#confirmedMs = sentMs;
        group.resolve();
      }, group.reject);
  }

  #reach(revision: Revision): Promise<void> | undefined {
    if (this.#options.reached() >= revision) return undefined;
    return new Promise((resolve, reject) => {
      this.#waiting.add({ revision, untilMs: this.#options.clock.monotonic() + WAIT_MS, resolve, reject });
      this.#timer ??= this.#options.clock.after(PROGRESS_MS, () => this.#tick());
    });
  }

  #tick(): void {
    this.#timer = undefined;
    const { clock, reached, requestProgress } = this.#options;
    const now = clock.monotonic();
    for (const one of this.#waiting)
      if (one.untilMs <= now)
        this.#over(one, () =>
          one.reject(
            new StoreError(
              'unavailable',
              `The cache did not reach revision ${one.revision} in ${WAIT_MS / 1000} s (it is at ${reached()}); try again`,
            ),
          ),
        );
    if (this.#waiting.size === 0) return;
    requestProgress();
    this.#timer = clock.after(PROGRESS_MS, () => this.#tick());
  }

  #over(one: Waiting, settle: () => void): void {
    this.#waiting.delete(one);
    settle();
  }

  /** Called when the cache has advanced. */
  moved(): void {
    if (this.#waiting.size === 0) return;
    const reached = this.#options.reached();
    for (const one of this.#waiting) if (one.revision <= reached) this.#over(one, one.resolve);
  }

  stop(): void {
    const stopped = new StoreError('closed', 'The server is shutting down');
    for (const one of this.#waiting) this.#over(one, () => one.reject(stopped));
    this.#timer?.cancel();
  }
}
