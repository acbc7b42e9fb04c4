/**
 * Maintains the pod network's kernel state: another program may flush the whole nftables ruleset (`systemctl start nftables` does, with Debian's file),
 * including masquerading and host ports. Driven by kernel notifications, and polled, since a notification may be lost.
 */
import type { Clock, Timer } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { watchTableDeletions, type TableEvents } from '#stdx/nftables-events.ts';
import type { ContainerdLayout } from './layout.ts';
import { hasPodTable, restoreHostPorts } from './network.ts';

interface NetworkGuardOptions {
  readonly layout: ContainerdLayout;
  readonly cniBinDir: () => string | undefined;
  /** Writes the pods' network as it should be. */
  readonly configure: () => Promise<void>;
  readonly clock: Clock;
  readonly log: Logger;
}

const CHECK_MS = 15_000;

export class NetworkGuard {
  readonly #options: NetworkGuardOptions;
  #events: TableEvents | undefined;
  #timer: Timer | undefined;
  #checking: Promise<void> | undefined;
  #again = false;
  #stopped = false;

  constructor(options: NetworkGuardOptions) {
    this.#options = options;
  }

  start(): void {
    const { clock, log } = this.#options;
    this.#events = watchTableDeletions({ clock, log, onDeleted: () => this.check() });
    this.#arm();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#events?.close();
    this.#timer?.cancel();
    await this.#checking;
  }

  /** One check at a time; notifications during one cause another. */
  check(): void {
    this.#again = true;
    this.#checking ??= this.#checkAll().finally(() => {
      this.#checking = undefined;
    });
  }

  #arm(): void {
    this.#timer = this.#options.clock.after(CHECK_MS, () => {
      this.check();
      this.#arm();
    });
  }

  async #checkAll(): Promise<void> {
    while (this.#again && !this.#stopped) {
      this.#again = false;
      await this.#restore().catch((error: unknown) =>
        this.#options.log.error('error restoring the pod network', { error: errorMessage(error) }),
      );
    }
  }

  async #restore(): Promise<void> {
    const { layout, configure, cniBinDir, log } = this.#options;
    if (await hasPodTable(layout)) return;
    log.warn("another program deleted the pods' nftables table: restoring it and the host ports", {
      table: layout.nftTable,
    });
    await configure();
    const plugins = cniBinDir();
    const problems = plugins === undefined ? [] : await restoreHostPorts(layout, plugins);
    for (const problem of problems) log.error('error restoring host ports', { problem });
  }
}
