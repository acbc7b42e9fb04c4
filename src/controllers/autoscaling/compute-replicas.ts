/** Replicas that an autoscaler's metrics ask for: the highest of them, with the metrics' statuses. */
import type {
  HorizontalPodAutoscaler,
  HPAScalingRules,
  LabelSelector,
  MetricSpec,
  MetricStatus,
  MetricTarget,
  MetricValueStatus,
  Pod,
  Scale,
} from '#api/types.ts';
import { parseQuantity, Quantity } from '#machinery/quantity.ts';
import type { Stored } from '#machinery/object.ts';
import { errorMessage } from '#stdx/log.ts';
import type { ReconcileContext } from '#runtime/controller.ts';
import {
  externalMetric,
  objectMetric,
  podsMetric,
  prefixed,
  resourceMetrics,
  wrapped,
} from './metrics-client.ts';
import {
  replicasForAverage,
  replicasForTotal,
  replicasForUtilization,
  replicasForValue,
  requestsByPod,
  type Proposal,
  type Readiness,
  type Tolerances,
} from './replica-calculator.ts';

export interface UsageSettings {
  /** Where an autoscaler's behavior names none. */
  readonly tolerance: number;
  readonly cpuInitializationMs: number;
  readonly initialReadinessDelayMs: number;
}

interface Question {
  readonly context: ReconcileContext;
  readonly autoscaler: Stored<HorizontalPodAutoscaler>;
  readonly scale: Scale;
  /** The target's selector, as text. */
  readonly labelSelector: string;
  /** That it selects. */
  readonly pods: readonly Stored<Pod>[];
  readonly settings: UsageSettings;
}

interface Computed {
  readonly replicas: number;
  /** 'cpu resource utilization (percentage of request)' */
  readonly metric: string;
  readonly status: MetricStatus;
}

/** Why a metric gave no number: upstream's reason of ScalingActive and of the event. */
export class MetricFailure extends Error {
  readonly reason: string;
  /** Without the words around it, for event and condition. */
  readonly problem: string;
  constructor(reason: string, problem: string, message = problem) {
    super(message);
    this.name = 'MetricFailure';
    this.reason = reason;
    this.problem = problem;
  }
}

export interface ProposedReplicas {
  /** Absent: all metrics failed, or some failed and the others would scale down. */
  readonly found?: { readonly replicas: number; readonly metric: string };
  readonly statuses: MetricStatus[];
  readonly failures: readonly MetricFailure[];
}

export async function computeReplicas(question: Question): Promise<ProposedReplicas> {
  const specs = question.autoscaler.spec.metrics ?? [];
  const statuses: MetricStatus[] = [];
  const failures: MetricFailure[] = [];
  let best: Computed | undefined;
  for (const spec of specs) {
    try {
      const computed = await computeForMetric(question, spec);
      statuses.push(computed.status);
      if (!best || best.replicas === 0 || computed.replicas > best.replicas) best = computed;
    } catch (error) {
      if (!(error instanceof MetricFailure)) throw error;
      // As upstream: the status of a metric that failed has no type.
      statuses.push({ type: '' });
      failures.push(error);
    }
  }
  const wouldShrink = failures.length > 0 && (best?.replicas ?? 0) < (question.scale.spec?.replicas ?? 0);
  if (!best || wouldShrink) return { statuses, failures };
  return { found: { replicas: best.replicas, metric: best.metric }, statuses, failures };
}

function computeForMetric(question: Question, spec: MetricSpec): Promise<Computed> {
  switch (spec.type) {
    case 'Resource':
      return forResource(question, spec.resource!);
    case 'ContainerResource':
      return forResource(question, spec.containerResource!);
    case 'Pods':
      return forPods(question, spec.pods!);
    case 'Object':
      return forObject(question, spec.object!);
    case 'External':
      return forExternal(question, spec.external!);
    default: {
      const problem = `unknown metric source type ${JSON.stringify(spec.type)}`;
      return Promise.reject(new MetricFailure('InvalidMetricSourceType', problem));
    }
  }
}

