/** What is known of scheduled backups: lines of /metrics, conditions in ConfigMap kube-system/capstan-backup-status (as the cluster autoscaler keeps its own), and events. */
import type { BackupNote } from '#backup/stored-backups.ts';
import { configMaps } from '#api/refs.ts';
import type { Client } from '#client/client.ts';
import { createEventRecorder, type StoppableEventRecorder } from '#client/event-recorder.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import { isoTime } from '#stdx/dates.ts';
import type { Clock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';

const NAME = { name: 'capstan-backup-status', namespace: 'kube-system' };
const FIELD = 'status';
const MANAGER = 'capstan-backup';

export interface Condition {
  readonly type: 'BackupSucceeded' | 'BackupProven' | 'BackupOnTime';
  readonly status: 'True' | 'False';
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionTime?: string;
}

interface Status {
  readonly lastSuccess?: { readonly name: string; readonly time: string };
  readonly conditions: readonly Condition[];
}

export class BackupStatus {
  readonly #api: Client;
  readonly #clock: Clock;
  readonly #events: StoppableEventRecorder;
  readonly #kubeSystem: () => KubeObject;
  #last: BackupNote | undefined;
  #failures = 0;
  #isRunning = false;

  constructor(
    api: Client,
    { clock, log, kubeSystem }: { clock: Clock; log: Logger; kubeSystem: () => KubeObject },
  ) {
    this.#api = api;
    this.#clock = clock;
    this.#kubeSystem = kubeSystem;
    this.#events = createEventRecorder(api, { component: MANAGER, clock, log });
  }

  /** The newest that there is, whoever made it. */
  saw(note: BackupNote | undefined): void {
    this.#last = note ?? this.#last;
  }

  /** Before a backup is begun; the caller calls what it returns when that has ended. */
  begin(): () => void {
    this.#isRunning = true;
    return () => void (this.#isRunning = false);
  }

  failed(): void {
    this.#failures++;
  }

  /** Writes the conditions where they change, with an event for each that becomes false. Rejects where the API server does. */
  async report(conditions: readonly Condition[], lastSuccess: Status['lastSuccess']): Promise<void> {
    const before = await this.#read();
    const now = isoTime(this.#clock.now());
    const next = new Map(before.conditions.map((one) => [one.type, one]));
    for (const one of conditions) {
      const old = next.get(one.type);
      const isSame = old?.status === one.status;
      next.set(one.type, {
        ...one,
        lastTransitionTime: (isSame ? old?.lastTransitionTime : undefined) ?? now,
      });
      if (one.status === 'False')
        this.#events.event(this.#kubeSystem(), {
          type: 'Warning',
          reason: one.reason,
          message: one.message.slice(0, 1024),
        });
    }
    const status: Status = {
      ...((lastSuccess ?? before.lastSuccess) ? { lastSuccess: lastSuccess ?? before.lastSuccess! } : {}),
      conditions: [...next.values()],
    };
    await this.#api.patch(configMaps, NAME, {
      type: 'apply',
      fieldManager: MANAGER,
      force: true,
      patch: {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: NAME,
        data: { [FIELD]: `${JSON.stringify(status, null, 2)}\n` },
      },
    });
  }

  async #read(): Promise<Status> {
    try {
      const { data } = (await this.#api.get(configMaps, NAME)) as { data?: Record<string, string> };
      const status = JSON.parse(data?.[FIELD] ?? '{}') as Partial<Status>;
      return { ...status, conditions: Array.isArray(status.conditions) ? status.conditions : [] };
    } catch (error) {
      // Absent, or edited to something that is no JSON: written anew.
      if ((isStatusError(error) && error.status.code === 404) || error instanceof SyntaxError)
        return { conditions: [] };
      throw error;
    }
  }

  metrics(): string {
    const gauge = (name: string, { help, value }: { help: string; value: number }): string[] => [
      `# HELP capstan_backup_${name} ${help}`,
      `# TYPE capstan_backup_${name} gauge`,
      `capstan_backup_${name} ${value}`,
    ];
    const last = this.#last;
    const timeMs = last ? Date.parse(last.time) : 0;
    return [
      '# HELP capstan_backup_failures_total Backups that this server tried to make in vain.',
      '# TYPE capstan_backup_failures_total counter',
      `capstan_backup_failures_total ${this.#failures}`,
      ...gauge('running', {
        help: 'Whether this server is making a backup.',
        value: Number(this.#isRunning),
      }),
      ...(last
        ? [
            ...gauge('last_success_timestamp_seconds', {
              help: 'When the newest backup was made.',
              value: timeMs / 1000,
            }),
            ...gauge('age_seconds', {
              help: 'Age of the newest backup.',
              // A clock that was set back makes it one of the future.
              value: Math.max(0, (this.#clock.now() - timeMs) / 1000),
            }),
            ...gauge('size_bytes', { help: 'Size of the newest backup.', value: last.bytes }),
            ...gauge('duration_seconds', { help: 'How long the newest backup took.', value: last.seconds }),
            ...gauge('drill_result', {
              help: 'Whether the drill of the newest backup passed: 1, 0, or -1 where it had none.',
              value: last.drill ? Number(last.drill.passed) : -1,
            }),
          ]
        : []),
    ].join('\n');
  }

  async stop(): Promise<void> {
    this.#events.stop();
  }
}
