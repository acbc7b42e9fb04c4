/**
 * One CEL expression of whoever configures the cluster: admission policies, match conditions of webhooks, claims of tokens, device selectors.
 * Compiled and type-checked once, evaluated often, within a budget, with regular expressions in linear time. Validation rules of custom
 * resources, whose costs are estimated beforehand, are in rules.ts.
 *
 *   const variables = { request: 'dyn', object: 'dyn' } as const;
 *   const expression = compileExpression('object.spec.replicas <= 5', { variables, result: 'bool' });
 *   expression.evaluate({ object, request });   // true
 *
 * What knows about the API server (its authorizer) is an extension: a caller's own type, with functions, that variables may have.
 */
import { performance } from 'node:perf_hooks';
import type { Environment, ParseResult } from '@marcbachmann/cel-js';
import type { Structural } from '#machinery/structural.ts';
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
import { adderTo, kubernetesEnvironment, type Add } from './library.ts';
import { checkLiterals } from './literals.ts';
import { compileSeconds, evaluateSeconds } from './metrics.ts';
import { countSteps, prepare, rootOf, type Allowed, type SyntaxNode } from './syntax.ts';
import { CelTypes } from './types.ts';
import { fromCel, toCel } from './values.ts';

/**
 * 'dyn' | 'string' | 'bool' | 'int' | 'double' | 'map' | 'list<string>' …: as cel-go names types.
 * The name of an extension that the compiler was made with: a value of the extension's type.
 * A schema: objects of these fields; an expression that names others does not compile. The value may be null.
 * Fields with types: an object whose fields are CEL values already, read when expressions do.
 */
type VariableType = string | Structural | CelFields;

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

interface EvaluationOptions {
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
   * the expression reads it. Throws CelRuntimeError, CelCostError among them.
   */
  evaluate(values: Readonly<Record<string, unknown>>, options?: EvaluationOptions): unknown;
  /** As evaluate, with the result as expressions see it: to be a variable of another. */
  evaluateCel(values: Readonly<Record<string, unknown>>, options?: EvaluationOptions): unknown;
}

/** A type of the caller's, with its functions. */
export interface CelExtension {
  readonly typeName: string;
  /** Registers the type and what it is used with; called once with each library. */
  addTo(environment: Environment, add: Add): void;
  /** What expressions see of a variable's value. */
  valueOf(value: unknown): unknown;
}
/** By the type that variables name. */
type CelExtensions = Readonly<Record<string, CelExtension>>;

/** Throws CelCompileError. */
type CompileExpression = (source: string, options: ExpressionOptions) => Expression;

export function makeCompiler(extensions: CelExtensions): CompileExpression {
  const scopes = new Scopes(extensions);
  return (source, options) => compileIn(scopes, { source, ...options });
}

function compileIn(
  scopes: Scopes,
  {
    source,
    variables,
    result,
    costLimit = PER_CALL_LIMIT,
    constructs = false,
    binds = false,
  }: ExpressionOptions & { readonly source: string },
): Expression {
  requireReadable(source);
  const scope = scopes.of(variables, constructs);
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

class Scopes {
  readonly #extensions: CelExtensions;
  /** By whether they construct. */
  readonly #known = [new WeakMap<Variables, Scope>(), new WeakMap<Variables, Scope>()] as const;

  /** Library and extensions, by whether they construct: clones take variables. */
  readonly #extended: (Environment | undefined)[] = [];

  constructor(extensions: CelExtensions) {
    this.#extensions = extensions;
  }

  of(variables: Variables, constructs: boolean): Scope {
    const known = this.#known[constructs ? 1 : 0];
    let scope = known.get(variables);
    if (!scope) known.set(variables, (scope = this.#make(variables, constructs)));
    return scope;
  }

  #environment(constructs: boolean): Environment {
    const i = constructs ? 1 : 0;
    return (this.#extended[i] ??= this.#extend(kubernetesEnvironment({ constructs }))).clone();
  }

  #extend(environment: Environment): Environment {
    const add = adderTo(environment);
    for (const extension of Object.values(this.#extensions)) extension.addTo(environment, add);
    return environment;
  }

  #make(variables: Variables, constructs: boolean): Scope {
    const evaluating = this.#environment(constructs),
      entries = Object.entries(variables);
    const declareIn = (environment: Environment, [name, type]: (typeof entries)[number]) =>
      declare(name, type, { environment, extensions: this.#extensions });
    const converters = new Map(entries.map((entry) => [entry[0], declareIn(evaluating, entry)]));
    let checking = evaluating;
    if (entries.some(([, type]) => isSchema(type))) {
      checking = this.#environment(constructs);
      const types = new CelTypes(checking, { escaped: false });
      for (const [name, type] of entries) {
        if (isSchema(type)) checking.registerVariable(name, types.typeOf(type)?.name ?? 'dyn');
        else declareIn(checking, [name, type]);
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
}

function isSchema(type: VariableType): type is Structural {
  return typeof type === 'object' && 'schema' in type;
}

/** Answers how a value takes the variable's type. */
function declare(
  name: string,
  type: VariableType,
  { environment, extensions }: { readonly environment: Environment; readonly extensions: CelExtensions },
): (value: unknown) => unknown {
  if (typeof type === 'string') {
    const extension = extensions[type];
    environment.registerVariable(name, extension?.typeName ?? type);
    return extension ? (value) => extension.valueOf(value) : toCel;
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

/** Of the language alone. Throws CelCompileError. */
export const compileExpression: CompileExpression = makeCompiler({});
