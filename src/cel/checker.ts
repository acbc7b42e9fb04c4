/**
 * Type-checks an expression and resolves the overloads of its calls. Reports all errors with cel-go's texts; after cel-go's checker/checker.go. Sets
 * `type`, `overloads` and resolved names in the tree.
 */
import {
  listChildren,
  qualifiedName,
  type CallNode,
  type ComprehensionNode,
  type Node,
  type OptMapNode,
  type StructNode,
} from './ast.ts';
import { CONSTRUCTED, constructedField } from './construction.ts';
import { TypeValue, UnsignedInt } from './datatypes.ts';
import { overloadMessage, undeclaredMessage, upstreamType, type Issue } from './errors.ts';
import type { Library, Overload } from './functions.ts';
import { OPERATOR_OVERLOADS } from './operator-types.ts';
import {
  BOOL,
  BYTES,
  DOUBLE,
  DYN,
  ERROR,
  INT,
  isDynOrError,
  listOf,
  mapOf,
  mostGeneral,
  NULL,
  optionalOf,
  sameType,
  STRING,
  Substitution,
  TYPE,
  UINT,
  type Type,
} from './type.ts';

export interface Scope {
  readonly library: Library;
  readonly variables: ReadonlyMap<string, Type>;
  /** It may make objects and patches. */
  readonly constructs: boolean;
}

/** No issues: the tree may be evaluated. */
export function check(root: Node, scope: Scope): readonly Issue[] {
  return new Checker(scope).run(root);
}

const TYPE_NAMES = new Set(
  'bool int uint double string bytes list map null_type type dyn optional_type google.protobuf.Timestamp google.protobuf.Duration'.split(
    ' ',
  ),
);

class Checker {
  readonly #scope: Scope;
  readonly #issues: Issue[] = [];
  readonly #substitution = new Substitution();
  readonly #locals = new Map<string, Type>();

  constructor(scope: Scope) {
    this.#scope = scope;
  }

  run(root: Node): readonly Issue[] {
    this.#check(root);
    this.#settle(root);
    return this.#issues;
  }

