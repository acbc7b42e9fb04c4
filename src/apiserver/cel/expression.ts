/**
 * One CEL expression of whoever configures the cluster: admission policies, match conditions of webhooks, claims of tokens, device selectors.
 * Compiled and type-checked once, evaluated often, within a budget, with regular expressions in linear time. Validation rules of custom
 * resources, whose costs are estimated beforehand, are in rules.ts.
 *
 *   const variables = { request: 'dyn', object: 'dyn', authorizer: 'authorizer' } as const;
 *   const expression = compileExpression('object.spec.replicas <= 5', { variables, result: 'bool' });
 *   expression.evaluate({ object, request });   // true
 *
 * Load it through on-demand.ts: the evaluator is not needed where nothing is configured.
 */
import { performance } from 'node:perf_hooks';
import type { Environment, ParseResult } from '@marcbachmann/cel-js';
import type { Structural } from '../apiextensions/structural.ts';
import { AUTHORIZER, type AuthorizerChecks } from './authorizer.ts';
import { BudgetError, PER_CALL_LIMIT, withBudget, type Budget } from './budget.ts';
import { misplacedType, rewriteConstruction, type Rewritten } from './construction.ts';
import { estimateCost, type SizeOf } from './cost.ts';
import {
  CelCompileError,
  CelCostError,
  CelRuntimeError,
  describeError,
  requireReadable,
  runtimeWording,
  upstreamType,
} from './errors.ts';
import { kubernetesEnvironment } from './library.ts';
import { checkLiterals } from './literals.ts';
import { compileSeconds, evaluateSeconds } from './metrics.ts';
import { countSteps, prepare, rootOf, type Allowed, type SyntaxNode } from './syntax.ts';
import { CelTypes } from './types.ts';
import { fromCel, toCel } from './values.ts';

/**
 * 'dyn' | 'string' | 'bool' | 'int' | 'double' | 'map' | 'list<string>' …: as cel-go names types.
 * 'authorizer': an AuthorizerChecks (authorizer.ts).
 * A schema: objects of these fields; an expression that names others does not compile. The value may be null.
 * Fields with types: an object whose fields are CEL values already, read when expressions do.
 */
export type VariableType = string | Structural | CelFields;

export interface CelFields {
  readonly typeName: string;
  readonly fieldTypes: Readonly<Record<string, string>>;
}

export type Variables = Readonly<Record<string, VariableType>>;

export interface ExpressionOptions extends Allowed {
  /** Pass the same object for expressions that share their variables: their environment is made once. */
  readonly variables: Variables;
  /** What the expression must come to; several: any of them. What it comes to cannot be told of 'dyn'. Default: anything. */
  readonly result?: string | readonly string[];
  /** Of one evaluation. Default: upstream's limit of a call. */
  readonly costLimit?: number;
  /** It may make objects and patches: see construction.ts. */
  readonly constructs?: boolean;
}

export interface EvaluationOptions {
  /** Shared with other evaluations; what this one costs is taken from it. */
  readonly budget?: Budget;
}

export interface Expression {
  readonly source: string;
  /** What it comes to, as far as can be told: 'dyn' when not at all. */
  readonly type: string;
  /** What it may cost at most, for variables of such sizes. */
  maxCost(sizeOf: SizeOf): number;
  /**
   * Values are JSON (numbers without fraction are ints), and so is the result. A variable without value is unknown, which is an error where
   * the expression reads it. Throws CelRuntimeError, CelCostError among them. With an authorizer: only inside its AuthorizerChecks.resolving().
   */
  evaluate(values: Readonly<Record<string, unknown>>, options?: EvaluationOptions): unknown;
  /** As evaluate, with the result as expressions see it: to be a variable of another. */
  evaluateCel(values: Readonly<Record<string, unknown>>, options?: EvaluationOptions): unknown;
}

/** Throws CelCompileError. */
export function compileExpression(
  source: string,
  { variables, result, costLimit = PER_CALL_LIMIT, constructs = false, binds = false }: ExpressionOptions,
): Expression {
  requireReadable(source);
  const scope = scopeOf(variables, constructs);
  const begunMs = performance.now();
  const { evaluate, type, root } = compile(
    constructs ? rewriteConstruction(source) : { source, at: (place) => place },
    { scope, source, allowed: { binds } },
  );
  compileSeconds.observe((performance.now() - begunMs) / 1000);
  const wanted = result === undefined ? undefined : [result].flat();
  if (wanted && !wanted.includes(type))
    throw new CelCompileError(
      `must evaluate to ${wanted.length === 1 ? upstreamType(wanted[0]!) : `one of [${wanted.map(upstreamType).join(' ')}]`} but got ${upstreamType(type)}`,
    );
  const evaluateCel = (
    values: Readonly<Record<string, unknown>>,
    { budget }: EvaluationOptions = {},
  ): unknown => {
    const allowed = budget ? Math.min(costLimit, budget.remaining) : costLimit;
    const startedMs = performance.now();
    try {
      return bounded(() => evaluate(scope.convert(values)), { allowed, budget });
    } finally {
      evaluateSeconds.observe((performance.now() - startedMs) / 1000);
    }
  };
  return {
    source,
    type,
    evaluateCel,
    maxCost: (sizeOf) => estimateCost(root, sizeOf),
    evaluate: (values, options) => {
      const value = evaluateCel(values, options);
      const misplaced = constructs ? misplacedType(value) : undefined;
      if (misplaced !== undefined) throw new CelRuntimeError(misplaced);
      try {
        return fromCel(value);
      } catch (error) {
        throw new CelRuntimeError(error instanceof Error ? error.message : String(error));
      }
    },
  };
}

