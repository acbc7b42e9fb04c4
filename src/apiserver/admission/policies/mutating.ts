/**
 * MutatingAdmissionPolicy: CEL mutations of objects, applied through bindings. Each mutation sees the result of the previous ones; policies with
 * reinvocationPolicy IfNeeded are evaluated again if a later step changed the object. After upstream's plugin/policy/mutating.
 */
import { isStatusError, statusErrors } from '#machinery/errors.ts';
import { deepClone, deepEqual, type JsonObject } from '#machinery/json.ts';
import type { KubeObject } from '#machinery/object.ts';
import { TOTAL_LIMIT, type Budget } from '#cel/budget.ts';
import type { AuthorizerChecks } from '#cel/authorizer.ts';
import type { Expression } from '#cel/expression.ts';
import { cel } from '#cel/on-demand.ts';
import {
  POLICY_VARIABLES,
  POLICY_VARIABLES_WITH_PARAMS,
} from '#resources/admissionregistration/expressions.ts';
import { MatchConditions, requestResource } from '../expressions.ts';
import type { Match } from '../matching.ts';
import { putMutated } from '../mutated.ts';
import type { AdmissionAttributes, AdmissionPlugin, AdmissionStart } from '../plugin.ts';
import { trackReinvocation, type Reinvocation } from '../reinvocation.ts';
import { Composition, evaluated } from '#resources/admissionregistration/composition.ts';
import { mutationDenial, type MutationRefusal } from './denial.ts';
import { countConditions, PolicyMetrics, type ErrorType } from './metrics.ts';
import { MUTATION_OPTIONS } from '#resources/admissionregistration/expressions.ts';
import { applyConfiguration, patchObject, type Mutation } from './mutations.ts';
import { collectParams, ConfigurationError } from './params.ts';
import { PolicySource, type BoundBinding, type BoundPolicy, type PolicySpec } from './policy.ts';
import { admissionValues } from './values.ts';

const NAME = 'MutatingAdmissionPolicy';

interface MutatingPolicySpec extends PolicySpec {
  readonly mutations?: readonly Mutation[];
  readonly reinvocationPolicy?: string;
}

type CompiledMutation = {
  readonly part: 'applyConfiguration' | 'jsonPatch';
  readonly expression: Expression | Error;
};

class Mutator {
  readonly conditions: MatchConditions;
  readonly composition: Composition;
  readonly mutations: readonly CompiledMutation[];

  constructor(spec: MutatingPolicySpec) {
    const { matchConditions = [], failurePolicy = 'Fail', mutations = [] } = spec;
    this.composition = new Composition(spec);
    this.conditions = new MatchConditions(matchConditions, {
      variables: spec.paramKind ? POLICY_VARIABLES_WITH_PARAMS : POLICY_VARIABLES,
      failurePolicy,
    });
    this.mutations = mutations.map((mutation) => {
      const part = mutation.patchType === 'JSONPatch' ? 'jsonPatch' : 'applyConfiguration';
      return {
        part,
        expression: this.composition.compile(mutation[part]?.expression ?? '', MUTATION_OPTIONS[part]),
      };
    });
  }
}

/** Why a policy could not be applied; failurePolicy decides. */
class MutationError extends Error {
  readonly errorType: ErrorType;
  constructor(message: string, errorType: ErrorType = 'invalid_error') {
    super(message);
    this.errorType = errorType;
  }
}

export function mutatingAdmissionPolicy(): AdmissionPlugin {
  const source = new PolicySource<Mutator>({
    policies: 'mutatingadmissionpolicies',
    bindings: 'mutatingadmissionpolicybindings',
    compile: (spec) => new Mutator(spec),
  });
  const metrics = new PolicyMetrics('mutating');
  let context: AdmissionStart | undefined;
  return {
    name: NAME,
    start(given) {
      context = given;
      given.metrics.collect(() => metrics.render());
      return source.start(given);
    },
    handles: (operation, target) => context !== undefined && source.mayMatch(operation, target, context),
    admit: (attributes) =>
      attributes.object ? mutateAll(source.bound, { attributes, context: context!, metrics }) : undefined,
  };
}

