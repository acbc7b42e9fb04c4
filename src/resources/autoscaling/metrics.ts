/** The metrics of an autoscaler: each has a type and the one source of that type. After upstream's pkg/apis/autoscaling/validation. */
import type { CrossVersionObjectReference, MetricIdentifier, MetricSpec, MetricTarget } from '#api/types.ts';
import { validatePathSegmentName } from '#machinery/names.ts';
import { checkDnsLabel } from '../checks.ts';
import { type Errors, type Path, SPEC } from '../field-path.ts';
import { checkContainerResourceName, checkPositiveQuantity } from '../resource-list.ts';

const TYPES = ['ContainerResource', 'External', 'Object', 'Pods', 'Resource'];
const SOURCES = ['object', 'external', 'pods', 'resource', 'containerResource'] as const;
const METRICS = SPEC.child('metrics');

type Source = (typeof SOURCES)[number];

export function checkMetrics(
  metrics: readonly MetricSpec[],
  minReplicas: number | undefined,
  errors: Errors,
): void {
  metrics.forEach((metric, i) => checkMetric(metric, METRICS.index(i), errors));
  if (minReplicas === 0 && !metrics.some(({ type }) => type === 'Object' || type === 'External'))
    errors.forbidden(
      METRICS,
      'must specify at least one Object or External metric to support scaling to zero replicas',
    );
}

/** mayLackGroup: the name of the core group is empty. */
export function checkReference(
  ref: Partial<CrossVersionObjectReference>,
  path: Path,
  errors: Errors,
  { mayLackGroup }: { readonly mayLackGroup: boolean },
): void {
  for (const field of ['kind', 'name'] as const) {
    const value = ref[field];
    if (!value) errors.required(path.child(field));
    else errors.invalidEach(path.child(field), value, validatePathSegmentName(value));
  }
  const problem = apiVersionProblem(ref.apiVersion ?? '', mayLackGroup);
  if (problem !== undefined) errors.invalid(path.child('apiVersion'), ref.apiVersion ?? '', problem);
}

export function apiVersionProblem(apiVersion: string, mayLackGroup: boolean): string | undefined {
  const parts = apiVersion.split('/');
  if (parts.length > 2) return `unexpected GroupVersion string: ${apiVersion}`;
  return mayLackGroup || (parts.length === 2 && parts[0] !== '')
    ? undefined
    : 'apiVersion must specify API group';
}

function checkMetric(metric: MetricSpec, path: Path, errors: Errors): void {
  const { type } = metric,
    known = TYPES.includes(type);
  if (!type) errors.required(path.child('type'), 'must specify a metric source type');
  if (!known) errors.notSupported(path.child('type'), type ?? '', TYPES);
  const [first, ...others] = SOURCES.filter((source) => metric[source]);
  if (first) checkSource(metric, first, path.child(first), errors);
  const expected = known ? ((type[0]!.toLowerCase() + type.slice(1)) as Source) : undefined;
  if (expected === undefined) errors.notSupported(path.child('type'), type ?? '', TYPES);
  else if (!metric[expected])
    errors.required(path.child(expected), 'must populate information for the given metric source');
  if (others.length > 0)
    for (const source of [first!, ...others])
      if (source !== expected)
        errors.forbidden(path.child(source), 'must populate the given metric source only');
}

function checkSource(metric: MetricSpec, source: Source, path: Path, errors: Errors): void {
  switch (source) {
    case 'object':
    case 'external': {
      const { metric: identifier, target } = metric[source]!,
        at = path.child('target');
      if (source === 'object')
        checkReference(metric.object!.describedObject ?? {}, path.child('describedObject'), errors, {
          mayLackGroup: true,
        });
      checkIdentifier(identifier, path.child('metric'), errors);
      checkTarget(target, at, errors);
      const { value, averageValue } = target ?? {};
      if (value === undefined && averageValue === undefined)
        errors.required(
          at.child('averageValue'),
          source === 'object'
            ? 'must set either a target value or averageValue'
            : 'must set either a target value for metric or a per-pod target',
        );
      if (source === 'external' && value !== undefined && averageValue !== undefined)
        errors.forbidden(
          at.child('value'),
          'may not set both a target value for metric and a per-pod target',
        );
      return;
    }
    case 'pods': {
      checkIdentifier(metric.pods!.metric, path.child('metric'), errors);
      checkTarget(metric.pods!.target, path.child('target'), errors);
      if (metric.pods!.target?.averageValue === undefined)
        errors.required(
          path.child('target').child('averageValue'),
          'must specify a positive target averageValue',
        );
      return;
    }
    case 'containerResource': {
      const { container, name } = metric.containerResource!;
      checkResource(metric.containerResource!, path, errors, () => {
        if (name) checkContainerResourceName(name, path.child('name'), errors);
        if (!container) errors.required(path.child('container'), 'must specify a container');
        else checkDnsLabel(container, path, 'container', errors);
      });
      return;
    }
    case 'resource':
      checkResource(metric.resource!, path, errors);
  }
}

function checkResource(
  { name, target }: { name?: string; target?: MetricTarget },
  path: Path,
  errors: Errors,
  checkMore?: () => void,
): void {
  if (!name) errors.required(path.child('name'), 'must specify a resource name');
  checkMore?.();
  const at = path.child('target');
  checkTarget(target, at, errors);
  const { averageUtilization, averageValue } = target ?? {};
  if (averageUtilization === undefined && averageValue === undefined)
    errors.required(
      at.child('averageUtilization'),
      'must set either a target raw value or a target utilization',
    );
  if (averageUtilization !== undefined && averageValue !== undefined)
    errors.forbidden(
      at.child('averageValue'),
      'may not set both a target raw value and a target utilization',
    );
}

function checkIdentifier(metric: MetricIdentifier | undefined, path: Path, errors: Errors): void {
  if (!metric?.name) errors.required(path.child('name'), 'must specify a metric name');
  else errors.invalidEach(path.child('name'), metric.name, validatePathSegmentName(metric.name));
}

function checkTarget(target: MetricTarget | undefined, path: Path, errors: Errors): void {
  const type = target?.type ?? '';
  if (type === '') errors.required(path.child('type'), 'must specify a metric target type');
  if (!['AverageValue', 'Utilization', 'Value'].includes(type))
    errors.invalid(path.child('type'), type, 'must be either Utilization, Value, or AverageValue');
  for (const field of ['value', 'averageValue'] as const)
    if (target?.[field] !== undefined)
      checkPositiveQuantity(target[field], path.child(field), errors, 'must be positive');
  if (target?.averageUtilization !== undefined && target.averageUtilization < 1)
    errors.invalid(path.child('averageUtilization'), target.averageUtilization, 'must be greater than 0');
}
