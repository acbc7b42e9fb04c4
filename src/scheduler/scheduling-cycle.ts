/** The scheduling cycle of one pod: decides on a node, and carries the decision out. */
import { errorMessage, type Logger } from '#stdx/log.ts';
import { Attempt, type Attempted } from './attempt.ts';
import type { Assigner } from './assigner.ts';
import type { SchedulerCache } from './cache.ts';
import type { Decider } from './decider.ts';
import { AllocationError } from './dra/allocation-error.ts';
import { ExtenderError } from './extenders/extenders.ts';
import type { SchedulerMetrics } from './metrics.ts';
import { podInfo } from './pod-info.ts';
import type { PodReporter } from './pod-reporter.ts';
import type { PostFilter } from './post-filter.ts';
import type { Popped, SchedulingQueue } from './queue.ts';
import type { Decision, Profile } from './schedule.ts';
import type { WriteSlots } from './write-slots.ts';

interface SchedulingCycleOptions {
  readonly profiles: ReadonlyMap<string, Profile>;
  readonly log: Logger;
  readonly cache: SchedulerCache;
  readonly queue: SchedulingQueue;
  readonly metrics: SchedulerMetrics;
  readonly reporter: PodReporter;
  readonly slots: WriteSlots;
  readonly decider: Decider;
  readonly assigner: Assigner;
  readonly postFilter: PostFilter;
}

export class SchedulingCycle {
  readonly #options: SchedulingCycleOptions;

  constructor(options: SchedulingCycleOptions) {
    this.#options = options;
  }

  /** A promise when an extender has a say: the loop waits for it, so that pods are still decided on one by one. */
  run(popped: Popped): Promise<void> | undefined {
    const attempted = this.begin(popped);
    if (!attempted) return undefined;
    try {
      const deciding = this.#options.decider.decide(attempted);
      if (deciding instanceof Promise) return this.#afterExtenders(deciding, attempted);
      return void this.#carryOut(deciding, attempted);
    } catch (error) {
      return void this.failed(error, attempted);
    }
  }

  /** Undefined: there is nothing to decide on for this pod, and it has left the queue. */
  begin(popped: Popped): Attempted | undefined {
    const { profiles, cache, queue, metrics } = this.#options;
    const { pod } = popped;
    const uid = pod.metadata?.uid ?? '';
    const profile = profiles.get(pod.spec?.schedulerName ?? 'default-scheduler');
    if (!profile || cache.isPlaced(uid)) return void queue.done(uid);
    const attempt = new Attempt({ metrics, profile: profile.schedulerName });
    return { ...popped, info: podInfo(pod), profile, attempt };
  }

  /** The attempt threw: the pod is tried again after its backoff. */
  failed(error: unknown, { info, profile, attempt }: Attempted): void {
    const { log, queue, slots, reporter } = this.#options;
    log.error('scheduling failed', { pod: info.key, error: errorMessage(error) });
    attempt.ended('error');
    queue.failed(info.uid, new Set());
    if (error instanceof AllocationError || error instanceof ExtenderError)
      slots.track(reporter.attemptFailed(info, { profile, error }));
  }

  async #afterExtenders(deciding: Promise<Decision>, attempted: Attempted): Promise<void> {
    const { cache, queue } = this.#options;
    let decision: Decision;
    try {
      decision = await deciding;
    } catch (error) {
      return this.failed(error, attempted);
    }
    // Deleted, or bound by another scheduler, while extenders were asked.
    const { uid } = attempted.info;
    if (cache.isPlaced(uid) || !queue.isInFlight(uid)) return queue.done(uid);
    this.#carryOut(decision, attempted);
  }

  #carryOut(decision: Decision, attempted: Attempted): void {
    const { slots, assigner, postFilter } = this.#options;
    if (decision.kind === 'fits') return assigner.assign(decision, attempted);
    const { attempt, info, profile } = attempted;
    attempt.ended('unschedulable');
    slots.track(postFilter.run(info, { decision, profile }));
  }
}
