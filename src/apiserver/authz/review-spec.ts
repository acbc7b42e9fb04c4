/** A request as a SubjectAccessReviewSpec: what webhooks are sent and match conditions see as `request`. After upstream's webhook authorizer. */
import type { SelectorRequirement } from '#machinery/selector-requirements.ts';
import type { AuthorizationAttributes } from '#machinery/authorization.ts';

interface SelectorSpec {
  readonly requirements: readonly {
    readonly key: string;
    readonly operator: string;
    readonly values?: readonly string[];
  }[];
}

export interface AccessReviewSpec {
  readonly resourceAttributes?: {
    readonly namespace?: string;
    readonly verb?: string;
    readonly group?: string;
    readonly version?: string;
    readonly resource?: string;
    readonly subresource?: string;
    readonly name?: string;
    readonly fieldSelector?: SelectorSpec | undefined;
    readonly labelSelector?: SelectorSpec | undefined;
  };
  readonly nonResourceAttributes?: { readonly path?: string; readonly verb?: string };
  readonly user?: string;
  readonly groups?: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
  readonly uid?: string;
}

/** Empty fields are left out, as Go's omitempty does. */
export function createReviewSpec(request: AuthorizationAttributes): AccessReviewSpec {
  const { user, verb } = request;
  return {
    ...(request.isResourceRequest
      ? { resourceAttributes: resourceAttributesOf(request) }
      : { nonResourceAttributes: present({ path: request.path, verb }) }),
    ...present({ user: user.name }),
    ...(user.groups.length > 0 ? { groups: user.groups } : {}),
    ...(user.extra && Object.keys(user.extra).length > 0 ? { extra: user.extra } : {}),
    ...present({ uid: user.uid ?? '' }),
  };
}

function resourceAttributesOf(
  request: AuthorizationAttributes,
): NonNullable<AccessReviewSpec['resourceAttributes']> {
  const { namespace, verb, group, version, resource, subresource, name } = request;
  const fieldSelector = selectorOf(request.fieldSelector, FIELD_OPERATORS);
  const labelSelector = selectorOf(request.labelSelector, LABEL_OPERATORS);
  return {
    ...present({ namespace, verb, group, version, resource, subresource, name }),
    fieldSelector,
    labelSelector,
  };
}

function present<T extends Readonly<Record<string, string>>>(fields: T): Partial<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== '')) as Partial<T>;
}

const FIELD_OPERATORS: Readonly<Record<string, string>> = {
  '=': 'In',
  '==': 'In',
  '!=': 'NotIn',
  In: 'In',
  NotIn: 'NotIn',
};
const LABEL_OPERATORS: Readonly<Record<string, string>> = {
  ...FIELD_OPERATORS,
  in: 'In',
  notin: 'NotIn',
  exists: 'Exists',
  '!': 'DoesNotExist',
  Exists: 'Exists',
  DoesNotExist: 'DoesNotExist',
};

/** Requirements without a form in the review (greater, less) are omitted: the check becomes broader, never narrower. */
function selectorOf(
  requirements: readonly SelectorRequirement[] | undefined,
  operators: Readonly<Record<string, string>>,
): SelectorSpec | undefined {
  const kept = (requirements ?? []).flatMap(({ key, operator, values }) => {
    const wire = Object.hasOwn(operators, operator) ? operators[operator] : undefined;
    return wire
      ? [
          {
            key,
            operator: wire,
            ...(values.length > 0 && wire !== 'Exists' && wire !== 'DoesNotExist' ? { values } : {}),
          },
        ]
      : [];
  });
  return kept.length > 0 ? { requirements: kept } : undefined;
}
