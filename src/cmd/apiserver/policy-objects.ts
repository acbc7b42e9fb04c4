/** Roles and bindings that the API server makes at its start (addon-policy.ts), from their names, rules and subjects. */
import { AUTO_UPDATE_ANNOTATION, type PolicyObject } from '#apiserver/authz/reconcile-policy.ts';
import type { KubeObject } from '#machinery/object.ts';

export const RBAC = 'rbac.authorization.k8s.io';
const apiVersion = `${RBAC}/v1`;
/** Of what is Capstan's own. */
export const labels = { 'app.kubernetes.io/managed-by': 'capstan' };

export const READ = ['get', 'list', 'watch'];
/** What every part that records events needs. */
export const EVENTS = {
  apiGroups: ['', 'events.k8s.io'],
  resources: ['events'],
  verbs: ['create', 'patch', 'update'],
};

export function serviceAccount(name: string): object {
  return { kind: 'ServiceAccount', name, namespace: 'kube-system' };
}

export function user(name: string): object {
  return { kind: 'User', apiGroup: RBAC, name };
}

export function group(name: string): object {
  return { kind: 'Group', apiGroup: RBAC, name };
}

/** In no namespace, or in that one. */
interface Named {
  readonly name: string;
  readonly namespace?: 'kube-system';
}

interface Role extends Named {
  readonly rules: readonly object[];
  /** Default: Capstan's. Without any the object is somebody else's: made when it is missing, and never changed. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

export function role({ rules, labels: own = labels, ...named }: Role): PolicyObject {
  const [resource, kind] = named.namespace
    ? (['roles', 'Role'] as const)
    : (['clusterroles', 'ClusterRole'] as const);
  return {
    resource,
    object: { apiVersion, kind, metadata: { ...named, ...labelled(own) }, rules } as KubeObject,
  };
}

interface Binding extends Named {
  readonly subjects: readonly object[];
  /** Default: the role of the same name. */
  readonly role?: string;
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

export function binding({ subjects, role: to, labels: own = labels, ...named }: Binding): PolicyObject {
  const [resource, kind, roleKind] = named.namespace
    ? (['rolebindings', 'RoleBinding', 'Role'] as const)
    : (['clusterrolebindings', 'ClusterRoleBinding', 'ClusterRole'] as const);
  const roleRef = { apiGroup: RBAC, kind: roleKind, name: to ?? named.name };
  const metadata = { ...named, ...labelled(own) };
  return { resource, object: { apiVersion, kind, metadata, roleRef, subjects } as KubeObject };
}

function labelled(own: Readonly<Record<string, string>>): object {
  return Object.keys(own).length > 0
    ? { labels: own, annotations: { [AUTO_UPDATE_ANNOTATION]: 'true' } }
    : {};
}

/** A role, and who has it. */
export function granted({
  subjects,
  rules,
  ...named
}: Role & { readonly subjects: readonly object[] }): PolicyObject[] {
  return [role({ ...named, rules }), binding({ ...named, subjects })];
}
