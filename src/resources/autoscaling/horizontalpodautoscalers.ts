/** HorizontalPodAutoscaler: kept as autoscaling/v2; autoscaling/v1 has CPU alone and carries the rest in annotations. */
import type { HorizontalPodAutoscaler, HPAScalingRules, MetricIdentifier, MetricSpec, MetricStatus, MetricTarget } from '#api/types.ts';
import { validatePathSegmentName } from '#machinery/names.ts';
import { checkLabelSelector } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, Path, SPEC } from '../field-path.ts';
import { checkPositiveQuantity, checkResourceName, quantityOf } from '../resource-list.ts';
import { keepAllButStatus, keepField } from '../strategy.ts';
import { ageOf, columns, nameOf } from '../tables.ts';
import { convertAutoscaler, withoutCarried } from './conversion.ts';

const WINDOW_MAX_SECONDS = 3600;
const PERIOD_MAX_SECONDS = 1800;
const METRIC_TYPES = ['ContainerResource', 'External', 'Object', 'Pods', 'Resource'];
const SOURCES = ['object', 'pods', 'resource', 'external', 'containerResource'] as const;

export const horizontalpodautoscalers = defineResource<HorizontalPodAutoscaler>({
  group: 'autoscaling',
  plural: 'horizontalpodautoscalers',
  convert: convertAutoscaler,
  applyDefaults: (autoscaler) => {
    const { spec, metadata } = autoscaler;
    if (metadata?.annotations) {
      metadata.annotations = withoutCarried(metadata.annotations);
      if (Object.keys(metadata.annotations).length === 0) delete metadata.annotations;
    }
    if (!spec) return;
    spec.minReplicas ??= 1;
    if (!spec.metrics?.length) spec.metrics = [{ type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 80 } } }];
    if (spec.behavior) {
      spec.behavior.scaleUp = withDefaults(spec.behavior.scaleUp, { stabilizationWindowSeconds: 0, selectPolicy: 'Max', policies: [{ type: 'Pods', value: 4, periodSeconds: 15 }, { type: 'Percent', value: 100, periodSeconds: 15 }] });
      spec.behavior.scaleDown = withDefaults(spec.behavior.scaleDown, { selectPolicy: 'Max', policies: [{ type: 'Percent', value: 100, periodSeconds: 15 }] });
    }
  },
  prepareForCreate: (autoscaler) => { autoscaler.status = { desiredReplicas: 0 }; },
  prepareForUpdate: (next, previous) => keepField(next, previous, 'status'),
  validate: (autoscaler) => check(autoscaler),
  validateUpdate: (next) => check(next),
  status: {
    prepareForUpdate: keepAllButStatus,
    validateUpdate: (next) => {
      const errors = new Errors(), status = next.status;
      for (const field of ['currentReplicas', 'desiredReplicas'] as const) if ((status?.[field] ?? 0) < 0) errors.invalid(Path.root('status').child(field), status![field], 'must be greater than or equal to 0');
      return errors.list;
    },
  },
  table: {
    columns: columns('Name', 'Reference', 'Targets', 'MinPods', 'MaxPods', 'Replicas', 'Age'),
    row: (autoscaler, context) => {
      const { spec, status } = autoscaler;
      return [
        nameOf(autoscaler), `${spec?.scaleTargetRef?.kind ?? ''}/${spec?.scaleTargetRef?.name ?? ''}`, formatMetrics(spec?.metrics ?? [], status?.currentMetrics ?? []),
        spec?.minReplicas === undefined ? '<unset>' : String(spec.minReplicas), spec?.maxReplicas ?? 0, status?.currentReplicas ?? 0, ageOf(autoscaler, context),
      ];
    },
  },
});

function withDefaults(rules: HPAScalingRules | undefined, defaults: HPAScalingRules): HPAScalingRules {
  const merged = { ...defaults, ...rules };
  if (!rules?.policies) merged.policies = defaults.policies!;
  return merged;
}

