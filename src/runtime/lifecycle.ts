/**
 * Starts components in order, stops them in reverse, and restarts those that fail: what the all-in-one program is. Knows components only
 * by the Component contract.
 *
 *   created --start()--> starting --all at work--> running --stop()--> stopping --> stopped
 *                           | one fails: those before it are stopped, start() throws
 *                           '-----------------------------------------> stopped
 *
 * One component: waiting -> starting -> running -> stopping -> stopped;  running --failed--> restarting --after backoff--> starting
 */
import { Backoff } from '#stdx/backoff.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { Component } from './component.ts';

export interface LifecycleEntry {
  readonly name: string;
  /** A new component for each start: components are started once. */
  create(): Component | Promise<Component>;
  /** What to do when it reports a failure while running. Default 'always'. */
  readonly restart?: 'always' | 'never';
  /** Default 60 s. */
  readonly startTimeoutMs?: number;
  /** Default 30 s; then it is given up on, and the rest stops. */
  readonly stopTimeoutMs?: number;
}

export type ComponentState =
  | 'waiting'
  | 'starting'
  | 'running'
  | 'restarting'
  | 'failed'
  | 'stopping'
  | 'stopped';

export interface ComponentReport {
  readonly name: string;
  readonly state: ComponentState;
  /** Of the last failure. */
  readonly error: string | undefined;
  readonly restarts: number;
  /** How long the last successful start took. */
  readonly startMs: number | undefined;
}

export interface LifecycleOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** Called at every change of a component's state: what a progress display shows. */
  readonly onChange?: (report: ComponentReport) => void;
}

export interface Lifecycle {
  readonly state: 'created' | 'starting' | 'running' | 'stopping' | 'stopped';
  /** In the order given, each after the one before is at work. Throws the first failure, after all was stopped again. */
  start(): Promise<void>;
  /** In reverse order. Never throws; also ends a start() under way. */
  stop(): Promise<void>;
  report(): readonly ComponentReport[];
}

export function createLifecycle(entries: readonly LifecycleEntry[], options: LifecycleOptions): Lifecycle {
  return new OrderedLifecycle(entries, options);
}

class OrderedLifecycle implements Lifecycle {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #supervised: readonly Supervised[];
  readonly #stopping = new AbortController();
  #state: Lifecycle['state'] = 'created';
  #started: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;

  constructor(entries: readonly LifecycleEntry[], options: LifecycleOptions) {
    this.#clock = options.clock;
    this.#log = options.log;
    this.#supervised = entries.map(
      (entry) => new Supervised(entry, { ...options, stopping: this.#stopping.signal }),
    );
  }

  get state(): Lifecycle['state'] {
    return this.#state;
  }

  start(): Promise<void> {
    this.#started ??= this.#startAll();
    return this.#started;
  }

  stop(): Promise<void> {
    this.#stopping.abort(new Error('stopping'));
    this.#stopped ??= this.#stopAll();
    return this.#stopped;
  }

  report(): readonly ComponentReport[] {
    return this.#supervised.map((supervised) => supervised.report());
  }

  async #startAll(): Promise<void> {
    if (this.#state !== 'created') throw new Error('Cannot start: already stopped');
    this.#state = 'starting';
    const startedMs = this.#clock.monotonic();
    try {
      for (const supervised of this.#supervised) {
        this.#stopping.signal.throwIfAborted();
        await supervised.start();
      }
      this.#stopping.signal.throwIfAborted();
    } catch (error) {
      this.#stopping.abort(error);
      await this.#stopComponents();
      throw error;
    }
    this.#state = 'running';
    this.#log.info('all components are at work', { ms: Math.round(this.#clock.monotonic() - startedMs) });
  }

  async #stopAll(): Promise<void> {
    // A start under way sees the signal, stops what it started, and fails.
    await this.#started?.catch(() => {});
    await this.#stopComponents();
  }

