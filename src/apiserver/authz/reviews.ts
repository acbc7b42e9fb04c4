/**
 * Answers the reviews of authorization.k8s.io/v1: what a posted SubjectAccessReview and its kin get back. Each function takes the
 * posted object and answers it with status filled in; StatusError Invalid for a malformed one. Nothing is stored.
 */
import { fieldErrors, statusErrors, type FieldError } from '#machinery/errors.ts';
import type { KubeObject, UserInfo } from '#machinery/object.ts';
import { parseFieldSelector } from '#machinery/fields.ts';
import { parseLabelSelector } from '#machinery/labels.ts';
import { errorMessage } from '#stdx/log.ts';
import type { AuthorizationAttributes, Authorizer, SelectorRequirement } from './authorizer.ts';

const GROUP = 'authorization.k8s.io';

interface SelectorAttributes { readonly rawSelector?: string; readonly requirements?: readonly { readonly key: string; readonly operator: string; readonly values?: readonly string[] }[] }
interface ResourceAttributes {
  readonly namespace?: string; readonly verb?: string; readonly group?: string; readonly version?: string; readonly resource?: string; readonly subresource?: string; readonly name?: string;
  readonly fieldSelector?: SelectorAttributes; readonly labelSelector?: SelectorAttributes;
}
interface AccessSpec {
  readonly resourceAttributes?: ResourceAttributes;
  readonly nonResourceAttributes?: { readonly path?: string; readonly verb?: string };
  readonly user?: string;
  readonly uid?: string;
  readonly groups?: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

/** May the user named in the spec? */
export async function reviewSubjectAccess(authorizer: Authorizer, review: KubeObject): Promise<KubeObject> {
  const spec = specOf(review);
  refuse('SubjectAccessReview', [...targetErrors(spec), ...subjectErrors(spec)]);
  return { ...review, status: await evaluate(authorizer, spec, subjectOf(spec)) };
}

/** The same within one namespace: that of the URL. */
export async function reviewLocalSubjectAccess(authorizer: Authorizer, review: KubeObject, namespace: string): Promise<KubeObject> {
  const spec = specOf(review);
  const errors = [...targetErrors(spec), ...subjectErrors(spec)];
  if (spec.resourceAttributes && spec.resourceAttributes.namespace !== namespace) errors.push(fieldErrors.invalid('spec.resourceAttributes.namespace', spec.resourceAttributes.namespace ?? '', 'must match metadata.namespace'));
  if (spec.nonResourceAttributes) errors.push(fieldErrors.invalid('spec.nonResourceAttributes', spec.nonResourceAttributes, 'disallowed on this kind of request'));
  refuse('LocalSubjectAccessReview', errors);
  if ((review.metadata?.namespace ?? namespace) !== namespace) throw statusErrors.badRequest(`metadata.namespace must match the provided namespace`);
  return { ...review, metadata: { ...review.metadata, namespace }, status: await evaluate(authorizer, spec, subjectOf(spec)) };
}

/** May I? */
export async function reviewSelfSubjectAccess(authorizer: Authorizer, review: KubeObject, user: UserInfo): Promise<KubeObject> {
  const spec = specOf(review);
  refuse('SelfSubjectAccessReview', targetErrors(spec));
  return { ...review, status: await evaluate(authorizer, spec, user) };
}

/** What may I in this namespace? */
export async function reviewSelfSubjectRules(authorizer: Authorizer, review: KubeObject, user: UserInfo): Promise<KubeObject> {
  const { namespace } = (review['spec'] ?? {}) as { readonly namespace?: string };
  if (!namespace) throw statusErrors.badRequest('no namespace on request');
  const rules = await authorizer.rulesFor?.(user, namespace) ?? { resourceRules: [], nonResourceRules: [], incomplete: true, evaluationError: 'the authorizer does not support user rule resolution' };
  const { resourceRules, nonResourceRules, incomplete, evaluationError } = rules;
  return { ...review, status: { incomplete, nonResourceRules, resourceRules, ...(evaluationError ? { evaluationError } : {}) } };
}

function specOf(review: KubeObject): AccessSpec {
  return (review['spec'] ?? {}) as AccessSpec;
}

function targetErrors({ resourceAttributes, nonResourceAttributes }: AccessSpec): FieldError[] {
  if (resourceAttributes && nonResourceAttributes) return [fieldErrors.invalid('spec.nonResourceAttributes', nonResourceAttributes, 'cannot be specified in combination with resourceAttributes')];
  if (!resourceAttributes && !nonResourceAttributes) return [fieldErrors.invalid('spec.resourceAttributes', null, 'exactly one of nonResourceAttributes or resourceAttributes must be specified')];
  return resourceAttributes ? [...selectorErrors(resourceAttributes.fieldSelector, 'fieldSelector'), ...selectorErrors(resourceAttributes.labelSelector, 'labelSelector')] : [];
}

function selectorErrors(selector: SelectorAttributes | undefined, name: string): FieldError[] {
  const field = `spec.resourceAttributes.${name}`;
  if (!selector) return [];
  if (selector.rawSelector && selector.requirements?.length) return [fieldErrors.invalid(`${field}.rawSelector`, selector.rawSelector, 'may not specified at the same time as requirements')];
  if (!selector.rawSelector && !selector.requirements?.length) return [fieldErrors.required(`${field}.requirements`, `when ${field} is specified, requirements or rawSelector is required`)];
  return [];
}

function subjectErrors(spec: AccessSpec): FieldError[] {
  return spec.user || spec.groups?.length ? [] : [fieldErrors.invalid('spec.user', '', 'at least one of user or group must be specified')];
}

function refuse(kind: string, errors: readonly FieldError[]): void {
  if (errors.length > 0) throw statusErrors.invalid({ group: GROUP, kind, name: '' }, errors);
}

function subjectOf(spec: AccessSpec): UserInfo {
  return { name: spec.user ?? '', groups: spec.groups ?? [], ...(spec.uid ? { uid: spec.uid } : {}), ...(spec.extra ? { extra: spec.extra } : {}) };
}

async function evaluate(authorizer: Authorizer, spec: AccessSpec, user: UserInfo): Promise<Record<string, unknown>> {
  try {
    const { decision, reason, error } = await authorizer.authorize(attributesOf(spec, user));
    return { allowed: decision === 'allow', ...(decision === 'deny' ? { denied: true } : {}), ...(reason ? { reason } : {}), ...(error ? { evaluationError: error } : {}) };
  } catch (error) {
    return { allowed: false, evaluationError: errorMessage(error) };
  }
}

function attributesOf({ resourceAttributes, nonResourceAttributes }: AccessSpec, user: UserInfo): AuthorizationAttributes {
  if (!resourceAttributes) {
    return { user, verb: nonResourceAttributes?.verb ?? '', isResourceRequest: false, group: '', version: '', resource: '', subresource: '', namespace: '', name: '', path: nonResourceAttributes?.path ?? '' };
  }
  const { verb = '', group = '', version = '', resource = '', subresource = '', namespace = '', name = '' } = resourceAttributes;
  const fieldSelector = fieldRequirements(resourceAttributes.fieldSelector);
  const labelSelector = labelRequirements(resourceAttributes.labelSelector);
  return {
    user, verb, isResourceRequest: true, group, version, resource, subresource, namespace, name, path: '',
    ...(fieldSelector.length > 0 ? { fieldSelector } : {}), ...(labelSelector.length > 0 ? { labelSelector } : {}),
  };
}

/** A selector that cannot be read is dropped, which only makes the question broader: upstream does the same. */
function fieldRequirements(selector: SelectorAttributes | undefined): SelectorRequirement[] {
  if (!selector?.rawSelector) return givenRequirements(selector);
  try {
    return parseFieldSelector(selector.rawSelector).requirements.map(({ field, operator, value }) => ({ key: field, operator, values: [value] }));
  } catch {
    return [];
  }
}

function labelRequirements(selector: SelectorAttributes | undefined): SelectorRequirement[] {
  if (!selector?.rawSelector) return givenRequirements(selector);
  try {
    return parseLabelSelector(selector.rawSelector).requirements.map(({ key, operator, values }) => ({ key, operator, values }));
  } catch {
    return [];
  }
}

function givenRequirements(selector: SelectorAttributes | undefined): SelectorRequirement[] {
  return (selector?.requirements ?? []).map(({ key, operator, values }) => ({ key, operator, values: values ?? [] }));
}
