/** The RBAC authorizer: allows by bindings, has no opinion otherwise. After upstream's plugin/pkg/auth/authorizer/rbac. */
import type { UserInfo } from '#machinery/object.ts';
import type { AuthorizationAttributes, AuthorizationDecision } from '#machinery/authorization.ts';
import type { Authorizer, NonResourceRule, ResourceRule, UserRules } from './authorizer.ts';
import { formatResourceKey, roleKeyOfRef, type Grant, type RbacIndex } from './rbac-index.ts';
import { RBAC_GROUP, type PolicyRule, type RbacSubject, type RoleRef } from './rbac-rules.ts';

/** All a user may do somewhere, and the bindings whose role is missing. */
interface ResolvedRules {
  readonly rules: readonly PolicyRule[];
  readonly errors: readonly string[];
}

export class RbacAuthorizer implements Authorizer {
  readonly #index: RbacIndex;

  constructor(index: RbacIndex) {
    this.#index = index;
  }

  authorize(request: AuthorizationAttributes): AuthorizationDecision {
    const resourceKey = request.isResourceRequest ? formatResourceKey(request) : '';
    const namespace = request.isResourceRequest ? request.namespace : '';
    let allowedBy: Grant | undefined;
    const errors = new Set<string>();
    this.#index.visitRoles(request.user, namespace, (grant) => {
      const role = this.#index.role(grant.roleKey);
      if (!role) errors.add(missingRole(grant.roleRef));
      else if (role.allows(request, resourceKey)) allowedBy = grant;
      return allowedBy !== undefined;
    });
    if (allowedBy) return { decision: 'allow', reason: `RBAC: allowed by ${describeGrant(allowedBy)}` };
    return {
      decision: 'no-opinion',
      reason: errors.size > 0 ? `RBAC: ${aggregateMessage([...errors])}` : '',
    };
  }

  rulesFor(user: UserInfo, namespace: string): UserRules {
    const { rules, errors } = this.resolve(user, namespace);
    const resourceRules = rules
      .filter((rule) => rule.resources?.length)
      .map((rule): ResourceRule => ({
        verbs: rule.verbs ?? [],
        apiGroups: rule.apiGroups ?? [],
        resources: rule.resources ?? [],
        ...(rule.resourceNames?.length ? { resourceNames: rule.resourceNames } : {}),
      }));
    const nonResourceRules = rules
      .filter((rule) => rule.nonResourceURLs?.length)
      .map((rule): NonResourceRule => ({
        verbs: rule.verbs ?? [],
        nonResourceURLs: rule.nonResourceURLs ?? [],
      }));
    return {
      resourceRules,
      nonResourceRules,
      incomplete: false,
      ...(errors.length > 0 ? { evaluationError: aggregateMessage(errors) } : {}),
    };
  }

  /** Every rule the user holds cluster-wide and in this namespace ('' = cluster-wide only). */
  resolve(user: UserInfo, namespace: string): ResolvedRules {
    const rules: PolicyRule[] = [];
    const errors = new Set<string>();
    this.#index.visitRoles(user, namespace, (grant) => {
      const role = this.#index.role(grant.roleKey);
      if (role) rules.push(...role.rules);
      else errors.add(missingRole(grant.roleRef));
      return false;
    });
    return { rules, errors: [...errors] };
  }

  /** The rules of a referenced role; undefined when there is none. */
  rulesOfRole(roleRef: RoleRef, namespace: string): readonly PolicyRule[] | undefined {
    return this.#index.role(roleKeyOfRef(roleRef, namespace))?.rules;
  }
}

function missingRole(roleRef: RoleRef): string {
  return `${roleRef.kind.toLowerCase()}.${RBAC_GROUP} "${roleRef.name}" not found`;
}

/** One message unchanged, several in brackets: the format of Go's aggregated errors. */
function aggregateMessage(messages: readonly string[]): string {
  return messages.length === 1 ? messages[0]! : `[${messages.join(', ')}]`;
}

function describeGrant(grant: Grant): string {
  const { roleRef, subject } = grant;
  const kind = grant.namespace === '' ? 'ClusterRoleBinding' : 'RoleBinding';
  const name = grant.namespace === '' ? grant.bindingName : `${grant.bindingName}/${grant.namespace}`;
  return `${kind} "${name}" of ${roleRef.kind} "${roleRef.name}" to ${describeSubject(subject, grant.namespace)}`;
}

function describeSubject(subject: RbacSubject, bindingNamespace: string): string {
  return subject.kind === 'ServiceAccount'
    ? `ServiceAccount "${subject.name}/${subject.namespace || bindingNamespace}"`
    : `${subject.kind} "${subject.name}"`;
}
