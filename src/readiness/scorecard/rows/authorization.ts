/** Row: a user without a role may do nothing, and a node only what its pods need. */
import { clusterRoleBindings, subjectAccessReviews } from '#client/refs.ts';
import type { Client } from '#client/client.ts';
import { assessment, met, someOf, type ScorecardRow } from '../row.ts';

/** Everybody, in three ways. */
const EVERYBODY = new Set([
  'system:authenticated',
  'system:unauthenticated',
  'system:anonymous',
  'system:serviceaccounts',
]);
const PROBE = 'capstan-readiness-probe';

export const authorization: ScorecardRow = {
  name: 'authorization',
  topic: 'Users',
  title: 'Users without a role and Nodes get no more than they need',
  explain:
    'Two SubjectAccessReviews: a user without any role must not read Secrets, and a Node must not read every Secret (the Node authorizer). No ClusterRoleBinding may give cluster-admin to everybody. Met: all three hold.',
  async assess({ api }) {
    const problems = [
      ...((await mayRead(api, { user: PROBE, groups: ['system:authenticated'] }))
        ? ['a user without any role may read Secrets: the authorization mode allows everything']
        : []),
      ...((await mayRead(api, {
        user: `system:node:${PROBE}`,
        groups: ['system:nodes', 'system:authenticated'],
      }))
        ? ['a Node may read Secrets that none of its pods uses: the Node authorizer is not on']
        : []),
      ...(await openBindings(api)),
    ];
    if (problems.length === 0)
      return met('a user without a role may not read Secrets', 'nor may a Node those of other Nodes');
    return assessment('not met', {
      evidence: problems,
      remedy: 'use --authorization-mode=Node,RBAC, and delete bindings that give everybody a role',
    });
  },
};

async function mayRead(
  api: Client,
  { user, groups }: { readonly user: string; readonly groups: readonly string[] },
): Promise<boolean> {
  const review = await api.create(subjectAccessReviews, {
    metadata: {},
    spec: {
      user,
      groups: [...groups],
      resourceAttributes: { verb: 'get', resource: 'secrets', namespace: 'kube-system', name: PROBE },
    },
  });
  return review.status?.allowed === true;
}

async function openBindings(api: Client): Promise<string[]> {
  const { items } = await api.list(clusterRoleBindings);
  const open = items.filter(
    ({ roleRef, subjects = [] }) =>
      roleRef.name === 'cluster-admin' && subjects.some(({ name }) => EVERYBODY.has(name)),
  );
  const names = open.map(({ metadata }) => metadata.name);
  return names.length === 0 ? [] : [`everybody is cluster-admin by ClusterRoleBinding ${someOf(names)}`];
}
