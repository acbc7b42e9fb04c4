/**
 * ResourceQuota: refuses a request that would exceed the namespace's quotas; otherwise charges it to their status before it is stored, and releases
 * the charge if the request fails (charging.ts). The resourcequota controller recounts periodically, and after deletions.
 */
import type { ResourceQuota } from '#api/types.ts';
import type { AdmissionPlugin } from '../../plugin.ts';
import { isCounted, isPlainPodUpdate, QuotaCharging, type Excess } from './charging.ts';
import { checkLimitedResources, type LimitedResource } from './limited-resources.ts';

const QUOTAS = { group: '', resource: 'resourcequotas' } as const;

export interface ResourceQuotaOptions {
  readonly limitedResources?: readonly LimitedResource[];
}

export function resourceQuota({ limitedResources = [] }: ResourceQuotaOptions = {}): AdmissionPlugin {
  const charging = new QuotaCharging({
    resource: QUOTAS,
    quotasOf: ({ internal, namespace }) => internal.list(QUOTAS, { namespace }) as ResourceQuota[],
    turnOf: ({ namespace }) => namespace,
    describeExcess,
  });
  return {
    name: 'ResourceQuota',
    handles: isCounted,
    validate(attributes) {
      const { namespace, internal } = attributes;
      if (namespace === '' || isPlainPodUpdate(attributes)) return undefined;
      if (limitedResources.length > 0)
        checkLimitedResources(attributes, {
          limited: limitedResources,
          quotas: internal.list(QUOTAS, { namespace }) as ResourceQuota[],
        });
      if (internal.count(QUOTAS, { namespace }) === 0) return undefined;
      return charging.charge(attributes);
    },
    undo: (attributes) => charging.undo(attributes),
  };
}

function describeExcess({ metadata }: ResourceQuota, excess: readonly Excess[]): string {
  const list = (field: Exclude<keyof Excess, 'resource'>): string =>
    excess.map((one) => `${one.resource}=${one[field]}`).join(',');
  return `exceeded quota: ${metadata?.name}, requested: ${list('requested')}, used: ${list('used')}, limited: ${list('limited')}`;
}
