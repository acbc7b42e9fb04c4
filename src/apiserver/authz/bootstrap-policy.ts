/** The default RBAC roles and bindings, after upstream's rbac bootstrap policy: created and completed at every start (reconcile-policy.ts). */
import type { KubeObject } from '#machinery/object.ts';
import type { InternalApi } from '../registry/loopback-client.ts';
import { aggregateRules } from './aggregation.ts';
import * as facts from './bootstrap-policy-data.ts';
import {
  RBAC_GROUP,
  type BindingObject,
  type PolicyRule,
  type RbacSubject,
  type RoleObject,
  type RoleRef,
} from './rbac-rules.ts';
import { AUTO_UPDATE_ANNOTATION, createIfAbsent, reconcilePolicy } from './reconcile-policy.ts';

const BOOTSTRAP_LABELS = { 'kubernetes.io/bootstrapping': 'rbac-defaults' } as const;
const AGGREGATE_LABEL_PREFIX = 'rbac.authorization.k8s.io/aggregate-to-';
const SYSTEM_NAMESPACE = 'kube-system';
const CONTROLLER_PREFIX = 'system:controller:';
const API_VERSION = `${RBAC_GROUP}/v1`;

interface BootstrapPolicyOptions {
  /** Groups bound to cluster-admin by a ClusterRoleBinding named like the group, made once when absent: kubeadm's 'kubeadm:cluster-admins'. */
  readonly clusterAdminGroups?: readonly string[];
  /** Feature gates that are on: some controllers' roles come with one. Default: none. */
  readonly features?: ReadonlySet<string>;
}

/** All writes go out at once, so that a store with group commit makes them durable together. Safe to run on several servers at a time. */
export async function bootstrapPolicy(
  internal: InternalApi,
  options: BootstrapPolicyOptions = {},
): Promise<void> {
  const { clusterRoles, roles, clusterRoleBindings, roleBindings } = defaultPolicy(options.features);
  await Promise.all([
    ...clusterRoles.map((role) => reconcilePolicy(internal, { resource: 'clusterroles', object: role })),
    ...roles.map((role) => reconcilePolicy(internal, { resource: 'roles', object: role })),
    ...clusterRoleBindings.map((binding) =>
      reconcilePolicy(internal, { resource: 'clusterrolebindings', object: binding }),
    ),
    ...roleBindings.map((binding) =>
      reconcilePolicy(internal, { resource: 'rolebindings', object: binding }),
    ),
    ...(options.clusterAdminGroups ?? []).map((group) =>
      createIfAbsent(internal, { group: RBAC_GROUP, resource: 'clusterrolebindings' }, adminBinding(group)),
    ),
  ]);
}

interface DefaultPolicy {
  readonly clusterRoles: readonly RoleObject[];
  readonly roles: readonly RoleObject[];
  readonly clusterRoleBindings: readonly BindingObject[];
  readonly roleBindings: readonly BindingObject[];
}

export function defaultPolicy(features: ReadonlySet<string> = new Set()): DefaultPolicy {
  const gated = Object.entries(facts.GATED_CONTROLLER_ROLES)
    .filter(([, { gate }]) => features.has(gate))
    .map(([name, { rules }]) => [name, rules] as const);
  const controllerRoles = [...Object.entries(facts.CONTROLLER_ROLES), ...gated];
  const plain = Object.entries(facts.CLUSTER_ROLES).map(([name, rules]) =>
    roleObject({
      name,
      rules: [...rules, ...gatedRules(name, features)],
      labels: aggregateLabels(facts.AGGREGATES_INTO[name]),
    }),
  );
  const controllers = controllerRoles.map(([name, rules]) =>
    roleObject({ name: CONTROLLER_PREFIX + name, rules }),
  );
  const aggregated = Object.entries(facts.AGGREGATED_ROLES).map(([name, { aggregatesInto }]) =>
    aggregatedRole(name, aggregatesInto),
  );
  const clusterRoles = [...plain, ...controllers, ...aggregated];
  return {
    clusterRoles: fillAggregated(clusterRoles),
    roles: facts.NAMESPACE_ROLES.map(({ namespace, name, rules }) => roleObject({ namespace, name, rules })),
    clusterRoleBindings: [
      ...Object.entries(facts.CLUSTER_ROLE_BINDINGS).map(([name, subjects]) =>
        bindingObject({ name, roleRef: { apiGroup: RBAC_GROUP, kind: 'ClusterRole', name }, subjects }),
      ),
      ...controllerRoles.map(([name]) =>
        bindingObject({
          name: CONTROLLER_PREFIX + name,
          roleRef: { apiGroup: RBAC_GROUP, kind: 'ClusterRole', name: CONTROLLER_PREFIX + name },
          subjects: [{ serviceAccount: name }],
        }),
      ),
    ],
    roleBindings: facts.NAMESPACE_ROLE_BINDINGS.map(({ namespace, name, role, subjects }) =>
      bindingObject({
        namespace,
        name,
        roleRef: { apiGroup: RBAC_GROUP, kind: 'Role', name: role },
        subjects,
      }),
    ),
  };
}

