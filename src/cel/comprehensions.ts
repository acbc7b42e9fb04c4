/**
 * Macros that the evaluator does not have: comprehensions with two variables (index or key, and value), and those of optional values. After
 * cel-go's ext.TwoVarComprehensions and cel.OptionalTypes.
 */
import { EvaluationError, Optional, TypeError as CelTypeError, type Environment } from '@marcbachmann/cel-js';
import { checkOrdered, compareOrdered } from './order.ts';

// What is used of the evaluator's inside, which its types do not tell.
interface Type {
  readonly kind: string;
  readonly name: string;
  readonly keyType: Type;
  readonly valueType: Type;
  isDynOrBool(): boolean;
}
interface Node {
  readonly op: string;
  readonly args: unknown;
  setMeta(key: string, value: unknown): Node;
}
interface Context {
  forkWithVariable(name: string, type: Type): Context;
  reuse(parent: Context): Context;
  setIterValue(value: unknown, evaluator: Evaluator): Context;
}
interface Checker {
  check(node: Node, context: Context): Type;
  getType(name: string): Type;
  readonly registry: {
    getListType(type: Type): Type;
    getMapType(key: Type, value: Type): Type;
    getOptionalType(type: Type): Type;
  };
}
interface Evaluator {
  run(node: Node, context: Context): unknown;
}
interface MacroCall {
  readonly ast: Node;
  readonly args: readonly Node[];
  readonly receiver: Node;
}

type AddMacro = (signature: string, handler: (call: MacroCall) => unknown) => void;

interface TwoVariables {
  /** After the two variables: the last is the body, one before it a filter. */
  readonly parameters: number;
  resultType(checker: Checker, body: Type, key: Type): Type;
  run(
    entries: Iterable<readonly [unknown, unknown]>,
    body: (key: unknown, value: unknown) => unknown,
    filter: ((key: unknown, value: unknown) => boolean) | undefined,
  ): unknown;
}

const isBool = (checker: Checker): Type => checker.getType('bool');

const COMPREHENSIONS: Readonly<Record<string, TwoVariables>> = {
  all: { parameters: 1, resultType: isBool, run: (entries, body) => quantified(entries, body, false) },
  exists: { parameters: 1, resultType: isBool, run: (entries, body) => quantified(entries, body, true) },
  existsOne: { parameters: 1, resultType: isBool, run: (entries, body) => count(entries, body) === 1 },
  exists_one: { parameters: 1, resultType: isBool, run: (entries, body) => count(entries, body) === 1 },
  transformList: {
    parameters: 1,
    resultType: (checker, body) => checker.registry.getListType(body),
    run: (entries, body, filter) => Array.from(chosen(entries, filter), ([key, value]) => body(key, value)),
  },
  transformMap: {
    parameters: 1,
    resultType: (checker, body, key) => checker.registry.getMapType(key, body),
    run: (entries, body, filter) =>
      new Map(Array.from(chosen(entries, filter), ([key, value]) => [key, body(key, value)] as const)),
  },
  transformMapEntry: {
    parameters: 1,
    resultType: (_, body) => body,
    run: (entries, body, filter) => mergedEntries(chosen(entries, filter), body),
  },
};

export function addComprehensions(env: Environment): void {
  const add: AddMacro = (signature, handler) =>
    void env.registerFunction(signature, handler as never, { async: false } as never);
  for (const [name, comprehension] of Object.entries(COMPREHENSIONS)) {
    add(`list.${name}(ast, ast, ast): dyn`, (call) => twoVariables(call, { name, comprehension }));
    if (name.startsWith('transform'))
      add(`list.${name}(ast, ast, ast, ast): dyn`, (call) => twoVariables(call, { name, comprehension }));
  }
  add('list.sortBy(ast, ast): dyn', sortBy);
  add('optional.optMap(ast, ast): dyn', (call) => optionalMacro(call, { name: 'optMap', isFlat: false }));
  add('optional.optFlatMap(ast, ast): dyn', (call) =>
    optionalMacro(call, { name: 'optFlatMap', isFlat: true }),
  );
}

function variableOf(node: Node, name: string): string {
  if (node.op === 'id') return node.args as string;
  throw new CelTypeError(`${name}(): argument must be a simple name`, node as never);
}

function twoVariables(
  { ast, args, receiver }: MacroCall,
  { name, comprehension }: { readonly name: string; readonly comprehension: TwoVariables },
): unknown {
  const key = variableOf(args[0]!, name),
    value = variableOf(args[1]!, name),
    filter = args.length > 3 ? args[2] : undefined,
    body = args.at(-1)!;
  if (key === value)
    throw new CelTypeError(`${name}(): variables must have different names`, args[1] as never);
  let keys: Context, values: Context;
  return {
    async: false,
    typeCheck(checker: Checker, _: unknown, context: Context): Type {
      const { keyType, valueType } = entryTypes(checker, checker.check(receiver, context), receiver);
      keys = context.forkWithVariable(key, keyType);
      values = keys.forkWithVariable(value, valueType);
      if (filter && !checker.check(filter, values).isDynOrBool())
        throw new CelTypeError(`${name}(): filter must return bool`, filter as never);
      const type = checker.check(body, values);
      if (comprehension.resultType === isBool && !type.isDynOrBool())
        throw new CelTypeError(`${name}(): predicate must return bool`, body as never);
      ast.setMeta('async', false);
      return comprehension.resultType(checker, type, keyType);
    },
    evaluate(evaluator: Evaluator, _: unknown, context: Context): unknown {
      const entries = entriesOf(evaluator.run(receiver, context)),
        inKeys = keys.reuse(context),
        inValues = values.reuse(inKeys);
      const run =
        (node: Node) =>
        (k: unknown, v: unknown): unknown => {
          inKeys.setIterValue(k, evaluator);
          return evaluator.run(node, inValues.setIterValue(v, evaluator));
        };
      const chooses = filter && run(filter);
      return comprehension.run(entries, run(body), chooses && ((k, v) => chooses(k, v) === true));
    },
  };
}

