/**
 * ValidatingAdmissionPolicy: CEL expressions that objects must satisfy, applied through bindings. After upstream's plugin/policy/validating, with
 * its messages.
 */
import type { JsonObject } from '#machinery/json.ts';
import { TOTAL_LIMIT } from '#cel/budget.ts';
import type { Expression } from '#cel/expression.ts';
import type { AuthorizerChecks } from '#cel/authorizer.ts';
import { cel } from '#cel/on-demand.ts';
import {
  POLICY_VARIABLES,
  POLICY_VARIABLES_WITH_PARAMS,
} from '#resources/admissionregistration/expressions.ts';
import { MatchConditions, type ConditionsOutcome, requestResource } from '../expressions.ts';
import type { Match } from '../matching.ts';
import type { AdmissionAttributes, AdmissionPlugin, AdmissionStart } from '../plugin.ts';
import { Composition, evaluated, type Activation } from '#resources/admissionregistration/composition.ts';
import { denial } from './denial.ts';
import { countConditions, PolicyMetrics, type Enforcement, type ErrorType } from './metrics.ts';
import { collectParams, ConfigurationError } from './params.ts';
import {
  PolicySource,
  type AuditAnnotation,
  type BoundBinding,
  type BoundPolicy,
  type Validation,
  type ValidatingPolicySpec,
} from './policy.ts';
import { followTypes } from './type-checking.ts';
import { admissionValues } from './values.ts';

const MAX_MESSAGE_BYTES = 5 * 1024;
const MAX_ANNOTATION_BYTES = 10 * 1024;
const FAILURE_ANNOTATION = 'validation.policy.admission.k8s.io/validation_failure';

/** A validation that does not hold, or has no result. */
interface Denied {
  readonly message: string;
  readonly reason?: string | undefined;
  readonly index?: number;
  readonly errorType: ErrorType;
}
interface Annotated {
  readonly key: string;
  readonly value: string;
}
interface Outcome {
  readonly denied: readonly Denied[];
  readonly annotations: readonly Annotated[];
  /** Errors that failurePolicy Ignore lets pass. */ readonly ignored: readonly ErrorType[];
  readonly conditions?: ConditionsOutcome;
}

const NOTHING: Outcome = { denied: [], annotations: [], ignored: [] };

class Validator {
  readonly #spec: ValidatingPolicySpec;
  readonly #composition: Composition;
  readonly #conditions: MatchConditions;
  readonly #validations: readonly {
    readonly source: Validation;
    readonly expression: Expression | Error;
    readonly message: Expression | Error | undefined;
  }[];
  readonly #annotations: readonly {
    readonly source: AuditAnnotation;
    readonly expression: Expression | Error;
  }[];

  constructor(spec: ValidatingPolicySpec) {
    const { matchConditions = [], failurePolicy = 'Fail', validations = [], auditAnnotations = [] } = spec;
    this.#spec = spec;
    this.#composition = new Composition(spec);
    this.#conditions = new MatchConditions(matchConditions, {
      variables: spec.paramKind ? POLICY_VARIABLES_WITH_PARAMS : POLICY_VARIABLES,
      failurePolicy,
    });
    this.#validations = validations.map((source) => ({
      source,
      expression: this.#composition.compile(source.expression, { result: 'bool' }),
      message: source.messageExpression
        ? this.#composition.compileMessage(source.messageExpression)
        : undefined,
    }));
    this.#annotations = auditAnnotations.map((source) => ({
      source,
      expression: this.#composition.compile(source.valueExpression, { result: ['string', 'null'] }),
    }));
  }

  get ignoresErrors(): boolean {
    return this.#spec.failurePolicy === 'Ignore';
  }

  /** For AuthorizerChecks.steps(). */
  *evaluate(values: Readonly<Record<string, unknown>>): Generator<void, Outcome> {
    if (!this.#conditions.isEmpty) {
      const matched = this.#conditions.evaluate(values);
      if (matched.outcome === 'no-match') return { ...NOTHING, conditions: matched };
      if (matched.outcome === 'error')
        return {
          ...NOTHING,
          conditions: matched,
          denied: [{ message: matched.message, errorType: 'invalid_error' }],
        };
    }
    const activation = this.#composition.activate(values, { remaining: TOTAL_LIMIT });
    const denied: Denied[] = [],
      ignored: ErrorType[] = [],
      annotations: Annotated[] = [];
    const failed = (problem: Denied): void =>
      void (this.ignoresErrors ? ignored.push(problem.errorType) : denied.push(problem));
    for (const [index, { source, expression, message }] of this.#validations.entries()) {
      const result = evaluated(expression, activation);
      if ('error' in result) failed({ message: result.error, index, errorType: result.errorType });
      else if (result.value !== true)
        denied.push({
          message: failureMessage(source, message, activation),
          reason: source.reason,
          index,
          errorType: 'no_error',
        });
      yield;
    }
    for (const { source, expression } of this.#annotations) {
      const result = evaluated(expression, activation);
      if ('error' in result) failed({ message: result.error, errorType: result.errorType });
      else if (typeof result.value === 'string') {
        const value = result.value.trim();
        if (value !== '') annotations.push({ key: source.key, value: clip(value, MAX_ANNOTATION_BYTES) });
      } else if (result.value !== null)
        failed({
          message: `valueExpression '${source.valueExpression}' resulted in unsupported return type. Return type must be either string or null.`,
          errorType: 'invalid_error',
        });
      yield;
    }
    return { denied, annotations, ignored };
  }
}

