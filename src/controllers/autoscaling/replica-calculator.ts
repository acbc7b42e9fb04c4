/**
 * Replicas from usage: desired = ceil(current × usage / target), with missing and unready pods counted as upstream's replica calculator counts them.
 * Pure: no API. Values are in thousandths of the metric's unit.
 *
 *   ignored   terminating or failed                                        no part of it
 *   unready   pending, or (CPU only) not ready for the first time yet       0 on scale-up, else no part of it
 *   missing   running without a metric                                      0 on scale-up, its request on scale-down
 *   ready     the rest
 */
import type { Pod } from '#api/types.ts';
import { podCondition } from '#component-helpers/pod-status.ts';
import { parseQuantity } from '#machinery/quantity.ts';
import type { Stored } from '#machinery/object.ts';
import { timeMs } from '#machinery/time.ts';

export interface PodMetric {
  readonly milli: number;
  readonly timestampMs: number;
  readonly windowMs: number;
}

/** By the pod's name. */
export type PodMetrics = ReadonlyMap<string, PodMetric>;

/** Usage may differ from its target by this part of it without a change. */
export interface Tolerances {
  readonly scaleUp: number;
  readonly scaleDown: number;
}

export interface Readiness {
  readonly nowMs: number;
  /** After a pod's start, its CPU usage counts only from a whole window after it became ready. */
  readonly cpuInitializationMs: number;
  /** A pod that became unready within this time after its start has never been ready. */
  readonly initialReadinessDelayMs: number;
}

interface Sample {
  readonly pods: readonly Stored<Pod>[];
  readonly metrics: PodMetrics;
  readonly currentReplicas: number;
  readonly tolerances: Tolerances;
  readonly readiness: Readiness;
}

export interface Proposal {
  readonly replicas: number;
  /** The average per pod that the proposal was made from. */
  readonly averageMilli: number;
  /** In percent of the request. */
  readonly utilization?: number;
}

/** The pods' average against a target average. `resource`: 'cpu' leaves out the usage of pods that are starting. */
export function replicasForAverage(
  sample: Sample,
  { targetMilli, resource = '' }: { readonly targetMilli: number; readonly resource?: string },
): Proposal {
  const average = (metrics: PodMetrics): number => {
    let sum = 0;
    for (const { milli } of metrics.values()) sum += milli;
    return Math.trunc(sum / metrics.size);
  };
  const { groups, metrics } = measured(sample, resource);
  const averageMilli = average(metrics);
  const replicas = settle(sample, {
    groups,
    metrics,
    ratio: (known) => average(known) / targetMilli,
    missingMilli: () => targetMilli,
  });
  return { replicas, averageMilli };
}

/** The pods' usage against a target percentage of what they request (milli-units, by the pod's name). */
export function replicasForUtilization(
  sample: Sample,
  {
    targetPercent,
    resource,
    requests,
  }: {
    readonly targetPercent: number;
    readonly resource: string;
    readonly requests: ReadonlyMap<string, number>;
  },
): Proposal {
  const { groups, metrics } = measured(sample, resource);
  const { percent, averageMilli } = utilizationOfRequests(metrics, requests);
  // A missing pod must not make a target above 100 % look missed.
  const fallbackPercent = Math.max(100, targetPercent);
  const replicas = settle(sample, {
    groups,
    metrics,
    ratio: (known) => utilizationOfRequests(known, requests).percent / targetPercent,
    missingMilli: (name) => Math.trunc(((requests.get(name) ?? 0) * fallbackPercent) / 100),
  });
  return { replicas, averageMilli, utilization: percent };
}

/** A value of the whole target against what it should be. With no replicas, ready pods and tolerance do not count: it scales from zero. */
export function replicasForValue({
  pods,
  currentReplicas,
  tolerances,
  ratio,
}: Pick<Sample, 'pods' | 'currentReplicas' | 'tolerances'> & { readonly ratio: number }): number {
  if (currentReplicas === 0) return Math.ceil(ratio);
  if (isWithin(ratio, tolerances)) return currentReplicas;
  if (pods.length === 0)
    throw new Error(
      'unable to calculate ready pods: no pods returned by selector while calculating replica count',
    );
  const ready = pods.filter(
    (pod) => pod.status?.phase === 'Running' && podCondition(pod, 'Ready')?.status === 'True',
  ).length;
  return Math.ceil(ratio * ready);
}

/** A total that is shared out over the pods: a target average for each. */
export function replicasForTotal({
  totalMilli,
  targetMilli,
  statusReplicas,
  tolerances,
}: {
  readonly totalMilli: number;
  readonly targetMilli: number;
  readonly statusReplicas: number;
  readonly tolerances: Tolerances;
}): Proposal {
  const keeps = isWithin(totalMilli / (targetMilli * statusReplicas), tolerances);
  return {
    replicas: keeps ? statusReplicas : Math.ceil(totalMilli / targetMilli),
    averageMilli: statusReplicas === 0 ? totalMilli : Math.ceil(totalMilli / statusReplicas),
  };
}

/** Requests by the pod's name, of one container or of all with sidecars. Throws for a pod without: utilization would mean nothing. */
export function requestsByPod(
  pods: readonly Stored<Pod>[],
  { resource, container }: { readonly resource: string; readonly container?: string | undefined },
): Map<string, number> {
  return new Map(pods.map((pod) => [pod.metadata.name, requestOfPod(pod, { resource, container })]));
}

