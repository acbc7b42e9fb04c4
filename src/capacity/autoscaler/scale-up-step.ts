/** The scale-up of one loop: which groups grow for the pods that wait (../scale-up.ts), the calls that make them grow, and what pods are told. */
import type { Pod } from '#api/types.ts';
import type { Simulation } from '#scheduler/simulation.ts';
import { errorMessage } from '#stdx/log.ts';
import type { Random } from '#stdx/random.ts';
import { nameOf } from '../report.ts';
import { decideScaleUp, type GrowingGroup, type Increase, type ScaleUp } from '../scale-up.ts';
import type { ObservedGroup } from './cluster-state.ts';
import type { AutoscalerContext } from './context.ts';
import type { GroupTemplates } from './group-templates.ts';
import type { Priorities } from './priorities.ts';
import { GROUP_LABEL } from '../node-groups.ts';

interface ScaleUpInput {
  readonly simulation: Simulation;
  readonly pods: readonly Pod[];
  readonly templates: GroupTemplates;
  readonly priorities: Priorities | undefined;
  readonly random: Random;
}

interface ScaleUpResult {
  /** That the provider accepted. */
  readonly increases: readonly Increase[];
  readonly helped: readonly Pod[];
  readonly notHelped: ScaleUp['notHelped'];
}

/** Upstream's words. */
const BACKED_OFF = 'in backoff after failed scale-up';
const NOT_READY = 'not ready for scale-up';

export async function scaleUp(context: AutoscalerContext, input: ScaleUpInput): Promise<ScaleUpResult> {
  const { settings, state } = context;
  const groups = await Promise.all(state.groups.map((group) => growing(context, { group, input })));
  const decision = decideScaleUp(input.simulation, {
    pods: input.pods,
    groups,
    expanders: settings.expanders,
    balanceSimilarGroups: settings.balanceSimilarGroups,
    limits: {
      maxNodesTotal: settings.maxNodesTotal,
      maxNodesPerScaleUp: settings.maxNodesPerScaleUp,
      maxCores: settings.cores.max,
      maxMemoryBytes: settings.memoryBytes.max,
    },
    random: input.random,
  });
  const increases: Increase[] = [];
  for (const one of decision.increases) if (await increase(context, one)) increases.push(one);
  countSkipped(context, decision);
  tellPods(context, { decision, increases });
  return { increases, helped: decision.helped, notHelped: decision.notHelped };
}

async function growing(
  { state, clock, provider, settings, log }: AutoscalerContext,
  { group, input }: { readonly group: ObservedGroup; readonly input: ScaleUpInput },
): Promise<GrowingGroup> {
  const { id, target, maxSize } = group;
  const template = input.templates.get(id);
  const price =
    template && settings.expanders.includes('price')
      ? await provider.price?.(id, template.node).catch((error: unknown) => {
          log.warn('error reading the price of a node', { group: id, error: errorMessage(error) });
          return undefined;
        })
      : undefined;
  return {
    name: id,
    size: target,
    maxSize,
    template,
    // One without a price is taken last.
    price: price ?? Number.MAX_SAFE_INTEGER,
    priority: input.priorities?.of(id) ?? 0,
    ownLabels: new Set([GROUP_LABEL]),
    skip: state.backoffOf(id, clock.now()) ? BACKED_OFF : state.isGroupHealthy(id) ? undefined : NOT_READY,
  };
}

/** False: the provider did not. */
export async function increase(
  context: AutoscalerContext,
  { group, from, to, maxSize }: Increase,
): Promise<boolean> {
  const { provider, state, metrics, events, clock, log } = context;
  const about = context.statusConfigMap();
  const words = `${to} instead of ${from} (max: ${maxSize})`;
  events.event(about, {
    type: 'Normal',
    reason: 'ScaledUpGroup',
    message: `Scale-up: setting group ${group} size to ${words}`,
  });
  try {
    await provider.increase(group, to - from);
  } catch (error) {
    const errorText = errorMessage(error);
    log.warn('error increasing a node group', { group, to, error: errorText });
    events.event(about, {
      type: 'Warning',
      reason: 'FailedToScaleUpGroup',
      message: `Scale-up failed for group ${group}: ${errorText}`,
    });
    metrics.failedScaleUp('cloudProviderError', to - from);
    const info = { errorCode: 'cloudProviderError', errorMessage: errorText };
    state.registerFailure(group, { info, nowMs: clock.now() });
    return false;
  }
  state.registerScaleUp(group, { increase: to - from, nowMs: clock.now() });
  metrics.scaledUp(to - from);
  log.info('scaled up a node group', { group, from, to });
  events.event(about, {
    type: 'Normal',
    reason: 'ScaledUpGroup',
    message: `Scale-up: group ${group} size set to ${words}`,
  });
  return true;
}

function countSkipped({ metrics }: AutoscalerContext, { notHelped }: ScaleUp): void {
  const reasons = new Set(notHelped.flatMap((one) => [...one.reasons.values()]));
  if (reasons.has('max cluster cpu limit reached')) metrics.skipped('up', 'CPULimitReached');
  if (reasons.has('max cluster memory limit reached')) metrics.skipped('up', 'MemoryLimitReached');
}

interface Telling {
  readonly decision: ScaleUp;
  readonly increases: readonly Increase[];
}

function tellPods({ events, log }: AutoscalerContext, { decision, increases }: Telling): void {
  if (increases.length > 0) {
    const groups = increases.map(
      ({ group, from, to, maxSize }) => `{${group} ${from}->${to} (max: ${maxSize})}`,
    );
    const message = `pod triggered scale-up: [${groups.join(' ')}]`;
    for (const pod of decision.helped)
      events.event(pod, { type: 'Normal', reason: 'TriggeredScaleUp', message });
  }
  for (const { pod, reasons } of decision.notHelped) {
    const message = `pod didn't trigger scale-up: ${reasonsText(reasons)}`;
    log.debug(message, { pod: nameOf(pod) });
    events.event(pod, { type: 'Normal', reason: 'NotTriggerScaleUp', message });
  }
}

/** '1 max node group size reached, 2 Insufficient cpu', as upstream counts groups by their reasons. */
function reasonsText(reasons: ReadonlyMap<string, string>): string {
  const counts = new Map<string, number>();
  for (const reason of reasons.values()) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  return [...counts]
    .map(([reason, count]) => `${count} ${reason}`)
    .toSorted()
    .join(', ');
}