/** Which policies are to see the object once more, in one request. */
interface Memory {
  readonly willing: Set<string>;
  readonly due: Set<string>;
  /** The object when this plugin was last done with it. */ left: KubeObject | undefined;
}

function memoryOf(reinvocation: Reinvocation): Memory {
  let memory = reinvocation.memory.get(NAME) as Memory | undefined;
  if (!memory)
    reinvocation.memory.set(NAME, (memory = { willing: new Set(), due: new Set(), left: undefined }));
  return memory;
}

function collectDue({ willing, due }: Memory): void {
  for (const key of willing) due.add(key);
  willing.clear();
}

interface Request {
  readonly attributes: AdmissionAttributes;
  readonly context: AdmissionStart;
  readonly metrics: PolicyMetrics;
}
interface Round extends Request {
  readonly checks: AuthorizerChecks;
  readonly reinvocation: Reinvocation;
  readonly memory: Memory;
  /** Of policies that could not be applied; those after them are all the same. */ readonly refusals: MutationRefusal[];
}

async function mutateAll(policies: readonly BoundPolicy<Mutator>[], request: Request): Promise<void> {
  const { attributes, context } = request;
  const reinvocation = trackReinvocation(attributes),
    memory = memoryOf(reinvocation);
  if (reinvocation.isSecondRound && memory.willing.size > 0 && !deepEqual(memory.left, attributes.object))
    collectDue(memory);
  const round: Round = {
    ...request,
    reinvocation,
    memory,
    refusals: [],
    checks: new (cel().AuthorizerChecks)({
      authorizer: context.authorizer,
      user: attributes.user,
      request: requestResource(attributes),
    }),
  };
  for (const policy of policies) await mutateByPolicy(policy, round);
  const [first, ...others] = round.refusals;
  if (first) throw mutationDenial(attributes, [first, ...others]);
  memory.left = memory.willing.size > 0 ? deepClone(attributes.object) : undefined;
}

async function mutateByPolicy(policy: BoundPolicy<Mutator>, round: Round): Promise<void> {
  const { attributes, context } = round;
  let match: Match | undefined;
  try {
    match = policy.matcher.match(attributes, context.kinds);
  } catch (error) {
    return refuse(policy, { error, round, what: 'policy' });
  }
  if (!match) return;
  for (const binding of policy.bindings) {
    const started = performance.now();
    let errorType: ErrorType = 'no_error';
    try {
      if (!(await mutateByBinding({ policy, binding, match }, round))) continue;
    } catch (error) {
      errorType = error instanceof MutationError ? error.errorType : 'invalid_error';
      const ofPolicy = error instanceof ConfigurationError && error.ofPolicy;
      refuse(policy, {
        ...(ofPolicy ? {} : { binding }),
        error,
        round,
        what: ofPolicy ? 'policy' : 'binding',
        started,
      });
    }
    round.metrics.observe(
      { policy: policy.name, binding: binding.name, enforcement: 'allow', errorType },
      (performance.now() - started) / 1000,
    );
  }
}

interface Refused {
  readonly binding?: BoundBinding;
  readonly error: unknown;
  readonly round: Round;
  readonly what: 'policy' | 'binding';
  readonly started?: number;
}

/** Ignored under failurePolicy Ignore. A StatusError is the response to the request at once. */
function refuse(
  { name, spec }: BoundPolicy<Mutator>,
  { binding, error, round, what, started }: Refused,
): void {
  if (isStatusError(error)) throw error;
  if (spec.failurePolicy === 'Ignore') return;
  const message = error instanceof Error ? error.message : String(error);
  const isOwn = error instanceof MutationError;
  if (binding && started !== undefined)
    round.metrics.observe(
      {
        policy: name,
        binding: binding.name,
        enforcement: 'deny',
        errorType: isOwn ? error.errorType : 'invalid_error',
      },
      (performance.now() - started) / 1000,
    );
  round.refusals.push({
    policy: name,
    ...(binding ? { binding: binding.name } : {}),
    message: isOwn ? message : `failed to configure ${what}: ${message}`,
    ...(isOwn ? { reason: 'Invalid' } : {}),
  });
}

