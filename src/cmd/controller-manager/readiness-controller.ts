/**
 * Assesses the cluster's own readiness every ten minutes, on the leader, and publishes it: condition ProductionReady, an event when it changes, and metrics. It reads as the controller
 * manager, which may list everything, and writes as its own account. Rows that only an administrator can answer are unknown.
 */
import { defineController, type ControllerDefinition, type ReconcileContext } from '#runtime/controller.ts';
import type { MachineFacts } from '#readiness/check.ts';
import { publishScorecard, readinessLines } from '#readiness/scorecard/publish.ts';
import { assessRows, type Scorecard } from '#readiness/scorecard/scorecard.ts';
import { createView, type OutsideProbe } from '#readiness/scorecard/view.ts';

const PERIOD_MS = 10 * 60_000;
/** A cluster that has just started is not yet what it will be. */
const FIRST_MS = 60_000;
const MAX_MESSAGE = 1_024;

export interface ReadinessSources {
  /** Default: servers cannot be asked from here without credentials. */
  readonly probe?: OutsideProbe | undefined;
  /** Of the machine that it runs on, at each assessment. */
  readonly machine?: (() => MachineFacts | undefined) | undefined;
}

/** The last scorecard of this instance. */
export class ReadinessMetrics {
  #scorecard: Scorecard | undefined;

  show(scorecard: Scorecard | undefined): void {
    this.#scorecard = scorecard;
  }

  render(): readonly string[] {
    return readinessLines(this.#scorecard);
  }
}

const NOT_ASKED =
  'API servers are not asked without credentials from inside the cluster: capstan readiness does';

const NO_PROBE: OutsideProbe = {
  server: 'this cluster',
  certificateOf: () => Promise.reject(new Error(NOT_ASKED)),
  anonymousStatus: () => Promise.reject(new Error(NOT_ASKED)),
  failOver: () => Promise.resolve(undefined),
};

export function readinessController({
  probe = NO_PROBE,
  machine,
  metrics,
}: ReadinessSources & { readonly metrics: ReadinessMetrics }): ControllerDefinition {
  return defineController({
    name: 'readiness-controller',
    watches: [],
    workers: 1,
    resyncEveryMs: PERIOD_MS,
    async reconcile(context) {
      const { memory, shared, clock } = context;
      if (!memory.has('begun')) {
        memory.set('begun', true);
        return { requeueAfterMs: FIRST_MS };
      }
      // Needed a minute after the start, which would wait for them.
      const { ROWS } = await import('#readiness/scorecard/list.ts');
      const view = createView({ api: shared, nowMs: clock.now(), machine: machine?.() }, probe);
      const scorecard = await assessRows(ROWS, view);
      metrics.show(scorecard);
      await publish(context, scorecard);
      return undefined;
    },
  });
}

async function publish({ api, events, log }: ReconcileContext, scorecard: Scorecard): Promise<void> {
  const { object, condition, isNews } = await publishScorecard(api, scorecard);
  if (!isNews) return;
  const { status, reason, message } = condition;
  log.info('readiness of the cluster', { status, message });
  events.event(object, {
    type: status === 'True' ? 'Normal' : 'Warning',
    reason,
    message: message.slice(0, MAX_MESSAGE),
  });
}
