/**
 * Finds out what changed in the runtime by listing it: every second, five times a second for a while after something was set going. One cheap
 * list for all pods; only pods that changed are looked at closely, by their workers.
 */
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { PodDigest, RuntimeView } from './runtime-view.ts';

const PERIOD_MS = 1_000;
const FAST_PERIOD_MS = 200;
const FAST_FOR_MS = 5_000;

interface RelistOptions {
  readonly view: RuntimeView;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onChange: (uid: string) => void;
  /** After each list that succeeded: everything the runtime has. */
  readonly onList: (pods: ReadonlyMap<string, PodDigest>) => void;
}

export class Relist {
  readonly #options: RelistOptions;
  readonly #stop = new AbortController();
  #seen = new Map<string, PodDigest>();
  #fastUntilMs = 0;
  #running: Promise<void> | undefined;
  #hurry = Promise.withResolvers<void>();
  /** Of the last list that succeeded, on the monotonic clock. */
  lastSuccessMs = -Infinity;

  constructor(options: RelistOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running = this.#run();
  }

  expectChange(): void {
    const { clock } = this.#options;
    const slow = clock.monotonic() >= this.#fastUntilMs;
    this.#fastUntilMs = clock.monotonic() + FAST_FOR_MS;
    if (slow) this.#hurry.resolve();
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('node agent stopped'));
    this.#hurry.resolve();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await this.#list();
      const periodMs = clock.monotonic() < this.#fastUntilMs ? FAST_PERIOD_MS : PERIOD_MS;
      this.#hurry = Promise.withResolvers();
      await Promise.race([clock.sleep(periodMs, signal).catch(() => {}), this.#hurry.promise]);
      if (periodMs === PERIOD_MS && !signal.aborted)
        await clock.sleep(FAST_PERIOD_MS / 4, signal).catch(() => {});
    }
  }

  async #list(): Promise<void> {
    const { view, clock, log, onChange, onList } = this.#options;
    try {
      const found = await view.digests();
      this.lastSuccessMs = clock.monotonic();
      const before = this.#seen;
      this.#seen = found;
      for (const uid of new Set([...found.keys(), ...before.keys()]))
        if (found.get(uid)?.digest !== before.get(uid)?.digest) onChange(uid);
      onList(found);
    } catch (error) {
      if (!this.#stop.signal.aborted)
        log.warn('the container runtime cannot be listed', { error: errorMessage(error) });
    }
  }
}
