/** Row: workloads have accounts of their own; the account that every pod gets has no role. */
import { clusterRoleBindings, roleBindings } from '#client/refs.ts';
import { assessment, met, someOf, type ScorecardRow } from '../row.ts';

interface Binding {
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly subjects?: readonly {
    readonly kind: string;
    readonly name: string;
    readonly namespace?: string;
  }[];
}

export const serviceAccountsOwn: ScorecardRow = {
  name: 'service-accounts',
  topic: 'Limits on workloads',
  title: 'The default ServiceAccounts have no role',
  explain:
    'A pod without a ServiceAccount runs as "default" of its namespace: a role of that account is a role of every pod there. Read are all RoleBindings and ClusterRoleBindings. Met: none names an account "default", or all accounts of a namespace.',
  async assess({ api }) {
    const [clusterWide, inNamespaces] = await Promise.all([
      api.list(clusterRoleBindings),
      api.list(roleBindings),
    ]);
    const all: readonly Binding[] = [...clusterWide.items, ...inNamespaces.items];
    const found = all.filter(
      ({ metadata, subjects = [] }) => !isBuiltIn(metadata.name) && subjects.some(isDefault),
    );
    if (found.length === 0) return met('no role is bound to a ServiceAccount "default"');
    const names = found.map(({ metadata: { name, namespace } }) =>
      namespace ? `RoleBinding ${namespace}/${name}` : `ClusterRoleBinding ${name}`,
    );
    return assessment('partly', {
      evidence: [`every pod of a namespace has the role of ${someOf(names)}`],
      remedy:
        'kubectl create serviceaccount NAME, bind the role to it, and name it in the pods: spec.serviceAccountName',
    });
  },
};

function isBuiltIn(name: string): boolean {
  return name.startsWith('system:');
}

function isDefault({ kind, name }: { readonly kind: string; readonly name: string }): boolean {
  if (kind === 'ServiceAccount') return name === 'default';
  return kind === 'Group' && name.startsWith('system:serviceaccounts:');
}
