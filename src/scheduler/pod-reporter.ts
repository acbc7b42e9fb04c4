/** What users see of a pod that was not scheduled: its PodScheduled condition, its nominated node, and events. */
import type { Pod } from '#api/types.ts';
import type { Client, Informer } from '#client/client.ts';
import { createEventRecorder, type StoppableEventRecorder } from '#client/event-recorder.ts';
import { pods } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import { objectKey } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { PodInfo } from './pod-info.ts';
import type { Profile } from './schedule.ts';

interface PodReporterOptions {
  /** Refuses writes when this scheduler does not lead. */
  readonly fenced: Client;
  readonly clock: Clock;
  readonly log: Logger;
  readonly profiles: readonly Profile[];
  /** The pods as the API shows them; undefined before they are watched. */
  readonly informer: () => Informer<Pod> | undefined;
}

type PodEvent = Parameters<StoppableEventRecorder['event']>[1];

interface Unscheduled {
  readonly message: string;
  /** '' clears the nomination; undefined keeps it. */
  readonly nominatedNodeName: string | undefined;
  readonly reason?: 'Unschedulable' | 'SchedulerError';
}

export class PodReporter {
  readonly #options: PodReporterOptions;
  readonly #recorders: ReadonlyMap<string, StoppableEventRecorder>;

  constructor(options: PodReporterOptions) {
    this.#options = options;
    this.#recorders = new Map(
      options.profiles.map(({ schedulerName }) => [
        schedulerName,
        createEventRecorder(options.fenced, { component: schedulerName, clock: options.clock }),
      ]),
    );
  }

  stop(): void {
    for (const recorder of this.#recorders.values()) recorder.stop();
  }

  event(pod: Pod, { schedulerName, ...event }: PodEvent & Pick<Profile, 'schedulerName'>): void {
    this.#recorders.get(schedulerName)?.event(pod, event);
  }

  /** The event and the condition of an attempt that found no node. */
  async unschedulable(
    { pod }: PodInfo,
    { profile, ...unscheduled }: Unscheduled & { readonly profile: Profile },
  ): Promise<void> {
    const { schedulerName } = profile;
    const { message } = unscheduled;
    this.event(pod, {
      schedulerName,
      type: 'Warning',
      reason: 'FailedScheduling',
      action: 'Scheduling',
      message,
    });
    await this.#setUnscheduled(pod, unscheduled);
  }

  /** An error that the pod's owner should see. */
  async attemptFailed(
    info: PodInfo,
    { profile, error }: { readonly profile: Profile; readonly error: Error },
  ): Promise<void> {
    await this.unschedulable(info, {
      profile,
      message: error.message,
      nominatedNodeName: undefined,
      reason: 'SchedulerError',
    });
  }

  async #setUnscheduled(
    pod: Pod,
    { message, nominatedNodeName, reason = 'Unschedulable' }: Unscheduled,
  ): Promise<void> {
    const current = (this.#options.informer()?.get(objectKey(pod)) ?? pod).status;
    const before = current?.conditions?.find((condition) => condition.type === 'PodScheduled');
    const sameNomination =
      nominatedNodeName === undefined || nominatedNodeName === (current?.nominatedNodeName ?? '');
    if (
      sameNomination &&
      before?.status === 'False' &&
      before.reason === reason &&
      before.message === message
    )
      return;
    const condition = {
      type: 'PodScheduled',
      status: 'False',
      reason,
      message,
      observedGeneration: pod.metadata?.generation,
      lastTransitionTime: before?.status === 'False' ? before.lastTransitionTime : this.nowText(),
    };
    await this.patchStatus(pod, {
      conditions: [condition],
      ...(sameNomination ? {} : { nominatedNodeName: nominatedNodeName || null }),
    });
  }

  /** A failure is logged: the next attempt writes the status again. */
  async patchStatus(pod: Pod, status: object): Promise<void> {
    try {
      await this.#options.fenced.patch(
        pods,
        { name: pod.metadata?.name ?? '', namespace: pod.metadata?.namespace },
        { type: 'strategic', subresource: 'status', patch: { status } },
      );
    } catch (error) {
      if (!isStatusError(error, 'NotFound'))
        this.#options.log.warn('error updating pod status', {
          pod: objectKey(pod),
          error: errorMessage(error),
        });
    }
  }

  nowText(): string {
    return formatTime(this.#options.clock.now());
  }
}
