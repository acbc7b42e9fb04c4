/**
 * The environment of admission's CEL expressions: the request, the object and the old object, the authorizer; for policies also parameters, the
 * namespace and their variables. Also match conditions, which webhooks and policies share. After upstream's plugin/cel and webhook/matchconditions.
 */
import { isNamespace } from './namespace-resource.ts';
import { isJsonObject, type JsonObject } from '#machinery/json.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { Budget } from '#cel/budget.ts';
import type { Expression, Variables } from '#cel/expression.ts';
import { compiled } from '#cel/on-demand.ts';
import type { MatchCondition } from '#resources/admissionregistration/expressions.ts';
import type { AdmissionAttributes } from './plugin.ts';

/** Of all match conditions of one webhook or policy for one request. */
const MATCH_CONDITIONS_LIMIT = 2_500_000;

/** What policies see of a Namespace. */
export function namespaceValue({ metadata = {}, ...rest }: KubeObject): JsonObject {
  const { managedFields: _, ownerReferences: __, ...kept } = metadata;
  const finalizers = isJsonObject(rest['spec']) ? rest['spec']['finalizers'] : undefined,
    phase = isJsonObject(rest['status']) ? rest['status']['phase'] : undefined;
  return {
    metadata: kept as JsonObject,
    spec: finalizers === undefined ? {} : { finalizers },
    status: phase === undefined ? {} : { phase },
  };
}

/** What an authorizer's `requestResource` is about. */
export function requestResource({ gvr, subresource, namespace, name }: AdmissionAttributes): {
  readonly group: string;
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
} {
  return {
    group: gvr.group,
    resource: gvr.resource,
    subresource,
    namespace: isNamespace(gvr) ? '' : namespace,
    name,
  };
}

// ------------------------------------------------------------------------------------------------------ match conditions

/** outcome: 'error' under failurePolicy Fail; Ignore turns errors into 'no-match'. */
export type ConditionsOutcome =
  | { readonly outcome: 'match' }
  | {
      readonly outcome: 'no-match';
      /** The condition that did not hold; absent after errors. */ readonly condition?: string;
    }
  | { readonly outcome: 'error'; readonly message: string };

/** Compiled on first use. Expressions were checked when they were written; one that no longer compiles is an error of every request. */
export class MatchConditions {
  readonly #conditions: readonly MatchCondition[];
  readonly #options: { readonly variables: Variables; readonly failurePolicy: string };
  #compiled: readonly { readonly name: string; readonly expression: Expression | Error }[] | undefined;

  constructor(
    conditions: readonly MatchCondition[],
    options: { readonly variables: Variables; readonly failurePolicy: string },
  ) {
    this.#conditions = conditions;
    this.#options = options;
  }

  get isEmpty(): boolean {
    return this.#conditions.length === 0;
  }

  /** A condition that does not hold decides, whatever else fails. Inside AuthorizerChecks.resolving() when values have an authorizer. */
  evaluate(values: Readonly<Record<string, unknown>>): ConditionsOutcome {
    const budget: Budget = { remaining: MATCH_CONDITIONS_LIMIT };
    const problems: string[] = [];
    const conditions = (this.#compiled ??= this.#compile());
    for (const { name, expression } of conditions) {
      try {
        if (expression instanceof Error) throw expression;
        if (expression.evaluate(values, { budget }) === false)
          return { outcome: 'no-match', condition: name };
      } catch (error) {
        problems.push(
          expression instanceof Error
            ? `compilation error: ${expression.message}`
            : `expression '${expression.source}' resulted in error: ${messageOf(error)}`,
        );
        if (budget.remaining <= 0) break;
      }
    }
    if (problems.length === 0) return { outcome: 'match' };
    return this.#options.failurePolicy === 'Ignore'
      ? { outcome: 'no-match' }
      : { outcome: 'error', message: problems.length === 1 ? problems[0]! : `[${problems.join(', ')}]` };
  }

  #compile(): readonly { readonly name: string; readonly expression: Expression | Error }[] {
    const { variables } = this.#options;
    return this.#conditions.map(({ name, expression }) => ({
      name,
      expression: compiled(expression, { variables, result: 'bool' }),
    }));
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