/** The author's messageExpression or message; a failed messageExpression must not hide the violation. */
function failureMessage(
  { message, expression }: Validation,
  messageExpression: Expression | Error | undefined,
  activation: Activation,
): string {
  if (messageExpression) {
    const result = evaluated(messageExpression, activation);
    const text = 'value' in result && typeof result.value === 'string' ? result.value.trim() : '';
    if (text !== '' && Buffer.byteLength(text) <= MAX_MESSAGE_BYTES && !text.includes('\n')) return text;
  }
  return message?.trim() || `failed expression: ${expression.trim()}`;
}

function clip(text: string, maximumBytes: number): string {
  if (Buffer.byteLength(text) <= maximumBytes) return text;
  return Buffer.from(text)
    .subarray(0, maximumBytes)
    .toString()
    .replace(/\uFFFD+$/, '');
}

// ---------------------------------------------------------------------------------------------------------------- plugin

interface Denial extends Denied {
  readonly policy: string;
  readonly binding?: string;
}

/** What one request's policies share. */
interface Round {
  readonly attributes: AdmissionAttributes;
  readonly context: AdmissionStart;
  readonly metrics: PolicyMetrics;
  readonly checks: AuthorizerChecks;
  readonly denials: Denial[];
  /** By policy and key: values of several bindings are joined. */
  readonly annotations: Map<string, Set<string>>;
  readonly failures: JsonObject[];
}

export function validatingAdmissionPolicy(): AdmissionPlugin {
  const source = new PolicySource<Validator>({
    policies: 'validatingadmissionpolicies',
    bindings: 'validatingadmissionpolicybindings',
    compile: (spec) => new Validator(spec),
  });
  const metrics = new PolicyMetrics('validating');
  let context: AdmissionStart | undefined;
  return {
    name: 'ValidatingAdmissionPolicy',
    start(given) {
      context = given;
      given.metrics.collect(() => metrics.render());
      const stops = [source.start(given), followTypes(given)];
      return () => stops.forEach((stop) => stop());
    },
    handles: (operation, target) => context !== undefined && source.mayMatch(operation, target, context),
    validate(attributes) {
      const round = { attributes, context: context!, metrics };
      const matched = source.bound.flatMap((policy) => matchOf(policy, round) ?? []);
      return matched.length === 0 ? undefined : validateAll(matched, round);
    },
  };
}

interface Matched {
  readonly policy: BoundPolicy<Validator>;
  readonly match: Match | Error;
}

function matchOf(
  policy: BoundPolicy<Validator>,
  { attributes, context }: Pick<Round, 'attributes' | 'context'>,
): Matched | undefined {
  try {
    const match = policy.matcher.match(attributes, context.kinds);
    return match && { policy, match };
  } catch (error) {
    return { policy, match: error instanceof Error ? error : new Error(String(error)) };
  }
}