interface Bound {
  readonly policy: BoundPolicy<Mutator>;
  readonly binding: BoundBinding;
  readonly match: Match;
}

/** False when the binding is not for this request. */
async function mutateByBinding({ policy, binding, match }: Bound, round: Round): Promise<boolean> {
  const { attributes, context, reinvocation, memory } = round;
  if (!binding.matcher.match(attributes, context.kinds)) return false;
  const params = await collectParams({
    paramKind: policy.spec.paramKind,
    paramRef: binding.spec.paramRef,
    attributes,
    context,
  });
  let applied = false;
  for (const param of params) {
    const key = `${policy.name} ${binding.name} ${param?.metadata?.namespace ?? ''} ${param?.metadata?.name ?? ''}`;
    // The second round evaluates no mutation for the first time.
    if (reinvocation.isSecondRound && !memory.due.has(key)) continue;
    if (await mutateWith(policy, { param, match, round })) {
      collectDue(memory);
      reinvocation.wanted = true;
    }
    if ((policy.spec as MutatingPolicySpec).reinvocationPolicy === 'IfNeeded') memory.willing.add(key);
    applied = true;
  }
  return applied;
}

/** True when the object is another afterwards. */
async function mutateWith(
  policy: BoundPolicy<Mutator>,
  {
    param,
    match,
    round,
  }: { readonly param: KubeObject | null; readonly match: Match; readonly round: Round },
): Promise<boolean> {
  const {
    attributes,
    context: { kinds },
    checks,
  } = round;
  const { conditions, composition, mutations } = policy.evaluator();
  const values: Record<string, unknown> = { ...(await admissionValues(round, match)), params: param };
  if (!conditions.isEmpty) {
    const matched = await checks.resolving(() => conditions.evaluate(values));
    countConditions(matched, {
      metrics: round.context.metrics,
      policy: policy.name,
      type: 'admit',
      operation: attributes.operation,
    });
    if (matched.outcome === 'no-match') return false;
    if (matched.outcome === 'error') throw new MutationError(matched.message);
  }
  const before = values['object'] as KubeObject;
  let object = before,
    remaining = TOTAL_LIMIT;
  for (const { part, expression } of mutations) {
    const result = await checks.resolving(() => {
      const budget: Budget = { remaining };
      return {
        ...evaluated(expression, composition.activate({ ...values, object }, budget)),
        left: budget.remaining,
      };
    });
    if ('error' in result) throw new MutationError(result.error, result.errorType);
    remaining = result.left;
    if (checks.isLong) await checks.giveTurn();
    object = change(object, { part, value: result.value });
  }
  if (deepEqual(before, object)) return false;
  await putMutated(object, { attributes, kinds, gvk: match.gvk });
  return true;

  function change(
    current: KubeObject,
    { part, value }: { readonly part: CompiledMutation['part']; readonly value: unknown },
  ): KubeObject {
    try {
      return kinds.decode(
        part === 'jsonPatch'
          ? patchObject(current, value as JsonObject[])
          : merged(current, value as JsonObject),
        attributes.gvr,
        match.gvk,
      );
    } catch (error) {
      // The patched object is not of the kind.
      if (part === 'jsonPatch' && isStatusError(error, 'BadRequest'))
        throw statusErrors.internal(error.message.replace(/^.* cannot be handled as a \S+ /, ''));
      throw new MutationError(error instanceof Error ? error.message : String(error));
    }
  }

  function merged(current: KubeObject, config: JsonObject): KubeObject {
    const schema = kinds.schemaOf(attributes.gvr, match.gvk);
    if (!schema) throw new Error(`${match.gvk.kind} has no schema to merge by`);
    return applyConfiguration(current, config, { gvk: match.gvk, schema });
  }
}
