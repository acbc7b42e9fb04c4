/**
 * Expressions of admission policies and webhooks are compiled when their objects are written: what does not compile is refused where it stands.
 * An update that leaves an expression as it was is let pass. After upstream's pkg/apis/admissionregistration/validation.
 */
import { fieldErrors, type FieldError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { Resource } from '#resources/resource.ts';
import type { Variables } from '#cel/expression.ts';
import {
  compiled,
  POLICY_VARIABLES,
  POLICY_VARIABLES_WITH_PARAMS,
  WEBHOOK_VARIABLES,
  type MatchCondition,
} from '../expressions.ts';
import { Composition } from './composition.ts';
import { MUTATION_OPTIONS, type Mutation } from './mutations.ts';
import type { PolicySpec } from './policy.ts';
import type { ValidatingPolicySpec } from './policy.ts';

/** Expressions of one object that are compiled; an object with more is refused. Far above what a policy can usefully have. */
const MAX_EXPRESSIONS = 2_000;

const GROUP = 'admissionregistration.k8s.io';

type Check = (object: KubeObject, field: FieldChecker) => void;

const CHECKS: Readonly<Record<string, Check>> = {
  validatingwebhookconfigurations: checkWebhooks,
  mutatingwebhookconfigurations: checkWebhooks,
  validatingadmissionpolicies: checkValidatingPolicy,
  mutatingadmissionpolicies: checkMutatingPolicy,
};

/** The record of a resource whose objects have expressions, with its validation extended; others as they are. */
export function withExpressionChecks(resource: Resource): Resource {
  const check = resource.group === GROUP ? CHECKS[resource.plural] : undefined;
  if (!check) return resource;
  const problems = (object: KubeObject, previous?: KubeObject): FieldError[] => {
    const known = new Set<string>();
    if (previous) check(previous, { expression: (_, source) => void known.add(source) });
    const errors: FieldError[] = [];
    let compilations = 0;
    check(object, {
      expression: (path, source, compile) => {
        // What was accepted stays, also by a server that knows less.
        if (known.has(source) || source.trim() === '') return;
        if (++compilations > MAX_EXPRESSIONS) return;
        const result = compile();
        if (result) errors.push(fieldErrors.invalid(path, source, result.message));
      },
    });
    return compilations > MAX_EXPRESSIONS
      ? [fieldErrors.tooMany('spec', compilations, MAX_EXPRESSIONS)]
      : errors;
  };
  return {
    ...resource,
    validate: (object, context) => joined(resource.validate(object, context), () => problems(object)),
    validateUpdate: (next, previous, context) =>
      joined(resource.validateUpdate(next, previous, context), () => problems(next, previous)),
  };
}

/** What is too much is not compiled. */
function joined(errors: FieldError[], more: () => FieldError[]): FieldError[] {
  return errors.some(({ type }) => type === 'FieldValueTooMany') ? errors : [...errors, ...more()];
}

interface FieldChecker {
  /** compile: answers what is wrong. */
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

function checkWebhooks(configuration: KubeObject, field: FieldChecker): void {
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

/** What both kinds of policies have; answers what compiles their own expressions. */
function checkPolicy(spec: PolicySpec, field: FieldChecker): () => Composition {
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

function checkValidatingPolicy(policy: KubeObject, field: FieldChecker): void {
  const spec = (policy['spec'] ?? {}) as ValidatingPolicySpec;
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

/** Where a mutation of the type has its expression. */
const PARTS: Readonly<Record<string, 'applyConfiguration' | 'jsonPatch' | undefined>> = {
  ApplyConfiguration: 'applyConfiguration',
  JSONPatch: 'jsonPatch',
};

function checkMutatingPolicy(policy: KubeObject, field: FieldChecker): void {
  const spec = (policy['spec'] ?? {}) as PolicySpec & { readonly mutations?: readonly Mutation[] };
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
