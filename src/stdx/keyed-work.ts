/** A work queue inside the API server: each name waits at most once, one is processed at a time, failures are retried. Components use the queue in runtime. */
import type { Clock } from './clock.ts';
import { errorMessage, type Logger } from './log.ts';

interface KeyedWorkOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** 'an APIService could not be kept up' */
  readonly complaint: string;
  work(key: string): Promise<void>;
}

const RETRY_MS = 500;

export class KeyedWork {
  readonly #options: KeyedWorkOptions;
  readonly #pending = new Set<string>();
  #working: Promise<void> | undefined;
  #stopped = false;

  constructor(options: KeyedWorkOptions) {
    this.#options = options;
  }

  add(key: string): void {
    if (this.#stopped) return;
    this.#pending.add(key);
    this.#working ??= this.#run();
  }

  /** Resolves when the current item is done; waiting ones are dropped. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#working;
  }

  async #run(): Promise<void> {
    const { clock, log, complaint, work } = this.#options;
    // Other listeners must get the current event first.
    await Promise.resolve();
    for (const key of this.#pending) {
      if (this.#stopped) break;
      this.#pending.delete(key);
      try {
        await work(key);
      } catch (error) {
        if (this.#stopped) break;
        log.warn(`${complaint}, trying again`, { name: key, error: errorMessage(error) });
        clock.after(RETRY_MS, () => this.add(key));
      }
    }
    this.#working = undefined;
  }
}