type ResourceSource = NonNullable<MetricSpec['resource']> & { readonly container?: string };

async function forResource(question: Question, source: ResourceSource): Promise<Computed> {
  const { container, name, target } = source;
  const reason = container === undefined ? 'FailedGetResourceMetric' : 'FailedGetContainerResourceMetric';
  const usage = await attempt({ reason }, () => usageOfResource(question, source));
  const kind = container === undefined ? 'resource' : 'container resource';
  const current: MetricValueStatus = { averageValue: quantity(usage.averageMilli) };
  if (usage.utilization !== undefined) current.averageUtilization = usage.utilization;
  return {
    replicas: usage.replicas,
    metric:
      target.averageValue === undefined
        ? `${name} ${kind} utilization (percentage of request)`
        : `${name} ${kind}`,
    status:
      container === undefined
        ? { type: 'Resource', resource: { name, current } }
        : { type: 'ContainerResource', containerResource: { name, container, current } },
  };
}

async function usageOfResource(
  question: Question,
  { container, name, target }: ResourceSource,
): Promise<Proposal> {
  const { averageValue, averageUtilization } = target;
  if (averageValue === undefined && averageUtilization === undefined)
    throw new Error(
      'invalid resource metric source: neither an average utilization target nor an average value (usage) target was set',
    );
  return prefixed(
    `failed to get ${name} ${averageValue === undefined ? 'utilization' : 'usage'}`,
    async () => {
      const metrics = await prefixed(`unable to get metrics for resource ${name}`, () =>
        resourceMetrics(question.context.api, { ...selection(question), resource: name, container }),
      );
      const sample = { ...sampleOf(question), metrics };
      if (averageValue !== undefined)
        return replicasForAverage(sample, { targetMilli: milli(averageValue), resource: name });
      const requests = requestsByPod(question.pods, { resource: name, container });
      return replicasForUtilization(sample, { targetPercent: averageUtilization!, resource: name, requests });
    },
  );
}

async function forPods(
  question: Question,
  { metric, target }: NonNullable<MetricSpec['pods']>,
): Promise<Computed> {
  const { replicas, averageMilli } = await attempt(
    { reason: 'FailedGetPodsMetric', around: 'failed to get pods metric value' },
    async () => {
      const metrics = await prefixed(`unable to get metric ${metric.name}`, () =>
        podsMetric(question.context.api, { ...selection(question), metric }),
      );
      return replicasForAverage(
        { ...sampleOf(question), metrics },
        { targetMilli: milli(target.averageValue!) },
      );
    },
  );
  return {
    replicas,
    metric: `pods metric ${metric.name}`,
    status: { type: 'Pods', pods: { metric, current: { averageValue: quantity(averageMilli) } } },
  };
}

async function forObject(
  question: Question,
  { describedObject, metric, target }: NonNullable<MetricSpec['object']>,
): Promise<Computed> {
  const { namespace } = selection(question);
  const { replicas, current } = await attempt(
    { reason: 'FailedGetObjectMetric', around: 'failed to get object metric value' },
    async () => {
      if (target.value === undefined && target.averageValue === undefined)
        throw new Error(
          'invalid object metric source: neither a value target nor an average value target was set',
        );
      const totalMilli = await wrapped(
        (problem) =>
          `unable to get metric ${metric.name}: ${describedObject.kind} on ${namespace} ${describedObject.name}/${problem}`,
        () => objectMetric(question.context, { namespace, object: describedObject, metric }),
      );
      return fromTotal(question, { totalMilli, target });
    },
  );
  return {
    replicas,
    metric:
      target.type === 'Value'
        ? `${describedObject.kind} metric ${metric.name}`
        : `external metric ${metric.name}(${formatGoSelector(metric.selector)})`,
    status: { type: 'Object', object: { describedObject, metric, current } },
  };
}

