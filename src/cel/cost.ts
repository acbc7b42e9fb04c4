/**
 * What an expression may cost at most, estimated from its checked syntax tree and from the sizes that what it reads may have: after the cost models of
 * cel-go and of Kubernetes' functions, whose every number decides which expressions are let in. Which sizes there are is declared-sizes.ts' matter;
 * what evaluations really cost is counted in budget.ts.
 */
import { callEstimate } from './cost-functions.ts';
import { isNode, type SyntaxNode } from './syntax.ts';

/** Of one rule times the places it may run at. */
export const RULE_COST_LIMIT = 10_000_000;
/** Of all rules of a definition's version. */
export const SCHEMA_COST_LIMIT = 100_000_000;

/** Characters, bytes, items or entries. */
export interface Size {
  readonly min: number;
  readonly max: number;
}
/** Sizes and costs are counted in 64 bits upstream and stay there. */
export const UNBOUNDED = 2 ** 64 - 1;
const UNKNOWN: Size = { min: 0, max: UNBOUNDED };

/**
 * How large the value at a path of a variable is at most; undefined: not known. ['self', 'list', '@items']: '@items' of lists, '@keys' and '@values' of
 * maps. Items of what an expression has made itself begin with '@items'.
 */
export type SizeOf = (path: readonly string[]) => number | undefined;

export function estimateCost(root: SyntaxNode, sizeOf: SizeOf): number {
  return new Estimator(sizeOf).cost(root);
}

export function costMessage(
  what: string,
  { cost, limit }: { readonly cost: number; readonly limit: number },
): string {
  const factor = cost / limit;
  const text = factor > 100 ? 'more than 100x' : `${factor < 1.5 ? factor.toFixed(6) : factor.toFixed(1)}x`;
  return `${what} exceeds budget by factor of ${text} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)`;
}

export const bounded = (value: number): number => Math.min(value, UNBOUNDED);
/** Of passing over so much, rounded up. */
export const times = (size: number, factor: number): number =>
  bounded(Math.ceil(Number((size * factor).toPrecision(15))));
export const fixed = (size: number): Size => ({ min: size, max: size });
export const sumOfSizes = (left: Size, right: Size): Size => ({
  min: bounded(left.min + right.min),
  max: bounded(left.max + right.max),
});
export const productOfSizes = (left: Size, right: Size): Size => ({
  min: bounded(left.min * right.min),
  max: bounded(left.max * right.max),
});
const union = (left: Size, right: Size): Size => ({
  min: Math.min(left.min, right.min),
  max: Math.max(left.max, right.max),
});

export const TRAVERSAL = 0.1;
const LIST = 10,
  MAP = 30;

/** What is used of the evaluator's types. */
export interface Type {
  readonly kind: string;
  readonly name: string;
  readonly keyType?: Type;
  readonly valueType?: Type;
}
interface Checked extends SyntaxNode {
  readonly checkedType?: Type;
}

/** Of what a list or map holds. */
interface Entries {
  readonly key: Size;
  readonly value: Size;
}
interface Variable {
  readonly path: readonly string[];
  readonly size: Size | undefined;
  readonly entries?: Entries | undefined;
}

/** A call as functions see it: name with its namespace, 'sets.contains'. */
export interface Call {
  readonly name: string;
  readonly target: SyntaxNode | undefined;
  readonly args: readonly SyntaxNode[];
}

const NAMESPACES = new Set([
  'cel',
  'format',
  'ip',
  'jsonpatch',
  'lists',
  'math',
  'optional',
  'sets',
  'strings',
]);
const SCALARS = new Set([
  'bool',
  'double',
  'int',
  'uint',
  'google.protobuf.Timestamp',
  'google.protobuf.Duration',
]);
const TEXTS = new Set(['string', 'bytes']);

function isScalar(type: Type | undefined): boolean {
  return (
    type !== undefined && (SCALARS.has(type.name) || (type.kind === 'optional' && isScalar(type.valueType)))
  );
}

/** What a comprehension does beside its bodies: at every item, and what it starts and ends with. */
interface Comprehension {
  readonly perItem: number;
  readonly once: number;
  readonly variables: 1 | 2;
  /** What it makes. */ readonly makes?: 'list' | 'map';
}

