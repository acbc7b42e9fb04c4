/** Accepted names of a definition, and its name conditions. After upstream's naming and establishing controllers. Pure. */
import type {
  CustomResourceDefinition,
  CustomResourceDefinitionCondition,
  CustomResourceDefinitionNames,
} from '#api/types.ts';
import { withTime } from '#resources/apiextensions/termination.ts';

type Condition = CustomResourceDefinitionCondition;
/** Conditions computed here; others are preserved. */
const OWN_TYPES = new Set([
  'NamesAccepted',
  'Established',
  'NonStructuralSchema',
  'KubernetesAPIApprovalPolicyConformant',
]);
const APPROVAL = 'api-approved.kubernetes.io';

/** The status as it should be. others: every other definition. */
export function statusOf(
  definition: CustomResourceDefinition,
  {
    others,
    violations,
    nowMs,
  }: {
    readonly others: readonly CustomResourceDefinition[];
    readonly violations: readonly string[];
    readonly nowMs: number;
  },
): NonNullable<CustomResourceDefinition['status']> {
  const { accepted, condition } = acceptNames(definition, others);
  const old = definition.status?.conditions ?? [];
  const established = establishedCondition(old, condition);
  const own = [
    ...violationConditions(violations, old),
    condition,
    established,
    ...approvalCondition(definition),
  ];
  // Others may have their say too.
  const conditions = [...own, ...old.filter(({ type }) => !OWN_TYPES.has(type))];
  return {
    ...definition.status,
    acceptedNames: accepted,
    conditions: inOldOrder(conditions, old).map((next) =>
      withTime(next, { old: old.find(({ type }) => type === next.type), nowMs }),
    ),
  };
}

function inOldOrder(conditions: Condition[], old: readonly Condition[]): Condition[] {
  const rank = (type: string): number => {
    const index = old.findIndex((condition) => condition.type === type);
    return index < 0 ? old.length : index;
  };
  return conditions.toSorted((left, right) => rank(left.type) - rank(right.type));
}

function acceptNames(
  { spec, status, metadata }: CustomResourceDefinition,
  all: readonly CustomResourceDefinition[],
): { readonly accepted: CustomResourceDefinitionNames; readonly condition: Condition } {
  const others = all
    .filter((other) => other.spec.group === spec.group && other.metadata?.name !== metadata?.name)
    .map((other) => other.status?.acceptedNames);
  const taken = new Set(
    others.flatMap((names) => [names?.plural, names?.singular, ...(names?.shortNames ?? [])]),
  );
  const takenKinds = new Set(others.flatMap((names) => [names?.kind, names?.listKind]));
  const { names } = spec;
  const accepted: CustomResourceDefinitionNames = { ...(status?.acceptedNames ?? { plural: '', kind: '' }) };
  let problem: { readonly reason: string; readonly message: string } | undefined;
  const refuse = (reason: string, name: string): void => {
    problem = { reason, message: `${JSON.stringify(name)} is already in use` };
  };
  if (taken.has(names.plural)) refuse('PluralConflict', names.plural);
  else accepted.plural = names.plural;
  if (names.singular && taken.has(names.singular)) refuse('SingularConflict', names.singular);
  else if (names.singular) accepted.singular = names.singular;
  const conflicting = (names.shortNames ?? []).filter((name) => taken.has(name));
  if (conflicting.length > 0)
    problem = {
      reason: 'ShortNamesConflict',
      message:
        conflicting.length === 1
          ? `${JSON.stringify(conflicting[0])} is already in use`
          : `[${conflicting.map((name) => `${JSON.stringify(name)} is already in use`).join(', ')}]`,
    };
  else if (names.shortNames) accepted.shortNames = names.shortNames;
  else delete accepted.shortNames;
  if (takenKinds.has(names.kind)) refuse('KindConflict', names.kind);
  else accepted.kind = names.kind;
  if (names.listKind && takenKinds.has(names.listKind)) refuse('ListKindConflict', names.listKind);
  else if (names.listKind) accepted.listKind = names.listKind;
  if (names.categories) accepted.categories = names.categories;
  else delete accepted.categories;
  const condition: Condition = problem
    ? { type: 'NamesAccepted', status: 'False', ...problem }
    : { type: 'NamesAccepted', status: 'True', reason: 'NoConflicts', message: 'no conflicts found' };
  return { accepted, condition };
}

/** Once established a definition stays so, whatever happens to its names. */
function establishedCondition(old: readonly Condition[], names: Condition): Condition {
  const before = old.find(({ type }) => type === 'Established');
  if (before?.status === 'True') return before;
  return names.status === 'True'
    ? {
        type: 'Established',
        status: 'True',
        reason: 'InitialNamesAccepted',
        message: 'the initial names have been accepted',
      }
    : { type: 'Established', status: 'False', reason: 'NotAccepted', message: 'not all names are accepted' };
}

function violationConditions(violations: readonly string[], old: readonly Condition[]): Condition[] {
  const before = old.find(({ type }) => type === 'NonStructuralSchema');
  if (violations.length === 0) return [];
  return [
    {
      ...before,
      type: 'NonStructuralSchema',
      status: 'True',
      reason: 'Violations',
      message: violations.length === 1 ? violations[0]! : `[${violations.join(', ')}]`,
    },
  ];
}

function approvalCondition({ spec: { group }, metadata }: CustomResourceDefinition): Condition[] {
  if (!/(^|\.)(k8s|kubernetes)\.io$/.test(group)) return [];
  const approval = metadata?.annotations?.[APPROVAL];
  const type = 'KubernetesAPIApprovalPolicyConformant';
  if (approval === undefined || approval === '')
    return [
      {
        type,
        status: 'False',
        reason: 'MissingAnnotation',
        message: `protected groups must have approval annotation ${JSON.stringify(APPROVAL)}, see https://github.com/kubernetes/enhancements/pull/1111`,
      },
    ];
  if (approval.startsWith('unapproved'))
    return [
      {
        type,
        status: 'False',
        reason: 'UnapprovedAnnotation',
        message: `not approved: ${JSON.stringify(approval)}`,
      },
    ];
  if (URL.canParse(approval))
    return [{ type, status: 'True', reason: 'ApprovedAnnotation', message: `approved in ${approval}` }];
  return [
    {
      type,
      status: 'False',
      reason: 'InvalidAnnotation',
      message: `protected groups must have approval annotation ${JSON.stringify(APPROVAL)} with either a URL or a reason starting with "unapproved", see https://github.com/kubernetes/enhancements/pull/1111`,
    },
  ];
}
