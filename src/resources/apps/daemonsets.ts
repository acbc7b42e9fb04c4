/** DaemonSet. */
import type { DaemonSet, DaemonSetSpec } from '#api/types.ts';
import {
  checkAtMost100Percent,
  checkNonNegative,
  checkPositiveIntOrPercent,
  intOrPercentValue,
} from '../checks.ts';
import { defaultPodTemplate } from '../core/pod/defaults.ts';
import { checkPodTemplate } from '../core/pod/spec.ts';
import { workloadWarnings } from '../core/pod/warnings.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC, STATUS } from '../field-path.ts';
import { keepAllButStatus, semanticEqual } from '../strategy.ts';
import {
  formatAge,
  columns,
  containerImages,
  containerNames,
  formatLabels,
  formatSelector,
  nameOf,
} from '../tables.ts';
import {
  checkLongRunning,
  checkSelector,
  checkSelectorKept,
  checkTemplateLabels,
  prepareCreate,
  prepareUpdate,
} from './pod-owner.ts';

const NAMES = { kind: 'daemonset', title: 'DaemonSet' };
const GENERATION_ANNOTATION = 'deprecated.daemonset.template.generation';

export const daemonsets = defineResource<DaemonSet>({
  group: 'apps',
  plural: 'daemonsets',
  applyDefaults: (set) => {
    const spec = (set.spec ??= {} as DaemonSetSpec);
    const strategy = (spec.updateStrategy ??= {});
    strategy.type ||= 'RollingUpdate';
    if (strategy.type === 'RollingUpdate') {
      const rolling = (strategy.rollingUpdate ??= {});
      rolling.maxUnavailable ??= 1;
      rolling.maxSurge ??= 0;
    }
    spec.revisionHistoryLimit ??= 10;
    // Always written, and therefore owned.
    if (!isCount(set.metadata?.annotations?.[GENERATION_ANNOTATION])) setTemplateGeneration(set, 0);
    defaultPodTemplate(spec.template);
  },
  prepareForCreate: (set, context) => {
    prepareCreate(set, context);
    set.status = {
      currentNumberScheduled: 0,
      numberMisscheduled: 0,
      desiredNumberScheduled: 0,
      numberReady: 0,
    };
    if (templateGeneration(set) < 1) setTemplateGeneration(set, 1);
  },
  prepareForUpdate: (next, previous, context) => {
    prepareUpdate(next, previous, context);
    const before = templateGeneration(previous);
    setTemplateGeneration(
      next,
      semanticEqual(next.spec?.template, previous.spec?.template) ? before : before + 1,
    );
  },
  validate: (set) => {
    const errors = new Errors();
    checkSpec(set.spec, errors);
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkSelectorKept(next.spec?.selector, previous.spec?.selector, errors);
    checkSpec(next.spec, errors);
    return errors.list;
  },
  status: {
    prepareForUpdate: (next, previous) => {
      keepAllButStatus(next, previous);
      setTemplateGeneration(next, templateGeneration(previous));
    },
    validateUpdate: (next) => {
      const errors = new Errors();
      const fields = [
        'currentNumberScheduled',
        'numberMisscheduled',
        'desiredNumberScheduled',
        'numberReady',
        'observedGeneration',
        'updatedNumberScheduled',
        'numberAvailable',
        'numberUnavailable',
        'collisionCount',
      ] as const;
      for (const field of fields) checkNonNegative(next.status?.[field], STATUS, field, errors);
      return errors.list;
    },
  },
  warnings: (set, previous) =>
    workloadWarnings(set, previous, { template: set.spec?.template, path: 'spec.template' }),
  table: {
    columns: columns(
      'Name',
      'Desired:integer',
      'Current:integer',
      'Ready:integer',
      'Up-to-date:integer',
      'Available:integer',
      'Node Selector',
      'Age',
      'Containers:wide',
      'Images:wide',
      'Selector:wide',
    ),
    row: (set, context) => {
      const { spec, status } = set;
      return [
        nameOf(set),
        status?.desiredNumberScheduled ?? 0,
        status?.currentNumberScheduled ?? 0,
        status?.numberReady ?? 0,
        status?.updatedNumberScheduled ?? 0,
        status?.numberAvailable ?? 0,
        formatLabels(spec?.template?.spec?.nodeSelector),
        formatAge(set, context),
        containerNames(spec?.template?.spec),
        containerImages(spec?.template?.spec),
        formatSelector(spec?.selector),
      ];
    },
  },
});

function isCount(text: string | undefined): boolean {
  return text !== undefined && /^\d{1,15}$/.test(text);
}

/** 0 when the annotation is missing or invalid: only the server counts it. */
function templateGeneration(set: DaemonSet): number {
  const text = set.metadata?.annotations?.[GENERATION_ANNOTATION];
  return isCount(text) ? Number(text) : 0;
}

/** A removed field that is kept as an annotation. */
function setTemplateGeneration(set: DaemonSet, generation: number): void {
  ((set.metadata ??= {}).annotations ??= {})[GENERATION_ANNOTATION] = String(generation);
}

function checkSpec(given: DaemonSetSpec | undefined, errors: Errors): void {
  const spec = given ?? ({} as DaemonSetSpec);
  if (checkSelector(spec.selector, NAMES, errors))
    checkTemplateLabels(spec.template?.metadata?.labels, spec.selector, errors);
  checkPodTemplate(spec.template, SPEC.child('template'), errors);
  checkLongRunning(spec.template, NAMES, errors);
  checkNonNegative(spec.minReadySeconds, SPEC, 'minReadySeconds', errors);
  checkStrategy(spec, errors);
  checkNonNegative(spec.revisionHistoryLimit, SPEC, 'revisionHistoryLimit', errors);
}

function checkStrategy(spec: DaemonSetSpec, errors: Errors): void {
  const path = SPEC.child('updateStrategy'),
    { type, rollingUpdate } = spec.updateStrategy ?? {};
  if (type === 'OnDelete') return;
  if (type !== 'RollingUpdate') {
    errors.notSupported(path, spec.updateStrategy ?? {}, ['RollingUpdate', 'OnDelete']);
    return;
  }
  const at = path.child('rollingUpdate');
  if (!rollingUpdate) {
    errors.required(at);
    return;
  }
  const { maxUnavailable, maxSurge } = rollingUpdate;
  checkPositiveIntOrPercent(maxUnavailable, at.child('maxUnavailable'), errors);
  checkPositiveIntOrPercent(maxSurge, at.child('maxSurge'), errors);
  const hasUnavailable = intOrPercentValue(maxUnavailable) !== 0,
    hasSurge = intOrPercentValue(maxSurge) !== 0;
  checkAtMost100Percent(maxUnavailable, at.child('maxUnavailable'), errors);
  checkAtMost100Percent(maxSurge, at.child('maxSurge'), errors);
  if (hasUnavailable && hasSurge)
    errors.invalid(at.child('maxSurge'), maxSurge, 'may not be set when maxUnavailable is non-zero');
  if (!hasUnavailable && !hasSurge)
    errors.required(at.child('maxUnavailable'), 'cannot be 0 when maxSurge is 0');
}