async function forExternal(
  question: Question,
  { metric, target }: NonNullable<MetricSpec['external']>,
): Promise<Computed> {
  const { namespace } = selection(question);
  const around =
    target.averageValue === undefined
      ? `failed to get external metric ${metric.name}`
      : `failed to get ${metric.name} external metric`;
  const { replicas, current } = await attempt({ reason: 'FailedGetExternalMetric', around }, async () => {
    if (target.value === undefined && target.averageValue === undefined)
      throw new Error(
        'invalid external metric source: neither a value target nor an average value target was set',
      );
    const totalMilli = await prefixed(
      `unable to get external metric ${namespace}/${metric.name}/${formatGoSelector(metric.selector)}`,
      () => externalMetric(question.context.api, { namespace, metric }),
    );
    return fromTotal(question, { totalMilli, target });
  });
  return {
    replicas,
    metric: `external metric ${metric.name}(${formatGoSelector(metric.selector)})`,
    status: { type: 'External', external: { metric, current } },
  };
}

/** From the value of an object or of something outside: for the whole target, or for each of its pods. */
function fromTotal(
  question: Question,
  { totalMilli, target }: { readonly totalMilli: number; readonly target: MetricTarget },
): { readonly replicas: number; readonly current: MetricValueStatus } {
  const { currentReplicas, tolerances, pods } = sampleOf(question);
  if (target.averageValue !== undefined) {
    const { replicas, averageMilli } = replicasForTotal({
      totalMilli,
      targetMilli: milli(target.averageValue),
      statusReplicas: question.scale.status?.replicas ?? 0,
      tolerances,
    });
    return { replicas, current: { averageValue: quantity(averageMilli) } };
  }
  const ratio = totalMilli / milli(target.value!);
  const replicas = replicasForValue({ pods, currentReplicas, tolerances, ratio });
  return { replicas, current: { value: quantity(totalMilli) } };
}

function selection({ autoscaler, labelSelector }: Question): {
  readonly namespace: string;
  readonly labelSelector: string;
} {
  return { namespace: autoscaler.metadata.namespace!, labelSelector };
}

function sampleOf({ context, autoscaler, scale, pods, settings }: Question): {
  readonly pods: readonly Stored<Pod>[];
  readonly currentReplicas: number;
  readonly tolerances: Tolerances;
  readonly readiness: Readiness;
} {
  const { scaleUp, scaleDown } = autoscaler.spec.behavior ?? {};
  return {
    pods,
    currentReplicas: scale.spec?.replicas ?? 0,
    tolerances: { scaleUp: toleranceOf(scaleUp, settings), scaleDown: toleranceOf(scaleDown, settings) },
    readiness: {
      nowMs: context.clock.now(),
      cpuInitializationMs: settings.cpuInitializationMs,
      initialReadinessDelayMs: settings.initialReadinessDelayMs,
    },
  };
}

function toleranceOf(rules: HPAScalingRules | undefined, { tolerance }: UsageSettings): number {
  return rules?.tolerance === undefined ? tolerance : milli(rules.tolerance) / 1000;
}

function milli(value: string): number {
  return parseQuantity(value).milliValue();
}

function quantity(value: number): string {
  return Quantity.ofMilli(value).toString();
}

async function attempt<T>(
  { reason, around }: { readonly reason: string; readonly around?: string },
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const problem = errorMessage(error);
    throw new MetricFailure(reason, problem, around === undefined ? problem : `${around}: ${problem}`);
  }
}

/** As Go prints a *metav1.LabelSelector: it is part of upstream's messages. */
function formatGoSelector(selector: LabelSelector | undefined): string {
  if (!selector) return 'nil';
  const labels = Object.entries(selector.matchLabels ?? {}).toSorted(([a], [b]) => (a < b ? -1 : 1));
  const expressions = (selector.matchExpressions ?? []).map(
    ({ key, operator, values = [] }) =>
      `LabelSelectorRequirement{Key:${key},Operator:${operator},Values:[${values.join(' ')}],}`,
  );
  const map = labels.map(([key, value]) => `${key}: ${value},`).join('');
  const list = expressions.map((text) => `${text},`).join('');
  return `&LabelSelector{MatchLabels:map[string]string{${map}},MatchExpressions:[]LabelSelectorRequirement{${list}},}`;
}
