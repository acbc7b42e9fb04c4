/**
 * When the nftables tables of one owner are written: changes are gathered and applied one at a time; what other programs did to the tables is looked for
 * periodically, and at once where the kernel reports a deletion. A failure is the owner's to follow up. Knows nothing of what the tables hold.
 */
import type { Clock, Timer } from './clock.ts';
import { errorMessage, type Logger } from './log.ts';
import { watchTableDeletions, type TableEvents } from './nftables-events.ts';

interface TableUpkeepOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** For the log: 'the service rules'. */
  readonly subject: string;
  readonly apply: () => Promise<void>;
  /** thorough: count all rules and elements. */
  readonly check: (thorough: boolean) => Promise<void>;
  /** The owner schedules an apply that writes the whole table, in RETRY_MS. */
  readonly failed: (error: unknown) => void;
}

/** Interval of checks for changes by other programs; a flushed ruleset is reported by the kernel at once. */
const CHECK_MS = 15_000;
/** Every so many checks, all rules and elements are counted. */
const THOROUGH_EVERY = 40;
/** Delay after a failure. */
export const RETRY_MS = 1_000;

export class TableUpkeep {
  readonly #options: TableUpkeepOptions;
  #timer: Timer | undefined;
  #checkTimer: Timer | undefined;
  #tableEvents: TableEvents | undefined;
  #checks = 0;
  #stopped = false;
  #working: Promise<void> = Promise.resolve();

  constructor(options: TableUpkeepOptions) {
    this.#options = options;
  }

  /** An apply waits for its time. */
  get isDue(): boolean {
    return this.#timer !== undefined;
  }

  /** Whether it is a new one: false where an apply is due already, or all is stopped. */
  schedule(delayMs: number): boolean {
    if (this.#timer || this.#stopped) return false;
    const { clock, subject, apply } = this.#options;
    this.#timer = clock.after(delayMs, () => {
      this.#timer = undefined;
      this.inTurn(`error applying ${subject}`, apply);
    });
    return true;
  }

  /** Changes the tables one at a time. problem: for the log. */
  inTurn(problem: string, work: () => Promise<void>): void {
    this.#working = this.#working
      .then(async () => {
        if (!this.#stopped) await work();
      })
      .catch((error: unknown) => {
        this.#options.log.error(`${problem}: writing the whole table`, { error: errorMessage(error) });
        this.#options.failed(error);
      });
  }

  /** From now on, periodically. */
  startChecks(): void {
    if (this.#stopped) return;
    this.#checkTimer = this.#options.clock.after(CHECK_MS, () => {
      this.#checks += 1;
      this.#check(this.#checks % THOROUGH_EVERY === 1);
      this.startChecks();
    });
  }

  watchDeletions(): void {
    const { clock, log } = this.#options;
    this.#tableEvents = watchTableDeletions({ clock, log, onDeleted: () => this.#check(false) });
  }

  #check(thorough: boolean): void {
    const { subject, check } = this.#options;
    this.inTurn(`error checking ${subject}`, () => check(thorough));
  }

  /** Resolves when what is under way has ended. The tables stay. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#tableEvents?.close();
    this.#timer?.cancel();
    this.#checkTimer?.cancel();
    await this.#working.catch(() => {});
  }
}
