/**
 * What the members of etcd say of themselves, asked at the start and every interval: size, version, alarms. A change is logged once. It does not
 * decide whether the store takes writes: the writes do.
 */
import type { Clock, Timer } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import { StoreError } from '../../store.ts';
import type { EtcdConnection, MemberStatus } from './connection.ts';
import { int } from './protocol.ts';
import { isTooOld, versionWarning } from './versions.ts';

interface MonitorOptions {
  readonly connection: EtcdConnection;
  readonly clock: Clock;
  readonly log: Logger;
  readonly intervalMs: number;
}

export class Monitor {
  /** Bytes of the largest member's file, as of the last round. */
  sizeBytes = 0;
  readonly #options: MonitorOptions;
  /** What was last logged of each member. */
  readonly #warned = new Map<string, string>();
  readonly #alarms = new Map<string, string>();
  #timer: Timer | undefined;
  #stopped = false;

  constructor(options: MonitorOptions) {
    this.#options = options;
  }

  start(): void {
    const { clock, intervalMs } = this.#options;
    if (intervalMs <= 0 || this.#stopped) return;
    this.#timer = clock.after(intervalMs, () => void this.#tick());
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  async #tick(): Promise<void> {
    await this.round().catch((error: unknown) => this.#options.log.error(String(error)));
    this.start();
  }

  /** Throws for a member whose protocol is too old. */
  async round(): Promise<void> {
    const members = await this.#options.connection.statuses();
    if (this.#stopped) return;
    const sizes = members.flatMap(({ status }) => (status ? [int(status.dbSize)] : []));
    if (sizes.length > 0) this.sizeBytes = Math.max(...sizes);
    for (const member of members) this.#look(member);
  }

  #look({ endpoint, status }: MemberStatus): void {
    if (!status) return;
    const { version } = status;
    if (isTooOld(version))
      throw new StoreError('version', `etcd ${endpoint} is ${version}; it should be 3.5.26 or later`);
    const warning = versionWarning(version);
    if (warning && this.#warned.get(endpoint) !== version)
      this.#options.log.warn(warning, { member: endpoint, version });
    this.#warned.set(endpoint, version);
    this.#lookAtAlarms(endpoint, status.errors.join('; '));
  }

  #lookAtAlarms(endpoint: string, alarms: string): void {
    const before = this.#alarms.get(endpoint) ?? '';
    this.#alarms.set(endpoint, alarms);
    if (alarms === before) return;
    if (alarms === '') this.#options.log.info('etcd has no alarm any more', { member: endpoint });
    else this.#options.log.error('etcd has an alarm', { member: endpoint, alarms });
  }
}
