/**
 * Parses expressions: cel-go's grammar with optional syntax (a.?b, a[?b], [?x], {?k: v}), constructions (Object{...}) and Kubernetes' macros.
 * Invalid characters, extraneous tokens and input after the expression are reported together; parsing stops at the first error of another kind,
 * since the rest cannot be interpreted.
 */
import {
  listChildren,
  type BinaryOperator,
  type CallNode,
  type LiteralNode,
  type MapNode,
  type Node,
  type StructField,
} from './ast.ts';
import { INT_MAX } from './datatypes.ts';
import { SyntaxErrors, SyntaxIssue, type Issue } from './errors.ts';
import { tokenize, type Token } from './lexer.ts';
import { expandMacro, type Allowed } from './macros.ts';
import { missingExpression, missingField, missingSign, trailing } from './syntax-errors.ts';
import { DYN } from './type.ts';

/** How deep expressions may nest, chains of operators and fields included: cel-go's limit. */
const MAX_DEPTH = 250;
const MAX_NODES = 10_000;
/** Tokens too many that are passed over before parsing ends. */
const MAX_PASSED_OVER = 30;

const RESERVED = new Set(
  'as break const continue else for function if import let loop package namespace return var void while'.split(
    ' ',
  ),
);

/** Binary operators by how tightly they bind. */
const LEVELS: readonly (readonly string[])[] = [
  ['==', '!=', '<', '<=', '>', '>=', 'in'],
  ['+', '-'],
  ['*', '/', '%'],
];

/** Throws SyntaxErrors. */
export function parse(source: string, allowed: Allowed = {}): Node {
  const { tokens, issues } = tokenize(source);
  const parser = new Parser(tokens, allowed);
  const found: Issue[] = [...issues];
  let root: Node | undefined;
  try {
    root = parser.parse();
    requireDepth(root);
  } catch (error) {
    if (!(error instanceof SyntaxIssue)) throw error;
    found.push(error);
  }
  found.push(...parser.issues);
  if (found.length > 0 || root === undefined)
    throw new SyntaxErrors(found.map(({ message, at }) => ({ message, at })));
  return root;
}

/** Evaluation goes as deep as the tree. Chains are left-deep: the parser does not meet their depth. */
function requireDepth(root: Node): void {
  let level: readonly Node[] = [root];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > MAX_DEPTH) throw tooDeep(level[0]!.at);
    level = level.flatMap(listChildren);
  }
}

function tooDeep(at: number): SyntaxIssue {
  return new SyntaxIssue(`expression recursion limit exceeded: ${MAX_DEPTH}`, at);
}

type Within = 'call' | 'index' | 'list' | undefined;

class Parser {
  readonly #tokens: readonly Token[];
  readonly #allowed: Allowed;
  #next = 0;
  #depth = 0;
  #nodes = 0;
  #within: Within;
  /** Of tokens that were passed over. */
  readonly issues: Issue[] = [];

  constructor(tokens: readonly Token[], allowed: Allowed) {
    this.#tokens = tokens;
    this.#allowed = allowed;
  }

  parse(): Node {
    const root = this.#expression();
    const met = this.#token;
    if (met.kind !== 'end') this.issues.push(trailing(met, this.#tokens[this.#next + 1]));
    return root;
  }

  // ---------------------------------------------------------------------------------------------------------------- tokens

  get #token(): Token {
    return this.#tokens[this.#next]!;
  }

  #isSign(text: string): boolean {
    return this.#token.kind === 'sign' && this.#token.text === text;
  }

  /** Consumes and returns the token if it is that sign. */
  #take(text: string): Token | undefined {
    if (!this.#isSign(text)) return undefined;
    return this.#tokens[this.#next++];
  }

  #require(sign: string): Token {
    const taken = this.#take(sign);
    if (!taken) throw missingSign(sign, this.#token);
    return taken;
  }

  #made<N extends Node>(node: N): N {
    if (++this.#nodes > MAX_NODES)
      throw new SyntaxIssue(`expression has more than ${MAX_NODES} parts`, node.at);
    return node;
  }

