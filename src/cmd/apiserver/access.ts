/**
 * Explains permissions in a running cluster: reads roles and bindings through the API and evaluates them with the server's own code, so that the result
 * names the rule, its role and the binding. Other authorizers (Node, ABAC, webhooks) show only in the server's own verdict, which is requested too.
 */
import * as refs from '#api/refs.ts';
import type { AuthorizationAttributes } from '#machinery/authorization.ts';
import { nodeRules } from '#apiserver/authz/bootstrap-policy.ts';
import { RbacIndex, roleKeyOfRef } from '#apiserver/authz/rbac-index.ts';
import {
  ruleAllows,
  ruleKey,
  rulesAllow,
  type BindingObject,
  type PolicyRule,
  type RbacSubject,
  type RoleObject,
  type RoleRef,
} from '#apiserver/authz/rbac-rules.ts';
import type { Client, ResourceRef } from '#client/client.ts';
import { isStatusError } from '#machinery/errors.ts';
import { compileLabelSelector } from '#machinery/labels.ts';
import type { KubeObject, UserInfo } from '#machinery/object.ts';

export interface AccessQuestion {
  readonly verb: string;
  /** Absent for paths. */
  readonly resource?: {
    readonly group: string;
    readonly version: string;
    readonly resource: string;
    readonly subresource: string;
    readonly namespaced: boolean;
    readonly name: string;
    /** '' = all namespaces, or a cluster-scoped resource. */ readonly namespace: string;
  };
  readonly path?: string;
}

/** One way in which RBAC allows something. */
export interface Permit {
  readonly subject: RbacSubject;
  readonly binding: {
    readonly kind: 'ClusterRoleBinding' | 'RoleBinding';
    readonly name: string;
    readonly namespace: string;
  };
  readonly role: RoleRef;
  readonly rule: PolicyRule;
  /** ClusterRoles that an aggregated role has the rule from. */
  readonly gatheredFrom: readonly string[];
}

interface Verdict {
  readonly allowed: boolean;
  readonly denied: boolean;
  readonly reason: string;
  readonly error: string;
}

export interface Explanation {
  readonly user: UserInfo;
  readonly question: AccessQuestion;
  readonly permits: readonly Permit[];
  /** Outside RBAC: the privileged group, and kubelets. */
  readonly remarks: readonly string[];
  /** Similar permissions of the user, when this one is missing. */
  readonly nearest: readonly { readonly what: string; readonly permit: Permit }[];
  /** Bindings of the user whose role does not exist. */
  readonly dangling: readonly string[];
  /** Of all authorizers; undefined when the caller may not create reviews. */
  readonly server: Verdict | undefined;
}

interface WhoCan {
  readonly question: AccessQuestion;
  readonly permits: readonly Permit[];
  readonly remarks: readonly string[];
}

const NEAREST = 6;
const PAGE = 500;

class AccessPolicy {
  readonly #index = new RbacIndex();
  readonly #roles = new Map<string, RoleObject>();
  readonly #bindings: readonly BindingObject[];

  constructor(roles: readonly RoleObject[], bindings: readonly BindingObject[]) {
    this.#bindings = bindings;
    for (const role of roles) {
      this.#index.setRole(role);
      this.#roles.set(`${role.metadata?.namespace ?? ''}/${role.metadata?.name ?? ''}`, role);
    }
    for (const binding of bindings) this.#index.setBinding(binding);
  }

