/**
 * The `authorizer` variable of expressions: authorizer.group('apps').resource('deployments').namespace('x').check('create').allowed().
 *
 * Expressions are evaluated synchronously, authorizers may be asynchronous. A check without a result ends the evaluation; `resolving` awaits the result
 * and evaluates again, until none is missing. Results are cached, and checks are so expensive that an expression's budget allows two: there are
 * few rounds.
 */
import type { Meter } from './budget.ts';
import { Message } from './datatypes.ts';
import { EvaluationError } from './errors.ts';
import type { CelExtension } from './expression.ts';
import type { Functions, OpaqueType } from './functions.ts';
import type { AuthorizationAttributes, AuthorizationDecision } from '#machinery/authorization.ts';
import { validateDNS1123Label, validateDNS1123Subdomain } from '#machinery/names.ts';
import type { UserInfo } from '#machinery/object.ts';
import { fieldRequirements, labelRequirements } from '#machinery/selector-requirements.ts';

/** Of one check, as upstream counts it. */
const CHECK_COST = 350_000;
/** Far above the calls that a budget allows; a bound all the same. */
const MAX_ROUNDS = 100;
/** After so long others have a turn. */
const TURN_MS = 20;

const AUTHORIZER = 'kubernetes.authorization.Authorizer';
const PATH_CHECK = 'kubernetes.authorization.PathCheck';
const GROUP_CHECK = 'kubernetes.authorization.GroupCheck';
const RESOURCE_CHECK = 'kubernetes.authorization.ResourceCheck';
const DECISION = 'kubernetes.authorization.Decision';

/** Thrown out of an evaluation: a check has to be waited for. */
class UnansweredError extends Error {}

/** The attributes of a check. The user is that of the expression's authorizer. */
type Question = Omit<AuthorizationAttributes, 'user'>;

/** The API server's authorizers implement it; they may be asynchronous. */
interface Authorizer {
  authorize(attributes: AuthorizationAttributes): AuthorizationDecision | Promise<AuthorizationDecision>;
}

export interface AuthorizerOptions {
  readonly authorizer: Authorizer;
  readonly user: UserInfo;
  /** The attributes of the request itself: authorizer.requestResource. */
  readonly request?: Pick<Question, 'group' | 'resource' | 'subresource' | 'namespace' | 'name'> | undefined;
}

/** The checks of one request: caches results, so that each is evaluated once. */
export class AuthorizerChecks {
  /** What expressions have as `authorizer`. */
  readonly value: unknown;
  readonly #authorizer: Authorizer;
  readonly #answers = new Map<string, Answer>();
  readonly #awaited: Promise<void>[] = [];
  #turnBegan = performance.now();

  constructor({ authorizer, user, request }: AuthorizerOptions) {
    this.#authorizer = authorizer;
    this.value = new CelAuthorizer(this, user, request);
  }

