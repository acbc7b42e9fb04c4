/** What follows when no node takes a pod: preemption, claims that are given back, and the pod's return to the queue with the reasons. */
import type { PodDisruptionBudget } from '#api/types.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { Random } from '#stdx/random.ts';
import type { ClaimBinder } from './dra/claim-binder.ts';
import type { Extenders } from './extenders/extenders.ts';
import type { SchedulerMetrics } from './metrics.ts';
import type { Nominator } from './nominator.ts';
import type { Cycle } from './plugin.ts';
import type { PodInfo } from './pod-info.ts';
import type { PodReporter } from './pod-reporter.ts';
import { bestPreemption, findPreemption, preemptionCandidates } from './preemption.ts';
import type { PreemptionExecutor } from './preemption-executor.ts';
import type { SchedulingQueue } from './queue.ts';
import { failureMessage, type Decision, type Failure, type Profile } from './schedule.ts';

interface PostFilterOptions {
  readonly log: Logger;
  readonly queue: SchedulingQueue;
  readonly nominator: Nominator;
  readonly metrics: SchedulerMetrics;
  readonly extenders: Extenders | undefined;
  readonly reporter: PodReporter;
  readonly claimBinder: ClaimBinder;
  readonly executor: PreemptionExecutor;
  readonly random: Random;
  readonly budgets: () => readonly PodDisruptionBudget[];
}

export type Refused = Extract<Decision, { kind: 'none' }>;
export type PreemptionResult = ReturnType<typeof findPreemption>;

interface Refusal {
  readonly decision: Refused;
  readonly profile: Profile;
  readonly found?: PreemptionResult | undefined;
}

const NO_PREEMPTION = { message: '', keepNomination: true };

interface Outcome {
  readonly message: string;
  /** '' clears the nomination; undefined keeps it. */
  readonly nominatedNodeName: string | undefined;
}

export class PostFilter {
  readonly #options: PostFilterOptions;

  constructor(options: PostFilterOptions) {
    this.#options = options;
  }

  /**
   * The pod stays in flight until its victims are deleted: otherwise it could be scheduled elsewhere and the preemption would be in vain. found: by find(),
   * which is not asked again.
   */
  async run(info: PodInfo, { decision, profile, found }: Refusal): Promise<void> {
    const { failure } = decision;
    const { queue, reporter } = this.#options;
    const refusedBy = refusingPlugins(failure);
    let outcome: Outcome = { message: failureMessage(failure), nominatedNodeName: undefined };
    try {
      if (failure.nodeCount > 0) outcome = await this.#postFilter(info, { decision, profile, found });
    } catch (error) {
      // No event may ever come of what failed: retry after backoff.
      queue.failed(info.uid, new Set());
      throw error;
    }
    // Without any node, no plugin rejected the pod: retry when a node is added.
    queue.failed(info.uid, refusedBy.size > 0 ? refusedBy : new Set(['NodeName']));
    await reporter.unschedulable(info, { profile, ...outcome });
  }

  /** Which pods would have to go. A promise when extenders are asked. */
  find(decision: Refused, profile: Profile): PreemptionResult | Promise<PreemptionResult> {
    const { metrics } = this.#options;
    const startMs = performance.now();
    const counted = (found: PreemptionResult): PreemptionResult => {
      metrics.point('PostFilter', {
        profile: profile.schedulerName,
        status: 'victims' in found ? 'Success' : 'Unschedulable',
        seconds: (performance.now() - startMs) / 1000,
      });
      metrics.preempting('victims' in found ? found.victims.length : 0);
      return found;
    };
    const finding = this.#findPreemption(decision, profile);
    return finding instanceof Promise ? finding.then(counted) : counted(finding);
  }

  async #postFilter(info: PodInfo, { decision, profile, found: given }: Refusal): Promise<Outcome> {
    const { failure, cycle } = decision;
    const { nominator, executor } = this.#options;
    // At once, unless extenders are asked: later decisions must see the nomination.
    const finding = given ?? this.find(decision, profile);
    const found = finding instanceof Promise ? await finding : finding;
    if ('victims' in found) {
      nominator.set(info, found.node);
      await executor.execute(info, { preemption: found, profile });
      return { message: failureMessage(failure), nominatedNodeName: found.node };
    }
    const released = await this.#releaseUnavailable(info, cycle);
    const message = failureMessage(failure, [
      ...profile.plugins.flatMap((plugin) => {
        const said = plugin.postFilter?.(cycle);
        return said === undefined
          ? []
          : ((plugin.name === 'DynamicResources' ? released : undefined) ?? said);
      }),
      ...(profile.preemption === false ? [] : [`preemption: ${found.message}`]),
    ]);
    if (found.keepNomination) return { message, nominatedNodeName: undefined };
    nominator.delete(info.uid);
    return { message, nominatedNodeName: '' };
  }

  /** What DynamicResources did so that the pod may be scheduled later; the attempt is over whether it worked or not. */
  async #releaseUnavailable({ key }: PodInfo, cycle: Cycle): Promise<string | undefined> {
    const { claimBinder, log } = this.#options;
    try {
      return await claimBinder.postFilter(cycle);
    } catch (error) {
      log.warn('resource claim not deallocated', { pod: key, error: errorMessage(error) });
      return undefined;
    }
  }

  #findPreemption(
    { failure, cycle }: Refused,
    { preemption }: Profile,
  ): PreemptionResult | Promise<PreemptionResult> {
    if (preemption === false) return NO_PREEMPTION;
    const { budgets, nominator, extenders, random } = this.#options;
    const input = {
      cycle,
      random,
      failure,
      args: preemption,
      budgets: budgets(),
      nominatedNode: nominator.nodeOf(cycle.pod.uid),
    };
    if (!extenders) return findPreemption(input);
    const found = preemptionCandidates(input);
    if (!('candidates' in found) || found.candidates.length === 0)
      return 'candidates' in found ? bestPreemption(found) : found;
    const { message } = found;
    return extenders
      .preempt(cycle.pod, found.candidates)
      .then((candidates) => bestPreemption({ candidates, message }));
  }
}

function refusingPlugins({ refusals, others, everywhere }: Failure): ReadonlySet<string> {
  return new Set(
    [...new Set(refusals.values()), others, everywhere].flatMap((refused) => refused?.plugin ?? []),
  );
}