async function validateAll(
  matched: readonly Matched[],
  { attributes, context, metrics }: Pick<Round, 'attributes' | 'context' | 'metrics'>,
): Promise<void> {
  const checks = new (cel().AuthorizerChecks)({
    authorizer: context.authorizer,
    user: attributes.user,
    request: requestResource(attributes),
  });
  const round: Round = {
    attributes,
    context,
    metrics,
    checks,
    denials: [],
    annotations: new Map(),
    failures: [],
  };
  for (const { policy, match } of matched) {
    if (match instanceof Error) misconfigured(policy, { error: match, round });
    else for (const binding of policy.bindings) await validateBinding({ policy, binding, match }, round);
  }
  publish(round);
  const [first] = round.denials;
  if (first) throw denial(attributes, { what: 'ValidatingAdmissionPolicy', ...first });
}

interface Bound {
  readonly policy: BoundPolicy<Validator>;
  readonly binding: BoundBinding;
  readonly match: Match;
}

async function validateBinding({ policy, binding, match }: Bound, round: Round): Promise<void> {
  const { attributes, context } = round;
  try {
    if (!binding.matcher.match(attributes, context.kinds)) return;
    const params = await collectParams({
      paramKind: policy.spec.paramKind,
      paramRef: binding.spec.paramRef,
      attributes,
      context,
    });
    if (params.length === 0) return;
    const values = await admissionValues(round, match);
    for (const param of params) {
      const started = performance.now();
      const outcome = await round.checks.steps(() =>
        policy.evaluator().evaluate({ ...values, params: param }),
      );
      record(outcome, { policy: policy.name, binding, round, seconds: (performance.now() - started) / 1000 });
    }
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    misconfigured(policy, { ...(error.ofPolicy ? {} : { binding }), error, round });
  }
}

function misconfigured(
  { name, spec }: BoundPolicy<Validator>,
  {
    binding,
    error,
    round,
  }: { readonly binding?: BoundBinding; readonly error: Error; readonly round: Round },
): void {
  if (spec.failurePolicy === 'Ignore') return;
  const message = `failed to configure ${binding ? 'binding' : 'policy'}: ${error.message}`;
  round.denials.push({
    policy: name,
    ...(binding ? { binding: binding.name } : {}),
    message,
    errorType: 'invalid_error',
  });
}

function record(
  { denied, annotations, ignored, conditions }: Outcome,
  {
    policy,
    binding,
    round,
    seconds,
  }: {
    readonly policy: string;
    readonly binding: BoundBinding;
    readonly round: Round;
    readonly seconds: number;
  },
): void {
  const count = (enforcement: Enforcement, errorType: ErrorType): void =>
    round.metrics.observe({ policy, binding: binding.name, enforcement, errorType }, seconds);
  if (conditions)
    countConditions(conditions, {
      metrics: round.context.metrics,
      policy,
      type: 'validate',
      operation: round.attributes.operation,
    });
  // As upstream: for admitted requests only errors are counted.
  for (const errorType of ignored) count('allow', errorType);
  const actions = binding.spec.validationActions ?? [];
  for (const decision of denied) {
    if (actions.includes('Deny')) {
      round.denials.push({ ...decision, policy, binding: binding.name });
      count('deny', decision.errorType);
    }
    if (actions.includes('Audit')) {
      round.failures.push({
        message: decision.message,
        policy,
        binding: binding.name,
        ...(decision.index === undefined ? {} : { expressionIndex: String(decision.index) }),
        validationActions: [...actions],
      });
      count('audit', decision.errorType);
    }
    if (actions.includes('Warn')) {
      round.attributes.warn(
        `Validation failed for ValidatingAdmissionPolicy '${policy}' with binding '${binding.name}': ${decision.message}`,
      );
      count('warn', decision.errorType);
    }
  }
  for (const { key, value } of annotations) {
    const known = round.annotations.get(`${policy}/${key}`);
    if (known) known.add(value);
    else round.annotations.set(`${policy}/${key}`, new Set([value]));
  }
}

function publish({ attributes, annotations, failures }: Round): void {
  for (const [key, values] of annotations) attributes.annotate?.(key, Array.from(values).join(', '));
  if (failures.length > 0) attributes.annotate?.(FAILURE_ANNOTATION, JSON.stringify(failures));
}
