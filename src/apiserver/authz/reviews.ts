/**
 * Evaluates the reviews of authorization.k8s.io/v1 (SubjectAccessReview and its kin). Each function returns the posted object with its status set;
 * StatusError Invalid for a malformed one. Nothing is stored.
 */
import { fieldErrors, statusErrors, type FieldError } from '#machinery/errors.ts';
import type { KubeObject, UserInfo } from '#machinery/object.ts';
import { parseFieldSelector } from '#machinery/fields.ts';
import { parseLabelSelector } from '#machinery/labels.ts';
import { validateLabelValue, validateQualifiedName } from '#machinery/names.ts';
import { errorMessage } from '#stdx/log.ts';
import type { SelectorRequirement } from '#machinery/selector-requirements.ts';
import type { AuthorizationAttributes } from '#machinery/authorization.ts';
import type { Authorizer } from './authorizer.ts';

const GROUP = 'authorization.k8s.io';

interface SelectorAttributes {
  readonly rawSelector?: string;
  readonly requirements?: readonly {
    readonly key: string;
    readonly operator: string;
    readonly values?: readonly string[];
  }[];
}
interface ResourceAttributes {
  readonly namespace?: string;
  readonly verb?: string;
  readonly group?: string;
  readonly version?: string;
  readonly resource?: string;
  readonly subresource?: string;
  readonly name?: string;
  readonly fieldSelector?: SelectorAttributes;
  readonly labelSelector?: SelectorAttributes;
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
  refuse([...specErrors(spec, { needsSubject: true }), ...metadataErrors(review, { namespaced: false })]);
  return { ...review, status: await evaluate(authorizer, spec, readSubject(spec)) };
}

/** The same within one namespace: that of the URL. */
export async function reviewLocalSubjectAccess(
  authorizer: Authorizer,
  review: KubeObject,
  namespace: string,
): Promise<KubeObject> {
  const spec = specOf(review);
  const errors = [
    ...specErrors(spec, { needsSubject: true }),
    ...metadataErrors(review, { namespaced: true }),
  ];
  if (spec.resourceAttributes && spec.resourceAttributes.namespace !== namespace)
    errors.push(
      fieldErrors.invalid(
        'spec.resourceAttributes.namespace',
        spec.resourceAttributes.namespace ?? '',
        'must match metadata.namespace',
      ),
    );
  if (spec.nonResourceAttributes)
    errors.push(
      fieldErrors.invalid(
        'spec.nonResourceAttributes',
        shown(spec.nonResourceAttributes),
        'disallowed on this kind of request',
      ),
    );
  refuse(errors);
  return { ...review, status: await evaluate(authorizer, spec, readSubject(spec)) };
}

/** May I? */
export async function reviewSelfSubjectAccess(
  authorizer: Authorizer,
  review: KubeObject,
  user: UserInfo,
): Promise<KubeObject> {
  const spec = specOf(review);
  refuse([...specErrors(spec, { needsSubject: false }), ...metadataErrors(review, { namespaced: false })]);
  return { ...review, status: await evaluate(authorizer, spec, user) };
}

/** SelfSubjectRulesReview: the user's rules in a namespace. */
export async function reviewSelfSubjectRules(
  authorizer: Authorizer,
  review: KubeObject,
  user: UserInfo,
): Promise<KubeObject> {
  const { namespace } = (review['spec'] ?? {}) as { readonly namespace?: string };
  if (!namespace) throw statusErrors.badRequest('no namespace on request');
  const rules = (await authorizer.rulesFor?.(user, namespace)) ?? {
    resourceRules: [],
    nonResourceRules: [],
    incomplete: true,
    evaluationError: 'the authorizer does not support user rule resolution',
  };
  const { resourceRules, nonResourceRules, incomplete, evaluationError } = rules;
  // As upstream: the response does not repeat the spec.
  return {
    kind: 'SelfSubjectRulesReview',
    apiVersion: `${GROUP}/v1`,
    metadata: {},
    spec: {},
    status: { incomplete, nonResourceRules, resourceRules, ...(evaluationError ? { evaluationError } : {}) },
  };
}

function specOf(review: KubeObject): AccessSpec {
  return (review['spec'] ?? {}) as AccessSpec;
}

