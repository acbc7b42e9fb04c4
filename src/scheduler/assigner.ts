/** Gives a pod the node that was decided on, in memory: on trial, or for good, and then its binding begins. After upstream's assume and reserve. */
import type { Clock } from '#stdx/clock.ts';
import type { Attempted } from './attempt.ts';
import type { BindingCycle } from './binding-cycle.ts';
import type { SchedulerCache } from './cache.ts';
import { plannedClaims, type ClaimBinder } from './dra/claim-binder.ts';
import type { SchedulerMetrics } from './metrics.ts';
import type { Nominator } from './nominator.ts';
import type { Cycle } from './plugin.ts';
import { plannedVolumes } from './plugins/volume-binding.ts';
import type { VolumeBinder } from './volume-binder.ts';

interface AssignerOptions {
  readonly clock: Clock;
  readonly cache: SchedulerCache;
  readonly nominator: Nominator;
  readonly metrics: SchedulerMetrics;
  readonly claimBinder: ClaimBinder;
  readonly volumeBinder: VolumeBinder;
  readonly bindingCycle: BindingCycle;
}

/** The cycle that decided, and the node. */
interface Assignment {
  readonly cycle: Cycle;
  readonly node: string;
}

export class Assigner {
  readonly #options: AssignerOptions;

  constructor(options: AssignerOptions) {
    this.#options = options;
  }

  /** For good. */
  assign(
    { cycle, node }: Assignment,
    { info, profile, attempt, attempts, readyAtMs, isFlushed }: Attempted,
  ): void {
    const { cache, nominator, clock, metrics, claimBinder, bindingCycle } = this.#options;
    cache.assume(info, node);
    nominator.delete(info.uid);
    const bound = (isBound: boolean): void => {
      attempt.ended(isBound ? 'scheduled' : 'error');
      const seconds = (clock.now() - readyAtMs) / 1000;
      if (isBound) metrics.scheduled({ attempts, seconds, isFlushed });
    };
    const volumes = plannedVolumes(cycle, node);
    const claims = plannedClaims(cycle, node);
    if (claims) claimBinder.assume(claims);
    bindingCycle.start(info, { node, profile, bound, claims, volumes });
  }

  /** Until the returned function is called; trials end in the reverse order. Later decisions see the pod, its volumes and its devices on the node. */
  tryOn({ cycle, node }: Assignment, { info }: Attempted): () => void {
    const { cache, nominator, claimBinder, volumeBinder } = this.#options;
    const nominated = nominator.nodeOf(info.uid);
    cache.assume(info, node);
    nominator.delete(info.uid);
    const planned = plannedVolumes(cycle, node);
    const volumes = planned && volumeBinder.assume(planned, node);
    const claims = plannedClaims(cycle, node);
    if (claims) claimBinder.assume(claims);
    return () => {
      if (claims) claimBinder.forget(claims);
      if (volumes) volumeBinder.forget(volumes);
      cache.forget(info.uid);
      if (nominated !== undefined) nominator.set(info, nominated);
    };
  }
}
