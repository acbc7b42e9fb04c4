/**
 * Creates the default RBAC roles and bindings at every start, and restores their required content, after upstream's rbac bootstrap policy and its
 * reconciliation:
 *
 *   absent → created · autoupdate annotation "false" → unchanged · otherwise missing rules, subjects, labels and annotations are
 *   added, extra ones stay · a binding to another role is recreated
 */
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { GroupResource, InternalApi } from '../registry/loopback-client.ts';
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
import { uncoveredRules } from './rule-sets.ts';

const AUTO_UPDATE_ANNOTATION = 'rbac.authorization.kubernetes.io/autoupdate';
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
    ...clusterRoles.map((role) => reconcileRole(internal, resource('clusterroles'), role)),
    ...roles.map((role) => reconcileRole(internal, resource('roles'), role)),
    ...clusterRoleBindings.map((binding) =>
      reconcileBinding(internal, resource('clusterrolebindings'), binding),
    ),
    ...roleBindings.map((binding) => reconcileBinding(internal, resource('rolebindings'), binding)),
    ...(options.clusterAdminGroups ?? []).map((group) =>
      createIfAbsent(internal, resource('clusterrolebindings'), adminBinding(group)),
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

function resource(plural: string): GroupResource {
  return { group: RBAC_GROUP, resource: plural };
}

async function reconcileRole(internal: InternalApi, kind: GroupResource, wanted: RoleObject): Promise<void> {
  if (await createIfAbsent(internal, kind, wanted)) return;
  await modifyIfNeeded(internal, kind, {
    wanted,
    complete: (role: RoleObject) => {
      const labelled = addMetadata(role, wanted);
      if (wanted.aggregationRule) {
        const selectors = role.aggregationRule?.clusterRoleSelectors ?? [];
        const known = new Set(selectors.map((selector) => JSON.stringify(selector)));
        const missing = (wanted.aggregationRule.clusterRoleSelectors ?? []).filter(
          (selector) => !known.has(JSON.stringify(selector)),
        );
        if (missing.length > 0) role.aggregationRule = { clusterRoleSelectors: [...selectors, ...missing] };
        return labelled || missing.length > 0;
      }
      const missing = uncoveredRules(role.rules ?? [], wanted.rules ?? []).rules;
      if (missing.length > 0) role.rules = [...(role.rules ?? []), ...missing];
      return labelled || missing.length > 0;
    },
  });
}

async function reconcileBinding(
  internal: InternalApi,
  kind: GroupResource,
  wanted: BindingObject,
): Promise<void> {
  if (await createIfAbsent(internal, kind, wanted)) return;
  const stored = internal.get(kind, nameOf(wanted)) as BindingObject | undefined;
  if (stored && !isProtected(stored) && !sameRoleRef(stored.roleRef, wanted.roleRef)) {
    await internal.delete(kind, nameOf(wanted));
    await createIfAbsent(internal, kind, wanted);
    return;
  }
  await modifyIfNeeded(internal, kind, {
    wanted,
    complete: (binding: BindingObject) => {
      const labelled = addMetadata(binding, wanted);
      const known = new Set((binding.subjects ?? []).map(subjectId));
      const missing = (wanted.subjects ?? []).filter((subject) => !known.has(subjectId(subject)));
      if (missing.length > 0) binding.subjects = [...(binding.subjects ?? []), ...missing];
      return labelled || missing.length > 0;
    },
  });
}

function sameRoleRef(left: RoleRef | undefined, right: RoleRef | undefined): boolean {
  return left?.kind === right?.kind && left?.name === right?.name;
}

function subjectId(subject: RbacSubject): string {
  return JSON.stringify([subject.kind, subject.namespace ?? '', subject.name]);
}

async function createIfAbsent(
  internal: InternalApi,
  kind: GroupResource,
  object: KubeObject,
): Promise<boolean> {
  if (internal.get(kind, nameOf(object))) return false;
  try {
    await internal.create(kind, object);
    return true;
  } catch (error) {
    if (isStatusError(error, 'AlreadyExists')) return false;
    throw error;
  }
}

/** Reads the stored object first, so that a start of a complete cluster writes nothing. complete returns whether it mutated its argument. */
async function modifyIfNeeded<T extends KubeObject>(
  internal: InternalApi,
  kind: GroupResource,
  step: { readonly wanted: T; complete(object: T): boolean },
): Promise<void> {
  const stored = internal.get(kind, nameOf(step.wanted));
  if (!stored || isProtected(stored) || !step.complete(structuredClone(stored) as T)) return;
  await internal.modify(
    kind,
    nameOf(step.wanted),
    (object) => !isProtected(object) && step.complete(object as T),
  );
}

function isProtected(object: KubeObject): boolean {
  return object.metadata?.annotations?.[AUTO_UPDATE_ANNOTATION] === 'false';
}

function addMetadata(object: KubeObject, wanted: KubeObject): boolean {
  const meta = (object.metadata ??= {});
  const missing = (
    has: Readonly<Record<string, string>> | undefined,
    wants: Readonly<Record<string, string>> | undefined,
  ): boolean => Object.keys(wants ?? {}).some((key) => has?.[key] === undefined);
  const changed =
    missing(meta.labels, wanted.metadata?.labels) || missing(meta.annotations, wanted.metadata?.annotations);
  if (changed) {
    meta.labels = { ...wanted.metadata?.labels, ...meta.labels };
    meta.annotations = { ...wanted.metadata?.annotations, ...meta.annotations };
  }
  return changed;
}

function nameOf(object: KubeObject): { readonly name: string; readonly namespace: string | undefined } {
  return { name: object.metadata?.name ?? '', namespace: object.metadata?.namespace };
}
