/**
 * The PLEG (pod lifecycle event generator): finds changed pods by listing the runtime every second, and five times a second for a while after
 * the agent started a change itself. One list covers all pods; only the workers of changed pods then read the details. It has no event stream of CRI.
 */
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { AgentMetrics } from './agent-metrics.ts';
import type { PodDigest, RuntimeView } from './runtime-view.ts';

const PERIOD_MS = 1_000;
const FAST_PERIOD_MS = 200;
const FAST_FOR_MS = 5_000;

interface PlegOptions {
  readonly view: RuntimeView;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<AgentMetrics, 'relist'>;
  readonly onChange: (uid: string) => void;
  /** Called after each successful list with all pods of the runtime. */
  readonly onList: (pods: ReadonlyMap<string, PodDigest>) => void;
}

export class Pleg {
  readonly #options: PlegOptions;
  readonly #stop = new AbortController();
  #seen = new Map<string, PodDigest>();
  #fastUntilMs = 0;
  #loop: Promise<void> | undefined;
  #wake = Promise.withResolvers<void>();
  /** Time of the last successful list, on the monotonic clock. */
  lastSuccessMs = -Infinity;

  constructor(options: PlegOptions) {
    this.#options = options;
  }

  start(): void {
    this.#loop = this.#run();
  }

  expectChange(): void {
    const { clock } = this.#options;
    const slow = clock.monotonic() >= this.#fastUntilMs;
    this.#fastUntilMs = clock.monotonic() + FAST_FOR_MS;
    if (slow) this.#wake.resolve();
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('node agent stopped'));
    this.#wake.resolve();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { clock } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await this.#list();
      const periodMs = clock.monotonic() < this.#fastUntilMs ? FAST_PERIOD_MS : PERIOD_MS;
      this.#wake = Promise.withResolvers();
      await Promise.race([clock.sleep(periodMs, signal).catch(() => {}), this.#wake.promise]);
      if (periodMs === PERIOD_MS && !signal.aborted)
        await clock.sleep(FAST_PERIOD_MS / 4, signal).catch(() => {});
    }
  }

  async #list(): Promise<void> {
    const { view, clock, log, metrics, onChange, onList } = this.#options;
    try {
      const found = await metrics.relist(() => view.digests());
      this.lastSuccessMs = clock.monotonic();
      const before = this.#seen;
      this.#seen = found;
      for (const uid of new Set([...found.keys(), ...before.keys()]))
        if (found.get(uid)?.digest !== before.get(uid)?.digest) onChange(uid);
      onList(found);
    } catch (error) {
      if (!this.#stop.signal.aborted)
        log.warn('error listing the container runtime', { error: errorMessage(error) });
    }
  }
}