function check(autoscaler: HorizontalPodAutoscaler): Errors['list'] {
  const errors = new Errors(), spec = autoscaler.spec;
  if (!spec) { errors.required(SPEC); return errors.list; }
  const { minReplicas, maxReplicas } = spec;
  if (minReplicas !== undefined && minReplicas < 1) errors.invalid(SPEC.child('minReplicas'), minReplicas, 'must be greater than or equal to 1');
  if (!(maxReplicas >= 1)) errors.invalid(SPEC.child('maxReplicas'), maxReplicas ?? 0, 'must be greater than 0');
  if (minReplicas !== undefined && maxReplicas < minReplicas) errors.invalid(SPEC.child('maxReplicas'), maxReplicas, 'must be greater than or equal to `minReplicas`');
  checkTarget(spec.scaleTargetRef ?? {}, SPEC.child('scaleTargetRef'), errors);
  checkMetrics(spec.metrics ?? [], minReplicas, errors);
  for (const field of ['scaleUp', 'scaleDown'] as const) {
    const rules = spec.behavior?.[field];
    if (rules) checkRules(rules, SPEC.child('behavior').child(field), errors);
  }
  return errors.list;
}

function checkTarget(ref: { kind?: string; name?: string }, path: Path, errors: Errors): void {
  for (const field of ['kind', 'name'] as const) {
    const value = ref[field];
    if (!value) errors.required(path.child(field));
    else errors.invalidEach(path.child(field), value, validatePathSegmentName(value));
  }
}

function checkMetrics(metrics: readonly MetricSpec[], minReplicas: number | undefined, errors: Errors): void {
  const path = SPEC.child('metrics');
  metrics.forEach((metric, i) => checkMetric(metric, path.index(i), errors));
  if (minReplicas === 0 && !metrics.some(({ object, external }) => object ?? external)) errors.forbidden(path, 'must specify at least one Object or External metric to support scaling to zero replicas');
}

function checkMetric(metric: MetricSpec, path: Path, errors: Errors): void {
  if (!metric.type) errors.required(path.child('type'), `must specify a metric source type: ${METRIC_TYPES.join(', ')}`);
  else if (!METRIC_TYPES.includes(metric.type)) errors.notSupported(path.child('type'), metric.type, METRIC_TYPES);
  const present = SOURCES.filter((source) => metric[source]);
  const expected = metric.type ? (metric.type[0]!.toLowerCase() + metric.type.slice(1)) as (typeof SOURCES)[number] : undefined;
  if (expected && SOURCES.includes(expected) && !metric[expected]) errors.required(path.child(expected), `must populate information for the given metric source (${metric.type})`);
  for (const source of present) if (source !== expected) errors.forbidden(path.child(source), 'must populate the given metric source only');
  if (metric.object) {
    checkTarget(metric.object.describedObject ?? {}, path.child('object').child('describedObject'), errors);
    checkIdentifier(metric.object.metric, path.child('object').child('metric'), errors);
    checkMetricTarget(metric.object.target, path.child('object').child('target'), errors, ['value', 'averageValue']);
  }
  if (metric.external) {
    checkIdentifier(metric.external.metric, path.child('external').child('metric'), errors);
    checkMetricTarget(metric.external.target, path.child('external').child('target'), errors, ['value', 'averageValue']);
  }
  if (metric.pods) {
    checkIdentifier(metric.pods.metric, path.child('pods').child('metric'), errors);
    checkMetricTarget(metric.pods.target, path.child('pods').child('target'), errors, ['averageValue']);
  }
  for (const source of ['resource', 'containerResource'] as const) {
    const resource = metric[source];
    if (!resource) continue;
    const at = path.child(source);
    if (!resource.name) errors.required(at.child('name'), 'must specify a resource name');
    else checkResourceName(resource.name, at.child('name'), errors);
    if (source === 'containerResource' && !metric.containerResource!.container) errors.required(at.child('container'), 'must specify a container');
    checkMetricTarget(resource.target, at.child('target'), errors, ['averageUtilization', 'averageValue']);
  }
}

function checkIdentifier(metric: MetricIdentifier | undefined, path: Path, errors: Errors): void {
  if (!metric?.name) errors.required(path.child('name'));
  else errors.invalidEach(path.child('name'), metric.name, validatePathSegmentName(metric.name));
  checkLabelSelector(metric?.selector, path.child('selector'), errors);
}

