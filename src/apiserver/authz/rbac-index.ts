/**
 * Roles and bindings of the cluster, compiled and indexed for fast decisions: subject → scope ('' or a namespace) → bindings, and
 * role → a table from 'group/resource' to rules. Kept live by the watches of InternalApi; pure data otherwise.
 */
import type { KubeObject, UserInfo } from '#machinery/object.ts';
import type { InternalApi, InternalWatchHandler } from '../registry/loopback-client.ts';
import type { AuthorizationAttributes } from '#machinery/authorization.ts';
import {
  pathMatches,
  RBAC_GROUP,
  type BindingObject,
  type PolicyRule,
  type RbacSubject,
  type RoleObject,
  type RoleRef,
} from './rbac-rules.ts';

const SERVICE_ACCOUNT_PREFIX = 'system:serviceaccount:';

/** One subject of one binding. */
export interface Grant {
  /** '' for a ClusterRoleBinding. */
  readonly namespace: string;
  readonly bindingName: string;
  readonly subject: RbacSubject;
  readonly roleRef: RoleRef;
  /** Key of the role in the index. */
  readonly roleKey: string;
}

interface CompiledRule {
  readonly verbs: ReadonlySet<string>;
  readonly anyVerb: boolean;
  readonly names: ReadonlySet<string> | undefined;
}

interface WideRule {
  readonly groups: ReadonlySet<string>;
  readonly resources: ReadonlySet<string>;
  readonly compiled: CompiledRule;
}

/** Groups × resources of one rule; the default policy's largest rules have some dozens. */
const MAX_TABLE_ENTRIES = 1000;

export class CompiledRole {
  readonly rules: readonly PolicyRule[];
  readonly #exact = new Map<string, CompiledRule[]>();
  /** Rules with a '*' among groups or resources, and those too wide for the table: compared one by one. */
  readonly #wide: WideRule[] = [];
  readonly #paths: { readonly patterns: readonly string[]; readonly compiled: CompiledRule }[] = [];

  constructor(rules: readonly PolicyRule[]) {
    this.rules = rules;
    for (const rule of rules) this.#add(rule);
  }

  #add(rule: PolicyRule): void {
    const verbs = rule.verbs ?? [];
    const compiled: CompiledRule = {
      verbs: new Set(verbs),
      anyVerb: verbs.includes('*'),
      names: rule.resourceNames?.length ? new Set(rule.resourceNames) : undefined,
    };
    if (rule.nonResourceURLs?.length) this.#paths.push({ patterns: rule.nonResourceURLs, compiled });
    const groups = new Set(rule.apiGroups);
    const resources = new Set(rule.resources);
    if (groups.has('*') || hasWildcard(resources) || groups.size * resources.size > MAX_TABLE_ENTRIES) {
      this.#wide.push({ groups, resources, compiled });
      return;
    }
    for (const group of groups)
      for (const resource of resources) {
        const key = `${group}\n${resource}`;
        const known = this.#exact.get(key);
        if (known) known.push(compiled);
        else this.#exact.set(key, [compiled]);
      }
  }

  /** resourceKey: formatResourceKey(request), made once for all roles. */
  allows(request: AuthorizationAttributes, resourceKey: string): boolean {
    if (!request.isResourceRequest) {
      for (const { patterns, compiled } of this.#paths)
        if (verbAllowed(compiled, request.verb) && pathMatches(patterns, request.path)) return true;
      return false;
    }
    const exact = this.#exact.get(resourceKey);
    if (exact)
      for (const compiled of exact)
        if (verbAllowed(compiled, request.verb) && nameAllowed(compiled, request.name)) return true;
    for (const rule of this.#wide) {
      if (
        verbAllowed(rule.compiled, request.verb) &&
        nameAllowed(rule.compiled, request.name) &&
        wideMatches(rule, request)
      )
        return true;
    }
    return false;
  }
}

export function formatResourceKey(request: AuthorizationAttributes): string {
  return request.subresource === ''
    ? `${request.group}\n${request.resource}`
    : `${request.group}\n${request.resource}/${request.subresource}`;
}

function verbAllowed(rule: CompiledRule, verb: string): boolean {
  return rule.anyVerb || rule.verbs.has(verb);
}

function nameAllowed(rule: CompiledRule, name: string): boolean {
  return rule.names === undefined || rule.names.has(name);
}

function hasWildcard(resources: ReadonlySet<string>): boolean {
  for (const resource of resources) if (resource.startsWith('*')) return true;
  return false;
}

function wideMatches({ groups, resources }: WideRule, request: AuthorizationAttributes): boolean {
  if (!groups.has('*') && !groups.has(request.group)) return false;
  if (resources.has('*')) return true;
  return request.subresource === ''
    ? resources.has(request.resource)
    : resources.has(`${request.resource}/${request.subresource}`) ||
        resources.has(`*/${request.subresource}`);
}

/** Grants of one subject, by namespace ('' = cluster-wide) and role, in the order they were added. Many bindings to one role are one question. */
type Scopes = Map<string, Map<string, Set<Grant>>>;

export class RbacIndex {
  readonly #roles = new Map<string, CompiledRole>();
  readonly #subjects = new Map<string, Scopes>();
  /** What each binding contributed, to take it out again. */
  readonly #bindings = new Map<string, { readonly subjectKey: string; readonly grant: Grant }[]>();

  role(key: string): CompiledRole | undefined {
    return this.#roles.get(key);
  }

  setRole(object: RoleObject): void {
    this.#roles.set(roleKeyOf(object), new CompiledRole(object.rules ?? []));
  }

  deleteRole(object: RoleObject): void {
    this.#roles.delete(roleKeyOf(object));
  }