interface Origin {
  readonly scope: Scope;
  /** As it was written. */ readonly source: string;
  readonly allowed: Allowed;
}
interface Compiled {
  readonly evaluate: (values: Readonly<Record<string, unknown>>) => unknown;
  readonly type: string;
  /** Checked with the types of the schema. */ readonly root: SyntaxNode;
}

function compile(rewritten: Rewritten, origin: Origin): Compiled {
  const { checking, evaluating } = origin.scope;
  const { type, parsed: checked } = checkedBy(checking, { rewritten, origin });
  const { parsed } = checkedBy(evaluating, { rewritten, origin });
  countSteps(rootOf(parsed));
  return { evaluate: (values) => parsed(values) as unknown, type, root: rootOf(checked) };
}

function checkedBy(
  environment: Environment,
  { rewritten, origin: { source, allowed } }: { readonly rewritten: Rewritten; readonly origin: Origin },
): { readonly parsed: ParseResult; readonly type: string } {
  try {
    const parsed = environment.parse(rewritten.source);
    prepare(rootOf(parsed), allowed);
    const checked = parsed.check();
    if (!checked.valid) throw checked.error ?? new Error('does not check');
    checkLiterals(rootOf(parsed));
    return { parsed, type: checked.type ?? 'dyn' };
  } catch (error) {
    throw new CelCompileError(
      describeError(error, rewritten.source, {
        env: environment,
        original: { text: source, at: rewritten.at },
      }),
      { cause: error },
    );
  }
}

function bounded(
  evaluate: () => unknown,
  { allowed, budget }: { readonly allowed: number; readonly budget: Budget | undefined },
): unknown {
  let failure: unknown;
  try {
    const { result, cost } = withBudget(allowed, () => {
      try {
        return evaluate();
      } catch (error) {
        failure = error;
        return undefined;
      }
    });
    if (budget) budget.remaining -= cost;
    if (failure === undefined) return result;
  } catch (error) {
    // What ran out of a shared budget has used it up.
    if (budget) budget.remaining -= allowed;
    throw error instanceof BudgetError ? new CelCostError(error.message, { cause: error }) : error;
  }
  throw failure instanceof CelRuntimeError
    ? failure
    : new CelRuntimeError(runtimeWording(failure), { cause: failure });
}

// ------------------------------------------------------------------------------------------------------------- variables

interface Scope {
  /** Knows which fields there are. */
  readonly checking: Environment;
  /** Takes objects as they come; the same where no schema says more. */
  readonly evaluating: Environment;
  convert(values: Readonly<Record<string, unknown>>): Record<string, unknown>;
}

/** By whether they construct. */
const scopes = [new WeakMap<Variables, Scope>(), new WeakMap<Variables, Scope>()] as const;

function scopeOf(variables: Variables, constructs: boolean): Scope {
  const known = scopes[constructs ? 1 : 0];
  let scope = known.get(variables);
  if (!scope) known.set(variables, (scope = makeScope(variables, constructs)));
  return scope;
}

function makeScope(variables: Variables, constructs: boolean): Scope {
  const evaluating = kubernetesEnvironment({ constructs }),
    entries = Object.entries(variables);
  const converters = new Map(entries.map(([name, type]) => [name, declare(name, type, evaluating)]));
  let checking = evaluating;
  if (entries.some(([, type]) => isSchema(type))) {
    checking = kubernetesEnvironment({ constructs });
    const types = new CelTypes(checking, { escaped: false });
    for (const [name, type] of entries) {
      if (isSchema(type)) checking.registerVariable(name, types.typeOf(type)?.name ?? 'dyn');
      else declare(name, type, checking);
    }
  }
  return {
    checking,
    evaluating,
    convert: (values) => {
      const converted: Record<string, unknown> = {};
      for (const [name, convert] of converters)
        if (values[name] !== undefined) converted[name] = convert(values[name]);
      return converted;
    },
  };
}

function isSchema(type: VariableType): type is Structural {
  return typeof type === 'object' && 'schema' in type;
}

/** Answers how a value takes the variable's type. */
function declare(name: string, type: VariableType, environment: Environment): (value: unknown) => unknown {
  if (typeof type === 'string') {
    environment.registerVariable(name, type === 'authorizer' ? AUTHORIZER : type);
    return type === 'authorizer' ? (checks) => (checks as AuthorizerChecks).value : toCel;
  }
  if (isSchema(type)) {
    environment.registerVariable(name, 'dyn');
    return toCel;
  }
  const ctor = class {
    readonly values: object;
    constructor(values: object) {
      this.values = values;
    }
  };
  for (const field of Object.keys(type.fieldTypes))
    Object.defineProperty(ctor.prototype, field, {
      get(this: { readonly values: Record<string, unknown> }) {
        return this.values[field];
      },
    });
  environment
    .registerType(type.typeName, { ctor, fields: type.fieldTypes } as never)
    .registerVariable(name, type.typeName);
  return (values) => new ctor(values as object);
}
