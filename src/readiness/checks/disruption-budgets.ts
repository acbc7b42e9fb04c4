/** Check disruption-budgets: PodDisruptionBudgets that allow no eviction: they would block the drain of a node. */
import { podDisruptionBudgets } from '#client/refs.ts';
import { listAll } from '../list-all.ts';
import type { ReadinessCheck } from '../check.ts';

export const disruptionBudgets: ReadinessCheck = {
  name: 'disruption-budgets',
  short: 'budgets let pods be evicted',
  async run({ api }) {
    const { items } = await listAll(api, podDisruptionBudgets);
    return items.flatMap(({ metadata, status }) => {
      const {
        disruptionsAllowed = 0,
        expectedPods = 0,
        currentHealthy = 0,
        desiredHealthy = 0,
      } = status ?? {};
      if (disruptionsAllowed > 0 || expectedPods === 0) return [];
      const never = desiredHealthy >= expectedPods;
      return [
        {
          severity: 'warning' as const,
          object: `PodDisruptionBudget ${metadata.namespace}/${metadata.name}`,
          evidence: `no pod of it may be evicted: ${currentHealthy} of ${expectedPods} are healthy and ${desiredHealthy} must be`,
          remedy: never
            ? 'it can never allow one: lower minAvailable, or run more replicas'
            : 'bring its pods to Ready; until then the drain of their nodes waits',
        },
      ];
    });
  },
};
