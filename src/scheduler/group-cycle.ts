/**
 * The scheduling cycle of a PodGroup: all of its pods that wait are decided on together, and none is bound unless the group as a whole may be. After upstream's
 * scheduling of pod groups, whose default algorithm this is.
 *
 *   pop one pod ─► take the others out of the queue ─► one by one, by priority, then age: decide, and try it on its node (assigner.ts);
 *      other work of the process goes on between two pods, but no other pod is decided on
 *       some pod is permitted (plugins' permit) ──► every trial ends, and those with a node are bound
 *       permitted, but victims have to go first ──► every trial ends, the victims are deleted, all wait with their nominations
 *       none is permitted                       ──► every trial ends: the cluster is as before, all wait
 *
 * Nothing is deleted for a group that does not fit; upstream deletes the victims of each pod at once.
 */
import { errorMessage, type Logger } from '#stdx/log.ts';
import { Turn } from '#stdx/turn.ts';
import type { Assigner } from './assigner.ts';
import type { Attempted } from './attempt.ts';
import type { SchedulerCache } from './cache.ts';
import type { Decider } from './decider.ts';
import type { GroupMetrics, GroupResult } from './group-metrics.ts';
import type { GroupReporter } from './group-reporter.ts';
import type { Nominator } from './nominator.ts';
import { groupKeyOf, type PodGroups } from './pod-groups.ts';
import type { PodReporter } from './pod-reporter.ts';
import type { PostFilter, PreemptionResult, Refused } from './post-filter.ts';
import type { Popped, SchedulingQueue } from './queue.ts';
import type { Decision } from './schedule.ts';
import type { SchedulingCycle } from './scheduling-cycle.ts';
import type { WriteSlots } from './write-slots.ts';

interface GroupCycleOptions {
  readonly log: Logger;
  readonly cache: SchedulerCache;
  readonly queue: SchedulingQueue;
  readonly nominator: Nominator;
  readonly groups: PodGroups;
  readonly decider: Decider;
  readonly assigner: Assigner;
  readonly postFilter: PostFilter;
  readonly reporter: PodReporter;
  readonly slots: WriteSlots;
  readonly single: SchedulingCycle;
  readonly groupMetrics: GroupMetrics;
  readonly groupReporter: GroupReporter;
}

type Fits = Extract<Decision, { kind: 'fits' }>;
type Preemption = Extract<PreemptionResult, { victims: unknown }>;

/** What became of one pod. waitsFor: the message of the permit that is missing. */
type Trial =
  | {
      readonly kind: 'fits';
      readonly member: Attempted;
      readonly decision: Fits;
      readonly waitsFor: string | undefined;
    }
  | {
      readonly kind: 'preempts';
      readonly member: Attempted;
      readonly decision: Refused;
      readonly found: Preemption;
      readonly waitsFor: string | undefined;
    }
  | {
      readonly kind: 'refused';
      readonly member: Attempted;
      readonly decision: Refused;
      readonly found: PreemptionResult | undefined;
    };

interface Outcome {
  readonly result: GroupResult;
  /** Of the group's condition. */
  readonly message: string;
}

/** Upstream's. */
const UNSCHEDULABLE = 'pod group is unschedulable';
const PREEMPTING = `${UNSCHEDULABLE}, pod group is waiting for preemption to complete`;

export class GroupCycle {
  readonly #options: GroupCycleOptions;

  constructor(options: GroupCycleOptions) {
    this.#options = options;
  }

  /** With all other pods of the group. Nothing else is decided on meanwhile. */
  async run(popped: Popped): Promise<void> {
    const { groupMetrics, groupReporter, slots } = this.#options;
    const startMs = performance.now();
    const seconds = (): number => (performance.now() - startMs) / 1000;
    const members = this.#takeMembers(popped);
    const outcome = await this.#schedule(members, () => groupMetrics.decided(seconds()));
    if (!outcome) return;
    const profile = popped.pod.spec?.schedulerName ?? 'default-scheduler';
    groupMetrics.attempted({ profile, result: outcome.result, seconds: seconds() });
    slots.track(groupReporter.report(groupKeyOf(popped.pod) ?? '', conditionOf(outcome)));
  }

