/**
 * Computes the status of each PodDisruptionBudget: how many pods may be evicted now; evictions decrement it. Also resets the
 * condition DisruptionTarget of pods that were not deleted in time. After upstream's pkg/controller/disruption.
 */
import type { Stored } from '#machinery/object.ts';
import { isDeepStrictEqual } from 'node:util';
import type { Pod, PodDisruptionBudget, PodDisruptionBudgetStatus } from '#api/types.ts';
import { isStatusError } from '#machinery/errors.ts';
import { getScaledValueFromIntOrPercent, isPercentage } from '#machinery/int-or-string.ts';
import { compileLabelSelector, LabelSelector } from '#machinery/labels.ts';
import { objectKey } from '#machinery/object.ts';
import { formatTime, timeMs } from '#machinery/time.ts';
import { errorMessage } from '#stdx/log.ts';
import type { Informer } from '#client/client.ts';
import {
  deployments,
  podDisruptionBudgets,
  pods,
  replicaSets,
  replicationControllers,
  statefulSets,
} from '#client/refs.ts';
import { defineController, watch, type ReconcileContext, type ReconcileResult } from '#runtime/controller.ts';
import { nameOf } from '../owners.ts';
import { isPodReady, isPodTerminal, podCondition } from '#component-helpers/pod-status.ts';
import { expectedScale } from './pod-scales.ts';

/** A pod whose eviction was granted must be deleted within this time; otherwise its disruption is given back to the budget. */
const DELETION_TIMEOUT_MS = 120_000;
const STALE_DISRUPTION_MS = 120_000;
/** Cannot be the prefix of a budget key. */
const POD_KEY = 'pod ';

type Conditions = NonNullable<PodDisruptionBudgetStatus['conditions']>;

export const disruptionController = defineController({
  name: 'disruption-controller',
  serviceAccount: 'disruption-controller',
  eventSource: 'controllermanager',
  watches: [
    watch(podDisruptionBudgets),
    watch(pods, {
      keys: (pod, { informer }) => [
        ...budgetsOf(pod, informer(podDisruptionBudgets)),
        ...(isMarked(pod) ? [`${POD_KEY}${objectKey(pod)}`] : []),
      ],
    }),
    watch(replicaSets, { keys: () => [] }),
    watch(deployments, { keys: () => [] }),
    watch(statefulSets, { keys: () => [] }),
    watch(replicationControllers, { keys: () => [] }),
  ],
  reconcile: (context) => (context.key.startsWith(POD_KEY) ? unmarkPod(context) : reconcileBudget(context)),
});

/** An empty selector selects all pods of the namespace, an absent one selects none. */
function selectorOf({ spec }: Stored<PodDisruptionBudget>): LabelSelector {
  return spec?.selector ? compileLabelSelector(spec.selector) : LabelSelector.nothing;
}

function budgetsOf(pod: Stored<Pod>, budgets: Informer<PodDisruptionBudget>): string[] {
  return budgets
    .listNamespace(pod.metadata.namespace!)
    .filter((budget) => selectorOf(budget).matches(pod.metadata?.labels))
    .map(objectKey);
}

async function reconcileBudget(context: ReconcileContext): Promise<ReconcileResult> {
  const { key, informer, events, clock } = context;
  const budget = informer(podDisruptionBudgets).get(key);
  if (!budget) return;
  try {
    const selector = selectorOf(budget);
    const selected = informer(pods)
      .listNamespace(budget.metadata.namespace!)
      .filter((pod) => selector.matches(pod.metadata?.labels));
    if (selected.length === 0)
      events.event(budget, { type: 'Normal', reason: 'NoPods', message: 'No matching pods found' });
    const { expectedPods, desiredHealthy } = await expectationsOf(budget, { selected, context });
    const { disruptedPods, nextMs } = stillDisrupted(budget, { selected, context });
    const currentHealthy = selected.filter(
      (pod) => !pod.metadata?.deletionTimestamp && !disruptedPods[pod.metadata.name] && isPodReady(pod),
    ).length;
    const disruptionsAllowed = expectedPods <= 0 ? 0 : Math.max(0, currentHealthy - desiredHealthy);
    const allowed = disruptionsAllowed > 0;
    const conditions = withCondition(budget, {
      status: allowed ? 'True' : 'False',
      reason: allowed ? 'SufficientPods' : 'InsufficientPods',
      message: '',
      nowMs: clock.now(),
    });
    await writeStatus(
      budget,
      { currentHealthy, desiredHealthy, expectedPods, disruptionsAllowed, disruptedPods, conditions },
      context,
    );
    return nextMs === undefined ? undefined : { requeueAfterMs: nextMs };
  } catch (error) {
    if (isStatusError(error, 'Conflict')) throw error;
    if (isStatusError(error, 'NotFound')) return;
    await failSafe(budget, error, context);
    throw error;
  }
}

