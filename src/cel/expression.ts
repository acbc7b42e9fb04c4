/**
 * A CEL expression of the cluster's configuration: admission policies, match conditions of webhooks, claims of tokens, device selectors.
 * Compiled and type-checked once, evaluated often, within a budget, with regular expressions in linear time. Validation rules of custom
 * resources, whose costs are estimated beforehand, are in rules.ts.
 *
 *   const variables = { request: 'dyn', object: 'dyn' } as const;
 *   const expression = compileExpression('object.spec.replicas <= 5', { variables, result: 'bool' });
 *   expression.evaluate({ object, request });   // true
 *
 * The API server's own types (the authorizer) are extensions: a caller's type with functions, which variables may have.
 */
import { performance } from 'node:perf_hooks';
import type { Structural } from '#machinery/structural.ts';
import { BudgetError, Meter, PER_CALL_LIMIT, type Budget } from './budget.ts';
import { misplacedType } from './construction.ts';
import { compileSource } from './compile.ts';
import { estimateCost, type SizeOf } from './cost.ts';
import { Message } from './datatypes.ts';
import { CelCompileError, CelCostError, CelRuntimeError, upstreamType } from './errors.ts';
import { Library, type Functions, type OpaqueType } from './functions.ts';
import { kubernetesLibrary } from './library.ts';
import { compileSeconds, evaluateSeconds } from './metrics.ts';
import type { Allowed } from './macros.ts';
import type { Program } from './program.ts';
import type { Type } from './type.ts';
import { CelTypes } from './types.ts';
import { fromCel, toCel } from './values.ts';

/**
 * 'dyn' | 'string' | 'bool' | 'int' | 'double' | 'map' | 'list<string>' …: cel-go's names of types.
 * The name of an extension of the compiler: a value of the extension's type.
 * A schema: objects with these fields; an expression that selects others does not compile. The value may be null.
 * Fields with types: an object whose fields are functions that return CEL values, called when an expression reads them, with its meter.
 */
type VariableType = string | Structural | CelFields;

export interface CelFields {
  readonly typeName: string;
  /** By name, or with the type of another expression. */
  readonly fieldTypes: Readonly<Record<string, string | Type>>;
}

export type Variables = Readonly<Record<string, VariableType>>;

export interface ExpressionOptions extends Allowed {
  /** Pass the same object for expressions that share their variables: their environment is made once. */
  readonly variables: Variables;
  /** The required result type; several: any of them. 'dyn' always passes. Default: any. */
  readonly result?: string | readonly string[];
  /** Of one evaluation. Default: upstream's limit of a call. */
  readonly costLimit?: number;
  /** It may make objects and patches: see construction.ts. */
  readonly constructs?: boolean;
}

interface EvaluationOptions {
  /** Shared with other evaluations; this one's cost is deducted. */
  readonly budget?: Budget;
  /** Of the evaluation that this one is a part of. */
  readonly outer?: Meter;
}

export interface Expression {
  readonly source: string;
  /** The checked result type: 'dyn' if unknown. */
  readonly type: string;
  readonly celType: Type;
  /** The maximum cost for variables of such sizes. */
  maxCost(sizeOf: SizeOf): number;
  /**
   * Values are JSON (numbers without fraction are ints), and so is the result. A variable without a value is unknown, which is an error when the expression
   * reads it. Throws CelRuntimeError, CelCostError among them.
   */
  evaluate(values: Readonly<Record<string, unknown>>, options?: EvaluationOptions): unknown;
  /** As evaluate, with the result as expressions see it: to be a variable of another. */
  evaluateCel(values: Readonly<Record<string, unknown>>, options?: EvaluationOptions): unknown;
}

