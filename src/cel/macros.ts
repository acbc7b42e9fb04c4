/** Macros: calls that bind variables or test fields. cel-go's standard macros, ext.TwoVarComprehensions, cel.OptionalTypes, lists.sortBy. */
import type { CallNode, ComprehensionName, Node } from './ast.ts';
import { SyntaxIssue } from './errors.ts';

/** Optional features of an expression. */
export interface Allowed {
  /** cel.bind(): upstream has it for device selectors only. */
  readonly binds?: boolean;
}

interface Form {
  readonly name: ComprehensionName;
  readonly variables: 1 | 2;
  readonly filters?: boolean;
}

/** By name and number of arguments. */
const COMPREHENSIONS: ReadonlyMap<string, Form> = new Map<string, Form>([
  ['all/2', { name: 'all', variables: 1 }],
  ['all/3', { name: 'all', variables: 2 }],
  ['exists/2', { name: 'exists', variables: 1 }],
  ['exists/3', { name: 'exists', variables: 2 }],
  ['exists_one/2', { name: 'existsOne', variables: 1 }],
  ['exists_one/3', { name: 'existsOne', variables: 2 }],
  ['existsOne/3', { name: 'existsOne', variables: 2 }],
  ['map/2', { name: 'map', variables: 1 }],
  ['map/3', { name: 'map', variables: 1, filters: true }],
  ['filter/2', { name: 'filter', variables: 1 }],
  ['sortBy/2', { name: 'sortBy', variables: 1 }],
  ['transformList/3', { name: 'transformList', variables: 2 }],
  ['transformList/4', { name: 'transformList', variables: 2, filters: true }],
  ['transformMap/3', { name: 'transformMap', variables: 2 }],
  ['transformMap/4', { name: 'transformMap', variables: 2, filters: true }],
  ['transformMapEntry/3', { name: 'transformMapEntry', variables: 2 }],
  ['transformMapEntry/4', { name: 'transformMapEntry', variables: 2, filters: true }],
]);

/** Throws SyntaxIssue. A call that is not a macro is returned unchanged. */
export function expandMacro(call: CallNode, { binds = false }: Allowed): Node {
  const { name, target, args, at, type } = call;
  if (!target) return name === 'has' && args.length === 1 ? has(call) : call;
  if (binds && name === 'bind' && args.length === 3 && target.kind === 'ident' && target.name === 'cel')
    return { kind: 'bind', at, type, variable: variableOf(args[0]!), value: args[1]!, body: args[2]! };
  if ((name === 'optMap' || name === 'optFlatMap') && args.length === 2) {
    const variable = variableOf(args[0]!);
    return { kind: 'optMap', at, type, target, variable, body: args[1]!, isFlat: name === 'optFlatMap' };
  }
  const form = COMPREHENSIONS.get(`${name}/${args.length}`);
  return form ? comprehension(call, form) : call;
}

function has({ args, at, type }: CallNode): Node {
  const [select] = args;
  if (select?.kind !== 'select' || select.isOptional)
    throw new SyntaxIssue('invalid argument to has() macro', select!.at);
  const { operand, field } = select;
  return { kind: 'has', at, type, operand, field };
}

function comprehension({ target, args, at, type, name: written }: CallNode, form: Form): Node {
  const { name, variables: count, filters } = form,
    variables = args.slice(0, count).map(variableOf);
  if (variables.length === 2 && variables[0] === variables[1])
    throw new SyntaxIssue(`${written}(): variables must have different names`, args[1]!.at);
  const filter = filters ? args[count] : undefined;
  return { kind: 'comprehension', at, type, name, range: target!, variables, filter, body: args.at(-1)! };
}

function variableOf(node: Node): string {
  if (node.kind !== 'ident') throw new SyntaxIssue('argument must be a simple name', node.at);
  return node.name;
}
