/** May they: the interface of the pipeline's authorize stage, after upstream's authorizer.Authorizer. RBAC, Node, Webhook… implement it. */
import type { UserInfo } from '#machinery/object.ts';
import type { SelectorRequirement } from '#machinery/selector-requirements.ts';

export interface AuthorizationAttributes {
  readonly user: UserInfo;
  /** 'get', 'list', 'watch', 'create', … for resources; the lower-case HTTP method for other paths. */
  readonly verb: string;
  readonly isResourceRequest: boolean;
  /** '' for the core group; '*' in a review means all. */
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  /** '' when none. */
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
  /** The URL path, without query. */
  readonly path: string;
  readonly fieldSelector?: readonly SelectorRequirement[];
  readonly labelSelector?: readonly SelectorRequirement[];
}

export interface AuthorizationDecision {
  readonly decision: 'allow' | 'deny' | 'no-opinion';
  /** Shown to the client behind 'User "x" cannot …: ' when not allowed; '' when there is nothing to say. */
  readonly reason: string;
  /** The error of an authorizer (a failed webhook). With any verdict but 'allow' the request is answered 500 with it, as upstream. */
  readonly error?: string;
}

export interface ResourceRule {
  readonly verbs: readonly string[];
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
}
export interface NonResourceRule {
  readonly verbs: readonly string[];
  readonly nonResourceURLs: readonly string[];
}

export interface UserRules {
  readonly resourceRules: readonly ResourceRule[];
  readonly nonResourceRules: readonly NonResourceRule[];
  /** True when an authorizer in the chain cannot enumerate its rules. */
  readonly incomplete: boolean;
  readonly evaluationError?: string;
}

export interface Authorizer {
  /** Called for every request: return synchronously unless a call is needed (cached verdicts). 'no-opinion' at the end of the chain is a refusal. */
  authorize(attributes: AuthorizationAttributes): AuthorizationDecision | Promise<AuthorizationDecision>;
  /** For SelfSubjectRulesReview and kubectl auth can-i --list. */
  rulesFor?(user: UserInfo, namespace: string): UserRules | Promise<UserRules>;
}

/** Lets everything through: tests and in-process libraries. */
export const allowAll: Authorizer = {
  authorize: () => ({ decision: 'allow', reason: '' }),
  rulesFor: () => ({
    resourceRules: [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'] }],
    nonResourceRules: [{ verbs: ['*'], nonResourceURLs: ['*'] }],
    incomplete: false,
  }),
};
