/**
 * Prevents privilege escalation: checks on writes of roles and bindings, after upstream's policy-based storage of rbac. The verbs 'escalate' on a
 * role and 'bind' on the referenced role lift them; so does membership of system:masters.
 */
import { isStatusError, statusErrors } from '#machinery/errors.ts';
import { deepEqual } from '#machinery/json.ts';
import type { KubeObject, UserInfo } from '#machinery/object.ts';
import type { Authorizer } from './authorizer.ts';
import type { RbacAuthorizer } from './rbac.ts';
import {
  compactRules,
  describeRule,
  quotedList,
  RBAC_GROUP,
  type BindingObject,
  type PolicyRule,
  type RoleObject,
  type RoleRef,
} from './rbac-rules.ts';
import { RulesTooWide, uncoveredRules, type UncoveredRules } from './rule-sets.ts';

export interface EscalationContext {
  readonly user: UserInfo;
  readonly authorizer: Authorizer;
  readonly rbac: RbacAuthorizer;
}

const FULL_AUTHORITY: readonly PolicyRule[] = [
  { verbs: ['*'], apiGroups: ['*'], resources: ['*'] },
  { verbs: ['*'], nonResourceURLs: ['*'] },
];

/** For a create or an update of a Role or ClusterRole. Throws StatusError Forbidden. */
export async function checkRoleWrite(
  context: EscalationContext,
  {
    role,
    previous,
    resource,
  }: {
    readonly role: RoleObject;
    readonly previous?: RoleObject | undefined;
    readonly resource: 'roles' | 'clusterroles';
  },
): Promise<void> {
  if (previous && changesOnlyForGarbageCollection(role, previous)) return;
  const namespace = role.metadata?.namespace ?? '';
  if (
    isPrivileged(context.user) ||
    (await isAllowed(context, { verb: 'escalate', resource, namespace, name: role.metadata?.name ?? '' }))
  )
    return;
  const of = { group: RBAC_GROUP, resource, name: role.metadata?.name ?? '' };
  // A writer of aggregation labels could add any rule to an aggregated role: this requires full authority.
  if (
    (role.aggregationRule || previous?.aggregationRule) &&
    uncoveredRules(context.rbac.resolve(context.user, namespace).rules, FULL_AUTHORITY).count > 0
  )
    throw statusErrors.forbidden(of, 'must have cluster-admin privileges to use the aggregationRule');
  refuseMissing(context, { wanted: role.rules ?? [], namespace, of });
}

/** For a create or an update of a RoleBinding or ClusterRoleBinding. Throws StatusError Forbidden, or NotFound for an absent role. */
export async function checkBindingWrite(
  context: EscalationContext,
  {
    binding,
    previous,
    resource,
  }: {
    readonly binding: BindingObject;
    readonly previous?: BindingObject | undefined;
    readonly resource: 'rolebindings' | 'clusterrolebindings';
  },
): Promise<void> {
  const { roleRef } = binding;
  if (
    !roleRef ||
    isPrivileged(context.user) ||
    (previous && changesOnlyForGarbageCollection(binding, previous))
  )
    return;
  const namespace = resource === 'rolebindings' ? (binding.metadata?.namespace ?? '') : '';
  const target = roleRef.kind === 'ClusterRole' ? 'clusterroles' : 'roles';
  if (await isAllowed(context, { verb: 'bind', resource: target, namespace, name: roleRef.name })) return;
  refuseMissing(context, {
    wanted: rulesOf(roleRef, { context, namespace, resource }),
    namespace,
    of: { group: RBAC_GROUP, resource, name: binding.metadata?.name ?? '' },
  });
}

/** StatusError NotFound with the requested kind and the role's name, as upstream. */
function rulesOf(
  roleRef: RoleRef,
  {
    context,
    namespace,
    resource,
  }: { readonly context: EscalationContext; readonly namespace: string; readonly resource: string },
): readonly PolicyRule[] {
  const rules = context.rbac.rulesOfRole(roleRef, namespace);
  if (!rules) throw statusErrors.notFound({ group: RBAC_GROUP, resource, name: roleRef.name });
  return rules;
}

/**
 * Owners and finalizers, which the garbage collector must be able to change without holding the rights. Labels are checked: one may let an
 * aggregated role include the rules.
 */
function changesOnlyForGarbageCollection(object: KubeObject, previous: KubeObject): boolean {
  const rest = ({
    metadata: {
      ownerReferences: _owners,
      finalizers: _finalizers,
      managedFields: _managed,
      resourceVersion: _revision,
      generation: _generation,
      ...metadata
    } = {},
    apiVersion: _version,
    kind: _kind,
    ...others
  }: KubeObject): unknown => ({ metadata, ...others });
  return deepEqual(rest(object), rest(previous));
}

function isPrivileged(user: UserInfo): boolean {
  return user.groups.includes('system:masters');
}

async function isAllowed(
  context: EscalationContext,
  request: {
    readonly verb: string;
    readonly resource: string;
    readonly namespace: string;
    readonly name: string;
  },
): Promise<boolean> {
  try {
    const { decision } = await context.authorizer.authorize({
      user: context.user,
      isResourceRequest: true,
      group: RBAC_GROUP,
      version: '*',
      subresource: '',
      path: '',
      ...request,
    });
    return decision === 'allow';
  } catch (error) {
    if (isStatusError(error)) return false;
    throw error;
  }
}

function refuseMissing(
  context: EscalationContext,
  check: {
    readonly wanted: readonly PolicyRule[];
    readonly namespace: string;
    readonly of: { readonly group: string; readonly resource: string; readonly name: string };
  },
): void {
  const held = context.rbac.resolve(context.user, check.namespace);
  const missing = missingRules(held.rules, check);
  if (missing.count === 0) return;
  const descriptions = [...new Set(compactRules(missing.rules).map(describeRule))].toSorted();
  const more = missing.count - missing.rules.length;
  if (more > 0) descriptions.push(`and ${more} more`);
  const errors = held.errors.length > 0 ? `; resolution errors: ${quotedErrors(held.errors)}` : '';
  const { name, groups } = context.user;
  throw statusErrors.forbidden(
    check.of,
    `user ${JSON.stringify(name)} (groups=${quotedList(groups)}) is attempting to grant RBAC permissions not currently held:\n${descriptions.join('\n')}${errors}`,
  );
}

/** Single rules that a refusal shows; upstream shows all. */
const MAX_SHOWN_RULES = 1000;

/** What cannot be compared within bounds is not granted. */
function missingRules(
  held: readonly PolicyRule[],
  {
    wanted,
    of,
  }: { readonly wanted: readonly PolicyRule[]; readonly of: Parameters<typeof statusErrors.forbidden>[0] },
): UncoveredRules {
  try {
    return uncoveredRules(held, wanted, { most: MAX_SHOWN_RULES });
  } catch (error) {
    if (!(error instanceof RulesTooWide)) throw error;
    throw statusErrors.forbidden(
      of,
      `the rules are too wide to be compared with those held: ${error.message}`,
    );
  }
}

function quotedErrors(errors: readonly string[]): string {
  return `[${errors.join(' ')}]`;
}