  #takeMembers(popped: Popped): readonly Popped[] {
    const { groups, queue } = this.#options;
    const others = groups.unscheduled(popped.pod).flatMap((uid) => queue.popPod(uid) ?? []);
    const priorityOf = ({ pod }: Popped): number => pod.spec?.priority ?? 0;
    return [popped, ...others].toSorted((a, b) => priorityOf(b) - priorityOf(a) || a.readyAtMs - b.readyAtMs);
  }

  /** Undefined: it is no attempt of a group. */
  async #schedule(members: readonly Popped[], decided: () => void): Promise<Outcome | undefined> {
    const { groups, single } = this.#options;
    const names = [...new Set(members.map(({ pod }) => pod.spec?.schedulerName ?? 'default-scheduler'))];
    if (names.length > 1) {
      const [one, other] = names.map((name) => JSON.stringify(name));
      const message = `all pods in a single pod group should have the same .spec.schedulerName set, got: ${one} and ${other}`;
      for (const member of members) this.#fail(member, message);
      return undefined;
    }
    const scheduled = members[0] ? groups.scheduledCount(members[0].pod) : 0;
    const undo: (() => void)[] = [];
    const trials: Trial[] = [];
    const turn = new Turn();
    let failure: { readonly of: Popped; readonly error: unknown } | undefined;
    for (const one of members)
      try {
        const member = single.begin(one);
        if (member) trials.push(await this.#try(member, { undo, scheduled: scheduled + undo.length + 1 }));
        if (turn.isLong) await turn.pause();
      } catch (error) {
        failure = { of: one, error };
        break;
      }
    for (const end of undo.toReversed()) end();
    decided();
    return failure ? this.#failAll(members, failure) : this.#carryOut(trials);
  }

  /** Decides on one pod, with those before it on their nodes. scheduled: pods of the group with a node, if this one gets one. */
  async #try(
    member: Attempted,
    { undo, scheduled }: { readonly undo: (() => void)[]; readonly scheduled: number },
  ): Promise<Trial> {
    const { decider, assigner, postFilter, cache } = this.#options;
    const decision = await decider.decide(member);
    if (decision.kind === 'fits') {
      const waitsFor = this.#permit(member, scheduled);
      undo.push(assigner.tryOn(decision, member));
      return { kind: 'fits', member, decision, waitsFor };
    }
    const found =
      decision.failure.nodeCount > 0 ? await postFilter.find(decision, member.profile) : undefined;
    if (!found || !('victims' in found)) return { kind: 'refused', member, decision, found };
    const waitsFor = this.#permit(member, scheduled);
    // Later pods see it on its node, with the victims gone.
    const restore = found.victims.map(({ uid }) => cache.suspend(uid));
    const end = assigner.tryOn({ cycle: decision.cycle, node: found.node }, member);
    undo.push(() => {
      end();
      for (const one of restore.toReversed()) one();
    });
    return { kind: 'preempts', member, decision, found, waitsFor };
  }

  /** The first message of what the pod has to wait for. Before it is tried on its node, so that nothing is to be undone when a plugin throws. */
  #permit({ pod, profile }: Attempted, scheduled: number): string | undefined {
    const group = { groups: this.#options.groups, scheduled };
    for (const plugin of profile.plugins) {
      const waitsFor = plugin.permit?.(pod, group);
      if (waitsFor !== undefined) return waitsFor;
    }
    return undefined;
  }

  #carryOut(trials: readonly Trial[]): Outcome {
    const present = trials.filter((trial) => this.#isPresent(trial));
    const placed = trials.filter((trial) => trial.kind !== 'refused');
    const isPermitted = placed.some(({ waitsFor }) => waitsFor === undefined);
    const mustPreempt = placed.some(({ kind }) => kind === 'preempts');
    if (!isPermitted) {
      for (const trial of present) this.#refuse(trial);
      return { result: 'unschedulable', message: UNSCHEDULABLE };
    }
    if (mustPreempt) {
      for (const trial of present) this.#await(trial);
      return { result: 'waiting_on_preemption', message: PREEMPTING };
    }
    for (const trial of present)
      if (trial.kind === 'fits') this.#options.assigner.assign(trial.decision, trial.member);
      else this.#postFilter(trial);
    return { result: 'scheduled', message: '' };
  }

  /** Not deleted, or bound by another scheduler, while extenders were asked. */
  #isPresent({ member: { info } }: Trial): boolean {
    const { cache, queue } = this.#options;
    if (queue.isInFlight(info.uid) && !cache.isPlaced(info.uid)) return true;
    queue.done(info.uid);
    return false;
  }

  /** The group does not fit. */
  #refuse(trial: Trial): void {
    if (trial.kind === 'refused') return this.#postFilter(trial);
    const { info } = trial.member;
    this.#options.nominator.delete(info.uid);
    this.#unschedulable(trial.member, {
      message: `${UNSCHEDULABLE}, ${trial.waitsFor ?? ''}`,
      nominatedNodeName: '',
    });
  }

  /** The group fits once victims are gone: each pod waits with a nomination. */
  #await(trial: Trial): void {
    if (trial.kind !== 'fits') return this.#postFilter(trial);
    const { member, decision } = trial;
    this.#options.nominator.set(member.info, decision.node);
    this.#unschedulable(member, { message: PREEMPTING, nominatedNodeName: decision.node });
  }

  /** The pod's own refusal, with its preemption. */
  #postFilter({ member, decision, found }: Exclude<Trial, { kind: 'fits' }>): void {
    const { slots, postFilter } = this.#options;
    const { info, profile, attempt } = member;
    attempt.ended('unschedulable');
    slots.track(postFilter.run(info, { decision, profile, found }));
  }

  /** A pod that has a node, while its group does not. */
  #unschedulable(
    { info, profile, attempt }: Attempted,
    refusal: { readonly message: string; readonly nominatedNodeName: string },
  ): void {
    const { queue, slots, reporter } = this.#options;
    attempt.ended('unschedulable');
    queue.failed(info.uid, new Set());
    slots.track(reporter.unschedulable(info, { profile, ...refusal }));
  }

  /** One pod failed: it has its own message. */
  #failAll(
    members: readonly Popped[],
    { of, error }: { readonly of: Popped; readonly error: unknown },
  ): Outcome {
    const own = errorMessage(error);
    const message = `failed to schedule other pod from a pod group: ${own}`;
    for (const one of members) this.#fail(one, one === of ? own : message);
    return { result: 'error', message };
  }

  #fail(popped: Popped, message: string): void {
    const { log, queue, slots, reporter, nominator, single } = this.#options;
    const failed = single.begin(popped);
    if (!failed) return;
    const { info, profile, attempt } = failed;
    log.error('scheduling failed', { pod: info.key, error: message });
    attempt.ended('error');
    nominator.delete(info.uid);
    queue.failed(info.uid, new Set());
    slots.track(
      reporter.unschedulable(info, { profile, message, nominatedNodeName: '', reason: 'SchedulerError' }),
    );
  }
}

function conditionOf({ result, message }: Outcome): Parameters<GroupReporter['report']>[1] {
  if (result === 'scheduled') return { status: 'True', reason: 'Scheduled', message };
  return { status: 'False', reason: result === 'error' ? 'SchedulerError' : 'Unschedulable', message };
}
