/**
 * From the replicas that metrics propose to those that are set: stabilization over recent proposals, then limits of the rate and of the object,
 * after upstream's normalizeDesiredReplicas (without spec.behavior) and normalizeDesiredReplicasWithBehaviors. Pure but for the history it is given.
 */
import type { HorizontalPodAutoscalerBehavior, HPAScalingRules } from '#api/types.ts';

/** Of one autoscaler; lost at a change of leadership, as upstream's. */
export interface ScalingHistory {
  proposals: readonly Timed[];
  scaledUp: readonly Timed[];
  scaledDown: readonly Timed[];
}

interface Timed {
  readonly atMs: number;
  /** Replicas proposed, or by how many the target was scaled. */
  readonly replicas: number;
}

interface Wish {
  readonly currentReplicas: number;
  readonly proposed: number;
  readonly minReplicas: number;
  readonly maxReplicas: number;
  readonly behavior: HorizontalPodAutoscalerBehavior | undefined;
}

interface Reason {
  readonly reason: string;
  readonly message: string;
}

export interface Decision {
  readonly replicas: number;
  /** Condition AbleToScale, which is True. */
  readonly stabilized: Reason;
  /** Condition ScalingLimited. */
  readonly limited: Reason & { readonly status: 'True' | 'False' };
}

interface Moment {
  readonly nowMs: number;
  /** Without spec.behavior, and where its scaleDown names none. */
  readonly downscaleStabilizationMs: number;
}

const WITHIN_RANGE: Reason = {
  reason: 'DesiredWithinRange',
  message: 'the desired count is within the acceptable range',
};
const READY: Reason = { reason: 'ReadyForNewScale', message: 'recommended size matches current size' };
const STABILIZED_UP: Reason = {
  reason: 'ScaleUpStabilized',
  message: 'recent recommendations were lower than current one, applying the lowest recent recommendation',
};
const STABILIZED_DOWN: Reason = {
  reason: 'ScaleDownStabilized',
  message: 'recent recommendations were higher than current one, applying the highest recent recommendation',
};
const TOO_MANY: Reason = {
  reason: 'TooManyReplicas',
  message: 'the desired replica count is more than the maximum replica count',
};
const TOO_FEW: Reason = {
  reason: 'TooFewReplicas',
  message: 'the desired replica count is less than the minimum replica count',
};
const TOO_FAST_UP: Reason = {
  reason: 'ScaleUpLimit',
  message: 'the desired replica count is increasing faster than the maximum scale rate',
};
const TOO_FAST_DOWN: Reason = {
  reason: 'ScaleDownLimit',
  message: 'the desired replica count is decreasing faster than the maximum scale rate',
};

/** Records the proposal in the history. */
export function decide(history: ScalingHistory, wish: Wish, moment: Moment): Decision {
  const { nowMs } = moment;
  const stable = stabilize(history, wish, moment);
  const { replicas, limit } = wish.behavior
    ? limitByBehavior(history, { ...wish, proposed: stable }, nowMs)
    : limitByFactor({ ...wish, proposed: stable });
  const goesUp = wish.behavior !== undefined && wish.proposed >= wish.currentReplicas;
  return {
    replicas,
    stabilized: stable === wish.proposed ? READY : goesUp ? STABILIZED_UP : STABILIZED_DOWN,
    limited: { ...(limit ?? WITHIN_RANGE), status: replicas === stable ? 'False' : 'True' },
  };
}

/** Only rules of spec.behavior look at it. */
export function recordScaling(
  history: ScalingHistory,
  {
    behavior,
    from,
    to,
    nowMs,
  }: {
    readonly behavior: HorizontalPodAutoscalerBehavior | undefined;
    readonly from: number;
    readonly to: number;
    readonly nowMs: number;
  },
): void {
  if (!behavior) return;
  const [list, rules] =
    to > from ? (['scaledUp', behavior.scaleUp] as const) : (['scaledDown', behavior.scaleDown] as const);
  const longestMs = Math.max(0, ...(rules?.policies ?? []).map(({ periodSeconds }) => periodSeconds * 1000));
  history[list] = [
    ...history[list].filter(({ atMs }) => atMs >= nowMs - longestMs),
    { atMs: nowMs, replicas: Math.abs(to - from) },
  ];
}