  whoCan(question: AccessQuestion): WhoCan {
    const request = requestOf(question, { name: '', groups: [] });
    const permits = this.#bindings.flatMap((binding) => {
      const namespace = binding.metadata?.namespace ?? '';
      if (!binding.roleRef || (namespace !== '' && namespace !== request.namespace)) return [];
      const { roleRef } = binding;
      return (binding.subjects ?? []).flatMap((subject) =>
        this.#permitsOf(
          {
            roleRef,
            roleKey: roleKeyOfRef(roleRef, namespace),
            namespace,
            bindingName: binding.metadata?.name ?? '',
            subject,
          },
          request,
        ),
      );
    });
    return {
      question,
      permits: firstOfEach(permits),
      remarks: [
        'members of group system:masters may do everything; RBAC is not asked',
        ...nodeRemarks(request),
      ],
    };
  }

  explain(user: UserInfo, question: AccessQuestion): Omit<Explanation, 'server'> {
    const request = requestOf(question, user);
    const permits = this.#permits(request, request.namespace);
    const remarks = [
      ...(user.groups.includes('system:masters')
        ? ['is in group system:masters, which may do everything; RBAC is not asked']
        : []),
      ...(isNode(user) ? nodeRemarks(request) : []),
    ];
    return {
      user,
      question,
      permits: firstOfEach(permits),
      remarks,
      nearest: permits.length > 0 ? [] : this.#nearest(request),
      dangling: this.#dangling(request),
    };
  }

  #permits(request: AuthorizationAttributes, namespace: string): Permit[] {
    const found: Permit[] = [];
    this.#index.visitGrants(request.user, namespace, (grant) => {
      found.push(...this.#permitsOf(grant, request));
      return false;
    });
    return found;
  }

  #permitsOf(
    grant: {
      readonly roleRef: RoleRef;
      readonly roleKey: string;
      readonly namespace: string;
      readonly bindingName: string;
      readonly subject: RbacSubject;
    },
    request: AuthorizationAttributes,
  ): Permit[] {
    const { subject, roleRef, roleKey, namespace, bindingName } = grant;
    const rules = this.#index.role(roleKey)?.rules.filter((rule) => ruleAllows(rule, request)) ?? [];
    const binding = {
      kind: namespace === '' ? 'ClusterRoleBinding' : 'RoleBinding',
      name: bindingName,
      namespace,
    } as const;
    return rules.map((rule) => ({
      subject,
      binding,
      role: roleRef,
      rule,
      gatheredFrom: this.#sources(roleKey, rule),
    }));
  }

  /** Through roles that gather from roles that gather, down to those that say it themselves. */
  #sources(roleKey: string, rule: PolicyRule, seen: ReadonlySet<string> = new Set()): readonly string[] {
    const selectors = this.#roles.get(roleKey)?.aggregationRule?.clusterRoleSelectors ?? [];
    const key = ruleKey(rule);
    const found = new Set<string>();
    for (const selector of selectors.map((one) => compileLabelSelector(one))) {
      for (const [otherKey, role] of this.#roles) {
        if (
          otherKey === roleKey ||
          seen.has(otherKey) ||
          !otherKey.startsWith('/') ||
          !selector.matches(role.metadata?.labels) ||
          !role.rules?.some((other) => ruleKey(other) === key)
        )
          continue;
        const deeper = this.#sources(otherKey, rule, new Set([...seen, roleKey]));
        for (const name of deeper.length > 0 ? deeper : [role.metadata?.name ?? '']) found.add(name);
      }
    }
    return [...found].toSorted();
  }

  /** The closest first: here with other verbs, by name, the object itself for its subresource, elsewhere. */
  #nearest(request: AuthorizationAttributes): { readonly what: string; readonly permit: Permit }[] {
    const found = new Map<string, { readonly what: string; readonly permit: Permit }>();
    const add = (what: string, permits: readonly Permit[]): void => {
      const [permit] = permits;
      if (permit && !found.has(what)) found.set(what, { what, permit });
    };
    const held: PolicyRule[] = [];
    this.#index.visitGrants(request.user, request.namespace, (grant) => {
      held.push(...(this.#index.role(grant.roleKey)?.rules ?? []));
      return false;
    });
    const verbs = new Set(held.flatMap((rule) => rule.verbs ?? []));
    for (const verb of verbs) add(`may ${verb} it`, this.#permits({ ...request, verb }, request.namespace));
    if (!request.isResourceRequest) return [...found.values()].slice(0, NEAREST);
    for (const name of new Set(held.flatMap((rule) => rule.resourceNames ?? [])))
      add(
        `may ${request.verb} the one named ${JSON.stringify(name)}`,
        this.#permits({ ...request, name }, request.namespace),
      );
    if (request.subresource !== '')
      add(
        `may ${request.verb} ${request.resource} themselves, not ${request.subresource}`,
        this.#permits({ ...request, subresource: '' }, request.namespace),
      );
    for (const group of new Set(held.flatMap((rule) => rule.apiGroups ?? [])))
      if (group !== '*')
        add(
          `may ${request.verb} ${request.resource} of API group ${JSON.stringify(group)}`,
          this.#permits({ ...request, group }, request.namespace),
        );
    const namespaces = new Set(
      this.#bindings.flatMap(({ metadata }) => (metadata?.namespace ? [metadata.namespace] : [])),
    );
    for (const namespace of namespaces)
      add(
        `may ${request.verb} it in namespace ${JSON.stringify(namespace)}`,
        this.#permits({ ...request, namespace }, namespace),
      );
    return [...found.values()].slice(0, NEAREST);
  }

  #dangling(request: AuthorizationAttributes): string[] {
    const found = new Set<string>();
    this.#index.visitGrants(request.user, request.namespace, (grant) => {
      const kind = grant.namespace === '' ? 'ClusterRoleBinding' : 'RoleBinding';
      if (!this.#index.role(grant.roleKey))
        found.add(
          `${kind} ${JSON.stringify(grant.bindingName)} names ${grant.roleRef.kind} ${JSON.stringify(grant.roleRef.name)}, which does not exist`,
        );
      return false;
    });
    return [...found];
  }
}

