/** HorizontalPodAutoscaler: stored as autoscaling/v2; autoscaling/v1 has only CPU and stores the rest in annotations. */
import { isGivenEmpty } from '#machinery/given-empty.ts';
import type { HorizontalPodAutoscaler, HPAScalingRules, MetricSpec, MetricStatus } from '#api/types.ts';
import { NEGATIVE } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, type Path, SPEC, STATUS } from '../field-path.ts';
import { parseResourceQuantity } from '../resource-list.ts';
import { keepAllButStatus, keepField } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';
import { convertAutoscaler, withoutCarried } from './conversion.ts';
import { apiVersionProblem, checkMetrics, checkReference } from './metrics.ts';

const NO_METRICS = null as unknown as MetricStatus[];
const WINDOW_MAX_SECONDS = 3600;
const PERIOD_MAX_SECONDS = 1800;

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
    // Written even when empty.
    if (autoscaler.status && !autoscaler.status.currentMetrics?.length)
      autoscaler.status.currentMetrics = NO_METRICS;
    if (!spec) return;
    spec.minReplicas ??= 1;
    if (!spec.metrics?.length)
      spec.metrics = [
        {
          type: 'Resource',
          resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 80 } },
        },
      ];
    if (spec.behavior) {
      spec.behavior.scaleUp = withDefaults(spec.behavior.scaleUp, {
        stabilizationWindowSeconds: 0,
        selectPolicy: 'Max',
        policies: [
          { type: 'Pods', value: 4, periodSeconds: 15 },
          { type: 'Percent', value: 100, periodSeconds: 15 },
        ],
      });
      spec.behavior.scaleDown = withDefaults(spec.behavior.scaleDown, {
        selectPolicy: 'Max',
        policies: [{ type: 'Percent', value: 100, periodSeconds: 15 }],
      });
    }
  },
  prepareForCreate: (autoscaler) => {
    autoscaler.status = { desiredReplicas: 0, currentMetrics: NO_METRICS };
  },
  prepareForUpdate: (next, previous) => keepField(next, previous, 'status'),
  validate: (autoscaler) => check(autoscaler),
  validateUpdate: (next, previous) => check(next, previous),
  status: {
    prepareForUpdate: keepAllButStatus,
    validateUpdate: (next) => {
      const errors = new Errors(),
        status = next.status;
      for (const field of ['currentReplicas', 'desiredReplicas'] as const)
        if ((status?.[field] ?? 0) < 0) errors.invalid(STATUS.child(field), status![field], NEGATIVE);
      return errors.list;
    },
  },
  table: {
    columns: columns('Name', 'Reference', 'Targets', 'MinPods', 'MaxPods', 'Replicas', 'Age'),
    row: (autoscaler, context) => {
      const { spec, status } = autoscaler;
      return [
        nameOf(autoscaler),
        `${spec?.scaleTargetRef?.kind ?? ''}/${spec?.scaleTargetRef?.name ?? ''}`,
        formatMetrics(spec?.metrics ?? [], status?.currentMetrics ?? []),
        spec?.minReplicas === undefined ? '<unset>' : String(spec.minReplicas),
        spec?.maxReplicas ?? 0,
        status?.currentReplicas ?? 0,
        formatAge(autoscaler, context),
      ];
    },
  },
});

function withDefaults(rules: HPAScalingRules | undefined, defaults: HPAScalingRules): HPAScalingRules {
  const merged = { ...defaults, ...rules };
  if (!rules?.policies) merged.policies = isGivenEmpty(rules, 'policies') ? [] : defaults.policies!;
  return merged;
}

/** stored: values from before a rule existed are accepted. */
function check({ spec }: HorizontalPodAutoscaler, stored?: HorizontalPodAutoscaler): Errors['list'] {
  const errors = new Errors();
  if (!spec) {
    errors.required(SPEC);
    return errors.list;
  }
  const { minReplicas, maxReplicas = 0, scaleTargetRef } = spec,
    least = stored?.spec?.minReplicas === 0 ? 0 : 1;
  if (minReplicas !== undefined && minReplicas < least)
    errors.invalid(SPEC.child('minReplicas'), minReplicas, `must be greater than or equal to ${least}`);
  if (maxReplicas === 0) errors.required(SPEC.child('maxReplicas'), 'must be set and greater than 0');
  else if (maxReplicas < 1)
    errors.invalid(SPEC.child('maxReplicas'), maxReplicas, 'must be greater than or equal to 1');
  if (minReplicas !== undefined && maxReplicas < minReplicas)
    errors.invalid(SPEC.child('maxReplicas'), maxReplicas, 'must be greater than or equal to `minReplicas`');
  // Of scalable kinds, only ReplicationController has no group.
  const isOld =
    stored?.spec && apiVersionProblem(stored.spec.scaleTargetRef?.apiVersion ?? '', false) !== undefined;
  checkReference(scaleTargetRef ?? {}, SPEC.child('scaleTargetRef'), errors, {
    mayLackGroup: scaleTargetRef?.kind === 'ReplicationController' || Boolean(isOld),
  });
  checkMetrics(spec.metrics ?? [], minReplicas, errors);
  for (const field of ['scaleUp', 'scaleDown'] as const) {
    const rules = spec.behavior?.[field];
    if (rules) checkRules(rules, SPEC.child('behavior').child(field), errors);
  }
  return errors.list;
}

