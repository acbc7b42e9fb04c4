/** May they: the interface of the pipeline's authorize stage, after upstream's authorizer.Authorizer. RBAC, Node, Webhook… implement it. */
import type { AuthorizationAttributes, AuthorizationDecision } from '#machinery/authorization.ts';
import type { UserInfo } from '#machinery/object.ts';

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
