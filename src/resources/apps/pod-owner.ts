/** What workloads have in common: a selector that must match its template, and a template whose pods always restart. */
import type { LabelSelector, PodTemplateSpec, Volume } from '#api/types.ts';
import type { KubeObject } from '#machinery/object.ts';
import { checkLabelSelector, checkNonNegative, selectorIsEmpty, selectorMatches } from '../checks.ts';
import { checkPodTemplate } from '../core/pod/spec.ts';
import { type Errors, SPEC } from '../field-path.ts';
import { bumpGeneration, keepField, startGeneration } from '../strategy.ts';
import { formatSelector } from '../tables.ts';

const TEMPLATE = SPEC.child('template');

export interface PodOwnerNames {
  /** 'deployment': upstream says 'empty selector is invalid for deployment'. */
  readonly kind: string;
  /** 'ReplicaSet': 'activeDeadlineSeconds in ReplicaSet is not Supported'. */
  readonly title: string;
  /** What its pods mount besides the template's volumes. */
  readonly furtherVolumes?: readonly Volume[];
}

export function checkSelector(selector: LabelSelector | undefined, { kind }: PodOwnerNames, errors: Errors): void {
  if (!selector) { errors.required(SPEC.child('selector')); return; }
  checkLabelSelector(selector, SPEC.child('selector'), errors);
  if (selectorIsEmpty(selector)) errors.invalid(SPEC.child('selector'), selector, `empty selector is invalid for ${kind}`);
}

export function checkTemplate(template: PodTemplateSpec | undefined, selector: LabelSelector | undefined, { title, furtherVolumes }: PodOwnerNames, errors: Errors): void {
  if (!template) { errors.required(TEMPLATE); return; }
  const labels = template.metadata?.labels;
  if (selector && !selectorIsEmpty(selector) && !selectorMatches(selector, labels)) {
    errors.invalid(TEMPLATE.child('metadata').child('labels'), labels ?? {}, '`selector` does not match template `labels`');
  }
  checkPodTemplate(template, TEMPLATE, errors, furtherVolumes);
  const restartPolicy = template.spec?.restartPolicy;
  if (restartPolicy !== 'Always') errors.notSupported(TEMPLATE.child('spec').child('restartPolicy'), restartPolicy ?? '', ['Always']);
  if (template.spec?.activeDeadlineSeconds !== undefined) errors.forbidden(TEMPLATE.child('spec').child('activeDeadlineSeconds'), `activeDeadlineSeconds in ${title} is not Supported`);
}

export function checkCounts(spec: { replicas?: number; minReadySeconds?: number }, errors: Errors): void {
  checkNonNegative(spec.replicas, SPEC, 'replicas', errors);
  checkNonNegative(spec.minReadySeconds, SPEC, 'minReadySeconds', errors);
}

/** Create and update of kinds whose status is the controller's and whose generation counts spec changes. */
export function prepareCreate(object: KubeObject): void {
  object['status'] = {};
  startGeneration(object);
}

export function prepareUpdate(next: KubeObject, previous: KubeObject): void {
  keepField(next, previous, 'status');
  bumpGeneration(next, previous);
}

interface Scalable { spec?: { replicas?: number; selector?: LabelSelector }; status?: { replicas?: number } }

export const replicasScale = {
  get: ({ spec, status }: Scalable) => ({ specReplicas: spec?.replicas ?? 0, statusReplicas: status?.replicas ?? 0, selector: selectorIsEmpty(spec?.selector) ? '' : formatSelector(spec?.selector) }),
  setReplicas: (object: Scalable, replicas: number): void => { (object.spec ??= {}).replicas = replicas; },
};
