/** Syntax trees of expressions, with macros as nodes of their own. The checker fills in types and overloads, once. */
import type { UnsignedInt } from './datatypes.ts';
import type { Overload } from './functions.ts';
import type { Type } from './type.ts';

interface Base {
  /** Position of its errors: its operator, bracket or dot, or its start. */
  readonly at: number;
  /** The checker's; dyn before. */
  type: Type;
}

export interface LiteralNode extends Base {
  readonly kind: 'literal';
  readonly value: null | boolean | bigint | number | string | Uint8Array | UnsignedInt;
}
interface IdentNode extends Base {
  readonly kind: 'ident';
  readonly name: string;
  /** A name that denotes a value: a type's. Set by the checker. */
  constant?: unknown;
}
interface SelectNode extends Base {
  readonly kind: 'select';
  readonly operand: Node;
  readonly field: string;
  readonly isOptional: boolean;
  /** Of a name with dots: see IdentNode. */
  constant?: unknown;
}
interface HasNode extends Base {
  readonly kind: 'has';
  readonly operand: Node;
  readonly field: string;
}
interface IndexNode extends Base {
  readonly kind: 'index';
  readonly operand: Node;
  readonly index: Node;
  readonly isOptional: boolean;
}
export interface CallNode extends Base {
  readonly kind: 'call';
  /** With its namespace after checking: 'sets.contains', which has no target. */
  name: string;
  target: Node | undefined;
  readonly args: readonly Node[];
  /** All of this name and shape; those that the types say come first. Set by the checker. */
  overloads: readonly Overload[];
}
export type BinaryOperator = '==' | '!=' | '<' | '<=' | '>' | '>=' | 'in' | '+' | '-' | '*' | '/' | '%';
interface UnaryNode extends Base {
  readonly kind: 'unary';
  readonly op: '!' | '-';
  readonly operand: Node;
}
export interface BinaryNode extends Base {
  readonly kind: 'binary';
  readonly op: BinaryOperator;
  readonly left: Node;
  readonly right: Node;
}
/** Chains are one node. */
export interface LogicalNode extends Base {
  readonly kind: 'logical';
  readonly op: '&&' | '||';
  readonly operands: readonly Node[];
}
interface ConditionalNode extends Base {
  readonly kind: 'conditional';
  readonly condition: Node;
  readonly yes: Node;
  readonly no: Node;
}
interface ListNode extends Base {
  readonly kind: 'list';
  readonly items: readonly { readonly value: Node; readonly isOptional: boolean }[];
}
export interface MapNode extends Base {
  readonly kind: 'map';
  readonly entries: readonly { readonly key: Node; readonly value: Node; readonly isOptional: boolean }[];
}
export interface StructField {
  readonly name: string;
  readonly at: number;
  readonly value: Node;
  readonly isOptional: boolean;
}
/** Object.spec{replicas: 3} */
export interface StructNode extends Base {
  readonly kind: 'struct';
  readonly typeName: string;
  readonly fields: readonly StructField[];
}
export type ComprehensionName =
  | 'all'
  | 'exists'
  | 'existsOne'
  | 'map'
  | 'filter'
  | 'transformList'
  | 'transformMap'
  | 'transformMapEntry'
  | 'sortBy';
export interface ComprehensionNode extends Base {
  readonly kind: 'comprehension';
  readonly name: ComprehensionName;
  readonly range: Node;
  /** One: items or keys. Two: indices or keys, and values. */
  readonly variables: readonly string[];
  readonly filter: Node | undefined;
  readonly body: Node;
}
interface BindNode extends Base {
  readonly kind: 'bind';
  readonly variable: string;
  readonly value: Node;
  readonly body: Node;
}
export interface OptMapNode extends Base {
  readonly kind: 'optMap';
  readonly target: Node;
  readonly variable: string;
  readonly body: Node;
  /** optFlatMap: the body is optional already. */
  readonly isFlat: boolean;
}

export type Node =
  | LiteralNode
  | IdentNode
  | SelectNode
  | HasNode
  | IndexNode
  | CallNode
  | UnaryNode
  | BinaryNode
  | LogicalNode
  | ConditionalNode
  | ListNode
  | MapNode
  | StructNode
  | ComprehensionNode
  | BindNode
  | OptMapNode;

export function listChildren(node: Node): readonly Node[] {
  switch (node.kind) {
    case 'literal':
    case 'ident':
      return [];
    case 'select':
    case 'has':
    case 'unary':
      return [node.operand];
    case 'index':
      return [node.operand, node.index];
    case 'call':
      return node.target ? [node.target, ...node.args] : node.args;
    case 'binary':
      return [node.left, node.right];
    case 'logical':
      return node.operands;
    case 'conditional':
      return [node.condition, node.yes, node.no];
    case 'list':
      return node.items.map(({ value }) => value);
    case 'map':
      return node.entries.flatMap(({ key, value }) => [key, value]);
    case 'struct':
      return node.fields.map(({ value }) => value);
    case 'comprehension':
      return node.filter ? [node.range, node.filter, node.body] : [node.range, node.body];
    case 'bind':
      return [node.value, node.body];
    case 'optMap':
      return [node.target, node.body];
  }
}

export function uses(node: Node, variable: string): boolean {
  return (
    (node.kind === 'ident' && node.name === variable) ||
    listChildren(node).some((child) => uses(child, variable))
  );
}

/** 'a.b.c' of names with dots between them; undefined: it is more than a name. */
export function qualifiedName(node: Node): string | undefined {
  if (node.kind === 'ident') return node.name;
  if (node.kind !== 'select' || node.isOptional) return undefined;
  const prefix = qualifiedName(node.operand);
  return prefix === undefined ? undefined : `${prefix}.${node.field}`;
}
