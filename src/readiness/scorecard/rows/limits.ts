/** Rows: namespaces of users have quotas, and defaults for containers without requests. */
import { limitRanges, resourceQuotas } from '#client/refs.ts';
import type { ResourceRef } from '#client/client.ts';
import {
  assessment,
  count,
  met,
  someOf,
  verdictOfShare,
  type Assessment,
  type ScorecardRow,
} from '../row.ts';
import { userNamespaces, type ClusterView } from '../view.ts';

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
  const used = await userNamespaces(view);
  if (used.length === 0) return met('no namespace has pods of users');
  const having = new Set((await view.optional(ref)).map(({ metadata }) => metadata.namespace));
  const without = used.filter((name) => !having.has(name));
  return assessment(verdictOfShare(used.length - without.length, used.length), {
    evidence: [
      `${used.length - without.length} of ${count(used.length, 'namespace')} with pods of users have one`,
      ...(without.length > 0 ? [`without: ${someOf(without)}`] : []),
    ],
    remedy,
  });
}
