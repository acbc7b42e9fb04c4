/** What a cluster has of hierarchical namespaces that uses them: the controller's permissions, and the definitions. Applied by an administrator, `capstan tree enable`. */
import type { Client } from '#client/client.ts';
import { clusterRoleBindings, clusterRoles } from '#client/refs.ts';
import type { Clock } from '#stdx/clock.ts';
import { installDefinitions } from '../definitions/custom-resource.ts';
import { HIERARCHY_DEFINITIONS } from './api.ts';

const RBAC = 'rbac.authorization.k8s.io';
const NAME = 'capstan:controller:hierarchical-namespaces';
const FIELD_MANAGER = 'capstan-addon-definitions';
const metadata = { name: NAME, labels: { 'app.kubernetes.io/managed-by': 'capstan' } };

export async function enableHierarchy(context: {
  readonly api: Client;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { api } = context;
  const options = { type: 'apply' as const, fieldManager: FIELD_MANAGER, force: true };
  await api.patch(clusterRoles, { name: NAME }, { ...options, patch: ROLE });
  await api.patch(clusterRoleBindings, { name: NAME }, { ...options, patch: BINDING });
  await installDefinitions(context, HIERARCHY_DEFINITIONS);
}

/** Everything, as HNC's: it copies objects of any kind, Roles among them, which nobody may write who has less. */
const ROLE = {
  apiVersion: `${RBAC}/v1`,
  kind: 'ClusterRole',
  metadata,
  rules: [{ apiGroups: ['*'], resources: ['*'], verbs: ['*'] }],
};

const BINDING = {
  apiVersion: `${RBAC}/v1`,
  kind: 'ClusterRoleBinding',
  metadata,
  roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name: NAME },
  subjects: [{ kind: 'ServiceAccount', name: 'hierarchical-namespaces', namespace: 'kube-system' }],
};
