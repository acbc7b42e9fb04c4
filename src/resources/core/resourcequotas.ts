/** ResourceQuota. */
import type { ResourceQuota, ResourceQuotaSpec } from '#api/types.ts';
import { IMMUTABLE, own } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC, STATUS, type Path } from '../field-path.ts';
import { checkQuotaAmounts, isStandardQuotaName } from '../resource-list.ts';
import { keepAllButStatus, keepField } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';
import { roundUp } from './pod/defaults.ts';

const SCOPES = [
  'Terminating',
  'NotTerminating',
  'BestEffort',
  'NotBestEffort',
  'PriorityClass',
  'CrossNamespacePodAffinity',
  'VolumeAttributesClass',
];
const CONFLICTS = [
  ['BestEffort', 'NotBestEffort'],
  ['Terminating', 'NotTerminating'],
] as const;
const COMPUTE = new Set([
  'pods',
  'cpu',
  'memory',
  'requests.cpu',
  'requests.memory',
  'limits.cpu',
  'limits.memory',
]);

export const resourcequotas = defineResource<ResourceQuota>({
  group: '',
  plural: 'resourcequotas',
  applyDefaults: (quota) => {
    quota.spec ??= {};
    roundUp(quota.spec.hard);
    roundUp(quota.status?.hard);
    roundUp(quota.status?.used);
  },
  prepareForCreate: (quota) => {
    quota.status = {};
  },
  prepareForUpdate: (next, previous) => keepField(next, previous, 'status'),
  validate: (quota) => {
    const errors = new Errors();
    checkSpec(quota.spec ?? {}, errors);
    checkStatus(quota, errors);
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkSpec(next.spec ?? {}, errors);
    const before = new Set(previous.spec?.scopes),
      after = new Set(next.spec?.scopes);
    if (before.size !== after.size || [...before].some((scope) => !after.has(scope)))
      errors.invalid(SPEC.child('scopes'), next.spec?.scopes, IMMUTABLE);
    return errors.list;
  },
  status: {
    prepareForUpdate: (next, previous) => keepAllButStatus(next, previous),
    validateUpdate: (next) => {
      const errors = new Errors();
      checkStatus(next, errors);
      return errors.list;
    },
  },
  table: {
    columns: columns('Name', 'Request', 'Limit', 'Age'),
    row: (quota, context) => {
      const requests: string[] = [],
        limits: string[] = [];
      for (const name of Object.keys(quota.status?.hard ?? {}).sort()) {
        (name.startsWith('limits.') ? limits : requests).push(
          `${name}: ${own(quota.status?.used, name) ?? '0'}/${quota.status?.hard?.[name]}`,
        );
      }
      return [nameOf(quota), requests.join(', '), limits.join(', '), formatAge(quota, context)];
    },
  },
});

function checkStatus(quota: ResourceQuota, errors: Errors): void {
  checkQuotaAmounts(quota.status?.hard, STATUS.child('hard'), errors);
  checkQuotaAmounts(quota.status?.used, STATUS.child('used'), errors);
}

function fits(scope: string, resource: string): boolean {
  switch (scope) {
    case 'BestEffort':
      return resource === 'pods';
    case 'VolumeAttributesClass':
      return resource === 'persistentvolumeclaims' || resource === 'requests.storage';
    case 'CrossNamespacePodAffinity':
    case 'Terminating':
    case 'NotTerminating':
    case 'NotBestEffort':
    case 'PriorityClass':
      return COMPUTE.has(resource) || resource.includes('ephemeral-storage');
    default:
      return true;
  }
}

function checkSpec(spec: ResourceQuotaSpec, errors: Errors): void {
  checkQuotaAmounts(spec.hard, SPEC.child('hard'), errors);
  const hard = Object.keys(spec.hard ?? {})
    .sort()
    .filter(isStandardQuotaName);
  const scopes = spec.scopes ?? [],
    path = SPEC.child('scopes');
  for (const scope of scopes) {
    if (!SCOPES.includes(scope)) errors.invalid(path, scopes, 'unsupported scope');
    for (const resource of hard)
      if (!fits(scope, resource)) errors.invalid(path, scopes, 'unsupported scope applied to resource');
  }
  checkConflicts(new Set(scopes), path, scopes, errors);
  if (spec.scopeSelector) checkScopeSelector(spec, hard, errors);
}

function checkConflicts(
  scopes: ReadonlySet<string>,
  path: Path,
  shown: readonly string[] | undefined,
  errors: Errors,
): void {
  for (const [a, b] of CONFLICTS)
    if (scopes.has(a) && scopes.has(b)) errors.invalid(path, shown, 'conflicting scopes');
}

function checkScopeSelector(spec: ResourceQuotaSpec, hard: readonly string[], errors: Errors): void {
  const path = SPEC.child('scopeSelector').child('matchExpressions');
  const scopes = new Set<string>();
  for (const { scopeName, operator, values = [] } of spec.scopeSelector!.matchExpressions ?? []) {
    if (!SCOPES.includes(scopeName)) errors.invalid(path.child('scopeName'), scopeName, 'unsupported scope');
    for (const resource of hard)
      if (!fits(scopeName, resource))
        errors.invalid(path, spec.scopeSelector, 'unsupported scope applied to resource');
    const onlyExists = [
      'BestEffort',
      'NotBestEffort',
      'Terminating',
      'NotTerminating',
      'CrossNamespacePodAffinity',
    ].includes(scopeName);
    if (onlyExists && operator !== 'Exists') {
      errors.invalid(
        path.child('operator'),
        operator,
        "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity",
      );
    }
    if (operator === 'In' || operator === 'NotIn') {
      if (values.length === 0)
        errors.required(
          path.child('values'),
          "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
        );
    } else if (operator === 'Exists' || operator === 'DoesNotExist') {
      if (values.length > 0)
        errors.invalid(
          path.child('values'),
          values,
          "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
        );
    } else errors.invalid(path.child('operator'), operator, 'not a valid selector operator');
    scopes.add(scopeName);
  }
  checkConflicts(scopes, SPEC.child('scopeSelector').child('scopes'), spec.scopes, errors);
}