  async #stopComponents(): Promise<void> {
    if (this.#state === 'stopped') return;
    this.#state = 'stopping';
    for (const supervised of this.#supervised.toReversed()) await supervised.stop();
    this.#state = 'stopped';
  }
}

/** A component that ran this long before it failed is restarted as if for the first time. */
const HEALTHY_MS = 600_000;

/** One entry, with the component that runs for it at the moment. */
class Supervised {
  readonly #entry: LifecycleEntry;
  readonly #options: LifecycleOptions & { readonly stopping: AbortSignal };
  readonly #log: Logger;
  readonly #backoff = new Backoff({ initialMs: 1_000, maximumMs: 60_000 });
  #component: Component | undefined;
  #restarting: Promise<void> | undefined;
  #state: ComponentState = 'waiting';
  #error: string | undefined;
  #restarts = 0;
  #startMs: number | undefined;
  #runningSinceMs = 0;

  constructor(entry: LifecycleEntry, options: LifecycleOptions & { readonly stopping: AbortSignal }) {
    this.#entry = entry;
    this.#options = options;
    this.#log = options.log.with({ component: entry.name });
  }

  report(): ComponentReport {
    return {
      name: this.#entry.name,
      state: this.#state,
      error: this.#error,
      restarts: this.#restarts,
      startMs: this.#startMs,
    };
  }

  async start(): Promise<void> {
    this.#become('starting');
    const { clock } = this.#options;
    const startedMs = clock.monotonic();
    try {
      const component = await this.#entry.create();
      this.#component = component;
      component.onFailure?.((error) => this.#failed(component, error));
      await within(component.start(), {
        ms: this.#entry.startTimeoutMs ?? 60_000,
        clock,
        what: `${this.#entry.name} is not at work`,
      });
    } catch (error) {
      this.#error = errorMessage(error);
      await this.#stopComponent();
      this.#become('failed');
      throw error;
    }
    this.#startMs = clock.monotonic() - startedMs;
    this.#runningSinceMs = clock.monotonic();
    this.#become('running');
  }

  async stop(): Promise<void> {
    await this.#restarting;
    if (!this.#component) {
      if (this.#state !== 'failed') this.#become('stopped');
      return;
    }
    this.#become('stopping');
    await this.#stopComponent();
    this.#become('stopped');
  }

  #failed(component: Component, error: Error): void {
    if (component !== this.#component || this.#state !== 'running') return;
    if (this.#options.clock.monotonic() - this.#runningSinceMs > HEALTHY_MS) this.#backoff.reset();
    this.#error = errorMessage(error);
    this.#log.error('component failed', { error: this.#error });
    this.#restarting = (this.#entry.restart === 'never' ? this.#giveUp() : this.#restart()).finally(() => {
      this.#restarting = undefined;
    });
  }

  async #giveUp(): Promise<void> {
    await this.#stopComponent();
    this.#become('failed');
  }

  async #restart(): Promise<void> {
    const { clock, stopping } = this.#options;
    this.#become('restarting');
    await this.#stopComponent();
    while (!stopping.aborted) {
      await clock.sleep(this.#backoff.nextMs(), stopping).catch(() => {});
      if (stopping.aborted) return;
      this.#restarts += 1;
      try {
        await this.start();
        return;
      } catch (error) {
        this.#log.error('restart failed', { error: errorMessage(error) });
      }
    }
  }

  async #stopComponent(): Promise<void> {
    const component = this.#component;
    this.#component = undefined;
    if (!component) return;
    try {
      await within(component.stop(), {
        ms: this.#entry.stopTimeoutMs ?? 30_000,
        clock: this.#options.clock,
        what: `${this.#entry.name} has not stopped`,
      });
    } catch (error) {
      this.#log.error('component did not stop cleanly', { error: errorMessage(error) });
    }
  }

  #become(state: ComponentState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#log.debug('component state', { state });
    this.#options.onChange?.(this.report());
  }
}

async function within<T>(
  work: Promise<T>,
  { ms, clock, what }: { readonly ms: number; readonly clock: Clock; readonly what: string },
): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = clock.after(ms, () => late.reject(new Error(`${what} after ${ms} ms`)));
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    timer.cancel();
  }
}
