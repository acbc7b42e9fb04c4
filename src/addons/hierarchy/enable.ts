/**
 * What a cluster has of hierarchical namespaces that uses them: the controllers' permissions, the definitions, and what administrators, editors and viewers of namespaces may
 * do with them. Applied by an administrator, `capstan tree enable`.
 */
import type { Client } from '#client/client.ts';
import { clusterRoleBindings, clusterRoles } from '#client/refs.ts';
import { GROUP_NAME, HIERARCHY } from '#component-helpers/hierarchy/names.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { Clock } from '#stdx/clock.ts';
import { installDefinitions } from '../definitions/custom-resource.ts';
import {
  hierarchicalResourceQuotas,
  HIERARCHY_DEFINITIONS,
  hierarchyConfigurations,
  subnamespaceAnchors,
} from './api.ts';

const RBAC = 'rbac.authorization.k8s.io';
const NAME = 'capstan:controller:hierarchical-namespaces';
const APPLY = { type: 'apply' as const, fieldManager: 'capstan-addon-definitions', force: true };
const labels = { 'app.kubernetes.io/managed-by': 'capstan' };

interface Enabled {
  /** False: its API servers do not check what users do to trees, so that only the cluster's administrators may. */
  readonly isGuarded: boolean;
}

export async function enableHierarchy(context: {
  readonly api: Client;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}): Promise<Enabled> {
  const { api } = context;
  await api.patch(clusterRoles, { name: NAME }, { ...APPLY, patch: ROLE });
  await api.patch(clusterRoleBindings, { name: NAME }, { ...APPLY, patch: BINDING });
  await installDefinitions(context, HIERARCHY_DEFINITIONS);
  const isGuarded = await probeAdmission(api);
  for (const role of USER_ROLES) {
    const { name } = role.metadata;
    if (isGuarded) await api.patch(clusterRoles, { name }, { ...APPLY, patch: role });
    else await gone(api.delete(clusterRoles, { name }));
  }
  return { isGuarded };
}

/** Asks for what admission refuses, and takes it back where nobody refuses. */
async function probeAdmission(api: Client): Promise<boolean> {
  const probe = { name: HIERARCHY, namespace: 'kube-system' };
  try {
    await api.create(hierarchyConfigurations, { metadata: probe });
  } catch (error) {
    if (isStatusError(error, 'Forbidden')) return true;
    throw error;
  }
  await gone(api.delete(hierarchyConfigurations, probe));
  return false;
}

async function gone(deleted: Promise<unknown>): Promise<void> {
  await deleted.catch((error: unknown) => {
    if (!isStatusError(error, 'NotFound')) throw error;
  });
}

/** Everything, as HNC's: it copies objects of any kind, Roles among them, which nobody may write who has less. */
const ROLE = {
  apiVersion: `${RBAC}/v1`,
  kind: 'ClusterRole',
  metadata: { name: NAME, labels },
  rules: [{ apiGroups: ['*'], resources: ['*'], verbs: ['*'] }],
};

const BINDING = {
  apiVersion: `${RBAC}/v1`,
  kind: 'ClusterRoleBinding',
  metadata: { name: NAME, labels },
  roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name: NAME },
  subjects: [{ kind: 'ServiceAccount', name: 'hierarchical-namespaces', namespace: 'kube-system' }],
};

const EDITED = [subnamespaceAnchors, hierarchicalResourceQuotas].map(({ plural }) => plural);

/** As HNC's: added to the roles of namespaces' users. */
const USER_ROLES = [
  userRole('admin', { resources: [...EDITED, hierarchyConfigurations.plural], verbs: ['*'] }),
  userRole('edit', { resources: EDITED, verbs: ['*'] }),
  userRole('view', { resources: ['*'], verbs: ['get', 'list', 'watch'] }),
];

function userRole(
  role: 'admin' | 'edit' | 'view',
  { resources, verbs }: { readonly resources: string[]; readonly verbs: string[] },
) {
  return {
    apiVersion: `${RBAC}/v1`,
    kind: 'ClusterRole',
    metadata: {
      name: `capstan:hierarchical-namespaces:${role}`,
      labels: { ...labels, [`${RBAC}/aggregate-to-${role}`]: 'true' },
    },
    rules: [{ apiGroups: [GROUP_NAME], resources, verbs }],
  };
}
