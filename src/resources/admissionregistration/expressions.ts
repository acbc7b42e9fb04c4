/** Variables of CEL expressions in admission policies and webhooks. The API server evaluates them with values of these types. */
import type { JsonObject } from '#machinery/json.ts';
import { toStructural } from '#machinery/structural.ts';
import type { ExpressionOptions, Variables } from '#cel/expression.ts';

const text = { type: 'string' };
const texts = { type: 'array', items: text };
const textMap = { type: 'object', additionalProperties: text };
const object = (properties: Readonly<Record<string, unknown>>): JsonObject => ({
  type: 'object',
  properties,
});
const kind = object({ group: text, version: text, kind: text }),
  resource = object({ group: text, version: text, resource: text });

const REQUEST = object({
  kind,
  resource,
  subResource: text,
  requestKind: kind,
  requestResource: resource,
  requestSubResource: text,
  name: text,
  namespace: text,
  operation: text,
  dryRun: { type: 'boolean' },
  userInfo: object({
    username: text,
    uid: text,
    groups: texts,
    extra: { type: 'object', additionalProperties: texts },
  }),
  options: { 'x-kubernetes-int-or-string': true },
});

const NAMESPACE = object({
  metadata: object({
    name: text,
    generateName: text,
    namespace: text,
    labels: textMap,
    annotations: textMap,
    uid: text,
    creationTimestamp: text,
    deletionTimestamp: text,
    deletionGracePeriodSeconds: { type: 'integer' },
    generation: { type: 'integer' },
    resourceVersion: text,
    finalizers: texts,
  }),
  spec: object({ finalizers: texts }),
  status: object({ phase: text }),
});

/** For match conditions of webhooks. */
export const WEBHOOK_VARIABLES: Variables = {
  object: 'dyn',
  oldObject: 'dyn',
  request: toStructural(REQUEST),
  authorizer: 'authorizer',
};
/** For policies without parameters; their own variables are added. */
export const POLICY_VARIABLES: Variables = { ...WEBHOOK_VARIABLES, namespaceObject: toStructural(NAMESPACE) };
export const POLICY_VARIABLES_WITH_PARAMS: Variables = { ...POLICY_VARIABLES, params: 'dyn' };

export interface MatchCondition {
  readonly name: string;
  readonly expression: string;
}

/** The result type of mutation expressions. */
export const MUTATION_OPTIONS: Readonly<
  Record<'applyConfiguration' | 'jsonPatch', Omit<ExpressionOptions, 'variables'>>
> = {
  applyConfiguration: { result: 'Object', constructs: true },
  jsonPatch: { result: 'list<JSONPatch>', constructs: true },
};
