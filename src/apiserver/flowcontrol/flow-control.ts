/** Assembles the server's limits: Priority and Fairness or plain limits, and request timeouts. */
import type { Clock, Timer } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { statusErrors } from '#machinery/errors.ts';
import type { ServedEndpoints } from '../registry/endpoints.ts';
import type { RequestContext } from '../context.ts';
import type { ApiResponse } from '../http/request.ts';
import type { InternalApi } from '../registry/loopback-client.ts';
import type { Metrics } from '../nonresource/metrics.ts';
import { ensureFlowObjects } from './bootstrap-objects.ts';
import { FLOW_SCHEMAS, PRIORITY_LEVELS } from './configuration.ts';
import { DEBUG_PREFIX, flowDebugPage } from './debug.ts';
import { FlowController } from './flow-controller.ts';
import { DEFAULT_IN_FLIGHT, InFlightLimiter, type InFlightLimits } from './in-flight.ts';
import type { RequestLimiter } from './limiter.ts';
import { flowMetrics } from './metrics.ts';
import { DEFAULT_REQUEST_TIMEOUT_MS } from '../http/timeout-parameter.ts';
import { RequestDeadlines } from './request-timeout.ts';

export interface RequestLimits extends Partial<InFlightLimits> {
  /** Default true. False: plain limits, without queues. */
  readonly priorityAndFairness?: boolean;
  /** Of requests that are not long-running. Default 60 s. */
  readonly requestTimeoutMs?: number;
  /** Least time of watches whose clients do not say how long. Default 30 min. */
  readonly minWatchMs?: number;
}

const KEEP_EVERY_MS = 60_000;

interface FlowControlParts {
  readonly servedEndpoints: ServedEndpoints;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}

export class FlowControl {
  readonly limiter: RequestLimiter;
  readonly deadlines: RequestDeadlines;
  /** Paths that are no resources. */
  readonly paths: Readonly<Record<string, (context: RequestContext) => ApiResponse>>;
  readonly #parts: FlowControlParts;
  readonly #controller: FlowController | undefined;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(limits: RequestLimits, parts: FlowControlParts) {
    const { clock, metrics, servedEndpoints } = parts;
    const inFlight = { ...DEFAULT_IN_FLIGHT, ...limits };
    const requestTimeoutMs = limits.requestTimeoutMs ?? DEFAULT_REQUEST_TIMEOUT_MS;
    this.#parts = parts;
    this.deadlines = new RequestDeadlines(clock, {
      limitMs: requestTimeoutMs,
      minWatchMs: limits.minWatchMs,
    });
    const controller =
      limits.priorityAndFairness === false
        ? undefined
        : new FlowController({
            ...parts,
            requestTimeoutMs,
            totalSeats: inFlight.maxRequestsInFlight + inFlight.maxMutatingRequestsInFlight,
            cacheOf: (group, resource) => servedEndpoints.byGroup(group, resource)?.cache,
          });
    this.#controller = controller;
    this.limiter = controller ?? new InFlightLimiter(inFlight, metrics);
    this.paths = controller
      ? Object.fromEntries(
          ['dump_priority_levels', 'dump_queues', 'dump_requests'].map((page) => [
            `${DEBUG_PREFIX}${page}`,
            (context) => debugPage(context, { controller, clock }),
          ]),
        )
      : {};
    if (controller) metrics.collect(() => flowMetrics(controller, clock));
  }

  /** keepObjects: the mandatory and suggested objects are put right every minute. */
  start(internal: InternalApi, { keepObjects }: { readonly keepObjects: boolean }): void {
    const { servedEndpoints } = this.#parts;
    // A server of few resources (tests) may do without.
    if (
      !servedEndpoints.byGroup(FLOW_SCHEMAS.group, FLOW_SCHEMAS.resource)?.cache ||
      !servedEndpoints.byGroup(PRIORITY_LEVELS.group, PRIORITY_LEVELS.resource)?.cache
    )
      return;
    this.#controller?.start(internal);
    if (keepObjects) this.#keepObjects(internal);
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#controller?.stop();
    this.deadlines.stop();
  }

  #keepObjects(internal: InternalApi): void {
    this.#timer = this.#parts.clock.after(KEEP_EVERY_MS, () => {
      ensureFlowObjects(internal)
        .catch((error: unknown) => {
          if (!this.#stopped)
            this.#parts.log.warn('error reconciling flow control objects, retrying in a minute', {
              error: errorMessage(error),
            });
        })
        .finally(() => {
          if (!this.#stopped) this.#keepObjects(internal);
        });
    });
  }
}

function debugPage(context: RequestContext, about: Parameters<typeof flowDebugPage>[1]): ApiResponse {
  const page = flowDebugPage(context, about);
  if (!page) throw statusErrors.pathNotFound();
  return page;
}