const COMPREHENSIONS: Readonly<Record<string, Omit<Comprehension, 'variables'>>> = {
  all: { perItem: 3, once: 1 },
  exists: { perItem: 4, once: 1 },
  exists_one: { perItem: 2, once: 2 },
  existsOne: { perItem: 2, once: 2 },
  map: { perItem: 12, once: LIST + 1, makes: 'list' },
  filter: { perItem: 13, once: LIST + 1, makes: 'list' },
  transformList: { perItem: 12, once: LIST + 1, makes: 'list' },
  transformMap: { perItem: 3, once: MAP + 1, makes: 'map' },
  transformMapEntry: { perItem: 2, once: MAP + 1, makes: 'map' },
};

function comprehensionOf({ name, target, args }: Call): Comprehension | undefined {
  if (!target || !Object.hasOwn(COMPREHENSIONS, name) || args.length < 2) return undefined;
  return {
    ...COMPREHENSIONS[name]!,
    variables: name.startsWith('transform') || (args.length === 3 && name !== 'map') ? 2 : 1,
  };
}

export class Estimator {
  readonly #sizeOf: SizeOf;
  readonly #variables = new Map<string, Variable>();
  readonly #paths = new Map<SyntaxNode, readonly string[]>();
  readonly #sizes = new Map<SyntaxNode, Size>();
  readonly #entries = new Map<SyntaxNode, Entries>();

  constructor(sizeOf: SizeOf) {
    this.#sizeOf = sizeOf;
  }

  cost(node: SyntaxNode): number {
    const args = node.args as never;
    switch (node.op) {
      case 'value':
        return 0;
      case 'id': {
        this.#paths.set(node, this.#variables.get(args)?.path ?? [args]);
        return 1;
      }
      case '.': {
        const cost = this.cost(args[0]),
          { kind } = this.typeOf(args[0]);
        this.#paths.set(node, [...this.pathOf(args[0]), args[1]]);
        return bounded(cost + (kind === 'map' || kind === 'message' ? 1 : 0));
      }
      case '[]':
        return this.#index(node);
      case '?:':
        return this.#conditional(node);
      case 'list':
        return this.#list(node);
      case 'map':
        return this.#map(node);
      case 'call':
        return this.#call(node, { name: args[0], target: undefined, args: args[1] });
      case 'rcall':
        return this.#call(node, this.#memberCall(args));
      default:
        return this.#operator(node);
    }
  }

  typeOf(node: SyntaxNode): Type {
    return (node as Checked).checkedType ?? { kind: 'dyn', name: 'dyn' };
  }

  /** undefined: nothing is known. */
  knownSize(node: SyntaxNode): Size | undefined {
    const known = this.#sizes.get(node) ?? literalSize(node);
    if (known) return known;
    const path = this.pathOf(node),
      most = path.length === 0 ? undefined : this.#sizeOf(path);
    if (most !== undefined) return { min: 0, max: most };
    if (isScalar(this.typeOf(node))) return fixed(1);
    return node.op === 'id' ? this.#variables.get(node.args as string)?.size : undefined;
  }

  size(node: SyntaxNode): Size {
    return this.knownSize(node) ?? UNKNOWN;
  }

  /** Of a list's items; undefined where the value is no list. */
  itemOf(list: SyntaxNode): { readonly type: Type; readonly size: Size } | undefined {
    const type = this.typeOf(list);
    if (type.kind !== 'list' || !type.valueType) return undefined;
    const path = this.pathOf(list),
      most = path.length === 0 ? undefined : this.#sizeOf([...path, '@items']);
    return { type: type.valueType, size: most === undefined ? UNKNOWN : { min: 0, max: most } };
  }

  /** Of the variable that the value was read from; [] where it was made. */
  pathOf(node: SyntaxNode): readonly string[] {
    const variable = node.op === 'id' ? this.#variables.get(node.args as string) : undefined;
    return variable?.path ?? this.#paths.get(node) ?? [];
  }

  #entriesOf(node: SyntaxNode): Entries | undefined {
    return (
      this.#entries.get(node) ??
      (node.op === 'id' ? this.#variables.get(node.args as string)?.entries : undefined)
    );
  }