  #inside<T>(within: Within, parse: () => T): T {
    const outer = this.#within;
    this.#within = within;
    const result = parse();
    this.#within = outer;
    return result;
  }

  // ------------------------------------------------------------------------------------------------------------- operators

  #expression(): Node {
    if (++this.#depth > MAX_DEPTH) throw tooDeep(this.#token.at);
    const condition = this.#logical('||');
    const question = this.#take('?');
    let node = condition;
    if (question) {
      const yes = this.#logical('||');
      this.#require(':');
      const no = this.#expression();
      node = this.#made({ kind: 'conditional', at: question.at, type: DYN, condition, yes, no });
    }
    this.#depth--;
    return node;
  }

  #logical(op: '&&' | '||'): Node {
    const operand = (): Node => (op === '||' ? this.#logical('&&') : this.#binary(0));
    const operands = [operand()];
    const at = this.#token.at;
    while (this.#take(op)) operands.push(operand());
    return operands.length === 1
      ? operands[0]!
      : this.#made({ kind: 'logical', op, at, type: DYN, operands });
  }

  #binary(level: number): Node {
    if (level === LEVELS.length) return this.#unary();
    let left = this.#binary(level + 1);
    while (this.#token.kind !== 'literal' && LEVELS[level]!.includes(this.#token.text)) {
      const { text, at } = this.#tokens[this.#next++]!;
      const right = this.#binary(level + 1);
      left = this.#made({ kind: 'binary', op: text as BinaryOperator, at, type: DYN, left, right });
    }
    return left;
  }

  /** Signs in a row cancel each other out. */
  #unary(): Node {
    const first = this.#token,
      op = this.#isSign('!') ? '!' : '-';
    let count = 0;
    while (this.#isSign(op)) {
      if (op === '-' && this.#tokens[this.#next + 1]!.isNumber) break;
      this.#next++;
      count++;
    }
    const operand = this.#member();
    return count % 2 === 0 ? operand : this.#made({ kind: 'unary', op, at: first.at, type: DYN, operand });
  }

  // --------------------------------------------------------------------------------------------------------------- members

  #member(): Node {
    let node = this.#primary();
    for (;;) {
      const dot = this.#take('.');
      if (dot) {
        node = this.#afterDot(node, dot);
        continue;
      }
      const bracket = this.#take('[');
      if (!bracket) return node;
      const operand = node,
        isOptional = this.#take('?') !== undefined;
      const index = this.#inside('index', () => this.#expression());
      this.#require(']');
      node = this.#made({ kind: 'index', at: bracket.at, type: DYN, operand, index, isOptional });
    }
  }

  #afterDot(operand: Node, { at }: Token): Node {
    const isOptional = this.#take('?') !== undefined,
      name = this.#token;
    if (name.kind !== 'name') throw missingField(name);
    this.#next++;
    const open = isOptional ? undefined : this.#take('(');
    return open
      ? this.#call(name.text, { at: open.at, target: operand })
      : this.#made({ kind: 'select', at, type: DYN, operand, field: name.text, isOptional });
  }

  #call(name: string, { at, target }: { readonly at: number; readonly target?: Node }): Node {
    const args = this.#inside('call', () =>
      this.#list(')', () => this.#expression(), { trailingComma: false }),
    );
    const call: CallNode = { kind: 'call', at, type: DYN, name, target, args, overloads: [] };
    return this.#made(expandMacro(call, this.#allowed));
  }

  /** Up to the closing sign. */
  #list<T>(close: string, item: () => T, { trailingComma = true } = {}): T[] {
    const items: T[] = [];
    if (this.#take(close)) return items;
    do {
      if (trailingComma && items.length > 0 && this.#isSign(close)) break;
      items.push(item());
    } while (this.#take(','));
    this.#require(close);
    return items;
  }

  // --------------------------------------------------------------------------------------------------------------- primary

  #primary(): Node {
    const token = this.#token;
    if (token.kind === 'literal' || (this.#isSign('-') && this.#tokens[this.#next + 1]!.isNumber))
      return this.#literal();
    if (token.kind === 'keyword' && token.text !== 'in') {
      this.#next++;
      const value = token.text === 'null' ? null : token.text === 'true';
      return this.#made({ kind: 'literal', at: token.at, type: DYN, value });
    }
    if (token.kind === 'name') return this.#name();
    if (this.#isSign('.') && this.#tokens[this.#next + 1]!.kind === 'name') {
      this.#next++;
      return this.#name();
    }
    if (this.#take('(')) {
      const inner = this.#inside(undefined, () => this.#expression());
      this.#require(')');
      return inner;
    }
    if (this.#take('[')) return this.#listLiteral(token);
    if (this.#take('{')) return this.#mapLiteral(token);
    const issue = missingExpression(token, {
      before: this.#tokens[this.#next - 1],
      within: this.#within,
    });
    if (!this.#isOneTooMany()) throw issue;
    this.issues.push(issue);
    this.#next++;
    return this.#primary();
  }

  /** Without this token there would be an expression: ANTLR's single token deletion. */
  #isOneTooMany(): boolean {
    if (this.#token.kind === 'end' || this.issues.length >= MAX_PASSED_OVER) return false;
    const { kind, text } = this.#tokens[this.#next + 1]!;
    return (
      kind === 'name' || kind === 'literal' || (kind === 'keyword' && text !== 'in') || /^[[{(.]$/.test(text)
    );
  }

  #literal(): LiteralNode {
    const minus = this.#take('-'),
      { value, at } = this.#tokens[this.#next++]!;
    const signed = minus && (typeof value === 'bigint' || typeof value === 'number') ? -value : value!;
    if (typeof signed === 'bigint' && signed > INT_MAX) throw new SyntaxIssue('invalid int literal', at);
    if (minus && typeof value === 'object')
      throw new SyntaxIssue(`Syntax error: extraneous input '-' expecting an unsigned number`, minus.at);
    return this.#made({ kind: 'literal', at: minus?.at ?? at, type: DYN, value: signed });
  }

  #name(): Node {
    const token = this.#token,
      braceAt = this.#constructionAt();
    if (braceAt !== undefined) return this.#construction(braceAt);
    this.#next++;
    if (RESERVED.has(token.text)) throw new SyntaxIssue(`reserved identifier: ${token.text}`, token.at);
    const open = this.#take('(');
    return open
      ? this.#call(token.text, { at: open.at })
      : this.#made({ kind: 'ident', at: token.at, type: DYN, name: token.text });
  }

  /** A dotted name followed by a brace. Returns the index of the brace. */
  #constructionAt(): number | undefined {
    let i = this.#next + 1;
    while (this.#tokens[i]?.text === '.' && this.#tokens[i + 1]?.kind === 'name') i += 2;
    const { kind, text } = this.#tokens[i]!;
    return kind === 'sign' && text === '{' ? i : undefined;
  }

  #construction(brace: number): Node {
    const { at } = this.#tokens[brace]!,
      typeName = this.#tokens
        .slice(this.#next, brace)
        .map(({ text }) => text)
        .join('');
    this.#next = brace + 1;
    const fields = this.#inside(undefined, () => this.#list('}', () => this.#field()));
    return this.#made({ kind: 'struct', at, type: DYN, typeName, fields });
  }

  #field(): StructField {
    const isOptional = this.#take('?') !== undefined,
      { kind, text, at } = this.#token;
    if (kind !== 'name')
      throw new SyntaxIssue(`Syntax error: mismatched input '${text}' expecting IDENTIFIER`, at);
    this.#next++;
    this.#require(':');
    return { name: text, at, value: this.#expression(), isOptional };
  }

  #listLiteral({ at }: Token): Node {
    const items = this.#inside('list', () =>
      this.#list(']', () => {
        const isOptional = this.#take('?') !== undefined;
        return { value: this.#expression(), isOptional };
      }),
    );
    return this.#made({ kind: 'list', at, type: DYN, items });
  }

  #mapLiteral({ at }: Token): Node {
    const entries: MapNode['entries'] = this.#inside(undefined, () =>
      this.#list('}', () => {
        const isOptional = this.#take('?') !== undefined,
          key = this.#expression();
        this.#require(':');
        return { key, value: this.#expression(), isOptional };
      }),
    );
    return this.#made({ kind: 'map', at, type: DYN, entries });
  }
}
