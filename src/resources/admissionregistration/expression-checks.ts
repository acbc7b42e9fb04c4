/**
 * Compiles expressions of admission policies and webhooks when their objects are written: those that do not compile are rejected with their path.
 * Unchanged expressions of an update are accepted. After upstream's pkg/apis/admissionregistration/validation.
 */
import type {
  MutatingAdmissionPolicy,
  MutatingAdmissionPolicySpec,
  ValidatingAdmissionPolicy,
  ValidatingAdmissionPolicySpec,
} from '#api/types.ts';
import { fieldErrors, type FieldError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { Variables } from '#cel/expression.ts';
import { compiled } from '#cel/on-demand.ts';
import { Composition } from './composition.ts';
import {
  MUTATION_OPTIONS,
  POLICY_VARIABLES,
  POLICY_VARIABLES_WITH_PARAMS,
  WEBHOOK_VARIABLES,
  type MatchCondition,
} from './expressions.ts';

/** Maximum number of compiled expressions per object; an object with more is rejected. Far above what a policy can usefully have. */
const MAX_EXPRESSIONS = 2_000;

/** Calls back for each expression of an object. */
type ExpressionCheck = (object: KubeObject, field: FieldChecker) => void;

/**
 * Earlier errors plus those of expressions that do not compile. previous: for an update; its expressions are accepted, also by a server
 * that supports fewer functions.
 */
export function withExpressionErrors(
  errors: FieldError[],
  check: ExpressionCheck,
  { object, previous }: { readonly object: KubeObject; readonly previous?: KubeObject },
): FieldError[] {
  // Beyond the limit nothing is compiled.
  if (errors.some(({ type }) => type === 'FieldValueTooMany')) return errors;
  const known = new Set<string>();
  if (previous) check(previous, { expression: (_, source) => void known.add(source) });
  const found: FieldError[] = [];
  let compilations = 0;
  check(object, {
    expression: (path, source, compile) => {
      if (known.has(source) || source.trim() === '') return;
      if (++compilations > MAX_EXPRESSIONS) return;
      const result = compile();
      if (result) found.push(fieldErrors.invalid(path, source, result.message));
    },
  });
  return compilations > MAX_EXPRESSIONS
    ? [...errors, fieldErrors.tooMany('spec', compilations, MAX_EXPRESSIONS)]
    : inUpstreamOrder(errors, found);
}

/** A match condition's expression is reported before its name; all others after the errors of the fields. */
function inUpstreamOrder(errors: readonly FieldError[], found: readonly FieldError[]): FieldError[] {
  const all = [...errors];
  for (const error of found) {
    const condition = /^(.*matchConditions\[\d+\])\.expression$/.exec(error.field)?.[1];
    const name = condition === undefined ? -1 : all.findIndex(({ field }) => field === `${condition}.name`);
    if (name < 0) all.push(error);
    else all.splice(name, 0, error);
  }
  return all;
}

interface FieldChecker {
  /** compile: returns the error. */
  expression(path: string, source: string, compile: () => Error | undefined): void;
}

function problemOf(result: unknown): Error | undefined {
  return result instanceof Error ? result : undefined;
}

function checkConditions(
  conditions: readonly MatchCondition[] | undefined,
  path: string,
  { variables, field }: { readonly variables: Variables; readonly field: FieldChecker },
): void {
  conditions?.forEach(({ expression = '' }, i) =>
    field.expression(`${path}[${i}].expression`, expression, () =>
      problemOf(compiled(expression, { variables, result: 'bool' })),
    ),
  );
}

export function checkWebhookExpressions(configuration: KubeObject, field: FieldChecker): void {
  const webhooks = (configuration['webhooks'] ?? []) as readonly {
    readonly matchConditions?: readonly MatchCondition[];
  }[];
  webhooks.forEach(({ matchConditions }, i) =>
    checkConditions(matchConditions, `webhooks[${i}].matchConditions`, {
      variables: WEBHOOK_VARIABLES,
      field,
    }),
  );
}

/** Shared by both kinds of policies; returns the compiler of their own expressions. */
function checkPolicy(
  spec: ValidatingAdmissionPolicySpec | MutatingAdmissionPolicySpec,
  field: FieldChecker,
): () => Composition {
  checkConditions(spec.matchConditions, 'spec.matchConditions', {
    variables: spec.paramKind ? POLICY_VARIABLES_WITH_PARAMS : POLICY_VARIABLES,
    field,
  });
  let composition: Composition | undefined;
  const compose = (): Composition => (composition ??= new Composition(spec));
  spec.variables?.forEach(({ expression = '' }, i) =>
    field.expression(
      `spec.variables[${i}].expression`,
      expression,
      () => compose().problems.find(({ index }) => index === i)?.error,
    ),
  );
  return compose;
}

export function checkValidatingPolicy(policy: KubeObject, field: FieldChecker): void {
  const { spec = {} } = policy as ValidatingAdmissionPolicy;
  const compose = checkPolicy(spec, field);
  spec.validations?.forEach(({ expression = '', messageExpression }, i) => {
    field.expression(`spec.validations[${i}].expression`, expression, () =>
      problemOf(compose().compile(expression, { result: 'bool' })),
    );
    if (messageExpression !== undefined)
      field.expression(`spec.validations[${i}].messageExpression`, messageExpression, () =>
        problemOf(compose().compileMessage(messageExpression)),
      );
  });
  spec.auditAnnotations?.forEach(({ valueExpression = '' }, i) =>
    field.expression(`spec.auditAnnotations[${i}].valueExpression`, valueExpression, () =>
      problemOf(compose().compile(valueExpression, { result: ['string', 'null'] })),
    ),
  );
}

/** The field of a mutation type that contains its expression. */
const PARTS: Readonly<Record<string, 'applyConfiguration' | 'jsonPatch' | undefined>> = {
  ApplyConfiguration: 'applyConfiguration',
  JSONPatch: 'jsonPatch',
};

export function checkMutatingPolicy(policy: KubeObject, field: FieldChecker): void {
  const { spec = {} } = policy as MutatingAdmissionPolicy;
  const compose = checkPolicy(spec, field);
  spec.mutations?.forEach((mutation, i) => {
    const part = PARTS[mutation.patchType ?? ''],
      expression = part && mutation[part]?.expression;
    if (expression !== undefined)
      field.expression(`spec.mutations[${i}].${part}.expression`, expression, () =>
        problemOf(compose().compile(expression, MUTATION_OPTIONS[part!])),
      );
  });
}
