/** Shared by workloads: a selector that must match the template, and a template whose pods always restart. */
import type { LabelSelector, PodTemplateSpec } from '#api/types.ts';
import type { KubeObject } from '#machinery/object.ts';
import {
  checkLabelSelector,
  checkNonNegative,
  IMMUTABLE,
  selectorIsEmpty,
  selectorMatches,
  shownSelector,
  sortedByKey,
} from '../checks.ts';
import { dropDisabledTemplateFields } from '../core/pod/disabled.ts';
import { checkPodTemplate } from '../core/pod/spec.ts';
import type { HookContext } from '../define.ts';
import { type Errors, SPEC } from '../field-path.ts';
import { bumpGeneration, keepField, semanticEqual, startGeneration } from '../strategy.ts';
import { formatSelector } from '../tables.ts';

const TEMPLATE = SPEC.child('template');

interface PodOwnerNames {
  /** 'deployment': for the message 'empty selector is invalid for deployment'. */
  readonly kind: string;
  /** 'ReplicaSet': for the message 'activeDeadlineSeconds in ReplicaSet is not Supported'. */
  readonly title: string;
  /** The error of an invalid selector. */
  readonly unreadable?: string;
}

interface PodOwnerSpec {
  readonly selector?: LabelSelector;
  readonly template?: PodTemplateSpec;
}

/** With an invalid selector, the template's labels are not checked. */
export function checkPodOwner(
  { selector, template = {} }: PodOwnerSpec,
  names: PodOwnerNames,
  errors: Errors,
): void {
  if (!selector) errors.required(SPEC.child('selector'));
  if (!checkSelector(selector, names, errors)) {
    errors.invalid(
      SPEC.child('selector'),
      shownSelector(selector),
      names.unreadable ?? 'invalid label selector',
    );
    return;
  }
  checkTemplateLabels(template.metadata?.labels, selector, errors);
  checkPodTemplate(template, TEMPLATE, errors);
  checkLongRunning(template, names, errors);
}

/** False when the selector is invalid. */
export function checkSelector(
  selector: LabelSelector | undefined,
  { kind }: PodOwnerNames,
  errors: Errors,
): boolean {
  if (!selector) return true;
  const before = errors.list.length;
  checkLabelSelector(selector, SPEC.child('selector'), errors);
  const readable = errors.list.length === before;
  if (selectorIsEmpty(selector))
    errors.invalid(SPEC.child('selector'), selector, `empty selector is invalid for ${kind}`);
  return readable;
}

export function checkSelectorKept(
  next: LabelSelector | undefined,
  previous: LabelSelector | undefined,
  errors: Errors,
): void {
  if (!semanticEqual(next, previous)) errors.invalid(SPEC.child('selector'), shownSelector(next), IMMUTABLE);
}

/** An absent selector matches nothing, an empty one everything. */
export function checkTemplateLabels(
  labels: Record<string, string> | undefined,
  selector: LabelSelector | undefined,
  errors: Errors,
): void {
  if (!selectorMatches(selector, labels))
    errors.invalid(
      TEMPLATE.child('metadata').child('labels'),
      labels && sortedByKey(labels),
      '`selector` does not match template `labels`',
    );
}

/** Pods of these kinds must not end by themselves. */
export function checkLongRunning(
  template: PodTemplateSpec | undefined,
  { title }: PodOwnerNames,
  errors: Errors,
): void {
  const restartPolicy = template?.spec?.restartPolicy;
  if (restartPolicy !== 'Always')
    errors.notSupported(TEMPLATE.child('spec').child('restartPolicy'), restartPolicy ?? '', ['Always']);
  if (template?.spec?.activeDeadlineSeconds !== undefined)
    errors.forbidden(
      TEMPLATE.child('spec').child('activeDeadlineSeconds'),
      `activeDeadlineSeconds in ${title} is not Supported`,
    );
}

export function checkCounts(spec: { replicas?: number; minReadySeconds?: number }, errors: Errors): void {
  checkNonNegative(spec.replicas, SPEC, 'replicas', errors);
  checkNonNegative(spec.minReadySeconds, SPEC, 'minReadySeconds', errors);
}

/** Create and update hooks of kinds with a status and a generation that counts spec changes. */
export function prepareCreate(object: KubeObject, context: HookContext): void {
  object['status'] = {};
  startGeneration(object);
  dropDisabledTemplateFields(templateOf(object), undefined, context);
}

export function prepareUpdate(next: KubeObject, previous: KubeObject, context: HookContext): void {
  keepField(next, previous, 'status');
  dropDisabledTemplateFields(templateOf(next), templateOf(previous), context);
  bumpGeneration(next, previous);
}

/** spec.template of these kinds. */
function templateOf(object: KubeObject): PodTemplateSpec | undefined {
  return (object['spec'] as PodOwnerSpec | undefined)?.template;
}

interface Scalable {
  spec?: { replicas?: number; selector?: LabelSelector };
  status?: { replicas?: number };
}

export const replicasScale = {
  get: ({ spec, status }: Scalable) => ({
    specReplicas: spec?.replicas ?? 0,
    statusReplicas: status?.replicas ?? 0,
    selector: selectorIsEmpty(spec?.selector) ? '' : formatSelector(spec?.selector),
  }),
  setReplicas: (object: Scalable, replicas: number): void => {
    (object.spec ??= {}).replicas = replicas;
  },
};