/** A type of the caller's, with its functions. */
export interface CelExtension {
  readonly typeName: string;
  /** The type itself, and those that its functions make. */
  readonly types: readonly OpaqueType[];
  readonly functions: Functions;
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
  const scope = scopes.of(variables, constructs);
  const begunMs = performance.now();
  const { program, root } = compileSource(source, { ...scope, constructs, binds });
  compileSeconds.observe((performance.now() - begunMs) / 1000);
  requireResult(root.type.name, result);
  const evaluateCel = (
    values: Readonly<Record<string, unknown>>,
    { budget, outer }: EvaluationOptions = {},
  ): unknown => {
    const limit = budget ? Math.min(costLimit, budget.remaining) : costLimit;
    const startedMs = performance.now();
    try {
      return bounded(program, { values: scope.convert(values), limit, budget, outer });
    } finally {
      evaluateSeconds.observe((performance.now() - startedMs) / 1000);
    }
  };
  return {
    source,
    type: root.type.name,
    celType: root.type,
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

/** Throws CelCompileError. */
function requireResult(type: string, result: ExpressionOptions['result']): void {
  const wanted = result === undefined ? undefined : [result].flat();
  if (wanted && !wanted.includes(type))
    throw new CelCompileError(
      `must evaluate to ${wanted.length === 1 ? upstreamType(wanted[0]!) : `one of [${wanted.map(upstreamType).join(' ')}]`} but got ${upstreamType(type)}`,
    );
}

interface Bounds {
  readonly values: Readonly<Record<string, unknown>>;
  readonly limit: number;
  readonly budget: Budget | undefined;
  readonly outer: Meter | undefined;
}

function bounded(program: Program, { values, limit, budget, outer }: Bounds): unknown {
  let failure: unknown;
  try {
    const { result, cost } = Meter.measure(
      limit,
      (meter) => {
        try {
          return program(values, meter);
        } catch (error) {
          failure = error;
          return undefined;
        }
      },
      outer,
    );
    if (budget) budget.remaining -= cost;
    if (failure === undefined) return result;
  } catch (error) {
    // What ran out of a shared budget has used it up.
    if (budget) budget.remaining -= limit;
    throw error instanceof BudgetError ? new CelCostError(error.message, { cause: error }) : error;
  }
  throw failure instanceof CelRuntimeError
    ? failure
    : new CelRuntimeError(failure instanceof Error ? failure.message : String(failure), { cause: failure });
}

// ------------------------------------------------------------------------------------------------------------- variables

interface Scope {
  readonly library: Library;
  readonly variables: ReadonlyMap<string, Type>;
  convert(values: Readonly<Record<string, unknown>>): Record<string, unknown>;
}

interface Declared {
  readonly type: Type;
  convert(value: unknown): unknown;
}

/** Types of schemas: expressions see their values as they come. */
const TYPES = new CelTypes({ escaped: false, nullable: true });

class Scopes {
  readonly #extensions: CelExtensions;
  /** By whether they construct. */
  readonly #known = [new WeakMap<Variables, Scope>(), new WeakMap<Variables, Scope>()] as const;
  readonly #libraries: (Library | undefined)[] = [];

  constructor(extensions: CelExtensions) {
    this.#extensions = extensions;
  }

  of(variables: Variables, constructs: boolean): Scope {
    const known = this.#known[constructs ? 1 : 0];
    let scope = known.get(variables);
    if (!scope) known.set(variables, (scope = this.#make(variables, constructs)));
    return scope;
  }

  #library(constructs: boolean): Library {
    return (this.#libraries[constructs ? 1 : 0] ??= Object.values(this.#extensions).reduce(
      (library, extension) => library.add(extension),
      new Library(kubernetesLibrary(constructs)),
    ));
  }

  #make(variables: Variables, constructs: boolean): Scope {
    const library = this.#library(constructs);
    const declared = Object.entries(variables).map(
      ([name, type]) => [name, this.#declare(type, library)] as const,
    );
    return {
      library,
      variables: new Map(declared.map(([name, { type }]) => [name, type])),
      convert: (values) => {
        const converted: Record<string, unknown> = {};
        for (const [name, { convert }] of declared)
          if (values[name] !== undefined) converted[name] = convert(values[name]);
        return converted;
      },
    };
  }

  #declare(type: VariableType, library: Library): Declared {
    if (typeof type === 'string') {
      const extension = this.#extensions[type];
      return extension
        ? { type: library.type(extension.typeName), convert: (value) => extension.valueOf(value) }
        : { type: library.type(type), convert: toCel };
    }
    if (isSchema(type)) return { type: TYPES.typeOf(type)?.type ?? library.type('dyn'), convert: toCel };
    const { typeName, fieldTypes } = type;
    const fields = Object.entries(fieldTypes).map(
      ([name, field]) => [name, typeof field === 'string' ? library.type(field) : field] as const,
    );
    return {
      type: { kind: 'message', name: typeName, fields: new Map(fields) },
      convert: (values) => new LazyFields(typeName, values as Fields),
    };
  }
}

function isSchema(type: Structural | CelFields): type is Structural {
  return 'schema' in type;
}

type Fields = Readonly<Record<string, (meter: Meter) => unknown>>;

class LazyFields extends Message {
  readonly typeName: string;
  readonly #fields: Fields;

  constructor(typeName: string, fields: Fields) {
    super();
    this.typeName = typeName;
    this.#fields = fields;
  }

  field(name: string, meter: Meter): unknown {
    return Object.hasOwn(this.#fields, name) ? this.#fields[name]!(meter) : undefined;
  }
}

/** Of the language alone. Throws CelCompileError. */
export const compileExpression: CompileExpression = makeCompiler({});
