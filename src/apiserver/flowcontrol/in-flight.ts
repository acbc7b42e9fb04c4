/** The plain limits of --enable-priority-and-fairness=false: maximum of concurrent read and write requests, without queues. */
import type { RequestContext } from '../context.ts';
import type { Metrics } from '../nonresource/metrics.ts';
import { isLongRunning, isMutating, tooManyRequests, type RequestLimiter } from './limiter.ts';

/** 0 = no limit. */
export interface InFlightLimits {
  readonly maxRequestsInFlight: number;
  readonly maxMutatingRequestsInFlight: number;
}

/** Upstream's --max-requests-inflight and --max-mutating-requests-inflight. */
export const DEFAULT_IN_FLIGHT: InFlightLimits = {
  maxRequestsInFlight: 400,
  maxMutatingRequestsInFlight: 200,
};

export class InFlightLimiter implements RequestLimiter {
  readonly #limits: InFlightLimits;
  readonly #metrics: Metrics;

  constructor(limits: InFlightLimits, metrics: Metrics) {
    this.#limits = limits;
    this.#metrics = metrics;
  }

  admit(context: RequestContext): void {
    if (isLongRunning(context.info)) return;
    const metrics = this.#metrics;
    const { maxRequestsInFlight, maxMutatingRequestsInFlight } = this.#limits;
    const mutating = isMutating(context.info);
    const limit = mutating ? maxMutatingRequestsInFlight : maxRequestsInFlight;
    if (limit > 0 && (mutating ? metrics.inflightMutating : metrics.inflightReadOnly) >= limit) {
      // Those who can put an overloaded server right always get through.
      if (context.user.groups.includes('system:masters')) return;
      throw tooManyRequests();
    }
    context.release = metrics.enter(mutating);
  }
}
