/**
 * What a rule may cost at most, estimated from the sizes its schema allows: after upstream's cost model, with the same limits. Sizes that the
 * schema leaves open are what fits into a request.
 */
import { fieldOf, type Structural } from '../apiextensions/structural.ts';
import { escapeName } from './types.ts';
import { isNode, type SyntaxNode } from './syntax.ts';

/** Of one rule times the places it may run at. */
export const RULE_COST_LIMIT = 10_000_000;
/** Of all rules of a definition's version. */
export const SCHEMA_COST_LIMIT = 100_000_000;
const MAX_REQUEST_BYTES = 3 * 1024 * 1024;

interface Estimate {
  readonly cost: number;
  /** What the value is, where the schema says. */
  readonly node?: Structural | undefined;
  /** Of a text, list or map. */
  readonly size: number;
}

type Scope = ReadonlyMap<string, Estimate>;
interface Walk { readonly variables: Scope; readonly unordered: UnorderedUse[] }

export function costMessage(what: string, { cost, limit }: { readonly cost: number; readonly limit: number }): string {
  const factor = cost / limit;
  const text = factor > 100 ? 'more than 100x' : `${factor < 1.5 ? factor.toFixed(6) : factor.toFixed(1)}x`;
  return `${what} exceeds budget by factor of ${text} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)`;
}

/** How many items or fields a value may have. */
export function maxCount(node: Structural): number {
  const { maxItems, maxProperties } = node.schema as { maxItems?: number; maxProperties?: number };
  if (node.type === 'array') return maxItems ?? Math.floor((MAX_REQUEST_BYTES - 2) / ((node.items ? minBytes(node.items) : 1) + 1));
  return maxProperties ?? Math.floor((MAX_REQUEST_BYTES - 2) / ((typeof node.additional === 'object' ? minBytes(node.additional) : 1) + 6));
}

function minBytes(node: Structural): number {
  switch (node.type) {
    case 'string': return 2;
    case 'boolean': return 4;
    case 'array': return 2;
    case 'object': {
      const required = (node.schema['required'] as string[] | undefined) ?? [];
      return 2 + required.reduce((sum, name) => sum + name.length + 4 + (node.properties.get(name)?.default === undefined ? minBytes(node.properties.get(name) ?? node) : 0), 0);
    }
    default: return 1;
  }
}

function sizeOf(node: Structural): number {
  if (node.type === 'array' || node.type === 'object') return node.type === 'object' && node.properties.size > 0 ? node.properties.size : maxCount(node);
  if (node.type !== 'string' && !node.intOrString) return 1;
  const { maxLength, enum: values, format } = node.schema as { maxLength?: number; enum?: unknown[]; format?: string };
  if (values) return Math.max(...values.map((value) => String(value).length), 0);
  if (format === 'date' || format === 'date-time' || format === 'duration') return 32;
  // Lengths are in characters, of up to four bytes each.
  return maxLength === undefined ? MAX_REQUEST_BYTES - 2 : maxLength * 4;
}

function estimateOf(node: Structural | undefined): Estimate {
  return { cost: 0, node, size: node ? sizeOf(node) : MAX_REQUEST_BYTES };
}

/** Where the order of items means nothing: found by what the schema says of the operands. */
export interface UnorderedUse { readonly node: SyntaxNode }

export function estimateCost(root: SyntaxNode, self: Structural, unordered: UnorderedUse[] = []): number {
  const scope: Scope = new Map([['self', estimateOf(self)], ['oldSelf', estimateOf(self)]]);
  return estimate(root, { variables: scope, unordered }).cost;
}

/** What a comprehension does beside its bodies: its condition, the step around the body, and what it starts and ends with. */
const OVERHEAD: Readonly<Record<string, { readonly perItem: number; readonly once: number }>> = {
  all: { perItem: 3, once: 1 }, exists: { perItem: 4, once: 1 }, exists_one: { perItem: 2, once: 2 }, existsOne: { perItem: 2, once: 2 }, map: { perItem: 12, once: 11 }, filter: { perItem: 13, once: 11 },
  transformList: { perItem: 12, once: 11 }, transformMap: { perItem: 2, once: 31 }, transformMapEntry: { perItem: 32, once: 31 }, sortBy: { perItem: 12, once: 11 },
};
/** Functions that read their receiver and arguments. */
const READING = new Set(['startsWith', 'endsWith', 'contains', 'lowerAscii', 'upperAscii', 'replace', 'split', 'join', 'substring', 'trim', 'indexOf', 'lastIndexOf', 'reverse', 'format', 'url', 'isURL', 'ip', 'isIP', 'cidr', 'isCIDR', 'quantity', 'isQuantity', 'semver', 'isSemver', 'validate', 'charAt', 'quote', 'string', 'bytes']);
const WHOLE = new Set(['isSorted', 'sum', 'min', 'max']);

