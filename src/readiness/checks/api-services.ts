/** Check api-services: extension API servers that are not available; their group cannot be used, and namespaces cannot be deleted meanwhile. */
import { apiServices } from '#client/refs.ts';
import { findCondition } from '#component-helpers/conditions.ts';
import type { ReadinessCheck } from '../check.ts';

export const apiServicesAvailable: ReadinessCheck = {
  name: 'api-services',
  short: 'extension API servers are available',
  async run({ api }) {
    const { items } = await api.list(apiServices);
    return items.flatMap(({ metadata, spec, status }) => {
      const available = findCondition(status?.conditions, 'Available');
      if (!spec?.service || available?.status === 'True') return [];
      const { namespace, name } = spec.service;
      return [
        {
          severity: 'error' as const,
          object: `APIService ${metadata.name}`,
          evidence: `it is not available: ${available?.message ?? 'it was not asked yet'}`,
          remedy: `look at the pods behind the Service ${namespace}/${name}; if it is no longer used: kubectl delete apiservice ${metadata.name}`,
        },
      ];
    });
  },
};