  #settle(node: Node): void {
    node.type = this.#substitution.apply(node.type, true);
    for (const child of listChildren(node)) this.#settle(child);
  }

  #fail(message: string, at: number): Type {
    this.#issues.push({ message, at });
    return ERROR;
  }

  #check(node: Node): Type {
    return (node.type = this.#substitution.apply(this.#typeOf(node), false));
  }

  #typeOf(node: Node): Type {
    switch (node.kind) {
      case 'literal':
        return literalType(node.value);
      case 'ident':
        return this.#ident(node.name, node);
      case 'select':
        return this.#select(node);
      case 'has':
        this.#field(this.#check(node.operand), node);
        return BOOL;
      case 'index':
        return this.#resolve(node.isOptional ? '_[?_]' : '_[_]', node, [node.operand, node.index]);
      case 'call':
        return this.#call(node);
      case 'unary':
        return this.#resolve(node.op === '!' ? '!_' : '-_', node, [node.operand]);
      case 'binary':
        return this.#resolve(node.op === 'in' ? '@in' : `_${node.op}_`, node, [node.left, node.right]);
      case 'logical':
        for (const operand of node.operands) this.#check(operand);
        for (const operand of node.operands) this.#requireBool(operand);
        return BOOL;
      case 'conditional':
        return this.#resolve('_?_:_', node, [node.condition, node.yes, node.no]);
      case 'list':
        return listOf(this.#joined(node.items.map(({ value, isOptional }) => this.#item(value, isOptional))));
      case 'map':
        return mapOf(
          this.#joined(node.entries.map(({ key }) => this.#check(key))),
          this.#joined(node.entries.map(({ value, isOptional }) => this.#item(value, isOptional))),
        );
      case 'struct':
        return this.#struct(node);
      case 'comprehension':
        return this.#comprehension(node);
      case 'bind': {
        const type = this.#check(node.value);
        return this.#with([[node.variable, type]], () => this.#check(node.body));
      }
      case 'optMap':
        return this.#mapOptional(node);
    }
  }

  #ident(name: string, node: { readonly at: number; constant?: unknown }): Type {
    return this.#named(name, node) ?? this.#fail(undeclaredMessage(name), node.at);
  }

  /** A variable, or the name of a type. */
  #named(name: string, node: { constant?: unknown }): Type | undefined {
    const known = this.#locals.get(name) ?? this.#scope.variables.get(name);
    if (known) return known;
    if (!TYPE_NAMES.has(name) && !this.#scope.library.hasType(name)) return undefined;
    node.constant = new TypeValue(name);
    return TYPE;
  }

  #select(node: Extract<Node, { kind: 'select' }>): Type {
    const name = qualifiedName(node),
      named = name === undefined ? undefined : this.#named(name, node);
    if (named) return named;
    const type = this.#check(node.operand),
      field = this.#field(type, node);
    return node.isOptional || type.kind === 'optional' ? optionalOf(field) : field;
  }

  /** Of what an optional value holds. */
  #field(of: Type, { field, at }: { readonly field: string; readonly at: number }): Type {
    const type = of.kind === 'optional' ? of.valueType! : of;
    if (type.kind === 'error') return ERROR;
    if (type.kind === 'dyn' || type.kind === 'param') return DYN;
    if (type.kind === 'map') return type.valueType!;
    if (type.kind === 'message' && (type.fields || CONSTRUCTED.test(type.name)))
      return type.fields ? (type.fields.get(field) ?? this.#fail(`undefined field '${field}'`, at)) : DYN;
    return this.#fail(`type '${upstreamType(type.name)}' does not support field selection`, at);
  }

  // ----------------------------------------------------------------------------------------------------------------- calls

  #call(node: CallNode): Type {
    for (const arg of node.args) this.#check(arg);
    const { target } = node,
      prefix = target && qualifiedName(target);
    if (prefix !== undefined && this.#scope.library.overloads(`${prefix}.${node.name}`)) {
      node.name = `${prefix}.${node.name}`;
      node.target = undefined;
    } else if (target) this.#check(target);
    const isMember = node.target !== undefined,
      declared = this.#scope.library.overloads(node.name);
    if (!declared) return this.#fail(undeclaredMessage(node.name), node.at);
    const all = declared.filter((overload) => overload.isMember === isMember);
    const operands = node.target ? [node.target, ...node.args] : node.args;
    const shaped = all.filter(({ params }) => params.length === operands.length);
    const { type, matching } = this.#overload(shaped, operands);
    node.overloads = [...matching, ...shaped.filter((overload) => !matching.includes(overload))];
    return type ?? this.#noOverload(node.name, { at: node.at, operands, isMember });
  }

  #resolve(name: string, { at }: { readonly at: number }, operands: readonly Node[]): Type {
    for (const operand of operands) this.#check(operand);
    const { type } = this.#overload(OPERATOR_OVERLOADS.get(name)!, operands);
    return type ?? this.#noOverload(name, { at, operands, isMember: false });
  }

  /** undefined: no overload accepts these types. Several with different results: dyn. */
  #overload<O extends Pick<Overload, 'params' | 'result'>>(
    overloads: readonly O[],
    operands: readonly Node[],
  ): { readonly type: Type | undefined; readonly matching: readonly O[] } {
    const types = operands.map(({ type }) => type),
      matching: O[] = [];
    let result: Type | undefined;
    for (const overload of overloads) {
      const fresh = new Map<string, Type>();
      const params = overload.params.map((type) => this.#instantiate(type, fresh));
      if (!this.#substitution.assign(types, params)) continue;
      matching.push(overload);
      const type = this.#substitution.apply(this.#instantiate(overload.result, fresh), false);
      if (!result) result = type;
      else if (result.kind !== 'dyn' && !sameType(result, type)) result = DYN;
    }
    return { type: result, matching };
  }

  #instantiate(type: Type, fresh: Map<string, Type>): Type {
    if (type.kind === 'param') {
      const known = fresh.get(type.name) ?? this.#substitution.fresh();
      fresh.set(type.name, known);
      return known;
    }
    if (!type.valueType) return type;
    const value = this.#instantiate(type.valueType, fresh);
    if (type.keyType) return mapOf(this.#instantiate(type.keyType, fresh), value);
    return type.kind === 'list' ? listOf(value) : optionalOf(value);
  }

  #noOverload(
    name: string,
    {
      at,
      operands,
      isMember,
    }: { readonly at: number; readonly operands: readonly Node[]; readonly isMember: boolean },
  ): Type {
    const types = operands.map(({ type }) => this.#substitution.apply(type, true));
    return this.#fail(
      overloadMessage(name, isMember ? { target: types[0], args: types.slice(1) } : { args: types }),
      at,
    );
  }

  #requireBool(node: Node): void {
    if (!this.#substitution.assign([node.type], [BOOL]))
      this.#mismatch(BOOL, { type: node.type, at: node.at });
  }

  #mismatch(expected: Type, { type, at }: { readonly type: Type; readonly at: number }): Type {
    return this.#fail(
      `expected type '${upstreamType(expected.name)}' but found '${upstreamType(this.#substitution.apply(type, true).name)}'`,
      at,
    );
  }

  // -------------------------------------------------------------------------------------------------------------- literals

  /** The element type of an item marked optional. */
  #item(node: Node, isOptional: boolean): Type {
    const type = this.#check(node);
    if (!isOptional || isDynOrError(type)) return type;
    return type.kind === 'optional'
      ? type.valueType!
      : this.#mismatch(optionalOf(DYN), { type, at: node.at });
  }

  #joined(types: readonly Type[]): Type {
    if (types.length === 0) return this.#substitution.fresh();
    return types.reduce((left, right) =>
      this.#substitution.assign([left], [right]) ? mostGeneral(left, right) : DYN,
    );
  }

  #struct({ typeName, fields, at }: StructNode): Type {
    for (const { value, isOptional } of fields) this.#item(value, isOptional);
    if (!this.#scope.constructs || !CONSTRUCTED.test(typeName))
      return this.#fail(undeclaredMessage(typeName), at);
    for (const field of fields) {
      const expected = constructedField(typeName, field.name);
      if (!expected) this.#fail(`undefined field '${field.name}'`, field.at);
      else if (!field.isOptional && !this.#substitution.assign([field.value.type], [expected]))
        this.#fail(
          `expected type of field '${field.name}' is '${upstreamType(expected.name)}' but provided type is '${upstreamType(field.value.type.name)}'`,
          field.at,
        );
    }
    return { kind: 'message', name: typeName };
  }

  // ---------------------------------------------------------------------------------------------------------------- macros

  #with<T>(variables: readonly (readonly [string, Type])[], work: () => T): T {
    const hidden = variables.map(([name]) => [name, this.#locals.get(name)] as const);
    for (const [name, type] of variables) this.#locals.set(name, type);
    const result = work();
    for (const [name, type] of hidden) {
      if (type) this.#locals.set(name, type);
      else this.#locals.delete(name);
    }
    return result;
  }

  #comprehension(node: ComprehensionNode): Type {
    const range = this.#check(node.range),
      { key, value } = this.#entryTypes(range, node.range.at);
    if (node.name === 'sortBy' && range.kind !== 'list' && !isDynOrError(range))
      return this.#fail(overloadMessage('sortBy', { target: range, args: [DYN] }), node.at);
    const item = range.kind === 'map' ? key : value;
    const types = node.variables.length === 1 ? [item] : [key, value];
    const body = this.#with(
      node.variables.map((name, i) => [name, types[i]!] as const),
      () => {
        if (node.filter) {
          this.#check(node.filter);
          this.#requireBool(node.filter);
        }
        return this.#check(node.body);
      },
    );
    switch (node.name) {
      case 'map':
      case 'transformList':
        return listOf(body);
      case 'transformMap':
        return mapOf(key, body);
      case 'transformMapEntry':
        return body;
      case 'sortBy':
        return range;
      case 'filter':
        this.#requireBool(node.body);
        return listOf(item);
      default:
        this.#requireBool(node.body);
        return BOOL;
    }
  }

  #entryTypes(type: Type, at: number): { readonly key: Type; readonly value: Type } {
    if (type.kind === 'list') return { key: INT, value: type.valueType! };
    if (type.kind === 'map') return { key: type.keyType!, value: type.valueType! };
    if (isDynOrError(type) || type.kind === 'param') return { key: DYN, value: DYN };
    this.#fail(
      `expression of type '${upstreamType(type.name)}' cannot be range of a comprehension (must be list, map, or dynamic)`,
      at,
    );
    return { key: ERROR, value: ERROR };
  }

  #mapOptional({ target, variable, body, isFlat, at }: OptMapNode): Type {
    const type = this.#check(target);
    if (type.kind !== 'optional' && !isDynOrError(type) && type.kind !== 'param')
      return this.#fail(
        overloadMessage(isFlat ? 'optFlatMap' : 'optMap', { target: type, args: [DYN, DYN] }),
        at,
      );
    const result = this.#with([[variable, type.kind === 'optional' ? type.valueType! : DYN]], () =>
      this.#check(body),
    );
    if (!isFlat) return optionalOf(result);
    return result.kind === 'optional' || isDynOrError(result)
      ? result
      : this.#mismatch(optionalOf(DYN), { type: result, at: body.at });
  }
}

function literalType(value: unknown): Type {
  switch (typeof value) {
    case 'boolean':
      return BOOL;
    case 'bigint':
      return INT;
    case 'number':
      return DOUBLE;
    case 'string':
      return STRING;
    default:
      return value === null ? NULL : value instanceof UnsignedInt ? UINT : BYTES;
  }
}