function estimate(node: SyntaxNode, scope: Walk): Estimate {
  const { op } = node;
  const args = node.args as never;
  switch (op) {
    case 'value': return { cost: 0, size: typeof args === 'string' ? (args as string).length : 1 };
    case 'id': return { ...(scope.variables.get(args) ?? { size: 1, cost: 0 }), cost: 1 };
    case '.': case '.?': return field(estimate(args[0], scope), args[1]);
    case '[]': case '[?]': {
      const list = estimate(args[0], scope), key = estimate(args[1], scope);
      return { ...estimateOf(list.node && itemNode(list.node)), cost: list.cost + key.cost + 1 };
    }
    case 'call': return call(args[0], { receiver: undefined, args: args[1], scope });
    case 'rcall': return call(args[0], { receiver: args[1], args: args[2], scope });
    case '?:': {
      const [condition, yes, no] = (args as SyntaxNode[]).map((part) => estimate(part, scope)) as [Estimate, Estimate, Estimate];
      return { ...(yes.size >= no.size ? yes : no), cost: condition.cost + Math.max(yes.cost, no.cost) };
    }
    case '==': case '!=': case '<': case '<=': case '>': case '>=': case '+': {
      const [left, right] = (args as SyntaxNode[]).map((part) => estimate(part, scope)) as [Estimate, Estimate];
      if (isUnordered(left) || isUnordered(right)) scope.unordered.push({ node });
      // Lists are joined by reference.
      const read = op !== '+' ? Math.min(left.size, right.size) : isList(left) || isList(right) ? 0 : left.size + right.size;
      return { cost: left.cost + right.cost + Math.max(1, Math.ceil(read * 0.1)), size: op === '+' ? left.size + right.size : 1, node: op === '+' && isList(left) ? left.node : undefined };
    }
    case 'in': {
      const [item, list] = (args as SyntaxNode[]).map((part) => estimate(part, scope)) as [Estimate, Estimate];
      return { cost: item.cost + list.cost + (list.node?.type === 'object' ? 1 : Math.max(1, list.size)), size: 1 };
    }
    default: {
      const parts = partsOf(args).map((part) => estimate(part, scope));
      const base = op === 'list' ? 10 : op === 'map' ? 30 : op === '&&' || op === '||' ? 0 : 1;
      return { cost: base + parts.reduce((sum, part) => sum + part.cost, 0), size: Math.max(parts.length, 1) };
    }
  }
}

function partsOf(args: unknown): SyntaxNode[] {
  return isNode(args) ? [args] : Array.isArray(args) ? args.flatMap(partsOf) : [];
}

function itemNode(node: Structural): Structural | undefined {
  return node.type === 'array' ? node.items : typeof node.additional === 'object' ? node.additional : undefined;
}

function field(of: Estimate, name: string): Estimate {
  const original = of.node && (Array.from(of.node.properties.keys()).find((candidate) => escapeName(candidate) === name) ?? name);
  const node = original === undefined ? undefined : fieldOf(of.node, original);
  return { ...(node ? estimateOf(node) : { size: name === 'name' || name === 'generateName' ? 253 : MAX_REQUEST_BYTES }), cost: of.cost + 1 };
}

const UNBOUNDED = Number.MAX_SAFE_INTEGER;

interface Call { readonly receiver: SyntaxNode | undefined; readonly args: readonly SyntaxNode[]; readonly scope: Walk }

function isList({ node }: Estimate): boolean {
  return node?.type === 'array';
}

function isUnordered({ node }: Estimate): boolean {
  return node?.type === 'array' && node.listType !== 'atomic';
}

