/** A chain of authorizers: the first that allows or denies decides; reasons and errors of those without opinion are kept for the client. */
import type { UserInfo } from '#machinery/object.ts';
import type { AuthorizationAttributes, AuthorizationDecision } from '#machinery/authorization.ts';
import type { Authorizer, NonResourceRule, ResourceRule, UserRules } from './authorizer.ts';
import type { DecisionCounts } from './metrics.ts';

interface UnionMember {
  readonly authorizer: Authorizer;
  /** Where its decisions are counted. */ readonly counts?: DecisionCounts;
}

interface Heard {
  readonly reasons: readonly string[];
  readonly errors: readonly string[];
}
const NOTHING_HEARD: Heard = { reasons: [], errors: [] };

export class UnionAuthorizer implements Authorizer {
  readonly #members: readonly UnionMember[];

  constructor(members: readonly UnionMember[]) {
    this.#members = members;
  }

  authorize(attributes: AuthorizationAttributes): AuthorizationDecision | Promise<AuthorizationDecision> {
    return this.#from(attributes, 0, NOTHING_HEARD);
  }

  /** Stays synchronous as long as the authorizers do. */
  #from(
    attributes: AuthorizationAttributes,
    start: number,
    before: Heard,
  ): AuthorizationDecision | Promise<AuthorizationDecision> {
    let heard = before;
    for (let index = start; index < this.#members.length; index++) {
      const { authorizer, counts } = this.#members[index]!;
      const answer = authorizer.authorize(attributes);
      if (answer instanceof Promise) {
        return answer.then((decision) =>
          decision.decision === 'no-opinion'
            ? this.#from(attributes, index + 1, hear(heard, decision))
            : counted(decision, counts),
        );
      }
      if (answer.decision !== 'no-opinion') return counted(answer, counts);
      heard = hear(heard, answer);
    }
    const { reasons, errors } = heard;
    return {
      decision: 'no-opinion',
      reason: reasons.join('\n'),
      ...(errors.length > 0 ? { error: aggregate(errors) } : {}),
    };
  }

  async rulesFor(user: UserInfo, namespace: string): Promise<UserRules> {
    const resourceRules: ResourceRule[] = [];
    const nonResourceRules: NonResourceRule[] = [];
    const errors: string[] = [];
    let incomplete = false;
    for (const { authorizer } of this.#members) {
      const rules = await authorizer.rulesFor?.(user, namespace);
      if (!rules) continue;
      resourceRules.push(...rules.resourceRules);
      nonResourceRules.push(...rules.nonResourceRules);
      incomplete ||= rules.incomplete;
      if (rules.evaluationError) errors.push(rules.evaluationError);
    }
    return {
      resourceRules,
      nonResourceRules,
      incomplete,
      ...(errors.length > 0 ? { evaluationError: aggregate(errors) } : {}),
    };
  }
}

function counted(decision: AuthorizationDecision, counts: DecisionCounts | undefined): AuthorizationDecision {
  if (counts) {
    if (decision.decision === 'allow') counts.allowed++;
    else counts.denied++;
  }
  return decision;
}

function hear(heard: Heard, { reason, error }: AuthorizationDecision): Heard {
  if (reason === '' && error === undefined) return heard;
  return {
    reasons: reason === '' ? heard.reasons : [...heard.reasons, reason],
    errors: error === undefined ? heard.errors : [...heard.errors, error],
  };
}

/** One message unchanged, several in brackets: the format of Go's aggregated errors. */
function aggregate(messages: readonly string[]): string {
  return messages.length === 1 ? messages[0]! : `[${messages.join(', ')}]`;
}

/** Group system:masters may do everything, whatever the other authorizers say: always first. */
export const privilegedGroup: Authorizer = {
  authorize: ({ user }) => (user.groups.includes('system:masters') ? ALLOW : NO_OPINION),
};
const ALLOW: AuthorizationDecision = { decision: 'allow', reason: '' };
const NO_OPINION: AuthorizationDecision = { decision: 'no-opinion', reason: '' };

export const alwaysDeny: Authorizer = {
  authorize: () => ({ decision: 'no-opinion', reason: 'Everything is forbidden.' }),
  rulesFor: () => ({ resourceRules: [], nonResourceRules: [], incomplete: false }),
};