function specErrors(
  { resourceAttributes, nonResourceAttributes, user, groups }: AccessSpec,
  { needsSubject }: { readonly needsSubject: boolean },
): FieldError[] {
  const errors: FieldError[] = [];
  if (resourceAttributes && nonResourceAttributes)
    errors.push(
      fieldErrors.invalid(
        'spec.nonResourceAttributes',
        shown(nonResourceAttributes),
        'cannot be specified in combination with resourceAttributes',
      ),
    );
  if (!resourceAttributes && !nonResourceAttributes)
    errors.push(
      fieldErrors.invalid(
        'spec.resourceAttributes',
        null,
        'exactly one of nonResourceAttributes or resourceAttributes must be specified',
      ),
    );
  if (needsSubject && !user && !groups?.length)
    errors.push(fieldErrors.invalid('spec.user', '', 'at least one of user or group must be specified'));
  if (resourceAttributes)
    errors.push(
      ...selectorErrors(resourceAttributes.fieldSelector, 'fieldSelector'),
      ...selectorErrors(resourceAttributes.labelSelector, 'labelSelector'),
    );
  return errors;
}

/** A review is no object: it has no name, no labels. */
function metadataErrors(
  { metadata = {} }: KubeObject,
  { namespaced }: { readonly namespaced: boolean },
): FieldError[] {
  const { managedFields: _managed, namespace, ...rest } = metadata;
  const given = Object.entries({ ...rest, ...(namespaced ? {} : { namespace }) }).some(
    ([, value]) => value !== undefined && value !== null && value !== '',
  );
  return given
    ? [
        fieldErrors.invalid(
          'metadata',
          metadata,
          namespaced ? 'must be empty except for namespace' : 'must be empty',
        ),
      ]
    : [];
}

