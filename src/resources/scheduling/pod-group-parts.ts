/** What PodGroups and the templates of Workloads share. After upstream's declarative validation of scheduling.k8s.io/v1alpha2. */
import type { PodGroupSchedulingPolicy, PodGroupSpec } from '#api/generated/types/scheduling-v1alpha2.ts';
import { validateDNS1123Label, validateDNS1123Subdomain } from '#machinery/names.ts';
import { IMMUTABLE } from '../checks.ts';
import type { Errors, Path } from '../field-path.ts';
import { dropUnused, semanticEqual } from '../strategy.ts';

/** Of TopologyAwareWorkloadScheduling, DRAWorkloadResourceClaims and WorkloadAwarePreemption. */
const DISABLED = [
  'schedulingConstraints',
  'resourceClaims',
  'disruptionMode',
  'priorityClassName',
  'priority',
] as const;

type Gated = Pick<PodGroupSpec, (typeof DISABLED)[number]>;

export function dropDisabledGroupFields(part: Gated | undefined, stored: Gated | undefined): void {
  dropUnused(part, stored, DISABLED);
}

/** Exactly one of the members. */
export function checkUnion(
  union: object | undefined,
  members: readonly string[],
  path: Path,
  errors: Errors,
): void {
  const given = members.filter((member) => (union as Record<string, unknown> | undefined)?.[member]);
  const all = members.map((member) => `\`${member}\``).join(', ');
  if (given.length === 0) errors.invalid(path, '', `must specify one of: ${all}`);
  else if (given.length > 1)
    errors.invalid(path, `{${given.join(', ')}}`, `must specify exactly one of: ${all}`);
}

export function checkSchedulingPolicy(
  policy: PodGroupSchedulingPolicy | undefined,
  path: Path,
  errors: Errors,
): void {
  checkUnion(policy, ['basic', 'gang'], path, errors);
  if (!policy?.gang) return;
  const { minCount = 0 } = policy.gang;
  const at = path.child('gang').child('minCount');
  if (minCount === 0) errors.required(at);
  else if (minCount < 1) errors.invalid(at, minCount, 'must be greater than or equal to 1');
}

/** Required, and as the check says. */
export function checkName(
  value: string | undefined,
  path: Path,
  check: (value: string) => string[],
  errors: Errors,
): void {
  if (value === undefined || value === '') errors.required(path);
  else errors.invalidEach(path, value, check(value));
}

export const SHORT_NAME = validateDNS1123Label;
export const LONG_NAME = validateDNS1123Subdomain;

/** As upstream's declarative validation: the error does not show the value. */
export function checkUnchanged(next: unknown, previous: unknown, path: Path, errors: Errors): void {
  if (!semanticEqual(next, previous)) errors.invalid(path, null, IMMUTABLE);
}