  /** evaluate: must be safe to repeat. Waits only for authorizers that do. */
  resolving<T>(evaluate: () => T): T | Promise<T> {
    this.#awaited.length = 0;
    try {
      const result = evaluate();
      // An operator may have absorbed the missing result.
      if (this.#awaited.length === 0) return result;
    } catch (error) {
      if (this.#awaited.length === 0) throw error;
    }
    return this.#again(evaluate);
  }

  /** As resolving, of many expressions: `evaluate` yields between them, so that other requests have their turn. */
  async steps<T>(evaluate: () => Iterator<void, T>): Promise<T> {
    for (let round = 0; round < MAX_ROUNDS; round++) {
      await Promise.all(this.#awaited.splice(0));
      const running = evaluate();
      try {
        while (this.#awaited.length === 0) {
          const { done, value } = running.next();
          if (done && this.#awaited.length === 0) return value;
          if (this.isLong) await this.giveTurn();
        }
      } catch (error) {
        if (this.#awaited.length === 0) throw error;
      }
    }
    throw new Error(`expressions asked the authorizer more than ${MAX_ROUNDS} different questions`);
  }

  /** The request's expressions exceeded their time. */
  get isLong(): boolean {
    return performance.now() - this.#turnBegan > TURN_MS;
  }

  async giveTurn(): Promise<void> {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    this.#turnBegan = performance.now();
  }

  async #again<T>(evaluate: () => T): Promise<T> {
    for (let round = 0; round < MAX_ROUNDS; round++) {
      await Promise.all(this.#awaited.splice(0));
      try {
        const result = evaluate();
        if (this.#awaited.length === 0) return result;
      } catch (error) {
        if (this.#awaited.length === 0) throw error;
      }
    }
    throw new Error(`expressions asked the authorizer more than ${MAX_ROUNDS} different questions`);
  }

  answer(user: UserInfo, { meter, ...question }: Question & { readonly meter: Meter }): Answer {
    meter.charge(CHECK_COST);
    const key = JSON.stringify([user.name, user.groups, question]);
    const known = this.#answers.get(key);
    if (known) return known;
    const decision = this.#ask({ ...question, user });
    if (!(decision instanceof Promise)) return this.#remember(key, { decision });
    this.#awaited.push(
      decision.then(
        (later) => void this.#remember(key, { decision: later }),
        (error: unknown) => void this.#remember(key, failure(error)),
      ),
    );
    throw new UnansweredError('the authorizer has not answered yet');
  }

  #ask(attributes: AuthorizationAttributes): AuthorizationDecision | Promise<AuthorizationDecision> {
    try {
      return this.#authorizer.authorize(attributes);
    } catch (error) {
      return Promise.reject(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #remember(key: string, answer: Answer): Answer {
    this.#answers.set(key, answer);
    return answer;
  }
}

interface Answer {
  readonly decision: AuthorizationDecision;
  readonly error?: string;
}

function failure(error: unknown): Answer {
  return {
    decision: { decision: 'no-opinion', reason: '' },
    error: error instanceof Error ? error.message : String(error),
  };
}

class CelAuthorizer extends Message {
  readonly typeName = AUTHORIZER;
  readonly checks: AuthorizerChecks;
  readonly user: UserInfo;
  /** A field that expressions read; undefined: there is none. */
  readonly requestResource: CelResourceCheck | undefined;

  constructor(checks: AuthorizerChecks, user: UserInfo, request?: AuthorizerOptions['request']) {
    super();
    this.checks = checks;
    this.user = user;
    this.requestResource =
      request && new CelResourceCheck(this, { ...request, fieldSelector: '', labelSelector: '' });
  }

  field(name: string): unknown {
    return name === 'requestResource' ? this.requestResource : undefined;
  }
}

class CelPathCheck {
  readonly of: CelAuthorizer;
  readonly path: string;
  constructor(of: CelAuthorizer, path: string) {
    this.of = of;
    this.path = path;
  }
}

class CelGroupCheck {
  readonly of: CelAuthorizer;
  readonly group: string;
  constructor(of: CelAuthorizer, group: string) {
    this.of = of;
    this.group = group;
  }
}

type ResourceQuestion = Pick<Question, 'group' | 'resource' | 'subresource' | 'namespace' | 'name'> & {
  readonly fieldSelector: string;
  readonly labelSelector: string;
};

class CelResourceCheck {
  readonly of: CelAuthorizer;
  readonly question: ResourceQuestion;
  constructor(of: CelAuthorizer, question: ResourceQuestion) {
    this.of = of;
    this.question = question;
  }
}

class CelDecision {
  readonly answer: Answer;
  constructor(answer: Answer) {
    this.answer = answer;
  }
}

const opaque = (name: string, ctor: new (...args: never[]) => unknown): OpaqueType => ({
  name,
  is: (value) => value instanceof ctor,
});

/** Those that others name come first. */
const TYPES: readonly OpaqueType[] = [
  opaque(DECISION, CelDecision),
  opaque(PATH_CHECK, CelPathCheck),
  opaque(GROUP_CHECK, CelGroupCheck),
  opaque(RESOURCE_CHECK, CelResourceCheck),
  { ...opaque(AUTHORIZER, CelAuthorizer), fields: { requestResource: RESOURCE_CHECK } },
];

const PARTS = ['subresource', 'namespace', 'name', 'fieldSelector', 'labelSelector'] as const;

const FUNCTIONS: Functions = {
  [`${AUTHORIZER}.path(string): ${PATH_CHECK}`]: (of: CelAuthorizer, path: string) =>
    new CelPathCheck(of, path === '' ? fail('path must not be empty') : path),
  [`${AUTHORIZER}.group(string): ${GROUP_CHECK}`]: (of: CelAuthorizer, group: string) =>
    new CelGroupCheck(of, group),
  [`${AUTHORIZER}.serviceAccount(string, string): ${AUTHORIZER}`]: asServiceAccount,
  [`${GROUP_CHECK}.resource(string): ${RESOURCE_CHECK}`]: ({ of, group }: CelGroupCheck, resource: string) =>
    new CelResourceCheck(of, {
      group,
      resource,
      subresource: '',
      namespace: '',
      name: '',
      fieldSelector: '',
      labelSelector: '',
    }),
  ...Object.fromEntries(
    PARTS.map((part) => [
      `${RESOURCE_CHECK}.${part}(string): ${RESOURCE_CHECK}`,
      ({ of, question }: CelResourceCheck, value: string) =>
        new CelResourceCheck(of, { ...question, [part]: value }),
    ]),
  ),
  [`${PATH_CHECK}.check(string): ${DECISION}`]: checkPath,
  [`${RESOURCE_CHECK}.check(string): ${DECISION}`]: checkResource,
  [`${DECISION}.allowed(): bool`]: ({ answer }: CelDecision) => answer.decision.decision === 'allow',
  [`${DECISION}.reason(): string`]: ({ answer }: CelDecision) => answer.decision.reason,
  [`${DECISION}.errored(): bool`]: ({ answer }: CelDecision) => answer.error !== undefined,
  [`${DECISION}.error(): string`]: ({ answer }: CelDecision) => answer.error ?? '',
};

function fail(message: string): never {
  throw new EvaluationError(message);
}

function asServiceAccount({ checks }: CelAuthorizer, namespace: string, name: string): CelAuthorizer {
  const problems = [
    ...validateDNS1123Label(namespace).map((problem) => `invalid service account namespace: ${problem}`),
    ...validateDNS1123Subdomain(name).map((problem) => `invalid service account name: ${problem}`),
  ];
  if (problems.length > 0) fail(problems.join(', '));
  return new CelAuthorizer(checks, {
    name: `system:serviceaccount:${namespace}:${name}`,
    groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated'],
  });
}

function checkPath({ of, path }: CelPathCheck, verb: string, meter: Meter): CelDecision {
  return new CelDecision(
    of.checks.answer(of.user, {
      meter,
      verb,
      isResourceRequest: false,
      group: '',
      version: '',
      resource: '',
      subresource: '',
      namespace: '',
      name: '',
      path,
    }),
  );
}

function checkResource(
  { of, question: { fieldSelector, labelSelector, ...question } }: CelResourceCheck,
  verb: string,
  meter: Meter,
): CelDecision {
  const fields = fieldSelector === '' ? undefined : fieldRequirements(fieldSelector);
  const labels = labelSelector === '' ? undefined : labelRequirements(labelSelector);
  return new CelDecision(
    of.checks.answer(of.user, {
      meter,
      ...question,
      verb,
      version: '*',
      isResourceRequest: true,
      path: '',
      fieldSelector: fields,
      labelSelector: labels,
    }),
  );
}

/** Variables of type 'authorizer' have AuthorizerChecks as their values, inside whose resolving() or steps() they are evaluated. */
export const AUTHORIZER_EXTENSION: CelExtension = {
  typeName: AUTHORIZER,
  types: TYPES,
  functions: FUNCTIONS,
  valueOf: (checks) => (checks as AuthorizerChecks).value,
};
