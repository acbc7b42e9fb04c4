/** matchConditions of webhooks: expressions that must hold for a webhook to be called. */
import { statusErrors } from '#machinery/errors.ts';
import { cel } from '#cel/on-demand.ts';
import { admissionRequest } from '../admission-request.ts';
import { requestResource, type ConditionsOutcome } from '../expressions.ts';
import type { AdmissionAttributes, AdmissionStart } from '../plugin.ts';
import type { Invocation } from './call.ts';
import type { WebhookMetrics, WebhookType } from './metrics.ts';

interface ConditionsContext {
  readonly context: AdmissionStart;
  readonly metrics: WebhookMetrics;
  readonly type: WebhookType;
}

/** False: the webhook is not called. Throws a StatusError 403 when evaluation fails and the failurePolicy is Fail. */
export function meetsConditions(
  attributes: AdmissionAttributes,
  invocation: Invocation,
  context: ConditionsContext,
): boolean | Promise<boolean> {
  if (invocation.hook.conditions.isEmpty) return true;
  const outcome = evaluate(attributes, invocation, context);
  return outcome instanceof Promise
    ? outcome.then((settled) => decide(settled, { attributes, invocation, context }))
    : decide(outcome, { attributes, invocation, context });
}

function evaluate(
  attributes: AdmissionAttributes,
  { hook, seen, objects: { object, oldObject } }: Invocation,
  { context: { authorizer } }: ConditionsContext,
): ConditionsOutcome | Promise<ConditionsOutcome> {
  const checks = new (cel().AuthorizerChecks)({
    authorizer,
    user: attributes.user,
    request: requestResource(attributes),
  });
  const values = {
    object: object ?? null,
    oldObject: oldObject ?? null,
    request: admissionRequest(attributes, seen),
    authorizer: checks,
  };
  return checks.resolving(() => hook.conditions.evaluate(values));
}

function decide(
  outcome: ConditionsOutcome,
  {
    attributes,
    invocation: { hook },
    context: { context, metrics, type },
  }: {
    readonly attributes: AdmissionAttributes;
    readonly invocation: Invocation;
    readonly context: ConditionsContext;
  },
): boolean {
  const labels = { name: hook.spec.name, type, operation: attributes.operation };
  switch (outcome.outcome) {
    case 'match':
      return true;
    case 'no-match':
      if (outcome.condition === undefined) metrics.conditionFailed(labels);
      else metrics.conditionExcluded(labels);
      return false;
    case 'error':
      metrics.conditionFailed(labels);
      context.log.warn('match conditions of a webhook cannot be evaluated: the request is refused', {
        webhook: hook.spec.name,
        error: outcome.message,
      });
      throw statusErrors.forbidden(
        { group: attributes.gvr.group, resource: attributes.gvr.resource, name: attributes.name },
        outcome.message,
      );
  }
}
