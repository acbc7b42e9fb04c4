/**
 * Waits until the watch cache of a shared store has everything acknowledged so far: reads the store's newest revision, then waits for the cache to
 * reach it. Not used where this server is the only writer.
 *
 *   caughtUp() ─▶ one read shared by all callers before it was sent ─▶ revision ─▶ cache reached it │ progress requested every PROGRESS_MS
 *                   └── callers while it is in flight share the next one
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
}

interface Waiting {
  readonly revision: Revision;
  readonly untilMs: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class Freshness {
  readonly #options: FreshnessOptions;
  /** The request in flight, and the one to be sent after it. */
  #asking: Promise<Revision> | undefined;
  #next: Promise<Revision> | undefined;
  readonly #waiting = new Set<Waiting>();
  #timer: Timer | undefined;

  constructor(options: FreshnessOptions) {
    this.#options = options;
  }

  caughtUp(): Promise<void> {
    const asking = this.#asking;
    if (!asking) return this.#ask().then((revision) => this.#reach(revision));
    // The response in flight may be older than a write that the caller knows of.
    this.#next ??= asking.then(
      () => this.#ask(),
      () => this.#ask(),
    );
    return this.#next.then((revision) => this.#reach(revision));
  }

  #ask(): Promise<Revision> {
    this.#next = undefined;
    const asking = this.#options.newest();
    this.#asking = asking;
    const over = (): void => {
      if (this.#asking === asking) this.#asking = undefined;
    };
    asking.then(over, over);
    return asking;
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
