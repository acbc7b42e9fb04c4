/** Authorizers in a row: the first that allows or denies decides; reasons of those without opinion are kept for the client. */
import type { UserInfo } from '#machinery/object.ts';
import type { AuthorizationAttributes, AuthorizationDecision, Authorizer, NonResourceRule, ResourceRule, UserRules } from './authorizer.ts';

export class UnionAuthorizer implements Authorizer {
  readonly #authorizers: readonly Authorizer[];

  constructor(authorizers: readonly Authorizer[]) {
    this.#authorizers = authorizers;
  }

  authorize(attributes: AuthorizationAttributes): AuthorizationDecision | Promise<AuthorizationDecision> {
    return this.#from(attributes, 0, []);
  }

  /** Stays synchronous as long as the authorizers do. */
  #from(attributes: AuthorizationAttributes, start: number, reasons: readonly string[]): AuthorizationDecision | Promise<AuthorizationDecision> {
    let heard = reasons;
    for (let index = start; index < this.#authorizers.length; index++) {
      const answer = this.#authorizers[index]!.authorize(attributes);
      if (answer instanceof Promise) return answer.then((decision) => (decision.decision === 'no-opinion' ? this.#from(attributes, index + 1, withReason(heard, decision)) : decision));
      if (answer.decision !== 'no-opinion') return answer;
      heard = withReason(heard, answer);
    }
    return { decision: 'no-opinion', reason: heard.join('\n') };
  }

  async rulesFor(user: UserInfo, namespace: string): Promise<UserRules> {
    const resourceRules: ResourceRule[] = [];
    const nonResourceRules: NonResourceRule[] = [];
    const errors: string[] = [];
    let incomplete = false;
    for (const authorizer of this.#authorizers) {
      const rules = await authorizer.rulesFor?.(user, namespace);
      if (!rules) continue;
      resourceRules.push(...rules.resourceRules);
      nonResourceRules.push(...rules.nonResourceRules);
      incomplete ||= rules.incomplete;
      if (rules.evaluationError) errors.push(rules.evaluationError);
    }
    return { resourceRules, nonResourceRules, incomplete, ...(errors.length > 0 ? { evaluationError: errors.length === 1 ? errors[0]! : `[${errors.join(', ')}]` } : {}) };
  }
}

function withReason(reasons: readonly string[], { reason }: AuthorizationDecision): readonly string[] {
  return reason === '' ? reasons : [...reasons, reason];
}

/** Group system:masters may do everything, whatever the other authorizers say: always first. */
export const privilegedGroup: Authorizer = {
  authorize: ({ user }) => (user.groups.includes('system:masters') ? { decision: 'allow', reason: '' } : { decision: 'no-opinion', reason: '' }),
};

export const alwaysDeny: Authorizer = {
  authorize: () => ({ decision: 'no-opinion', reason: 'Everything is forbidden.' }),
  rulesFor: () => ({ resourceRules: [], nonResourceRules: [], incomplete: false }),
};