/** Operators that are not known are let through: a newer client may know them. */
function selectorErrors(selector: SelectorAttributes | undefined, name: string): FieldError[] {
  const field = `spec.resourceAttributes.${name}`;
  if (!selector) return [];
  const { rawSelector, requirements = [] } = selector;
  const errors: FieldError[] = [];
  if (rawSelector && requirements.length > 0)
    errors.push(
      fieldErrors.invalid(
        `${field}.rawSelector`,
        rawSelector,
        'may not specified at the same time as requirements',
      ),
    );
  if (!rawSelector && requirements.length === 0)
    errors.push(
      fieldErrors.required(
        `${field}.requirements`,
        `when ${field} is specified, requirements or rawSelector is required`,
      ),
    );
  requirements.forEach(({ key = '', operator, values }, index) => {
    const at = `${field}.requirements[${index}]`;
    if (name === 'fieldSelector' && key === '')
      errors.push(fieldErrors.required(`${at}.key`, 'must be specified'));
    if ((operator === 'In' || operator === 'NotIn') && !values?.length)
      errors.push(
        fieldErrors.required(`${at}.values`, "must be specified when `operator` is 'In' or 'NotIn'"),
      );
    if ((operator === 'Exists' || operator === 'DoesNotExist') && values?.length)
      errors.push(
        fieldErrors.forbidden(
          `${at}.values`,
          "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ),
      );
    if (name === 'labelSelector') errors.push(...labelErrors(key, values ?? [], at));
  });
  return errors;
}

function labelErrors(key: string, values: readonly string[], at: string): FieldError[] {
  return [
    ...validateQualifiedName(key).map((problem) => fieldErrors.invalid(`${at}.key`, key, problem)),
    ...values.flatMap((value, i) =>
      validateLabelValue(value).map((problem) => fieldErrors.invalid(`${at}.values[${i}]`, value, problem)),
    ),
  ];
}

/** Upstream names no kind here, and shows paths as it holds them. */
function refuse(errors: readonly FieldError[]): void {
  if (errors.length > 0) throw statusErrors.invalid({ group: GROUP, kind: '', name: '' }, errors);
}

function shown({ path = '', verb = '' }: NonNullable<AccessSpec['nonResourceAttributes']>): unknown {
  return { Path: path, Verb: verb };
}

function readSubject(spec: AccessSpec): UserInfo {
  return {
    name: spec.user ?? '',
    groups: spec.groups ?? [],
    ...(spec.uid ? { uid: spec.uid } : {}),
    ...(spec.extra ? { extra: spec.extra } : {}),
  };
}

async function evaluate(
  authorizer: Authorizer,
  spec: AccessSpec,
  user: UserInfo,
): Promise<Record<string, unknown>> {
  const { attributes, problems } = attributesOf(spec, user);
  const evaluationError = (error?: string): Record<string, string> => {
    const all = [...(error === undefined ? [] : [error]), ...problems];
    return all.length === 0 ? {} : { evaluationError: all.length === 1 ? all[0]! : `[${all.join(', ')}]` };
  };
  try {
    const { decision, reason, error } = await authorizer.authorize(attributes);
    return {
      allowed: decision === 'allow',
      ...(decision === 'deny' ? { denied: true } : {}),
      ...(reason ? { reason } : {}),
      ...evaluationError(error),
    };
  } catch (error) {
    return { allowed: false, ...evaluationError(errorMessage(error)) };
  }
}

interface Question {
  readonly attributes: AuthorizationAttributes;
  /** What of the question could not be read. */ readonly problems: readonly string[];
}

function attributesOf({ resourceAttributes, nonResourceAttributes }: AccessSpec, user: UserInfo): Question {
  if (!resourceAttributes) {
    const attributes = {
      user,
      verb: nonResourceAttributes?.verb ?? '',
      isResourceRequest: false,
      group: '',
      version: '',
      resource: '',
      subresource: '',
      namespace: '',
      name: '',
      path: nonResourceAttributes?.path ?? '',
    };
    return { attributes, problems: [] };
  }
  const {
    verb = '',
    group = '',
    version = '',
    resource = '',
    subresource = '',
    namespace = '',
    name = '',
  } = resourceAttributes;
  const fields = requirementsOf(resourceAttributes.fieldSelector, {
    name: 'fieldSelector',
    operators: FIELD_OPERATORS,
    parse: (raw) =>
      parseFieldSelector(raw).requirements.map(({ field, operator, value }) => ({
        key: field,
        operator: operator === '=' ? 'In' : 'NotIn',
        values: [value],
      })),
  });
  const labels = requirementsOf(resourceAttributes.labelSelector, {
    name: 'labelSelector',
    operators: LABEL_OPERATORS,
    parse: (raw) => parseLabelSelector(raw).requirements,
  });
  return {
    attributes: {
      user,
      verb,
      isResourceRequest: true,
      group,
      version,
      resource,
      subresource,
      namespace,
      name,
      path: '',
      ...(fields.requirements.length > 0 ? { fieldSelector: fields.requirements } : {}),
      ...(labels.requirements.length > 0 ? { labelSelector: labels.requirements } : {}),
    },
    problems: [...fields.problems, ...labels.problems],
  };
}

const FIELD_OPERATORS: ReadonlySet<string> = new Set(['In', 'NotIn']);
const LABEL_OPERATORS: ReadonlySet<string> = new Set(['In', 'NotIn', 'Exists', 'DoesNotExist']);

interface Selectors {
  readonly requirements: readonly SelectorRequirement[];
  readonly problems: readonly string[];
}

/** Unparsable requirements are dropped with a warning, which only makes the check broader: upstream does the same. */
function requirementsOf(
  selector: SelectorAttributes | undefined,
  how: {
    readonly name: string;
    readonly operators: ReadonlySet<string>;
    parse(raw: string): readonly SelectorRequirement[];
  },
): Selectors {
  if (!selector) return { requirements: [], problems: [] };
  const ignored = (extent: 'ignored' | 'partially ignored'): readonly string[] => [
    `spec.resourceAttributes.${how.name} ${extent} due to parse error`,
  ];
  if (selector.rawSelector) {
    try {
      return { requirements: how.parse(selector.rawSelector), problems: [] };
    } catch {
      return { requirements: [], problems: ignored('ignored') };
    }
  }
  const given = selector.requirements ?? [];
  // A field selector matches one value only.
  const known = given.filter(
    ({ operator, values = [] }) =>
      how.operators.has(operator) && (how.name !== 'fieldSelector' || values.length === 1),
  );
  const requirements = known.map(({ key, operator, values = [] }) => ({ key, operator, values }));
  if (known.length === given.length) return { requirements, problems: [] };
  return { requirements, problems: ignored(requirements.length > 0 ? 'partially ignored' : 'ignored') };
}