function requestOfPod(
  { metadata, spec }: Stored<Pod>,
  { resource, container }: { readonly resource: string; readonly container?: string | undefined },
): number {
  const ofPod = container === undefined ? spec?.resources?.requests?.[resource] : undefined;
  if (ofPod !== undefined) return parseQuantity(String(ofPod)).milliValue();
  const sidecars = (spec?.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === 'Always');
  const counted = [...(spec?.containers ?? []), ...sidecars].filter(
    ({ name }) => container === undefined || name === container,
  );
  if (container !== undefined && counted.length === 0)
    throw new Error(`container ${container} not found in Pod ${metadata.name}`);
  let sum = 0;
  for (const { name, resources } of counted) {
    const request = resources?.requests?.[resource];
    if (request === undefined)
      throw new Error(`missing request for ${resource} in container ${name} of Pod ${metadata.name}`);
    sum += parseQuantity(String(request)).milliValue();
  }
  return sum;
}

function isWithin(ratio: number, { scaleUp, scaleDown }: Tolerances): boolean {
  return 1 - scaleDown <= ratio && ratio <= 1 + scaleUp;
}

function utilizationOfRequests(
  metrics: PodMetrics,
  requests: ReadonlyMap<string, number>,
): { readonly percent: number; readonly averageMilli: number } {
  let used = 0;
  let requested = 0;
  let pods = 0;
  for (const [name, { milli }] of metrics) {
    const request = requests.get(name);
    if (request === undefined) continue;
    used += milli;
    requested += request;
    pods += 1;
  }
  if (requested === 0) throw new Error('no metrics returned matched known pods');
  return { percent: Math.trunc((used * 100) / requested), averageMilli: Math.trunc(used / pods) };
}

interface Groups {
  readonly ready: number;
  readonly unready: ReadonlySet<string>;
  readonly missing: ReadonlySet<string>;
}

/** The groups of pods, and the metrics of the ready ones. */
function measured(
  { pods, metrics, readiness }: Sample,
  resource: string,
): { readonly groups: Groups; readonly metrics: PodMetrics } {
  if (pods.length === 0) throw new Error('no pods returned by selector while calculating replica count');
  const unready = new Set<string>();
  const missing = new Set<string>();
  const ignored = new Set<string>();
  let ready = 0;
  for (const pod of pods) {
    const { name } = pod.metadata;
    const metric = metrics.get(name);
    if (pod.metadata.deletionTimestamp || pod.status?.phase === 'Failed') ignored.add(name);
    else if (pod.status?.phase === 'Pending') unready.add(name);
    else if (!metric) missing.add(name);
    else if (resource === 'cpu' && isStarting(pod, { metric, readiness })) unready.add(name);
    else ready += 1;
  }
  const known = new Map([...metrics].filter(([name]) => !unready.has(name) && !ignored.has(name)));
  if (known.size === 0) throw new Error('did not receive metrics for targeted pods (pods might be unready)');
  return { groups: { ready, unready, missing }, metrics: known };
}

function isStarting(
  pod: Pod,
  { metric, readiness }: { readonly metric: PodMetric; readonly readiness: Readiness },
): boolean {
  const condition = podCondition(pod, 'Ready');
  const startedMs = timeMs(pod.status?.startTime);
  if (!condition || startedMs === undefined) return true;
  const changedMs = timeMs(condition.lastTransitionTime) ?? 0;
  const isUnready = condition.status === 'False';
  if (startedMs + readiness.cpuInitializationMs > readiness.nowMs)
    return isUnready || metric.timestampMs < changedMs + metric.windowMs;
  return isUnready && startedMs + readiness.initialReadinessDelayMs > changedMs;
}

/** A second look with assumed values for missing and unready pods; it never turns the direction of the first. */
function settle(
  { currentReplicas, tolerances }: Sample,
  {
    groups: { ready, unready, missing },
    metrics,
    ratio,
    missingMilli,
  }: {
    readonly groups: Groups;
    readonly metrics: PodMetrics;
    readonly ratio: (metrics: PodMetrics) => number;
    readonly missingMilli: (name: string) => number;
  },
): number {
  const first = ratio(metrics);
  const addsUnready = unready.size > 0 && first > 1;
  if (!addsUnready && missing.size === 0)
    return isWithin(first, tolerances) ? currentReplicas : Math.ceil(first * ready);
  const assumed = new Map(metrics);
  const assume = (name: string, milli: number): void =>
    void assumed.set(name, { milli, timestampMs: 0, windowMs: 0 });
  if (first < 1) for (const name of missing) assume(name, missingMilli(name));
  if (first > 1) for (const name of missing) assume(name, 0);
  if (addsUnready) for (const name of unready) assume(name, 0);
  const second = ratio(assumed);
  if (isWithin(second, tolerances) || (first < 1 && second > 1) || (first > 1 && second < 1))
    return currentReplicas;
  const replicas = Math.ceil(second * assumed.size);
  if ((second < 1 && replicas > currentReplicas) || (second > 1 && replicas < currentReplicas))
    return currentReplicas;
  return replicas;
}
