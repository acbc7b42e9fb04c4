/**
 * Match conditions of authorization webhooks: CEL over `request`, the SubjectAccessReviewSpec of version v1. After upstream's
 * pkg/authorization/cel.
 *
 *   one is false → the webhook is skipped · none false, one an error → failurePolicy · all true → the webhook is asked
 */
import { fieldErrors, type FieldError } from '#machinery/errors.ts';
import type { JsonObject } from '#machinery/json.ts';
import { errorMessage } from '#stdx/log.ts';
import { toStructural } from '#machinery/structural.ts';
import type { Expression } from '#cel/expression.ts';
import { cel } from '#cel/on-demand.ts';
import type { AccessReviewSpec } from './review-spec.ts';

interface MatchOutcome {
  readonly outcome: 'match' | 'skip' | 'error';
  readonly error?: string;
}

export interface MatchConditions {
  evaluate(spec: AccessReviewSpec): MatchOutcome;
}

const text = { type: 'string' };
const texts = { type: 'array', items: text };
const selector = {
  type: 'object',
  properties: {
    rawSelector: text,
    requirements: {
      type: 'array',
      items: { type: 'object', properties: { key: text, operator: text, values: texts } },
    },
  },
};
const REQUEST: JsonObject = {
  type: 'object',
  properties: {
    user: text,
    uid: text,
    groups: texts,
    extra: { type: 'object', additionalProperties: texts },
    resourceAttributes: {
      type: 'object',
      properties: {
        namespace: text,
        verb: text,
        group: text,
        version: text,
        resource: text,
        subresource: text,
        name: text,
        fieldSelector: selector,
        labelSelector: selector,
      },
    },
    nonResourceAttributes: { type: 'object', properties: { path: text, verb: text } },
  },
};

/** Compiles the expressions of match conditions; errors are of a field each, at `field[i].expression`. */
export type CompileMatchConditions = (
  expressions: readonly { readonly expression: string; readonly field: string }[],
) => { readonly conditions?: MatchConditions | undefined; readonly errors: readonly FieldError[] };

/** Made when a configuration has conditions; one object, so that all expressions share their environment. */
let variables: { readonly request: ReturnType<typeof toStructural> } | undefined;

export const compileMatchConditions: CompileMatchConditions = (conditions) => {
  variables ??= { request: toStructural(REQUEST) };
  const errors: FieldError[] = [];
  const expressions: Expression[] = [];
  for (const { expression, field } of conditions) {
    try {
      expressions.push(cel().compileExpression(expression, { variables, result: 'bool' }));
    } catch (error) {
      const message = errorMessage(error);
      errors.push(
        fieldErrors.invalid(
          field,
          expression,
          message.startsWith('must evaluate') ? message : `compilation failed: ${message}`,
        ),
      );
    }
  }
  return errors.length > 0 ? { errors } : { conditions: new CompiledConditions(expressions), errors };
};

class CompiledConditions implements MatchConditions {
  readonly #expressions: readonly Expression[];

  constructor(expressions: readonly Expression[]) {
    this.#expressions = expressions;
  }

  evaluate(spec: AccessReviewSpec): MatchOutcome {
    const values = { request: withEmptyFields(spec) };
    const errors: string[] = [];
    for (const expression of this.#expressions) {
      try {
        if (expression.evaluate(values) === false) return { outcome: 'skip' };
      } catch (error) {
        errors.push(
          `cel evaluation error: expression '${expression.source}' resulted in error: ${errorMessage(error)}`,
        );
      }
    }
    if (errors.length === 0) return { outcome: 'match' };
    return { outcome: 'error', error: errors.length === 1 ? errors[0]! : `[${errors.join(', ')}]` };
  }
}

/** Expressions see every text field, also empty ones. */
function withEmptyFields({
  user = '',
  uid = '',
  groups = [],
  extra = {},
  resourceAttributes,
  nonResourceAttributes,
}: AccessReviewSpec): Record<string, unknown> {
  return {
    user,
    uid,
    groups,
    extra,
    ...(resourceAttributes
      ? {
          resourceAttributes: {
            namespace: '',
            verb: '',
            group: '',
            version: '',
            resource: '',
            subresource: '',
            name: '',
            ...resourceAttributes,
          },
        }
      : {}),
    ...(nonResourceAttributes
      ? { nonResourceAttributes: { path: '', verb: '', ...nonResourceAttributes } }
      : {}),
  };
}