function checkRules(rules: HPAScalingRules, path: Path, errors: Errors): void {
  const window = rules.stabilizationWindowSeconds;
  if (window !== undefined && window < 0)
    errors.invalid(path.child('stabilizationWindowSeconds'), window, 'must be greater than or equal to zero');
  if (window !== undefined && window > WINDOW_MAX_SECONDS)
    errors.invalid(
      path.child('stabilizationWindowSeconds'),
      window,
      `must be less than or equal to ${WINDOW_MAX_SECONDS}`,
    );
  const choices = ['Disabled', 'Max', 'Min'];
  if (rules.selectPolicy !== undefined && !choices.includes(rules.selectPolicy))
    errors.notSupported(path.child('selectPolicy'), rules.selectPolicy, choices);
  if (!rules.policies?.length) errors.required(path.child('policies'), 'must specify at least one Policy');
  if (rules.tolerance !== undefined && parseResourceQuantity(rules.tolerance).sign < 0)
    errors.invalid(path.child('tolerance'), rules.tolerance, NEGATIVE);
  rules.policies?.forEach((policy, i) => {
    const at = path.child('policies').index(i);
    if (policy.type !== 'Pods' && policy.type !== 'Percent')
      errors.notSupported(at.child('type'), policy.type, ['Percent', 'Pods']);
    if (!(policy.value > 0))
      errors.invalid(at.child('value'), policy.value ?? 0, 'must be greater than zero');
    if (!(policy.periodSeconds > 0))
      errors.invalid(at.child('periodSeconds'), policy.periodSeconds ?? 0, 'must be greater than zero');
    else if (policy.periodSeconds > PERIOD_MAX_SECONDS)
      errors.invalid(
        at.child('periodSeconds'),
        policy.periodSeconds,
        `must be less than or equal to ${PERIOD_MAX_SECONDS}`,
      );
  });
}

const SHOWN_METRICS_MAX = 2;

function formatMetrics(specs: readonly MetricSpec[], statuses: readonly MetricStatus[]): string {
  if (specs.length === 0) return '<none>';
  const shown = specs.slice(0, SHOWN_METRICS_MAX).map((spec, i) => formatMetric(spec, statuses[i]));
  return specs.length > SHOWN_METRICS_MAX
    ? `${shown.join(', ')} + ${specs.length - SHOWN_METRICS_MAX} more...`
    : shown.join(', ');
}

const UNKNOWN = '<unknown>';

function formatMetric(spec: MetricSpec, status: MetricStatus | undefined): string {
  switch (spec.type) {
    case 'External':
    case 'Object': {
      const { target } = (spec.external ?? spec.object)!,
        current = (status?.external ?? status?.object)?.current;
      if (target.averageValue !== undefined)
        return `${current?.averageValue ?? UNKNOWN}/${target.averageValue} (avg)`;
      return `${current?.value ?? UNKNOWN}/${target.value ?? ''}`;
    }
    case 'Pods':
      return `${status?.pods?.current.averageValue ?? UNKNOWN}/${spec.pods?.target.averageValue ?? ''}`;
    case 'Resource':
    case 'ContainerResource': {
      const source = (spec.resource ?? spec.containerResource)!,
        current = (status?.resource ?? status?.containerResource)?.current;
      if (source.target.averageValue !== undefined)
        return `${source.name}: ${current?.averageValue ?? UNKNOWN}/${source.target.averageValue}`;
      const now = current?.averageUtilization === undefined ? UNKNOWN : `${current.averageUtilization}%`;
      return `${source.name}: ${now}/${source.target.averageUtilization === undefined ? '<auto>' : `${source.target.averageUtilization}%`}`;
    }
    default:
      return '<unknown type>';
  }
}
