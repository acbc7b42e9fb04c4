/**
 * Estimates the maximum cost of an expression from its checked syntax tree and the sizes of its inputs: the cost models of cel-go and of Kubernetes'
 * functions, whose every number decides which expressions are accepted. declared-sizes.ts derives the sizes; budget.ts counts the costs of
 * evaluations.
 */
import { ONE } from './estimates.ts';
import {
  bounded,
  fixed,
  productOfSizes,
  sumOfSizes,
  times,
  TRAVERSAL,
  union,
  UNKNOWN,
  type CallEstimate,
  type Operand,
  type Size,
} from './sizes.ts';
import type { BinaryNode, ComprehensionNode, Node, OptMapNode } from './ast.ts';
import { DYN, type Type } from './type.ts';

/** Of one rule times the places it may run at. */
export const RULE_COST_LIMIT = 10_000_000;
/** Of all rules of a definition's version. */
export const SCHEMA_COST_LIMIT = 100_000_000;

/**
 * How large the value at a path of a variable is at most; undefined: not known. ['self', 'list', '@items']: '@items' of lists, '@keys' and '@values' of
 * maps. Items of what an expression has made itself begin with '@items'.
 */
export type SizeOf = (path: readonly string[]) => number | undefined;

export function estimateCost(root: Node, sizeOf: SizeOf): number {
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

const LIST = 10,
  MAP = 30,
  STRUCT = 40;

/** Size of the elements of a list or map. */
interface Entries {
  readonly key: Size;
  readonly value: Size;
}
interface Variable {
  readonly path: readonly string[];
  readonly size: Size | undefined;
  readonly entries?: Entries | undefined;
}

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

/** Costs of a comprehension beside its bodies: at each item, at its start and end. */
interface ComprehensionCost {
  readonly perItem: number;
  readonly once: number;
  /** What it makes. */ readonly makes?: 'list' | 'map';
}

const COMPREHENSIONS: Readonly<Record<Exclude<ComprehensionNode['name'], 'sortBy'>, ComprehensionCost>> = {
  all: { perItem: 3, once: 1 },
  exists: { perItem: 4, once: 1 },
  existsOne: { perItem: 2, once: 2 },
  map: { perItem: 12, once: LIST + 1, makes: 'list' },
  filter: { perItem: 13, once: LIST + 1, makes: 'list' },
  transformList: { perItem: 12, once: LIST + 1, makes: 'list' },
  transformMap: { perItem: 3, once: MAP + 1, makes: 'map' },
  transformMapEntry: { perItem: 2, once: MAP + 1, makes: 'map' },
};

class Estimator {
  readonly #sizeOf: SizeOf;
  readonly #variables = new Map<string, Variable>();
  readonly #paths = new Map<Node, readonly string[]>();
  readonly #sizes = new Map<Node, Size>();
  readonly #entries = new Map<Node, Entries>();

  constructor(sizeOf: SizeOf) {
    this.#sizeOf = sizeOf;
  }

  cost(node: Node): number {
    switch (node.kind) {
      case 'literal':
        return 0;
      case 'ident':
        this.#paths.set(node, this.#variables.get(node.name)?.path ?? [node.name]);
        return 1;
      case 'select': {
        const { operand, field } = node,
          cost = this.cost(operand);
        if (node.isOptional) return bounded(cost + 1);
        this.#paths.set(node, [...this.pathOf(operand), field]);
        return bounded(cost + (operand.type.kind === 'map' || operand.type.kind === 'message' ? 1 : 0));
      }
      // Testing a field costs as much as reaching it.
      case 'has':
        return this.cost(node.operand);
      case 'index':
        return node.isOptional
          ? bounded(this.#sum([node.operand, node.index]) + 1)
          : this.#index(node, [node.operand, node.index]);
      case 'conditional':
        return this.#conditional(node, [node.condition, node.yes, node.no]);
      case 'list':
        return this.#list(
          node,
          node.items.map(({ value }) => value),
        );
      case 'map':
        return this.#map(node, node.entries);
      case 'struct':
        return bounded(this.#sum(node.fields.map(({ value }) => value)) + STRUCT);
      case 'call':
        return this.#call(node);
      case 'unary':
        return bounded(this.cost(node.operand) + 1);
      case 'binary':
        return this.#binary(node);
      case 'logical':
        return this.#sum(node.operands);
      case 'comprehension':
        return node.name === 'sortBy'
          ? this.#sortBy(node)
          : this.#comprehension(node, COMPREHENSIONS[node.name]);
      case 'bind':
        return this.#bind(node);
      case 'optMap':
        return this.#mapOptional(node);
    }
  }

  typeOf(node: Node): Type {
    return node.type;
  }

  /** undefined: nothing is known. */
  knownSize(node: Node): Size | undefined {
    const known = this.#sizes.get(node) ?? literalSize(node);
    if (known) return known;
    const path = this.pathOf(node),
      most = path.length === 0 ? undefined : this.#sizeOf(path);
    if (most !== undefined) return { min: 0, max: most };
    if (isScalar(this.typeOf(node))) return fixed(1);
    return node.kind === 'ident' ? this.#variables.get(node.name)?.size : undefined;
  }

  size(node: Node): Size {
    return this.knownSize(node) ?? UNKNOWN;
  }

  /** Of a list's items; undefined where the value is not a list. */
  itemOf(list: Node): { readonly type: Type; readonly size: Size } | undefined {
    const type = this.typeOf(list);
    if (type.kind !== 'list' || !type.valueType) return undefined;
    const path = this.pathOf(list),
      most = path.length === 0 ? undefined : this.#sizeOf([...path, '@items']);
    return { type: type.valueType, size: most === undefined ? UNKNOWN : { min: 0, max: most } };
  }

  /** Path of the variable that the value was read from; [] for a constructed value. */
  pathOf(node: Node): readonly string[] {
    const variable = node.kind === 'ident' ? this.#variables.get(node.name) : undefined;
    return variable?.path ?? this.#paths.get(node) ?? [];
  }

  #listEntries(node: Node): Entries | undefined {
    return (
      this.#entries.get(node) ?? (node.kind === 'ident' ? this.#variables.get(node.name)?.entries : undefined)
    );
  }

  #sum(nodes: readonly Node[]): number {
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

  #index(node: Node, [container, key]: readonly [Node, Node]): number {
    const cost = this.#sum([container, key]),
      { kind } = this.typeOf(container);
    if (kind === 'list' || kind === 'map' || kind === 'dyn')
      this.#paths.set(node, [...this.pathOf(container), kind === 'list' ? '@items' : '@values']);
    const size = this.#listEntries(container)?.value ?? this.knownSize(node);
    if (size) this.#sizes.set(node, size);
    return bounded(cost + 1);
  }

  #conditional(node: Node, [condition, yes, no]: readonly [Node, Node, Node]): number {
    const cost = bounded(this.cost(condition) + Math.max(this.cost(yes), this.cost(no)));
    this.#sizes.set(node, union(this.size(yes), this.size(no)));
    this.#unite(node, yes, no);
    return cost;
  }

  #unite(node: Node, one: Node, other: Node): void {
    const left = this.#listEntries(one),
      right = this.#listEntries(other);
    if (left && right)
      this.#entries.set(node, { key: union(left.key, right.key), value: union(left.value, right.value) });
  }

  #list(node: Node, items: readonly Node[]): number {
    const cost = this.#sum(items);
    this.#entries.set(node, { key: fixed(1), value: this.#unionOf(items) });
    return bounded(cost + LIST);
  }

  #map(node: Node, entries: readonly { readonly key: Node; readonly value: Node }[]): number {
    const cost = this.#sum(entries.flatMap(({ key, value }) => [key, value]));
    this.#entries.set(node, {
      key: this.#unionOf(entries.map(({ key }) => key)),
      value: this.#unionOf(entries.map(({ value }) => value)),
    });
    return bounded(cost + MAP);
  }

  #unionOf(nodes: readonly Node[]): Size {
    return nodes.length === 0 ? fixed(0) : nodes.map((node) => this.size(node)).reduce(union);
  }

  #binary(node: BinaryNode): number {
    const { op, left, right } = node,
      before = this.#sum([left, right]);
    switch (op) {
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

  #smaller(left: Node, right: Node): number {
    return times(Math.min(this.size(left).max, this.size(right).max), TRAVERSAL);
  }

  #equality(left: Node, right: Node): number {
    const { name } = this.typeOf(left);
    if (name === this.typeOf(right).name) {
      if (OF_UNIT_COST.has(name)) return 1;
      if (name === 'kubernetes.NamedFormat') return times(MAX_FORMAT_SIZE, TRAVERSAL);
      if (name === 'kubernetes.URL') return times(this.knownSize(right)?.max ?? 1, TRAVERSAL);
    }
    return this.#smaller(left, right);
  }

  #comparison(left: Node, right: Node): number {
    const kinds = [left, right].map((node) => this.typeOf(node));
    if (kinds.some(({ name }) => TEXTS.has(name))) return this.#smaller(left, right);
    return kinds.every(({ kind }) => kind === 'dyn') ? Math.max(1, this.#smaller(left, right)) : 1;
  }

  #addition(node: Node, { left, right }: { readonly left: Node; readonly right: Node }): number {
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

  #call(node: Extract<Node, { kind: 'call' }>): number {
    const { name, target, args } = node;
    if (name === 'dyn' && !target && args.length === 1) return this.#same(node, args[0]!);
    const before = this.#sum(target ? [...args, target] : args);
    const { cost, size } = this.#estimate(node);
    const made = size ?? this.knownSize(node);
    if (made) this.#sizes.set(node, made);
    return bounded(before + cost);
  }

  /** Overloads of one shape share an estimate. */
  #estimate({ overloads, target, args }: Extract<Node, { kind: 'call' }>): CallEstimate {
    const first = target ?? args[0],
      estimate = overloads.find((overload) => overload.estimate)?.estimate;
    return first && estimate
      ? estimate({ target: this.#operand(first), args: args.map((arg) => this.#operand(arg)) })
      : ONE;
  }

  #operand(node: Node): Operand {
    return {
      type: this.typeOf(node),
      size: this.size(node),
      item: this.itemOf(node),
      literal: node.kind === 'literal' ? node.value : undefined,
    };
  }

  #same(node: Node, inner: Node): number {
    const cost = bounded(this.cost(inner) + 1);
    this.#copy(node, inner);
    return cost;
  }

  #copy(node: Node, from: Node): void {
    const size = this.knownSize(from),
      entries = this.#listEntries(from);
    if (size) this.#sizes.set(node, size);
    if (entries) this.#entries.set(node, entries);
  }

  #bind(node: Extract<Node, { kind: 'bind' }>): number {
    const { variable, value, body } = node;
    const before = this.cost(value);
    const bound: Variable = {
      path: this.pathOf(value),
      size: this.knownSize(value),
      entries: this.#listEntries(value),
    };
    const cost = this.#with({ [variable]: bound }, () => {
      const inner = this.cost(body);
      this.#copy(node, body);
      return inner;
    });
    return bounded(before + LIST + cost);
  }

  /** Expanded to its conditional: hasValue() ? optional.of(bind(value(), body)) : none. */
  #mapOptional(node: OptMapNode): number {
    const { target, variable, body, isFlat } = node;
    const read = bounded(this.cost(target) + 1),
      { valueType } = this.typeOf(target);
    const inner = this.#with(
      { [variable]: { path: [], size: valueType && isScalar(valueType) ? fixed(1) : undefined } },
      () => this.cost(body),
    );
    this.#sizes.set(
      node,
      this.typeOf(node).kind === 'optional' && isScalar(this.typeOf(node)) ? fixed(1) : UNKNOWN,
    );
    return bounded(read + LIST + read + inner + (isFlat ? 0 : 1));
  }

  /** Expanded to the sort by a list of keys. */
  #sortBy(node: ComprehensionNode): number {
    const { range: list, body: key } = node,
      before = this.cost(list),
      { max } = this.size(list);
    const perItem = this.#with(this.#itemVariables(list, node.variables), () => this.cost(key));
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
  #itemVariables(range: Node, names: readonly string[]): Record<string, Variable> {
    const isList = this.typeOf(range).kind === 'list',
      path = this.pathOf(range),
      entries = this.#listEntries(range);
    const key: Variable = { path: [...path, isList ? '@indices' : '@keys'], size: entries?.key };
    const value: Variable = { path: [...path, isList ? '@items' : '@values'], size: entries?.value };
    if (names.length === 1) return { [names[0]!]: isList ? value : key };
    return { [names[0]!]: key, [names[1]!]: value };
  }

  #comprehension(node: ComprehensionNode, { perItem, once, makes }: ComprehensionCost): number {
    const { range, variables: names } = node,
      before = this.cost(range),
      bodies = node.filter ? [node.filter, node.body] : [node.body];
    const isFilter = node.name === 'filter';
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

  #sizeOfVariable(name: string, range: Node): Size {
    const type = this.typeOf(range),
      itemType = type.kind === 'list' ? type.valueType : type.keyType;
    return this.size({ kind: 'ident', at: 0, name, type: itemType ?? DYN });
  }
}

/** Types whose values are compared at once, whatever they are. */
const OF_UNIT_COST = new Set(['net.IP', 'net.CIDR', 'kubernetes.Quantity', 'kubernetes.Semver']);
const MAX_FORMAT_SIZE = 64;

function literalSize(node: Node): Size | undefined {
  if (node.kind === 'list') return fixed(node.items.length);
  if (node.kind === 'map') return fixed(node.entries.length);
  if (node.kind !== 'literal') return undefined;
  const { value } = node;
  return fixed(
    typeof value === 'string' ? Array.from(value).length : value instanceof Uint8Array ? value.length : 1,
  );
}