function stabilize(
  history: ScalingHistory,
  { proposed, currentReplicas, behavior }: Wish,
  { nowMs, downscaleStabilizationMs }: Moment,
): number {
  const downSeconds = behavior?.scaleDown?.stabilizationWindowSeconds;
  const downMs = downSeconds === undefined ? downscaleStabilizationMs : downSeconds * 1000;
  const upMs = (behavior?.scaleUp?.stabilizationWindowSeconds ?? 0) * 1000;
  const goesUp = behavior !== undefined && proposed >= currentReplicas;
  const sinceMs = nowMs - (goesUp ? upMs : downMs);
  // Without behavior a proposal of just that age counts.
  const recent = history.proposals
    .filter(({ atMs }) => (behavior ? atMs > sinceMs : atMs >= sinceMs))
    .map(({ replicas }) => replicas);
  const keptMs = nowMs - Math.max(upMs, downMs);
  history.proposals = [
    ...history.proposals.filter(({ atMs }) => atMs >= keptMs),
    { atMs: nowMs, replicas: proposed },
  ];
  return goesUp ? Math.min(proposed, ...recent) : Math.max(proposed, ...recent);
}

interface Limited {
  readonly replicas: number;
  readonly limit?: Reason;
}

/** At most twice as many at once, or four. */
function limitByFactor({ currentReplicas, proposed, minReplicas, maxReplicas }: Wish): Limited {
  const fastest = Math.max(2 * currentReplicas, 4);
  if (proposed < minReplicas) return { replicas: minReplicas, limit: TOO_FEW };
  const most = Math.min(fastest, maxReplicas);
  if (proposed > most) return { replicas: most, limit: maxReplicas > fastest ? TOO_FAST_UP : TOO_MANY };
  return { replicas: proposed };
}

function limitByBehavior(
  history: ScalingHistory,
  { currentReplicas, proposed, minReplicas, maxReplicas, behavior }: Wish,
  nowMs: number,
): Limited {
  if (proposed > currentReplicas) {
    const rate = scaleUpLimit(behavior?.scaleUp, {
      currentReplicas,
      events: [history.scaledUp, history.scaledDown],
      nowMs,
    });
    const fastest = Math.max(currentReplicas, rate);
    const most = Math.min(fastest, maxReplicas);
    if (proposed > most) return { replicas: most, limit: maxReplicas > fastest ? TOO_FAST_UP : TOO_MANY };
  } else if (proposed < currentReplicas) {
    const rate = scaleDownLimit(behavior?.scaleDown, {
      currentReplicas,
      events: [history.scaledUp, history.scaledDown],
      nowMs,
    });
    const fastest = Math.min(currentReplicas, rate);
    const least = Math.max(fastest, minReplicas);
    if (proposed < least) return { replicas: least, limit: minReplicas < fastest ? TOO_FAST_DOWN : TOO_FEW };
  }
  return { replicas: proposed };
}

interface Rate {
  readonly currentReplicas: number;
  /** Scalings up, and down. */
  readonly events: readonly [readonly Timed[], readonly Timed[]];
  readonly nowMs: number;
}

function scaleUpLimit(rules: HPAScalingRules | undefined, rate: Rate): number {
  if (rules?.selectPolicy === 'Disabled') return rate.currentReplicas;
  const limits = (rules?.policies ?? []).map(({ type, value, periodSeconds }) => {
    const start = replicasAtStart(rate, periodSeconds);
    // Rounded up: a percentage of few pods would never add one.
    return type === 'Pods' ? start + value : Math.ceil(start * (1 + value / 100));
  });
  return rules?.selectPolicy === 'Min' ? Math.min(...limits) : Math.max(0, ...limits);
}

function scaleDownLimit(rules: HPAScalingRules | undefined, rate: Rate): number {
  if (rules?.selectPolicy === 'Disabled') return rate.currentReplicas;
  const limits = (rules?.policies ?? []).map(({ type, value, periodSeconds }) => {
    const start = replicasAtStart(rate, periodSeconds);
    return type === 'Pods' ? start - value : Math.trunc(start * (1 - value / 100));
  });
  return rules?.selectPolicy === 'Min' ? Math.max(...limits) : Math.min(...limits);
}

/** How many there were when the period began. */
function replicasAtStart(
  { currentReplicas, events: [up, down], nowMs }: Rate,
  periodSeconds: number,
): number {
  const sinceMs = nowMs - periodSeconds * 1000;
  const sum = (events: readonly Timed[]): number =>
    events.filter(({ atMs }) => atMs > sinceMs).reduce((total, { replicas }) => total + replicas, 0);
  return currentReplicas - sum(up) + sum(down);
}