interface Selected {
  readonly selected: readonly Stored<Pod>[];
  readonly context: ReconcileContext;
}

async function expectationsOf(
  budget: Stored<PodDisruptionBudget>,
  { selected, context }: Selected,
): Promise<{ readonly expectedPods: number; readonly desiredHealthy: number }> {
  const { maxUnavailable, minAvailable } = budget.spec ?? {};
  if (maxUnavailable === undefined && minAvailable === undefined)
    return { expectedPods: 0, desiredHealthy: 0 };
  if (maxUnavailable === undefined && minAvailable !== undefined && !isPercentage(minAvailable)) {
    return {
      expectedPods: selected.length,
      desiredHealthy: getScaledValueFromIntOrPercent(minAvailable, 0, { roundUp: true }),
    };
  }
  const { count, unmanaged } = await scaleOrEvent(budget, { selected, context });
  if (unmanaged.length > 0) {
    const message = `Pods selected by this PodDisruptionBudget (selector: ${selectorText(budget)}) were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set ".spec.minAvailable" field of the PDB to an integer value.`;
    context.events.event(budget, { type: 'Warning', reason: 'UnmanagedPods', message });
  }
  if (maxUnavailable === undefined)
    return {
      expectedPods: count,
      desiredHealthy: getScaledValueFromIntOrPercent(minAvailable, count, { roundUp: true }),
    };
  return {
    expectedPods: count,
    desiredHealthy: Math.max(
      0,
      count - getScaledValueFromIntOrPercent(maxUnavailable, count, { roundUp: true }),
    ),
  };
}

async function scaleOrEvent(
  budget: Stored<PodDisruptionBudget>,
  { selected, context }: Selected,
): ReturnType<typeof expectedScale> {
  try {
    return await expectedScale(selected, context);
  } catch (error) {
    context.events.event(budget, {
      type: 'Warning',
      reason: 'CalculateExpectedPodCountFailed',
      message: `Failed to calculate the number of expected pods: ${errorMessage(error)}`,
    });
    throw error;
  }
}

function selectorText(budget: Stored<PodDisruptionBudget>): string {
  return selectorOf(budget).toString();
}

interface Disrupted {
  readonly disruptedPods: Record<string, string>;
  /** When the first of them expires; undefined when there is none. */
  readonly nextMs: number | undefined;
}

/** Pods whose eviction was granted and whose deletion was not observed yet. */
function stillDisrupted(budget: Stored<PodDisruptionBudget>, { selected, context }: Selected): Disrupted {
  const granted = budget.status?.disruptedPods ?? {};
  const nowMs = context.clock.now();
  const disruptedPods: Record<string, string> = {};
  let nextMs: number | undefined;
  for (const pod of selected) {
    const since = Object.hasOwn(granted, pod.metadata.name) ? granted[pod.metadata.name] : undefined;
    if (since === undefined || pod.metadata?.deletionTimestamp) continue;
    const leftMs = (timeMs(since) ?? 0) + DELETION_TIMEOUT_MS - nowMs;
    if (leftMs < 0) {
      context.events.event(pod, {
        type: 'Warning',
        reason: 'NotDeleted',
        message: `Pod was expected by PDB ${objectKey(budget)} to be deleted but it wasn't`,
      });
      continue;
    }
    disruptedPods[pod.metadata.name] = since;
    nextMs = Math.min(nextMs ?? Infinity, leftMs + 1);
  }
  return { disruptedPods, nextMs };
}

