/** Rows: namespaces of users have quotas, and defaults for containers without requests. */
import { limitRanges, resourceQuotas } from '#client/refs.ts';
import type { ResourceRef } from '#client/client.ts';
import { namespaceCoverage } from '../namespace-coverage.ts';
import type { Assessment, ScorecardRow } from '../row.ts';
import type { ClusterView } from '../view.ts';

export const quotas: ScorecardRow = {
  name: 'quotas',
  topic: 'Limits on workloads',
  title: 'Namespaces of users have a ResourceQuota',
  explain:
    'Without a quota one namespace can take all of the cluster. Counted are the namespaces in which users run pods. Met: each of them has a ResourceQuota.',
  assess: (view) =>
    covered(view, {
      ref: resourceQuotas,
      remedy: 'kubectl create quota NAME -n NAMESPACE --hard=requests.cpu=4,requests.memory=8Gi,pods=50',
    }),
};

export const limitRangeDefaults: ScorecardRow = {
  name: 'limit-ranges',
  topic: 'Limits on workloads',
  title: 'Namespaces of users have a LimitRange',
  explain:
    'A container without a memory limit can take all of its Node. A LimitRange gives a default to those without one. Met: each namespace in which users run pods has a LimitRange.',
  assess: (view) =>
    covered(view, {
      ref: limitRanges,
      remedy:
        'apply a LimitRange with default and defaultRequest of cpu and memory in each: kubectl explain limitrange.spec.limits',
    }),
};

async function covered(
  view: ClusterView,
  { ref, remedy }: { readonly ref: ResourceRef; readonly remedy: string },
): Promise<Assessment> {
  const having = new Set((await view.optional(ref)).map(({ metadata }) => metadata.namespace));
  const has = (namespace: string): boolean => having.has(namespace);
  return (await namespaceCoverage(view, { has, predicate: 'have one', remedy })).assessment;
}
