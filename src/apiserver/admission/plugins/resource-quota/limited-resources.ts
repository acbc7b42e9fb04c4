/**
 * Resources whose use requires a covering quota (limitedResources of ResourceQuotaConfiguration), selected by resource name or by the object's scope.
 * After upstream's resourcequota controller.
 */
import { computeUsage, inScope } from '#component-helpers/quota-usage.ts';
import type { ResourceQuota, ScopedResourceSelectorRequirement } from '#api/types.ts';
import { forbid } from '../../forbid.ts';
import type { AdmissionAttributes } from '../../plugin.ts';

export interface LimitedResource {
  readonly apiGroup?: string;
  readonly resource: string;
  /** Parts of the names of resources: 'requests.nvidia.com/gpu', '.storageclass.storage.k8s.io/'. */
  readonly matchContains?: readonly string[];
  readonly matchScopes?: readonly ScopedResourceSelectorRequirement[];
}

/** Throws Forbidden when the object would use a limited resource that no quota of its namespace covers. */
export function checkLimitedResources(
  attributes: AdmissionAttributes,
  {
    limited,
    quotas,
  }: { readonly limited: readonly LimitedResource[]; readonly quotas: readonly ResourceQuota[] },
): void {
  const { gvr, object, oldObject } = attributes;
  const target = { group: gvr.group, resource: gvr.resource };
  const concerned = limited.filter(
    ({ apiGroup = '', resource }) => apiGroup === gvr.group && resource === gvr.resource,
  );
  if (concerned.length === 0 || !object) return;
  const before = oldObject ? computeUsage(oldObject, target) : new Map<string, never>();
  const used = [...computeUsage(object, target)]
    .filter(([name, amount]) => (before.has(name) ? amount.compare(before.get(name)!) > 0 : amount.sign > 0))
    .map(([name]) => name);
  const speaking = quotas.filter((quota) => inScope(object, { target, quota }));
  const covered = new Set(speaking.flatMap(({ spec }) => Object.keys(spec?.hard ?? {})));
  const uncovered = used.filter(
    (name) =>
      !covered.has(name) &&
      concerned.some(({ matchContains = [] }) => matchContains.some((part) => name.includes(part))),
  );
  if (uncovered.length > 0)
    throw forbid(attributes, `insufficient quota to consume: ${uncovered.toSorted().join(',')}`);
  const scopes = concerned
    .flatMap(({ matchScopes = [] }) => matchScopes)
    .filter(
      (scope) =>
        used.length > 0 &&
        inScope(object, { target, quota: { spec: { scopeSelector: { matchExpressions: [scope] } } } }),
    );
  const unmatched = scopes.filter(
    ({ scopeName }) =>
      !speaking.some(
        ({ spec }) =>
          spec?.scopes?.includes(scopeName) ||
          spec?.scopeSelector?.matchExpressions?.some((requirement) => requirement.scopeName === scopeName),
      ),
  );
  if (unmatched.length > 0)
    throw forbid(
      attributes,
      `insufficient quota to match these scopes: [${unmatched.map(({ scopeName, operator, values = [] }) => `{${scopeName} ${operator} [${values.join(' ')}]}`).join(' ')}]`,
    );
}