  setBinding(object: BindingObject): void {
    this.deleteBinding(object);
    const namespace = object.metadata?.namespace ?? '';
    const roleRef = object.roleRef;
    if (!roleRef) return;
    const entries = (object.subjects ?? []).flatMap((subject) => {
      const subjectKey = subjectKeyOf(subject, namespace);
      const grant: Grant = {
        namespace,
        bindingName: object.metadata?.name ?? '',
        subject,
        roleRef,
        roleKey: roleKeyOfRef(roleRef, namespace),
      };
      return subjectKey === undefined ? [] : [{ subjectKey, grant }];
    });
    for (const { subjectKey, grant } of entries) this.#add(subjectKey, grant);
    this.#bindings.set(bindingKeyOf(object), entries);
  }

  deleteBinding(object: BindingObject): void {
    const key = bindingKeyOf(object);
    for (const { subjectKey, grant } of this.#bindings.get(key) ?? []) this.#remove(subjectKey, grant);
    this.#bindings.delete(key);
  }

  #add(subjectKey: string, grant: Grant): void {
    let scopes = this.#subjects.get(subjectKey);
    if (!scopes) this.#subjects.set(subjectKey, (scopes = new Map()));
    let roles = scopes.get(grant.namespace);
    if (!roles) scopes.set(grant.namespace, (roles = new Map()));
    const grants = roles.get(grant.roleKey);
    if (grants) grants.add(grant);
    else roles.set(grant.roleKey, new Set([grant]));
  }

  #remove(subjectKey: string, grant: Grant): void {
    const scopes = this.#subjects.get(subjectKey);
    const roles = scopes?.get(grant.namespace);
    const grants = roles?.get(grant.roleKey);
    grants?.delete(grant);
    if (grants?.size === 0) roles?.delete(grant.roleKey);
    if (roles?.size === 0) scopes?.delete(grant.namespace);
    if (scopes?.size === 0) this.#subjects.delete(subjectKey);
  }

  /**
   * Visits the user's roles, cluster-wide ones first, then those in the namespace ('' = none), by the first grant of each for each of its names
   * and groups. Stops when visit answers true, and answers that.
   */
  visitRoles(user: UserInfo, namespace: string, visit: (grant: Grant) => boolean): boolean {
    return this.#visit(user, namespace, (grants) => {
      for (const grant of grants) return visit(grant);
      return false;
    });
  }

  /** Every grant, also those that add nothing. */
  visitGrants(user: UserInfo, namespace: string, visit: (grant: Grant) => boolean): boolean {
    return this.#visit(user, namespace, (grants) => {
      for (const grant of grants) if (visit(grant)) return true;
      return false;
    });
  }

  #visit(user: UserInfo, namespace: string, visit: (grants: ReadonlySet<Grant>) => boolean): boolean {
    const userScopes = this.#subjects.get(`U${user.name}`);
    const scopes = userScopes ? [userScopes] : [];
    for (const group of user.groups) {
      const groupScopes = this.#subjects.get(`G${group}`);
      if (groupScopes) scopes.push(groupScopes);
    }
    return visitScope(scopes, '', visit) || (namespace !== '' && visitScope(scopes, namespace, visit));
  }
}

function visitScope(
  scopes: readonly Scopes[],
  namespace: string,
  visit: (grants: ReadonlySet<Grant>) => boolean,
): boolean {
  for (const scope of scopes) {
    const roles = scope.get(namespace);
    if (roles) for (const grants of roles.values()) if (visit(grants)) return true;
  }
  return false;
}

/** A service account without namespace in a RoleBinding is in the binding's own. */
function subjectKeyOf(subject: RbacSubject, bindingNamespace: string): string | undefined {
  if (subject.kind === 'User') return `U${subject.name}`;
  if (subject.kind === 'Group') return `G${subject.name}`;
  const namespace = subject.namespace || bindingNamespace;
  return subject.kind === 'ServiceAccount' && namespace !== ''
    ? `U${SERVICE_ACCOUNT_PREFIX}${namespace}:${subject.name}`
    : undefined;
}

function roleKeyOf(object: RoleObject): string {
  return `${object.metadata?.namespace ?? ''}/${object.metadata?.name ?? ''}`;
}

export function roleKeyOfRef(roleRef: RoleRef, namespace: string): string {
  return roleRef.kind === 'ClusterRole' ? `/${roleRef.name}` : `${namespace}/${roleRef.name}`;
}

function bindingKeyOf(object: BindingObject): string {
  return `${object.metadata?.namespace ?? ''}/${object.metadata?.name ?? ''}`;
}

/** Fills the index and keeps it current. Returns the function that stops it. */
export function followRbac(index: RbacIndex, internal: InternalApi): () => void {
  const roles: InternalWatchHandler = {
    added: (object) => index.setRole(object as RoleObject),
    updated: (object) => index.setRole(object as RoleObject),
    deleted: (object) => index.deleteRole(object as RoleObject),
  };
  const bindings: InternalWatchHandler = {
    added: (object: KubeObject) => index.setBinding(object as BindingObject),
    updated: (object) => index.setBinding(object as BindingObject),
    deleted: (object) => index.deleteBinding(object as BindingObject),
  };
  const stops = [
    internal.watch({ group: RBAC_GROUP, resource: 'clusterroles' }, roles),
    internal.watch({ group: RBAC_GROUP, resource: 'roles' }, roles),
    internal.watch({ group: RBAC_GROUP, resource: 'clusterrolebindings' }, bindings),
    internal.watch({ group: RBAC_GROUP, resource: 'rolebindings' }, bindings),
  ];
  return () => stops.forEach((stop) => stop());
}