  #sum(nodes: readonly SyntaxNode[]): number {
    return bounded(nodes.reduce((sum, node) => sum + this.cost(node), 0));
  }

  #with<T>(variables: Readonly<Record<string, Variable>>, work: () => T): T {
    const hidden = Object.keys(variables).map((name) => [name, this.#variables.get(name)] as const);
    for (const [name, variable] of Object.entries(variables)) this.#variables.set(name, variable);
    try {
      return work();
    } finally {
      for (const [name, variable] of hidden) {
        if (variable) this.#variables.set(name, variable);
        else this.#variables.delete(name);
      }
    }
  }

  // ------------------------------------------------------------------------------------------------------------- operators

  #index(node: SyntaxNode): number {
    const [container, key] = node.args as [SyntaxNode, SyntaxNode];
    const cost = this.#sum([container, key]),
      { kind } = this.typeOf(container);
    if (kind === 'list' || kind === 'map' || kind === 'dyn')
      this.#paths.set(node, [...this.pathOf(container), kind === 'list' ? '@items' : '@values']);
    const size = this.#entriesOf(container)?.value ?? this.knownSize(node);
    if (size) this.#sizes.set(node, size);
    return bounded(cost + 1);
  }

  #conditional(node: SyntaxNode): number {
    const [condition, yes, no] = node.args as [SyntaxNode, SyntaxNode, SyntaxNode];
    const cost = bounded(this.cost(condition) + Math.max(this.cost(yes), this.cost(no)));
    this.#sizes.set(node, union(this.size(yes), this.size(no)));
    this.#unite(node, yes, no);
    return cost;
  }

  #unite(node: SyntaxNode, one: SyntaxNode, other: SyntaxNode): void {
    const left = this.#entriesOf(one),
      right = this.#entriesOf(other);
    if (left && right)
      this.#entries.set(node, { key: union(left.key, right.key), value: union(left.value, right.value) });
  }

  #list(node: SyntaxNode): number {
    const items = node.args as SyntaxNode[];
    const cost = this.#sum(items);
    this.#entries.set(node, { key: fixed(1), value: this.#unionOf(items) });
    return bounded(cost + LIST);
  }

  #map(node: SyntaxNode): number {
    const entries = node.args as (readonly [SyntaxNode, SyntaxNode])[];
    const cost = this.#sum(entries.flat());
    this.#entries.set(node, {
      key: this.#unionOf(entries.map(([key]) => key)),
      value: this.#unionOf(entries.map(([, value]) => value)),
    });
    return bounded(cost + MAP);
  }

  #unionOf(nodes: readonly SyntaxNode[]): Size {
    return nodes.length === 0 ? fixed(0) : nodes.map((node) => this.size(node)).reduce(union);
  }

  #operator(node: SyntaxNode): number {
    const { op } = node,
      parts = partsOf(node.args);
    // A negative number is a literal.
    if (op === '-_' && parts[0]?.op === 'value') return 0;
    const before = this.#sum(parts),
      [left, right] = parts as [SyntaxNode, SyntaxNode];
    switch (op) {
      case '&&':
      case '||':
        return before;
      case '==':
      case '!=':
        return bounded(before + this.#equality(left, right));
      case '<':
      case '<=':
      case '>':
      case '>=':
        return bounded(before + this.#comparison(left, right));
      case 'in':
        return bounded(
          before +
            (this.typeOf(right).kind === 'map'
              ? 1
              : Math.max(this.size(right).max, this.typeOf(right).kind === 'dyn' ? 1 : 0)),
        );
      case '+':
        return bounded(before + this.#addition(node, { left, right }));
      default:
        return bounded(before + 1);
    }
  }

  #smaller(left: SyntaxNode, right: SyntaxNode): number {
    return times(Math.min(this.size(left).max, this.size(right).max), TRAVERSAL);
  }

  #equality(left: SyntaxNode, right: SyntaxNode): number {
    const { name } = this.typeOf(left);
    if (name === this.typeOf(right).name) {
      if (OF_UNIT_COST.has(name)) return 1;
      if (name === 'kubernetes.NamedFormat') return times(MAX_FORMAT_SIZE, TRAVERSAL);
      if (name === 'kubernetes.URL') return times(this.knownSize(right)?.max ?? 1, TRAVERSAL);
    }
    return this.#smaller(left, right);
  }

  #comparison(left: SyntaxNode, right: SyntaxNode): number {
    const kinds = [left, right].map((node) => this.typeOf(node));
    if (kinds.some(({ name }) => TEXTS.has(name))) return this.#smaller(left, right);
    return kinds.every(({ kind }) => kind === 'dyn') ? Math.max(1, this.#smaller(left, right)) : 1;
  }

  #addition(
    node: SyntaxNode,
    { left, right }: { readonly left: SyntaxNode; readonly right: SyntaxNode },
  ): number {
    const types = [left, right].map((part) => this.typeOf(part)),
      isOpen = types.every(({ kind }) => kind === 'dyn');
    const isList = types.some(({ kind }) => kind === 'list'),
      isText = types.some(({ name }) => TEXTS.has(name));
    if (!isOpen && !isList && !isText) return 1;
    const size = sumOfSizes(this.size(left), this.size(right));
    this.#sizes.set(node, size);
    this.#unite(node, left, right);
    return isList ? 1 : Math.max(times(size.max, TRAVERSAL), isOpen ? 1 : 0);
  }

  // ----------------------------------------------------------------------------------------------------------------- calls

  #memberCall([name, receiver, args]: readonly [string, SyntaxNode, readonly SyntaxNode[]]): Call {
    const isNamespace =
      receiver.op === 'id' &&
      NAMESPACES.has(receiver.args as string) &&
      !this.#variables.has(receiver.args as string);
    return isNamespace
      ? { name: `${receiver.args as string}.${name}`, target: undefined, args }
      : { name, target: receiver, args };
  }

  #call(node: SyntaxNode, call: Call): number {
    const { name, target, args } = call;
    if (name === 'has' && !target) return this.#presence(args[0]!);
    if (name === 'dyn' && !target && args.length === 1) return this.#same(node, args[0]!);
    if (name === 'cel.bind' && args.length === 3)
      return this.#bind(node, { variable: args[0]!.args as string, value: args[1]!, body: args[2]! });
    if (target && args.length === 2) {
      if (name === 'optMap' || name === 'optFlatMap')
        return this.#mapOptional(node, {
          target,
          variable: args[0]!.args as string,
          body: args[1]!,
          isFlat: name === 'optFlatMap',
        });
      if (name === 'sortBy')
        return this.#sortBy(node, { list: target, variable: args[0]!.args as string, key: args[1]! });
    }
    const comprehension = comprehensionOf(call);
    if (comprehension) return this.#comprehension(node, { ...comprehension, range: target!, args });
    const before = this.#sum(target ? [...args, target] : args);
    const { cost, size } = callEstimate(call, this);
    const made = size ?? this.knownSize(node);
    if (made) this.#sizes.set(node, made);
    return bounded(before + cost);
  }

  /** To ask whether a field is there costs as much as to come to where it would be. */
  #presence(node: SyntaxNode): number {
    return node.op === '.' || node.op === '.?' ? this.cost((node.args as [SyntaxNode])[0]) : this.cost(node);
  }

  #same(node: SyntaxNode, inner: SyntaxNode): number {
    const cost = bounded(this.cost(inner) + 1);
    this.#copy(node, inner);
    return cost;
  }

  #copy(node: SyntaxNode, from: SyntaxNode): void {
    const size = this.knownSize(from),
      entries = this.#entriesOf(from);
    if (size) this.#sizes.set(node, size);
    if (entries) this.#entries.set(node, entries);
  }

  #bind(
    node: SyntaxNode,
    {
      variable,
      value,
      body,
    }: { readonly variable: string; readonly value: SyntaxNode; readonly body: SyntaxNode },
  ): number {
    const before = this.cost(value);
    const bound: Variable = {
      path: this.pathOf(value),
      size: this.knownSize(value),
      entries: this.#entriesOf(value),
    };
    const cost = this.#with({ [variable]: bound }, () => {
      const inner = this.cost(body);
      this.#copy(node, body);
      return inner;
    });
    return bounded(before + LIST + cost);
  }

  /** As the condition it stands for: hasValue() ? optional.of(bind(value(), body)) : none. */
  #mapOptional(
    node: SyntaxNode,
    {
      target,
      variable,
      body,
      isFlat,
    }: {
      readonly target: SyntaxNode;
      readonly variable: string;
      readonly body: SyntaxNode;
      readonly isFlat: boolean;
    },
  ): number {
    const read = bounded(this.cost(target) + 1),
      { valueType } = this.typeOf(target);
    const inner = this.#with(
      { [variable]: { path: [], size: isScalar(valueType) ? fixed(1) : undefined } },
      () => this.cost(body),
    );
    this.#sizes.set(
      node,
      this.typeOf(node).kind === 'optional' && isScalar(this.typeOf(node)) ? fixed(1) : UNKNOWN,
    );
    return bounded(read + LIST + read + inner + (isFlat ? 0 : 1));
  }

  /** As the sorting by a list of keys that it stands for. */
  #sortBy(
    node: SyntaxNode,
    {
      list,
      variable,
      key,
    }: { readonly list: SyntaxNode; readonly variable: string; readonly key: SyntaxNode },
  ): number {
    const before = this.cost(list),
      { max } = this.size(list);
    const perItem = this.#with(this.#itemVariables(list, [variable]), () => this.cost(key));
    const factor = TEXTS.has(this.typeOf(key).name) || this.typeOf(key).kind === 'dyn' ? 2 + TRAVERSAL : 2;
    this.#sizes.set(node, productOfSizes(this.size(list), this.size(list)));
    return bounded(
      before +
        LIST +
        1 +
        (1 + LIST + 1 + bounded(max * (perItem + 12))) +
        times(bounded(max * max), factor) +
        1 +
        LIST,
    );
  }

  /** With one variable: items of lists, keys of maps. With two: index or key, and value. */
  #itemVariables(range: SyntaxNode, names: readonly string[]): Record<string, Variable> {
    const isList = this.typeOf(range).kind === 'list',
      path = this.pathOf(range),
      entries = this.#entriesOf(range);
    const key: Variable = { path: [...path, isList ? '@indices' : '@keys'], size: entries?.key };
    const value: Variable = { path: [...path, isList ? '@items' : '@values'], size: entries?.value };
    if (names.length === 1) return { [names[0]!]: isList ? value : key };
    return { [names[0]!]: key, [names[1]!]: value };
  }

  #comprehension(
    node: SyntaxNode,
    {
      range,
      args,
      perItem,
      once,
      variables,
      makes,
    }: Comprehension & { readonly range: SyntaxNode; readonly args: readonly SyntaxNode[] },
  ): number {
    const before = this.cost(range),
      names = args.slice(0, variables).map((variable) => variable.args as string),
      bodies = args.slice(variables);
    const isFilter = node.op === 'rcall' && (node.args as string[])[0] === 'filter';
    const step = this.#with(this.#itemVariables(range, names), () => {
      const cost = this.#sum(bodies);
      if (makes === 'list')
        this.#entries.set(node, {
          key: fixed(1),
          value: {
            min: 0,
            max: isFilter ? this.#sizeOfVariable(names[0]!, range).max : this.size(bodies.at(-1)!).max,
          },
        });
      return cost;
    });
    const count = this.size(range);
    this.#sizes.set(node, makes ? count : fixed(1));
    return bounded(before + once + bounded(count.max * bounded(step + perItem)));
  }

  #sizeOfVariable(name: string, range: SyntaxNode): Size {
    const type = this.typeOf(range),
      checkedType = type.kind === 'list' ? type.valueType : type.keyType;
    return this.size({
      op: 'id',
      args: name,
      evaluate: () => undefined,
      ...(checkedType && { checkedType }),
    } as SyntaxNode);
  }
}

/** Types whose values are compared at once, whatever they are. */
const OF_UNIT_COST = new Set(['net.IP', 'net.CIDR', 'kubernetes.Quantity', 'kubernetes.Semver']);
const MAX_FORMAT_SIZE = 64;

function literalSize(node: SyntaxNode): Size | undefined {
  const { op, args } = node;
  if (op === 'value')
    return fixed(
      typeof args === 'string' ? Array.from(args).length : args instanceof Uint8Array ? args.length : 1,
    );
  return op === 'list' || op === 'map' ? fixed((args as unknown[]).length) : undefined;
}

function partsOf(args: unknown): SyntaxNode[] {
  return isNode(args) ? [args] : Array.isArray(args) ? args.flatMap(partsOf) : [];
}