function checkMetricTarget(target: MetricTarget | undefined, path: Path, errors: Errors, allowed: readonly ('value' | 'averageValue' | 'averageUtilization')[]): void {
  const types = ['AverageValue', 'Utilization', 'Value'];
  if (!target?.type) errors.required(path.child('type'), 'must specify a metric target type');
  else if (!types.includes(target.type)) errors.invalid(path.child('type'), target.type, 'must be either Utilization, Value, or AverageValue');
  const set = allowed.filter((field) => target?.[field] !== undefined);
  for (const field of ['value', 'averageValue'] as const) if (target?.[field] !== undefined) checkPositiveQuantity(target[field], path.child(field), errors);
  if (target?.averageUtilization !== undefined && target.averageUtilization < 1) errors.invalid(path.child('averageUtilization'), target.averageUtilization, 'must be greater than 0');
  if (set.length === 0) errors.required(path.child(allowed[0]!), allowed.length === 1 ? `must specify a positive target ${allowed[0]}` : allowed.includes('averageUtilization') ? 'must set either a target raw value or a target utilization' : 'must set either a target value for metric or a per-pod target');
  if (allowed.includes('averageUtilization') && set.length > 1) errors.forbidden(path.child('averageValue'), 'may not set both a target raw value and a target utilization');
}

function checkRules(rules: HPAScalingRules, path: Path, errors: Errors): void {
  const window = rules.stabilizationWindowSeconds;
  if (window !== undefined && window < 0) errors.invalid(path.child('stabilizationWindowSeconds'), window, 'must be greater than or equal to zero');
  if (window !== undefined && window > WINDOW_MAX_SECONDS) errors.invalid(path.child('stabilizationWindowSeconds'), window, `must be less than or equal to ${WINDOW_MAX_SECONDS}`);
  const choices = ['Disabled', 'Max', 'Min'];
  if (rules.selectPolicy !== undefined && !choices.includes(rules.selectPolicy)) errors.notSupported(path.child('selectPolicy'), rules.selectPolicy, choices);
  if (!rules.policies?.length) errors.required(path.child('policies'), 'must specify at least one Policy');
  if (rules.tolerance !== undefined && quantityOf(rules.tolerance).sign < 0) errors.invalid(path.child('tolerance'), rules.tolerance, 'must be greater than or equal to 0');
  rules.policies?.forEach((policy, i) => {
    const at = path.child('policies').index(i);
    if (policy.type !== 'Pods' && policy.type !== 'Percent') errors.notSupported(at.child('type'), policy.type, ['Percent', 'Pods']);
    if (!(policy.value > 0)) errors.invalid(at.child('value'), policy.value ?? 0, 'must be greater than zero');
    if (!(policy.periodSeconds > 0)) errors.invalid(at.child('periodSeconds'), policy.periodSeconds ?? 0, 'must be greater than zero');
    else if (policy.periodSeconds > PERIOD_MAX_SECONDS) errors.invalid(at.child('periodSeconds'), policy.periodSeconds, `must be less than or equal to ${PERIOD_MAX_SECONDS}`);
  });
}

const SHOWN_METRICS_MAX = 2;

function formatMetrics(specs: readonly MetricSpec[], statuses: readonly MetricStatus[]): string {
  if (specs.length === 0) return '<none>';
  const shown = specs.slice(0, SHOWN_METRICS_MAX).map((spec, i) => formatMetric(spec, statuses[i]));
  return specs.length > SHOWN_METRICS_MAX ? `${shown.join(', ')} + ${specs.length - SHOWN_METRICS_MAX} more...` : shown.join(', ');
}

const UNKNOWN = '<unknown>';

function formatMetric(spec: MetricSpec, status: MetricStatus | undefined): string {
  switch (spec.type) {
    case 'External': case 'Object': {
      const { target } = (spec.external ?? spec.object)!, current = (status?.external ?? status?.object)?.current;
      if (target.averageValue !== undefined) return `${current?.averageValue ?? UNKNOWN}/${target.averageValue} (avg)`;
      return `${current?.value ?? UNKNOWN}/${target.value ?? ''}`;
    }
    case 'Pods': return `${status?.pods?.current.averageValue ?? UNKNOWN}/${spec.pods?.target.averageValue ?? ''}`;
    case 'Resource': case 'ContainerResource': {
      const source = (spec.resource ?? spec.containerResource)!, current = (status?.resource ?? status?.containerResource)?.current;
      if (source.target.averageValue !== undefined) return `${source.name}: ${current?.averageValue ?? UNKNOWN}/${source.target.averageValue}`;
      const now = current?.averageUtilization === undefined ? UNKNOWN : `${current.averageUtilization}%`;
      return `${source.name}: ${now}/${source.target.averageUtilization === undefined ? '<auto>' : `${source.target.averageUtilization}%`}`;
    }
    default: return '<unknown type>';
  }
}

