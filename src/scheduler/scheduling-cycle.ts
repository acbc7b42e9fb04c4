/** The scheduling cycle of one pod: decides on a node (schedule.ts, pure), with extenders where they have a say, and carries the decision out. */
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { Clock } from '#stdx/clock.ts';
import type { Random } from '#stdx/random.ts';
import { Attempt, type Attempted } from './attempt.ts';
import type { BindingCycle } from './binding-cycle.ts';
import type { SchedulerCache } from './cache.ts';
import { AllocationError } from './dra/allocation-error.ts';
import { plannedClaims, type ClaimBinder } from './dra/claim-binder.ts';
import { ExtenderError, type Extenders } from './extenders/extenders.ts';
import type { SchedulerMetrics } from './metrics.ts';
import type { Nominator } from './nominator.ts';
import { podInfo } from './pod-info.ts';
import type { PodReporter } from './pod-reporter.ts';
import { plannedVolumes } from './plugins/volume-binding.ts';
import type { PostFilter } from './post-filter.ts';
import type { Popped, SchedulingQueue } from './queue.ts';
import { choose, findCandidates, schedule, type Decision, type Profile } from './schedule.ts';
import type { Snapshot } from './snapshot.ts';
import type { WriteSlots } from './write-slots.ts';

interface SchedulingCycleOptions {
  readonly profiles: ReadonlyMap<string, Profile>;
  readonly snapshot: Snapshot;
  readonly random: Random;
  readonly clock: Clock;
  readonly log: Logger;
  readonly cache: SchedulerCache;
  readonly queue: SchedulingQueue;
  readonly nominator: Nominator;
  readonly metrics: SchedulerMetrics;
  readonly extenders: Extenders | undefined;
  readonly reporter: PodReporter;
  readonly slots: WriteSlots;
  readonly claimBinder: ClaimBinder;
  readonly postFilter: PostFilter;
  readonly bindingCycle: BindingCycle;
}

type Input = Parameters<typeof schedule>[0];

export class SchedulingCycle {
  readonly #options: SchedulingCycleOptions;
  #startIndex = 0;

  constructor(options: SchedulingCycleOptions) {
    this.#options = options;
  }

  /** A promise when an extender has a say: the loop waits for it, so that pods are still decided on one by one. */
  run(popped: Popped): Promise<void> | undefined {
    const { profiles, cache, queue, metrics, extenders } = this.#options;
    const { pod } = popped;
    const uid = pod.metadata?.uid ?? '';
    const profile = profiles.get(pod.spec?.schedulerName ?? 'default-scheduler');
    if (!profile || cache.isPlaced(uid)) return void queue.done(uid);
    const attempt = new Attempt({ metrics, profile: profile.schedulerName });
    const attempted = { ...popped, info: podInfo(pod), profile, attempt };
    if (extenders?.concerns(pod)) return this.#decideWithExtenders(attempted);
    let decision: Decision;
    try {
      decision = schedule(this.#input(attempted));
      attempt.decided();
    } catch (error) {
      return void this.#attemptThrew(error, attempted);
    }
    return void this.#carryOut(decision, attempted);
  }

  #input({ info, profile }: Attempted): Input {
    const { snapshot, random, nominator, metrics } = this.#options;
    return {
      pod: info,
      snapshot,
      profile,
      random,
      startIndex: this.#startIndex,
      nominatedNode: nominator.nodeOf(info.uid),
      probe: metrics.probe(profile.schedulerName),
      observe: (point, taken) => metrics.point(point, { profile: profile.schedulerName, ...taken }),
    };
  }

  async #decideWithExtenders(attempted: Attempted): Promise<void> {
    const { cache, queue } = this.#options;
    let decision: Decision;
    try {
      const input = this.#input(attempted);
      decision = await this.#askExtenders(input);
      // The nominated node was refused: all others may take the pod.
      if (decision.kind === 'none' && input.nominatedNode !== undefined)
        decision = await this.#askExtenders({ ...input, nominatedNode: undefined });
      attempted.attempt.decided();
    } catch (error) {
      return this.#attemptThrew(error, attempted);
    }
    // Deleted, or bound by another scheduler, while extenders were asked.
    const { uid } = attempted.info;
    if (cache.isPlaced(uid) || !queue.isInFlight(uid)) return queue.done(uid);
    this.#carryOut(decision, attempted);
  }

  async #askExtenders(input: Input): Promise<Decision> {
    const extenders = this.#options.extenders!;
    const found = findCandidates(input);
    if (found.kind === 'none') return found;
    const { feasible, refusals } = await extenders.filter(input.pod, found.feasible);
    const all = new Map([...found.refusals.entries(), ...refusals]);
    const left = feasible.filter(({ node }) => node !== undefined);
    if (left.length === 0) {
      const nodeCount = input.snapshot.nodes.length;
      return {
        kind: 'none',
        cycle: found.cycle,
        failure: { nodeCount, refusals: all, others: found.others },
      };
    }
    const candidates = { ...found, feasible: left, refusals: all };
    if (left.length === 1) return choose(candidates, input);
    return choose(candidates, { ...input, extraScores: await extenders.prioritize(input.pod, left) });
  }

  #attemptThrew(error: unknown, { info, profile, attempt }: Attempted): void {
    const { log, queue, slots, reporter } = this.#options;
    log.error('scheduling failed', { pod: info.key, error: errorMessage(error) });
    attempt.ended('error');
    queue.failed(info.uid, new Set());
    if (error instanceof AllocationError || error instanceof ExtenderError)
      slots.track(reporter.attemptFailed(info, { profile, error }));
  }

  #carryOut(decision: Decision, attempted: Attempted): void {
    const { slots, postFilter } = this.#options;
    if (decision.kind === 'fits') return this.#bind(decision, attempted);
    const { attempt, info, profile } = attempted;
    attempt.ended('unschedulable');
    slots.track(postFilter.run(info, { decision, profile }));
  }

  #bind(
    decision: Extract<Decision, { kind: 'fits' }>,
    { info, profile, attempt, attempts, readyAtMs, isFlushed }: Attempted,
  ): void {
    const { cache, nominator, clock, metrics, claimBinder, bindingCycle } = this.#options;
    this.#startIndex += decision.evaluated;
    cache.assume(info, decision.node);
    nominator.delete(info.uid);
    const bound = (isBound: boolean): void => {
      attempt.ended(isBound ? 'scheduled' : 'error');
      const seconds = (clock.now() - readyAtMs) / 1000;
      if (isBound) metrics.scheduled({ attempts, seconds, isFlushed });
    };
    const volumes = plannedVolumes(decision.cycle, decision.node);
    const claims = plannedClaims(decision.cycle, decision.node);
    if (claims) claimBinder.assume(claims);
    bindingCycle.start(info, { node: decision.node, profile, bound, claims, volumes });
  }
}
