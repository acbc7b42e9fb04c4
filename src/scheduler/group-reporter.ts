/** What users see of a PodGroup: its condition PodGroupScheduled, which stays True once it is. */
import type { PodGroup } from '#api/generated/types/scheduling-v1alpha2.ts';
import type { Client } from '#client/client.ts';
import { podGroupsV1alpha2 } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { Stored } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import type { Clock } from '#stdx/clock.ts';
import { KeyedMutex } from '#stdx/keyed-mutex.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';

const TYPE = 'PodGroupScheduled';

interface GroupReporterOptions {
  /** Refuses writes when this scheduler does not lead. */
  readonly fenced: Client;
  readonly clock: Clock;
  readonly log: Logger;
  /** The group as the API shows it; key: 'namespace/name'. */
  readonly find: (key: string) => Stored<PodGroup> | undefined;
}

interface Reported {
  readonly status: 'True' | 'False';
  readonly reason: 'Scheduled' | 'Unschedulable' | 'SchedulerError';
  readonly message: string;
}

export class GroupReporter {
  readonly #options: GroupReporterOptions;
  /** Later conditions of a group are written later. */
  readonly #order = new KeyedMutex();

  constructor(options: GroupReporterOptions) {
    this.#options = options;
  }

  /** A failure is logged: the next attempt writes it again. Key: 'namespace/name'. */
  async report(key: string, reported: Reported): Promise<void> {
    await this.#order.run(key, () => this.#write(key, reported));
  }

  async #write(key: string, { status, reason, message }: Reported): Promise<void> {
    const { fenced, clock, log, find } = this.#options;
    const group = find(key);
    if (!group) return;
    const before = group.status?.conditions?.find(({ type }) => type === TYPE);
    if (before?.status === 'True' && status !== 'True') return;
    if (before?.status === status && before.reason === reason && before.message === message) return;
    const lastTransitionTime =
      before?.status === status ? before.lastTransitionTime : formatTime(clock.now());
    const { name, namespace } = group.metadata;
    try {
      await fenced.patch(
        podGroupsV1alpha2,
        { name, namespace },
        {
          type: 'strategic',
          subresource: 'status',
          patch: { status: { conditions: [{ type: TYPE, status, reason, message, lastTransitionTime }] } },
        },
      );
    } catch (error) {
      if (!isStatusError(error, 'NotFound'))
        log.warn('error updating the status of a pod group', {
          podGroup: key,
          error: errorMessage(error),
        });
    }
  }
}