function gatedRules(role: string, features: ReadonlySet<string>): readonly string[] {
  return Object.entries(facts.GATED_RULES).flatMap(([gate, roles]) =>
    features.has(gate) ? (roles[role] ?? []) : [],
  );
}

/** The rules of role system:node, which the Node authorizer applies to nodes without any binding. */
export function nodeRules(): PolicyRule[] {
  return (facts.CLUSTER_ROLES['system:node'] ?? []).map(parseRule);
}

/** 'get,list pods@,apps #name' or 'get =/healthz'. */
function parseRule(text: string): PolicyRule {
  const [verbs = '', what = '', names] = text.split(' ');
  if (what.startsWith('=')) return { nonResourceURLs: what.slice(1).split(','), verbs: verbs.split(',') };
  const [resources = '', groups = ''] = what.split('@');
  return {
    apiGroups: groups.split(','),
    ...(names ? { resourceNames: names.slice(1).split(',') } : {}),
    resources: resources.split(','),
    verbs: verbs.split(','),
  };
}

function metadata(
  name: string,
  options: {
    readonly namespace?: string | undefined;
    readonly labels?: Readonly<Record<string, string>> | undefined;
  } = {},
): NonNullable<KubeObject['metadata']> {
  return {
    name,
    ...(options.namespace ? { namespace: options.namespace } : {}),
    annotations: { [AUTO_UPDATE_ANNOTATION]: 'true' },
    labels: { ...BOOTSTRAP_LABELS, ...options.labels },
  };
}

function roleObject(role: {
  readonly name: string;
  readonly namespace?: string;
  readonly rules: readonly string[];
  readonly labels?: Readonly<Record<string, string>> | undefined;
}): RoleObject {
  return {
    apiVersion: API_VERSION,
    kind: role.namespace ? 'Role' : 'ClusterRole',
    metadata: metadata(role.name, role),
    rules: role.rules.map(parseRule),
  };
}

function aggregatedRole(name: string, aggregatesInto: string | undefined): RoleObject {
  const aggregationRule = {
    clusterRoleSelectors: [{ matchLabels: { [AGGREGATE_LABEL_PREFIX + name]: 'true' } }],
  };
  return {
    apiVersion: API_VERSION,
    kind: 'ClusterRole',
    metadata: metadata(name, { labels: aggregateLabels(aggregatesInto) }),
    aggregationRule,
    rules: [],
  };
}

function aggregateLabels(into: string | undefined): Readonly<Record<string, string>> | undefined {
  return into ? { [AGGREGATE_LABEL_PREFIX + into]: 'true' } : undefined;
}

/** view goes into edit, edit into admin: filled in that order, so that a fresh cluster needs no second round of writes. */
function fillAggregated(roles: readonly RoleObject[]): RoleObject[] {
  const filled = [...roles];
  for (const name of ['view', 'edit', 'admin']) {
    const index = filled.findIndex((role) => role.metadata?.name === name);
    const role = filled[index];
    if (role) filled[index] = { ...role, rules: aggregateRules(role, filled) };
  }
  return filled;
}

function bindingObject(binding: {
  readonly name: string;
  readonly namespace?: string;
  readonly roleRef: RoleRef;
  readonly subjects: readonly facts.SubjectFacts[];
}): BindingObject {
  const subjects = binding.subjects.map(subjectObject);
  return {
    apiVersion: API_VERSION,
    kind: binding.namespace ? 'RoleBinding' : 'ClusterRoleBinding',
    metadata: metadata(binding.name, binding),
    roleRef: binding.roleRef,
    ...(subjects.length > 0 ? { subjects } : {}),
  };
}

function subjectObject(subject: facts.SubjectFacts): RbacSubject {
  if (subject.serviceAccount !== undefined)
    return { kind: 'ServiceAccount', name: subject.serviceAccount, namespace: SYSTEM_NAMESPACE };
  return subject.user === undefined
    ? { apiGroup: RBAC_GROUP, kind: 'Group', name: subject.group ?? '' }
    : { apiGroup: RBAC_GROUP, kind: 'User', name: subject.user };
}

/** As kubeadm makes it: no bootstrap label, never reconciled. */
function adminBinding(group: string): BindingObject {
  return {
    apiVersion: API_VERSION,
    kind: 'ClusterRoleBinding',
    metadata: { name: group },
    roleRef: { apiGroup: RBAC_GROUP, kind: 'ClusterRole', name: 'cluster-admin' },
    subjects: [{ apiGroup: RBAC_GROUP, kind: 'Group', name: group }],
  };
}
