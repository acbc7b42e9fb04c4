/**
 * A policy's expressions and variables: `variables.name` is evaluated when an expression first reads it, once per
 * evaluation of the policy. A variable sees those defined before it, so there are no cycles.
 */
import type { Budget, Meter } from '#cel/budget.ts';
import type { CelFields, Expression, ExpressionOptions, Variables } from '#cel/expression.ts';
import { compiled } from '#cel/on-demand.ts';
import { POLICY_VARIABLES, POLICY_VARIABLES_WITH_PARAMS } from './expressions.ts';

/** The values of one evaluation, including the budget. */
export interface Activation {
  readonly values: Readonly<Record<string, unknown>>;
  readonly budget: Budget;
}

interface ComposedSpec {
  readonly paramKind?: unknown;
  readonly variables?: readonly { readonly name: string; readonly expression: string }[];
}

interface CompiledVariable {
  readonly name: string;
  readonly expression: Expression | Error;
}

interface VariableProblem {
  readonly index: number;
  readonly error: Error;
}

export class Composition {
  /** Variables that expressions of the policy may use. */
  readonly variables: Variables;
  /** Definitions that do not compile. */
  readonly problems: readonly VariableProblem[];
  readonly #compiled: readonly CompiledVariable[];
  #messageVariables: Variables | undefined;

  /** base: default: the environment of policies. */
  constructor(
    { paramKind, variables = [] }: ComposedSpec,
    base: Variables = paramKind ? POLICY_VARIABLES_WITH_PARAMS : POLICY_VARIABLES,
  ) {
    const fieldTypes: Record<string, CelFields['fieldTypes'][string]> = {},
      problems: VariableProblem[] = [];
    // Environments are large: a new one is created only when a variable reads one that the last does not have.
    let scope = withoutFields(base),
      known = new Set<string>();
    this.#compiled = variables.map(({ name, expression }, index) => {
      if (namesIn(expression).some((read) => Object.hasOwn(fieldTypes, read) && !known.has(read))) {
        scope = withFields(base, { ...fieldTypes });
        known = new Set(Object.keys(fieldTypes));
      }
      const result = compiled(expression, { variables: scope });
      if (result instanceof Error) problems.push({ index, error: result });
      fieldTypes[name] = result instanceof Error ? 'dyn' : result.celType;
      return { name, expression: result };
    });
    this.problems = problems;
    this.variables = variables.length === 0 ? scope : withFields(base, fieldTypes);
  }

  compile(source: string, options: Omit<ExpressionOptions, 'variables'> = {}): Expression | Error {
    return compiled(source, { ...options, variables: this.variables });
  }

  /** For message expressions, which cannot use the authorizer. */
  compileMessage(source: string): Expression | Error {
    return compiled(source, {
      result: 'string',
      variables: (this.#messageVariables ??= withoutAuthorizer(this.variables)),
    });
  }

  /** Adds the lazy variables to the values of an evaluation. */
  activate(values: Readonly<Record<string, unknown>>, budget: Budget): Activation {
    const activation: { values: Record<string, unknown>; readonly budget: Budget } = {
      values: { ...values },
      budget,
    };
    const fields: Record<string, (meter: Meter) => unknown> = {};
    for (const { name, expression } of this.#compiled) {
      let known: { readonly value: unknown } | { readonly error: unknown } | undefined;
      // The cost of a variable counts for the expression that reads it first.
      const evaluate = (outer: Meter): { readonly value: unknown } | { readonly error: unknown } => {
        try {
          if (expression instanceof Error) throw expression;
          return { value: expression.evaluateCel(activation.values, { outer }) };
        } catch (error) {
          return {
            error: new Error(
              `composited variable "${name}" fails to evaluate: ${error instanceof Error ? error.message : String(error)}`,
              { cause: error },
            ),
          };
        }
      };
      // A later definition of the same name replaces it.
      fields[name] = (meter) => {
        known ??= evaluate(meter);
        if ('error' in known) throw known.error;
        return known.value;
      };
    }
    activation.values['variables'] = fields;
    return activation;
  }
}

/** Variables that an expression reads. */
function namesIn(expression: string): string[] {
  return Array.from(expression.matchAll(/\bvariables\s*\.\s*\??\s*(\w+)/g), ([, name]) => name!);
}

function withoutAuthorizer({ authorizer: _, ...variables }: Variables): Variables {
  return variables;
}

const withoutAny = new WeakMap<Variables, Variables>();

/** Shared by all policies without variables. */
function withoutFields(base: Variables): Variables {
  let scope = withoutAny.get(base);
  if (!scope) withoutAny.set(base, (scope = withFields(base, {})));
  return scope;
}

function withFields(base: Variables, fieldTypes: CelFields['fieldTypes']): Variables {
  return { ...base, variables: { typeName: 'kubernetes.variables', fieldTypes } satisfies CelFields };
}

type Result =
  | { readonly value: unknown }
  | {
      readonly error: string;
      readonly errorType: 'invalid_error' | 'compile_error' | 'out_of_budget';
    };

/** Compiles one of the policy's expressions, with upstream's error messages. */
export function evaluated(expression: Expression | Error, { values, budget }: Activation): Result {
  if (expression instanceof Error)
    return { error: `compilation error: ${expression.message}`, errorType: 'compile_error' };
  if (budget.remaining <= 0)
    return {
      error: 'validation failed due to running out of cost budget, no further validation rules will be run',
      errorType: 'out_of_budget',
    };
  try {
    return { value: expression.evaluate(values, { budget }) };
  } catch (error) {
    const isCost = error instanceof Error && error.name === 'CelCostError';
    return {
      error: `expression '${expression.source}' resulted in error: ${error instanceof Error ? error.message : String(error)}`,
      errorType: isCost ? 'out_of_budget' : 'invalid_error',
    };
  }
}