/** Each subject by each binding once, by its first rule that allows. */
function firstOfEach(permits: readonly Permit[]): Permit[] {
  const seen = new Set<string>();
  return permits.filter(({ subject, binding }) => {
    const key = JSON.stringify([subject.kind, subject.namespace, subject.name, binding]);
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

function requestOf({ verb, resource, path = '' }: AccessQuestion, user: UserInfo): AuthorizationAttributes {
  if (!resource)
    return {
      user,
      verb,
      isResourceRequest: false,
      group: '',
      version: '',
      resource: '',
      subresource: '',
      namespace: '',
      name: '',
      path,
    };
  const { namespaced: _namespaced, ...attributes } = resource;
  return { user, verb, isResourceRequest: true, path: '', ...attributes };
}

function isNode(user: UserInfo): boolean {
  return user.groups.includes('system:nodes') && user.name.startsWith('system:node:');
}

function nodeRemarks(request: AuthorizationAttributes): string[] {
  return rulesAllow(nodeRules(), request)
    ? [
        'kubelets (system:node:NAME in group system:nodes) may by the Node authorizer, for what belongs to their own node and its pods',
      ]
    : [];
}

// --------------------------------------------------------------------------------------------------------------- the API

/** Needs the right to list roles and bindings. */
export async function readAccessPolicy(client: Client): Promise<AccessPolicy> {
  const [clusterRoles, roles, clusterRoleBindings, roleBindings] = await Promise.all(
    [refs.clusterRoles, refs.roles, refs.clusterRoleBindings, refs.roleBindings].map((ref) =>
      listAll(client, ref as ResourceRef),
    ),
  );
  return new AccessPolicy(
    [...clusterRoles!, ...roles!] as RoleObject[],
    [...clusterRoleBindings!, ...roleBindings!] as BindingObject[],
  );
}

async function listAll(client: Client, ref: ResourceRef): Promise<KubeObject[]> {
  const items: KubeObject[] = [];
  let next: string | undefined;
  do {
    const page = await client.list(ref, { limit: PAGE, ...(next ? { continue: next } : {}) });
    items.push(...page.items);
    next = page.metadata?.continue;
  } while (next);
  return items;
}

/** The verdict of all the server's authorizers; undefined when the caller may not review others. */
export async function serverVerdict(
  client: Client,
  user: UserInfo,
  question: AccessQuestion,
): Promise<Verdict | undefined> {
  const { verb, resource, path } = question;
  const { namespaced: _namespaced, ...attributes } = resource ?? { namespaced: false };
  const spec = {
    user: user.name,
    groups: user.groups,
    ...(resource
      ? { resourceAttributes: { verb, ...attributes } }
      : { nonResourceAttributes: { verb, path } }),
  };
  try {
    const { status } = (await client.create(
      refs.subjectAccessReviews as ResourceRef,
      {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SubjectAccessReview',
        metadata: {},
        spec,
      } as KubeObject,
    )) as { status?: { allowed?: boolean; denied?: boolean; reason?: string; evaluationError?: string } };
    return {
      allowed: status?.allowed ?? false,
      denied: status?.denied ?? false,
      reason: status?.reason ?? '',
      error: status?.evaluationError ?? '',
    };
  } catch (error) {
    if (isStatusError(error, 'Forbidden')) return undefined;
    throw error;
  }
}

interface FoundResource {
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly namespaced: boolean;
}

interface DiscoveredResource {
  readonly resource: string;
  readonly singularResource?: string;
  readonly shortNames?: readonly string[];
  readonly scope?: string;
  readonly responseKind?: { readonly kind?: string };
}
interface DiscoveredGroup {
  readonly metadata?: { readonly name?: string };
  readonly versions?: readonly {
    readonly version: string;
    readonly resources?: readonly DiscoveredResource[];
  }[];
}

const DISCOVERY = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList';

/** 'pods', 'po', 'pod', 'deployments.apps': resolved as kubectl does, in the preferred version of the first group that has it; undefined when none does. */
export async function findResource(client: Client, text: string): Promise<FoundResource | undefined> {
  const [name = '', ...rest] = text.toLowerCase().split('.');
  const wantedGroup = rest.join('.');
  for (const path of ['/api', '/apis']) {
    const response = await client.transport.request({ method: 'GET', path, headers: { accept: DISCOVERY } });
    const { items = [] } = JSON.parse(Buffer.from(await response.bytes()).toString()) as {
      items?: readonly DiscoveredGroup[];
    };
    for (const { metadata, versions = [] } of items) {
      const group = metadata?.name ?? '';
      if (wantedGroup !== '' && wantedGroup !== group) continue;
      for (const { version, resources = [] } of versions) {
        const found = resources.find(
          (one) =>
            one.resource === name ||
            one.singularResource === name ||
            one.shortNames?.includes(name) ||
            one.responseKind?.kind?.toLowerCase() === name,
        );
        if (found)
          return { group, version, resource: found.resource, namespaced: found.scope === 'Namespaced' };
      }
    }
  }
  return undefined;
}