function withCondition(
  budget: Stored<PodDisruptionBudget>,
  {
    status,
    reason,
    message,
    nowMs,
  }: { readonly status: string; readonly reason: string; readonly message: string; readonly nowMs: number },
): Conditions {
  const type = 'DisruptionAllowed';
  const conditions = budget.status?.conditions ?? [];
  const current = conditions.find((condition) => condition.type === type);
  const observedGeneration = budget.metadata?.generation ?? 0;
  const lastTransitionTime = current?.status === status ? current.lastTransitionTime : formatTime(nowMs);
  const next = { type, status, reason, message, lastTransitionTime, observedGeneration };
  return current
    ? conditions.map((condition) => (condition === current ? next : condition))
    : [...conditions, next];
}

type Numbers = Required<
  Pick<PodDisruptionBudgetStatus, 'currentHealthy' | 'desiredHealthy' | 'expectedPods' | 'disruptionsAllowed'>
>;

async function writeStatus(
  budget: Stored<PodDisruptionBudget>,
  wanted: Numbers & { readonly disruptedPods: Record<string, string>; readonly conditions: Conditions },
  { api }: ReconcileContext,
): Promise<void> {
  const { currentHealthy, desiredHealthy, expectedPods, disruptionsAllowed, disruptedPods, conditions } =
    wanted;
  const { status } = budget;
  const numbers: Numbers = { currentHealthy, desiredHealthy, expectedPods, disruptionsAllowed };
  const observedGeneration = budget.metadata?.generation ?? 0;
  const same =
    status?.observedGeneration === observedGeneration &&
    isDeepStrictEqual(status.disruptedPods ?? {}, disruptedPods) &&
    isDeepStrictEqual(status.conditions ?? [], conditions) &&
    Object.entries(numbers).every(([name, value]) => (status[name as keyof Numbers] ?? 0) === value);
  if (same) return;
  const { disruptedPods: _, ...rest } = status ?? {};
  await api.updateStatus(podDisruptionBudgets, {
    ...budget,
    status: {
      ...rest,
      ...numbers,
      conditions,
      observedGeneration,
      ...(Object.keys(disruptedPods).length > 0 ? { disruptedPods } : {}),
    },
  });
}

/** On an error, no disruption may be allowed. */
async function failSafe(
  budget: Stored<PodDisruptionBudget>,
  error: unknown,
  { api, clock }: ReconcileContext,
): Promise<void> {
  const conditions = withCondition(budget, {
    status: 'False',
    reason: 'SyncFailed',
    message: errorMessage(error),
    nowMs: clock.now(),
  });
  const observedGeneration = budget.metadata?.generation ?? 0;
  const { status } = budget;
  if (
    (status?.disruptionsAllowed ?? 0) === 0 &&
    status?.observedGeneration === observedGeneration &&
    isDeepStrictEqual(status.conditions, conditions)
  )
    return;
  const { currentHealthy = 0, desiredHealthy = 0, expectedPods = 0 } = status ?? {};
  await api.updateStatus(podDisruptionBudgets, {
    ...budget,
    status: {
      ...status,
      currentHealthy,
      desiredHealthy,
      expectedPods,
      disruptionsAllowed: 0,
      conditions,
      observedGeneration,
    },
  });
}

/** Has the condition DisruptionTarget and is not being deleted. */
function isMarked(pod: Stored<Pod>): boolean {
  return (
    !pod.metadata?.deletionTimestamp &&
    !isPodTerminal(pod) &&
    podCondition(pod, 'DisruptionTarget')?.status === 'True'
  );
}

async function unmarkPod({ key, informer, api, clock }: ReconcileContext): Promise<ReconcileResult> {
  const pod = informer(pods).get(key.slice(POD_KEY.length));
  if (!pod || !isMarked(pod)) return;
  const leftMs =
    (timeMs(podCondition(pod, 'DisruptionTarget')!.lastTransitionTime) ?? 0) +
    STALE_DISRUPTION_MS -
    clock.now();
  if (leftMs > 0) return { requeueAfterMs: leftMs };
  const condition = {
    type: 'DisruptionTarget',
    status: 'False',
    lastTransitionTime: formatTime(clock.now()),
  };
  try {
    await api.patch(pods, nameOf(pod), {
      type: 'strategic',
      subresource: 'status',
      patch: { metadata: { uid: pod.metadata.uid }, status: { conditions: [condition] } },
    });
  } catch (error) {
    if (!isStatusError(error, 'NotFound')) throw error;
  }
}
