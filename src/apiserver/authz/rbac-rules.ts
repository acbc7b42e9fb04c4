/** RBAC policy rules as data: matching a request, comparing sets of rules, printing them. Pure. After k8s.io/component-helpers/auth/rbac and upstream's rbac validation. */
import type { KubeObject } from '#machinery/object.ts';
import type { AuthorizationAttributes } from '#machinery/authorization.ts';

export const RBAC_GROUP = 'rbac.authorization.k8s.io';

export interface PolicyRule {
  readonly verbs?: readonly string[];
  readonly apiGroups?: readonly string[];
  readonly resources?: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly nonResourceURLs?: readonly string[];
}

export interface RbacSubject {
  readonly kind: string;
  readonly apiGroup?: string;
  readonly name: string;
  readonly namespace?: string;
}
export interface RoleRef {
  readonly apiGroup?: string;
  readonly kind: string;
  readonly name: string;
}
interface AggregationRule {
  readonly clusterRoleSelectors?: readonly {
    readonly matchLabels?: Readonly<Record<string, string>>;
    readonly matchExpressions?: readonly SelectorExpression[];
  }[];
}
interface SelectorExpression {
  readonly key: string;
  readonly operator: string;
  readonly values?: readonly string[];
}
export interface RoleObject extends KubeObject {
  rules?: PolicyRule[] | null;
  aggregationRule?: AggregationRule;
}
export interface BindingObject extends KubeObject {
  subjects?: RbacSubject[] | null;
  roleRef?: RoleRef;
}

export function ruleAllows(rule: PolicyRule, request: AuthorizationAttributes): boolean {
  if (!includesOrAll(rule.verbs, request.verb)) return false;
  if (!request.isResourceRequest) return pathMatches(rule.nonResourceURLs, request.path);
  return (
    includesOrAll(rule.apiGroups, request.group) &&
    resourceMatches(rule.resources, request) &&
    (!rule.resourceNames || rule.resourceNames.length === 0 || rule.resourceNames.includes(request.name))
  );
}

export function rulesAllow(rules: readonly PolicyRule[], request: AuthorizationAttributes): boolean {
  return rules.some((rule) => ruleAllows(rule, request));
}

function includesOrAll(list: readonly string[] | undefined, value: string): boolean {
  return list !== undefined && (list.includes(value) || list.includes('*'));
}

/** 'pods', 'pods/log', '*' (everything, with subresources) or '*' + '/scale' (that subresource of everything). */
function resourceMatches(
  resources: readonly string[] | undefined,
  request: { readonly resource: string; readonly subresource: string },
): boolean {
  if (!resources) return false;
  const combined =
    request.subresource === '' ? request.resource : `${request.resource}/${request.subresource}`;
  return resources.some(
    (resource) =>
      resource === '*' ||
      resource === combined ||
      (request.subresource !== '' && resource === `*/${request.subresource}`),
  );
}

/** '*' at the end matches any rest. */
export function pathMatches(patterns: readonly string[] | undefined, path: string): boolean {
  return (
    patterns?.some(
      (pattern) =>
        pattern === '*' ||
        pattern === path ||
        (pattern.endsWith('*') && path.startsWith(withoutTrailingStars(pattern))),
    ) ?? false
  );
}

/** Not by a regular expression: a long run of stars before the end would take quadratic time. */
function withoutTrailingStars(pattern: string): string {
  let end = pattern.length;
  while (end > 0 && pattern.charCodeAt(end - 1) === STAR) end--;
  return pattern.slice(0, end);
}

const STAR = 42;

/** Verbs of single-resource rules without names are gathered, as upstream shows them. */
export function compactRules(rules: readonly PolicyRule[]): PolicyRule[] {
  const simple = new Map<
    string,
    {
      apiGroups: readonly string[];
      resources: readonly string[];
      verbs: string[];
      resourceNames?: readonly string[];
    }
  >();
  const others: PolicyRule[] = [];
  for (const rule of rules) {
    if (
      rule.nonResourceURLs?.length ||
      rule.apiGroups?.length !== 1 ||
      rule.resources?.length !== 1 ||
      (rule.resourceNames?.length ?? 0) > 1
    ) {
      others.push(rule);
      continue;
    }
    const key = JSON.stringify([rule.apiGroups[0], rule.resources[0], rule.resourceNames?.[0]]);
    const known = simple.get(key);
    if (known) known.verbs.push(...(rule.verbs ?? []));
    else
      simple.set(key, {
        apiGroups: rule.apiGroups,
        resources: rule.resources,
        verbs: [...(rule.verbs ?? [])],
        ...(rule.resourceNames?.length ? { resourceNames: rule.resourceNames } : {}),
      });
  }
  return [...simple.values(), ...others];
}

/** '{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}' */
export function describeRule(rule: PolicyRule): string {
  const parts: string[] = [];
  const add = (name: string, values: readonly string[] | undefined): void => {
    if (values?.length) parts.push(`${name}:${quotedList(values)}`);
  };
  add('APIGroups', rule.apiGroups);
  add('Resources', rule.resources);
  add('NonResourceURLs', rule.nonResourceURLs);
  add('ResourceNames', rule.resourceNames);
  add('Verbs', rule.verbs);
  return `{${parts.join(', ')}}`;
}

/** Go's %q of a []string: '["a" "b"]'. */
export function quotedList(values: readonly string[]): string {
  return `[${values.map((value) => JSON.stringify(value)).join(' ')}]`;
}

/** Same rules in the same order; absent and empty lists are the same. */
export function sameRules(left: readonly PolicyRule[], right: readonly PolicyRule[]): boolean {
  return (
    left.length === right.length && left.every((rule, index) => ruleKey(rule) === ruleKey(right[index] ?? {}))
  );
}

export function ruleKey(rule: PolicyRule): string {
  return JSON.stringify([
    rule.verbs ?? [],
    rule.apiGroups ?? [],
    rule.resources ?? [],
    rule.resourceNames ?? [],
    rule.nonResourceURLs ?? [],
  ]);
}
