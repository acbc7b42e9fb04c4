/** Conversion of HorizontalPodAutoscaler between autoscaling/v1 and v2. Fields that v1 lacks are stored in annotations, in upstream's format. */
import { decodeObject } from '#machinery/decode.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import { schemaForKind } from '#api/schemas.ts';
import { behaviorFromV1, behaviorToV1, metricFromV1, metricToV1 } from './metrics-v1.ts';

const METRICS = 'autoscaling.alpha.kubernetes.io/metrics';
const CURRENT = 'autoscaling.alpha.kubernetes.io/current-metrics';
const CONDITIONS = 'autoscaling.alpha.kubernetes.io/conditions';
const BEHAVIOR = 'autoscaling.alpha.kubernetes.io/behavior';

type Json = Record<string, any>;

export function convertAutoscaler(object: KubeObject, toApiVersion: string): KubeObject {
  return toApiVersion === 'autoscaling/v1' ? toV1(object) : toV2(object);
}

function isCpuUtilization(metric: Json): boolean {
  return (
    metric['type'] === 'Resource' &&
    metric['resource']?.name === 'cpu' &&
    metric['resource']?.target?.averageUtilization !== undefined
  );
}

function toV1(object: KubeObject): KubeObject {
  const { metrics = [], behavior, ...spec } = (object['spec'] ?? {}) as Json;
  const { currentMetrics: shown, conditions = [], ...status } = (object['status'] ?? {}) as Json,
    currentMetrics = (shown ?? []) as Json[];
  const annotations: Record<string, string> = withoutCarried(object.metadata?.annotations);
  const cpu = (metrics as Json[]).find(isCpuUtilization),
    others = (metrics as Json[]).filter((metric) => !isCpuUtilization(metric));
  const currentCpu = currentMetrics.find(
    (metric) =>
      metric['type'] === 'Resource' &&
      metric['resource']?.name === 'cpu' &&
      metric['resource']?.current?.averageUtilization !== undefined,
  );
  if (others.length > 0)
    annotations[METRICS] = JSON.stringify(others.map((metric) => metricToV1(metric, 'target')));
  if (currentMetrics.length > 0)
    annotations[CURRENT] = JSON.stringify(currentMetrics.map((metric) => metricToV1(metric, 'current')));
  if (conditions.length > 0) annotations[CONDITIONS] = JSON.stringify(conditions);
  if (behavior) annotations[BEHAVIOR] = JSON.stringify(behaviorToV1(behavior));
  return {
    ...object,
    apiVersion: 'autoscaling/v1',
    metadata: withAnnotations(object, annotations),
    spec: {
      ...spec,
      ...(cpu ? { targetCPUUtilizationPercentage: cpu['resource'].target.averageUtilization } : {}),
    },
    status: {
      ...status,
      currentReplicas: status['currentReplicas'] ?? 0,
      desiredReplicas: status['desiredReplicas'] ?? 0,
      ...(currentCpu
        ? { currentCPUUtilizationPercentage: currentCpu['resource'].current.averageUtilization }
        : {}),
    },
  };
}

function toV2(object: KubeObject): KubeObject {
  const { targetCPUUtilizationPercentage: target, ...spec } = (object['spec'] ?? {}) as Json;
  const {
    currentCPUUtilizationPercentage: currentCpu,
    currentReplicas = 0,
    ...status
  } = (object['status'] ?? {}) as Json;
  const {
    [METRICS]: metricsText,
    [CURRENT]: currentText,
    [CONDITIONS]: conditionsText,
    [BEHAVIOR]: behaviorText,
    ...annotations
  } = object.metadata?.annotations ?? {};
  const others = typedList('spec', 'metrics', metricsOf(metricsText, 'target')),
    conditions = typedList('status', 'conditions', parse(conditionsText));
  // The annotation has more than the percentage.
  const current = typedList(
      'status',
      'currentMetrics',
      metricsOf(currentText, 'current') ?? currentUsage(currentCpu),
    ),
    behavior = typed('spec', 'behavior', behaviorFromV1(parse(behaviorText)));
  const cpu =
    target === undefined || target === null
      ? []
      : [
          {
            type: 'Resource',
            resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: target } },
          },
        ];
  const metrics = [...others, ...cpu];
  return {
    ...object,
    apiVersion: 'autoscaling/v2',
    metadata: withAnnotations(object, annotations),
    spec: { ...spec, ...(metrics.length > 0 ? { metrics } : {}), ...(behavior ? { behavior } : {}) },
    ...(object['status'] === undefined
      ? {}
      : {
          status: {
            ...status,
            ...(currentReplicas === 0 ? {} : { currentReplicas }),
            ...(current.length > 0 ? { currentMetrics: current } : {}),
            ...(conditions.length > 0 ? { conditions } : {}),
          },
        }),
  };
}

/** Annotations with v2 fields are never part of a v2 object. */
export function withoutCarried(annotations: Readonly<Record<string, string>> = {}): Record<string, string> {
  const { [METRICS]: _, [CURRENT]: __, [CONDITIONS]: ___, [BEHAVIOR]: ____, ...own } = annotations;
  return own;
}

function withAnnotations(
  object: KubeObject,
  annotations: Record<string, string>,
): NonNullable<KubeObject['metadata']> {
  const { annotations: _, ...meta } = object.metadata ?? {};
  return Object.keys(annotations).length === 0 ? meta : { ...meta, annotations };
}

/** Annotations may be set by any client: invalid JSON is ignored. */
function parse(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** From the annotation's metrics; undefined when it has none. */
function metricsOf(text: string | undefined, sort: 'target' | 'current'): unknown {
  const list = parse(text);
  return Array.isArray(list)
    ? list.filter((item) => item !== null).map((item) => metricFromV1(item, sort))
    : undefined;
}

function currentUsage(percentage: unknown): unknown {
  return percentage === undefined || percentage === null
    ? undefined
    : [{ type: 'Resource', resource: { name: 'cpu', current: { averageUtilization: percentage } } }];
}

/** Decodes a v2 field as if it had been sent: without unknown fields, or undefined when it has the wrong type. */
function typed(part: 'spec' | 'status', field: string, value: unknown): unknown {
  if (value === undefined || value === null) return undefined;
  const list = Array.isArray(value) ? value.filter((item) => item !== null) : value;
  try {
    const { object } = decodeObject(schemaForKind(V2)!, { [part]: { [field]: list } }, 'ignore');
    return (object[part] as Json | undefined)?.[field];
  } catch (error) {
    if (isStatusError(error)) return undefined;
    throw error;
  }
}

function typedList(part: 'spec' | 'status', field: string, value: unknown): Json[] {
  return (typed(part, field, value) ?? []) as Json[];
}

const V2 = { group: 'autoscaling', version: 'v2', kind: 'HorizontalPodAutoscaler' };
