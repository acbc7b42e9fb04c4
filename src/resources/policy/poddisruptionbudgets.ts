/** PodDisruptionBudget. */
import type { PodDisruptionBudget } from '#api/types.ts';
import {
  checkAtMost100Percent,
  checkConditionList,
  checkLabelSelector,
  checkNonNegative,
  checkOptionalEnum,
  checkPositiveIntOrPercent,
} from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC, STATUS } from '../field-path.ts';
import { bumpGeneration, keepAllButStatus, keepField, startGeneration } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';

export const poddisruptionbudgets = defineResource<PodDisruptionBudget>({
  group: 'policy',
  plural: 'poddisruptionbudgets',
  allowUnconditionalUpdate: false,
  // Upstream does not validate it.
  nameRule: 'path-segment',
  metadataLast: true,
  applyDefaults: (budget) => {
    budget.spec ??= {};
  },
  prepareForCreate: (budget) => {
    budget.status = { currentHealthy: 0, desiredHealthy: 0, disruptionsAllowed: 0, expectedPods: 0 };
    startGeneration(budget);
  },
  prepareForUpdate: (next, previous) => {
    keepField(next, previous, 'status');
    bumpGeneration(next, previous);
  },
  validate: ({ spec = {} }) => {
    const errors = new Errors();
    if (spec.minAvailable !== undefined && spec.maxUnavailable !== undefined)
      errors.invalid(SPEC, spec, 'minAvailable and maxUnavailable cannot be both set');
    for (const field of ['minAvailable', 'maxUnavailable'] as const) {
      checkPositiveIntOrPercent(spec[field], SPEC.child(field), errors);
      checkAtMost100Percent(spec[field], SPEC.child(field), errors);
    }
    checkLabelSelector(spec.selector, SPEC.child('selector'), errors);
    checkOptionalEnum(
      spec.unhealthyPodEvictionPolicy,
      ['AlwaysAllow', 'IfHealthyBudget'],
      SPEC,
      'unhealthyPodEvictionPolicy',
      errors,
    );
    return errors.list;
  },
  status: {
    prepareForUpdate: keepAllButStatus,
    validateUpdate: (next) => {
      const errors = new Errors();
      checkConditionList(next.status?.conditions, STATUS.child('conditions'), errors);
      for (const field of ['disruptionsAllowed', 'currentHealthy', 'desiredHealthy', 'expectedPods'] as const)
        checkNonNegative(next.status?.[field], STATUS, field, errors);
      return errors.list;
    },
  },
  table: {
    columns: columns('Name', 'Min Available', 'Max Unavailable', 'Allowed Disruptions:integer', 'Age'),
    row: (budget, context) => [
      nameOf(budget),
      String(budget.spec?.minAvailable ?? 'N/A'),
      String(budget.spec?.maxUnavailable ?? 'N/A'),
      budget.status?.disruptionsAllowed ?? 0,
      formatAge(budget, context),
    ],
  },
});