function entryTypes(
  checker: Checker,
  type: Type,
  node: Node,
): { readonly keyType: Type; readonly valueType: Type } {
  switch (type.kind) {
    case 'list':
      return { keyType: checker.getType('int'), valueType: type.valueType };
    case 'map':
      return { keyType: type.keyType, valueType: type.valueType };
    case 'dyn':
      return { keyType: checker.getType('dyn'), valueType: checker.getType('dyn') };
    default:
      throw new CelTypeError(
        `expression of type '${type.name}' cannot be range of a comprehension (must be list, map, or dynamic)`,
        node as never,
      );
  }
}

function entriesOf(collection: unknown): Iterable<readonly [unknown, unknown]> {
  if (Array.isArray(collection)) return collection.map((item, i) => [BigInt(i), item] as const);
  if (collection instanceof Map) return collection.entries();
  if (typeof collection === 'object' && collection !== null) return Object.entries(collection);
  throw new EvaluationError('cannot be range of a comprehension (must be list, map, or dynamic)');
}

function* chosen(
  entries: Iterable<readonly [unknown, unknown]>,
  filter: ((key: unknown, value: unknown) => boolean) | undefined,
): Generator<readonly [unknown, unknown]> {
  for (const entry of entries) if (!filter || filter(entry[0], entry[1])) yield entry;
}

/** An error counts only where no item decides. */
function quantified(
  entries: Iterable<readonly [unknown, unknown]>,
  body: (key: unknown, value: unknown) => unknown,
  deciding: boolean,
): boolean {
  let failure: unknown;
  for (const [key, value] of entries) {
    try {
      if (body(key, value) === deciding) return deciding;
    } catch (error) {
      failure ??= error;
    }
  }
  if (failure !== undefined) throw failure;
  return !deciding;
}

function count(
  entries: Iterable<readonly [unknown, unknown]>,
  body: (key: unknown, value: unknown) => unknown,
): number {
  let found = 0;
  for (const [key, value] of entries) if (body(key, value) === true) found++;
  return found;
}

function mergedEntries(
  entries: Iterable<readonly [unknown, unknown]>,
  body: (key: unknown, value: unknown) => unknown,
): Map<unknown, unknown> {
  const merged = new Map<unknown, unknown>();
  for (const [key, value] of entries) {
    for (const [name, inner] of entriesOf(body(key, value))) {
      if (merged.has(name)) throw new EvaluationError(`insert failed: key ${String(name)} already exists`);
      merged.set(name, inner);
    }
  }
  return merged;
}

/** list.sortBy(item, key): the items in the order of their keys. */
function sortBy({ ast, args, receiver }: MacroCall): unknown {
  const variable = variableOf(args[0]!, 'sortBy'),
    body = args[1]!;
  let inner: Context;
  return {
    async: false,
    typeCheck(checker: Checker, _: unknown, context: Context): Type {
      const type = checker.check(receiver, context);
      if (type.kind !== 'list' && type.kind !== 'dyn')
        throw new CelTypeError(
          `found no matching overload for 'sortBy' applied to '${type.name}'`,
          receiver as never,
        );
      inner = context.forkWithVariable(variable, type.kind === 'list' ? type.valueType : type);
      checker.check(body, inner);
      ast.setMeta('async', false);
      return type;
    },
    evaluate(evaluator: Evaluator, _: unknown, context: Context): unknown {
      const list = evaluator.run(receiver, context);
      if (!Array.isArray(list)) throw new EvaluationError('sortBy is of lists');
      const scope = inner.reuse(context);
      const keyed = list.map((item) => ({
        item: item as unknown,
        key: evaluator.run(body, scope.setIterValue(item, evaluator)),
      }));
      checkOrdered(keyed.map(({ key }) => key));
      return keyed.toSorted((left, right) => compareOrdered(left.key, right.key)).map(({ item }) => item);
    },
  };
}

function optionalMacro(
  { ast, args, receiver }: MacroCall,
  { name, isFlat }: { readonly name: string; readonly isFlat: boolean },
): unknown {
  const variable = variableOf(args[0]!, name),
    body = args[1]!;
  let inner: Context;
  return {
    async: false,
    typeCheck(checker: Checker, _: unknown, context: Context): Type {
      const type = checker.check(receiver, context);
      if (type.kind !== 'optional' && type.kind !== 'dyn')
        throw new CelTypeError(
          `found no matching overload for '${name}' applied to '${type.name}'`,
          receiver as never,
        );
      inner = context.forkWithVariable(variable, type.kind === 'optional' ? type.valueType : type);
      const result = checker.check(body, inner);
      ast.setMeta('async', false);
      return isFlat ? result : checker.registry.getOptionalType(result);
    },
    evaluate(evaluator: Evaluator, _: unknown, context: Context): unknown {
      const optional = evaluator.run(receiver, context);
      if (!(optional instanceof Optional)) throw new EvaluationError(`${name} is of optional values`);
      if (!optional.hasValue()) return optional;
      const result = evaluator.run(body, inner.reuse(context).setIterValue(optional.value(), evaluator));
      return isFlat ? result : Optional.of(result);
    },
  };
}
