/** Scheduling constraints of a pod: node selectors, affinity, tolerations, topology spread. After upstream's core validation. */
import { validateDNS1123Label, validateDNS1123Subdomain, validateLabelValue } from '#machinery/names.ts';
import type {
  Affinity,
  LabelSelector,
  NodeSelector,
  NodeSelectorRequirement,
  NodeSelectorTerm,
  PodAffinityTerm,
  Toleration,
  TopologySpreadConstraint,
  WeightedPodAffinityTerm,
} from '#api/types.ts';
import {
  checkLabelSelector,
  checkLabelValue,
  checkOptionalEnum,
  checkQualifiedName,
  NOT_POSITIVE,
} from '../../checks.ts';
import type { Errors, Path } from '../../field-path.ts';

export const TAINT_EFFECTS = ['NoSchedule', 'PreferNoSchedule', 'NoExecute'];

function checkNodeSelectorRequirement(
  requirement: NodeSelectorRequirement,
  path: Path,
  errors: Errors,
  checkValues: boolean,
): void {
  const values = requirement.values ?? [];
  switch (requirement.operator) {
    case 'In':
    case 'NotIn':
      if (values.length === 0)
        errors.required(path.child('values'), "must be specified when `operator` is 'In' or 'NotIn'");
      break;
    case 'Exists':
    case 'DoesNotExist':
      if (values.length > 0)
        errors.forbidden(
          path.child('values'),
          "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        );
      break;
    case 'Gt':
    case 'Lt':
      if (values.length !== 1)
        errors.required(
          path.child('values'),
          "must be specified single value when `operator` is 'Lt' or 'Gt'",
        );
      break;
    default:
      errors.invalid(path.child('operator'), requirement.operator, 'not a valid selector operator');
  }
  checkQualifiedName(requirement.key, path.child('key'), errors);
  if (checkValues)
    values.forEach((value, i) => checkLabelValue(value, path.child('values').index(i), errors));
}

function checkNodeFieldRequirement(requirement: NodeSelectorRequirement, path: Path, errors: Errors): void {
  const values = requirement.values ?? [];
  if (requirement.operator === 'In' || requirement.operator === 'NotIn') {
    if (values.length !== 1)
      errors.required(
        path.child('values'),
        "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
      );
  } else errors.invalid(path.child('operator'), requirement.operator, 'not a valid selector operator');
  if (requirement.key !== 'metadata.name')
    errors.invalid(path.child('key'), requirement.key, 'not a valid field selector key');
  else
    values.forEach((value, i) =>
      errors.invalidEach(path.child('values').index(i), value, validateDNS1123Subdomain(value)),
    );
}

function checkNodeSelectorTerm(
  term: NodeSelectorTerm,
  path: Path,
  errors: Errors,
  checkValues: boolean,
): void {
  term.matchExpressions?.forEach((requirement, i) =>
    checkNodeSelectorRequirement(requirement, path.child('matchExpressions').index(i), errors, checkValues),
  );
  term.matchFields?.forEach((requirement, i) =>
    checkNodeFieldRequirement(requirement, path.child('matchFields').index(i), errors),
  );
}

export function checkNodeSelector(selector: NodeSelector, path: Path, errors: Errors): void {
  const at = path.child('nodeSelectorTerms');
  if (!selector.nodeSelectorTerms?.length) {
    errors.required(at, 'must have at least one node selector term');
    return;
  }
  selector.nodeSelectorTerms.forEach((term, i) => checkNodeSelectorTerm(term, at.index(i), errors, true));
}

export function checkAffinity(affinity: Affinity, path: Path, errors: Errors): void {
  const { nodeAffinity, podAffinity, podAntiAffinity } = affinity;
  if (nodeAffinity) {
    const at = path.child('nodeAffinity');
    const required = nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution;
    if (required)
      checkNodeSelector(required, at.child('requiredDuringSchedulingIgnoredDuringExecution'), errors);
    nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution?.forEach((term, i) => {
      const termAt = at.child('preferredDuringSchedulingIgnoredDuringExecution').index(i);
      checkWeight(term.weight, termAt, errors);
      checkNodeSelectorTerm(term.preference ?? {}, termAt.child('preference'), errors, false);
    });
  }
  if (podAffinity) checkPodAffinity(podAffinity, path.child('podAffinity'), errors);
  if (podAntiAffinity) checkPodAffinity(podAntiAffinity, path.child('podAntiAffinity'), errors);
}

interface PodAffinityTerms {
  requiredDuringSchedulingIgnoredDuringExecution?: PodAffinityTerm[];
  preferredDuringSchedulingIgnoredDuringExecution?: WeightedPodAffinityTerm[];
}

function checkPodAffinity(terms: PodAffinityTerms, path: Path, errors: Errors): void {
  terms.requiredDuringSchedulingIgnoredDuringExecution?.forEach((term, i) =>
    checkPodAffinityTerm(term, path.child('requiredDuringSchedulingIgnoredDuringExecution').index(i), errors),
  );
  terms.preferredDuringSchedulingIgnoredDuringExecution?.forEach((weighted, i) => {
    const at = path.child('preferredDuringSchedulingIgnoredDuringExecution').index(i);
    checkWeight(weighted.weight, at, errors);
    checkPodAffinityTerm(weighted.podAffinityTerm, at.child('podAffinityTerm'), errors);
  });
}

function checkWeight(weight: number, path: Path, errors: Errors): void {
  if (!(weight >= 1 && weight <= 100))
    errors.invalid(path.child('weight'), weight ?? 0, 'must be in the range 1-100');
}

function checkPodAffinityTerm(term: PodAffinityTerm, path: Path, errors: Errors): void {
  checkLabelSelector(term.labelSelector, path.child('labelSelector'), errors);
  checkLabelSelector(term.namespaceSelector, path.child('namespaceSelector'), errors);
  for (const namespace of term.namespaces ?? [])
    errors.invalidEach(path.child('namespace'), namespace, validateDNS1123Label(namespace));
  checkLabelKeys(term, path, errors);
  if (!term.topologyKey) errors.required(path.child('topologyKey'), 'can not be empty');
  checkQualifiedName(term.topologyKey ?? '', path.child('topologyKey'), errors);
}

interface LabelKeys {
  readonly matchLabelKeys?: readonly string[];
  readonly mismatchLabelKeys?: readonly string[];
  readonly labelSelector?: LabelSelector;
}

function checkLabelKeys(
  { matchLabelKeys, mismatchLabelKeys, labelSelector }: LabelKeys,
  path: Path,
  errors: Errors,
): void {
  checkKeyNames(matchLabelKeys, labelSelector, path.child('matchLabelKeys'), errors);
  checkKeyNames(mismatchLabelKeys, labelSelector, path.child('mismatchLabelKeys'), errors);
  if (!matchLabelKeys?.length) return;
  // The strategy adds every match label key to the selector once: a second one is from the client.
  const seen = new Set(Object.keys(labelSelector?.matchLabels ?? {}));
  for (const { key } of labelSelector?.matchExpressions ?? []) {
    const i = matchLabelKeys.lastIndexOf(key);
    if (i >= 0 && seen.has(key))
      errors.invalid(path.index(i), key, 'exists in both matchLabelKeys and labelSelector');
    seen.add(key);
  }
  matchLabelKeys.forEach((key, i) => {
    if (mismatchLabelKeys?.includes(key))
      errors.invalid(
        path.child('matchLabelKeys').index(i),
        key,
        'exists in both matchLabelKeys and mismatchLabelKeys',
      );
  });
}

function checkKeyNames(
  keys: readonly string[] | undefined,
  selector: LabelSelector | undefined,
  path: Path,
  errors: Errors,
): void {
  if (!keys?.length) return;
  if (!selector) {
    errors.forbidden(path, 'must not be specified when labelSelector is not set');
    return;
  }
  keys.forEach((key, i) => checkQualifiedName(key, path.index(i), errors));
}

const OPERATORS = ['Equal', 'Exists'];
/** Upstream's list of valid values, without those of disabled features. */
const COMPARISONS = [...OPERATORS, 'Lt', 'Gt'];

export function checkTolerations(tolerations: readonly Toleration[], path: Path, errors: Errors): void {
  for (let i = 0; i < tolerations.length; i++) {
    const { key, operator, value, effect, tolerationSeconds } = tolerations[i]!,
      at = path.index(i);
    if (key) checkQualifiedName(key, at.child('key'), errors);
    else if (operator !== 'Exists')
      errors.invalid(
        at.child('operator'),
        operator ?? '',
        'operator must be Exists when `key` is empty, which means "match all values and all keys"',
      );
    if (tolerationSeconds !== undefined && effect !== 'NoExecute')
      errors.invalid(
        at.child('effect'),
        effect ?? '',
        "effect must be 'NoExecute' when `tolerationSeconds` is set",
      );
    if (operator === undefined || operator === '' || operator === 'Equal') {
      const problems = validateLabelValue(value ?? '');
      if (problems.length > 0) errors.invalid(at.child('operator'), value, problems.join(';'));
    } else if (operator === 'Exists') {
      if (value)
        errors.invalid(at.child('operator'), value, "value must be empty when `operator` is 'Exists'");
    } else
      errors.notSupported(
        at.child('operator'),
        operator,
        operator === 'Lt' || operator === 'Gt' ? COMPARISONS : OPERATORS,
      );
    if (effect && !TAINT_EFFECTS.includes(effect))
      errors.notSupported(at.child('effect'), effect, TAINT_EFFECTS);
  }
}

const INCLUSION_POLICIES = ['Honor', 'Ignore'];
const SPREAD_ACTIONS = ['DoNotSchedule', 'ScheduleAnyway'];

function pairOf({ topologyKey, whenUnsatisfiable }: TopologySpreadConstraint): string {
  return `{${topologyKey}, ${whenUnsatisfiable}}`;
}

export function checkTopologySpread(
  constraints: readonly TopologySpreadConstraint[],
  path: Path,
  errors: Errors,
): void {
  const lastOf = new Map(constraints.map((constraint, i) => [pairOf(constraint), i]));
  constraints.forEach((constraint, i) => {
    const at = path.index(i),
      { topologyKey, whenUnsatisfiable, minDomains } = constraint;
    if (!(constraint.maxSkew > 0)) errors.invalid(at.child('maxSkew'), constraint.maxSkew ?? 0, NOT_POSITIVE);
    if (!topologyKey) errors.required(at.child('topologyKey'), 'can not be empty');
    if (!SPREAD_ACTIONS.includes(whenUnsatisfiable))
      errors.notSupported(at.child('whenUnsatisfiable'), whenUnsatisfiable ?? '', SPREAD_ACTIONS);
    if (lastOf.get(pairOf(constraint)) !== i)
      errors.duplicate(at.child('{topologyKey, whenUnsatisfiable}'), pairOf(constraint));
    if (minDomains !== undefined && minDomains <= 0)
      errors.invalid(at.child('minDomains'), minDomains, NOT_POSITIVE);
    if (minDomains !== undefined && whenUnsatisfiable !== 'DoNotSchedule')
      errors.invalid(
        at.child('minDomains'),
        minDomains,
        `can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ${whenUnsatisfiable}`,
      );
    checkOptionalEnum(constraint.nodeAffinityPolicy, INCLUSION_POLICIES, at, 'nodeAffinityPolicy', errors);
    checkOptionalEnum(constraint.nodeTaintsPolicy, INCLUSION_POLICIES, at, 'nodeTaintsPolicy', errors);
    checkLabelKeys(constraint, at, errors);
    checkLabelSelector(constraint.labelSelector, at.child('labelSelector'), errors);
  });
}