function call(name: string, { receiver, args, scope }: Call): Estimate {
  if (name === 'has') return { cost: Math.max(0, estimate(args[0]!, scope).cost - 1), size: 1, node: undefined };
  if (name === 'bind' && args.length === 3) {
    const bound = estimate(args[1]!, scope);
    const body = estimate(args[2]!, { ...scope, variables: new Map([...scope.variables, [String(args[0]!.args), { ...bound, cost: 0 }]]) });
    return { ...body, cost: body.cost + bound.cost };
  }
  const of = receiver && estimate(receiver, scope);
  if (of && Object.hasOwn(OVERHEAD, name) && args.length > 1) return comprehension(name, { of, args, scope });
  if (of && (name === 'optMap' || name === 'optFlatMap') && args.length === 2) return mapped({ of, args, scope });
  const parts = [...(of ? [of] : []), ...args.map((part) => estimate(part, scope))];
  const before = parts.reduce((sum, part) => sum + part.cost, 0);
  const size = parts[0]?.size ?? 1;
  if (name === 'matches' || name === 'matchesInLinearTime' || name === 'find' || name === 'findAll') {
    return { cost: before + Math.ceil((size + 1) * 0.1) * Math.ceil((parts[1]?.size ?? 1) * 0.25), size };
  }
  if (WHOLE.has(name)) {
    const item = of?.node && itemNode(of.node);
    return { cost: before + size * (item?.type === 'string' ? 1 + Math.ceil(sizeOf(item) * 0.1) : 1), size: item ? sizeOf(item) : 1, node: item };
  }
  if (name === 'contains') return { cost: before + Math.max(1, Math.ceil(size * 0.1) * Math.ceil((parts[1]?.size ?? 1) * 0.1)), size: 1 };
  // Upstream knows no bound of what a conversion makes.
  if (name === 'string' && !of) return { cost: before + Math.max(1, Math.ceil(size * 0.1)), size: UNBOUNDED };
  if (READING.has(name)) {
    // Texts are read once, lists of them in full.
    const read = parts.reduce((sum, part) => sum + Math.ceil(part.size * 0.1), 0);
    return { cost: before + Math.max(1, read), size: parts.reduce((sum, part) => sum + part.size, 0) };
  }
  if (receiver?.op === 'id' && receiver.args === 'sets') return { cost: before + parts.slice(1).reduce((product, part) => product * Math.max(part.size, 1), 1), size: 1 };
  if (name === 'orValue' || name === 'value' || name === 'dyn') return { ...parts[0]!, cost: before + 1 };
  return { cost: before + 1, size: name === 'size' ? 1 : size };
}

function comprehension(name: string, { of, args, scope }: { readonly of: Estimate; readonly args: readonly SyntaxNode[]; readonly scope: Walk }): Estimate {
  const hasTwo = name.startsWith('transform') || (args.length === 3 && name !== 'map');
  const isMap = of.node?.type === 'object';
  const key: Estimate = { cost: 0, size: isMap ? 63 : hasTwo ? 1 : of.size }, value = of.node ? estimateOf(itemNode(of.node)) : { cost: 0, size: of.size };
  const variables = hasTwo ? [key, value] : [isMap ? key : value];
  const inner: Walk = { ...scope, variables: new Map([...scope.variables, ...variables.map((variable, i) => [String(args[i]!.args), variable] as const)]) };
  const bodies = args.slice(variables.length).map((part) => estimate(part, inner));
  const { perItem, once } = OVERHEAD[name]!;
  const step = bodies.reduce((sum, part) => sum + part.cost, 0) + perItem;
  return { cost: of.cost + once + of.size * step, size: MAKES_LISTS.has(name) ? of.size : 1, node: name === 'filter' ? of.node : undefined };
}

const MAKES_LISTS = new Set(['map', 'filter', 'transformList', 'transformMap', 'transformMapEntry', 'sortBy']);

/** value.optMap(name, body) */
function mapped({ of, args, scope }: { readonly of: Estimate; readonly args: readonly SyntaxNode[]; readonly scope: Walk }): Estimate {
  const body = estimate(args[1]!, { ...scope, variables: new Map([...scope.variables, [String(args[0]!.args), { ...of, cost: 0 }]]) });
  return { ...body, cost: of.cost + body.cost + 2 };
}
