/** Trees of expressions, several syntax errors at once, and the parser's bounds. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { listChildren, type Node } from './ast.ts';
import { SyntaxErrors } from './errors.ts';
import { parse } from './parser.ts';

/** '(+ a (* b c))' */
function shape(node: Node): string {
  const label =
    node.kind === 'binary' || node.kind === 'unary' || node.kind === 'logical'
      ? node.op
      : node.kind === 'ident' || node.kind === 'call'
        ? node.name
        : node.kind === 'literal'
          ? String(node.value)
          : node.kind;
  const inner = listChildren(node).map(shape);
  return inner.length === 0 ? label : `(${[label, ...inner].join(' ')})`;
}

function problems(source: string): string[] {
  try {
    parse(source);
  } catch (error) {
    assert.ok(error instanceof SyntaxErrors, String(error));
    return error.issues
      .toSorted((left, right) => left.at - right.at)
      .map(({ message, at }) => `${at} ${message.replace('Syntax error: ', '').replace(/\{.*\}/, '…')}`);
  }
  return [];
}

test('operators bind as they should', () => {
  for (const [source, expected] of [
    ['a + b * c', '(+ a (* b c))'],
    ['a - b - c', '(- (- a b) c)'],
    ['a || b && c', '(|| a (&& b c))'],
    ['a || b || c', '(|| a b c)'],
    ['!a == b', '(== (! a) b)'],
    ['!!a', 'a'],
    ['--a', 'a'],
    ['-1', '-1'],
    ['a ? b : c ? d : e', '(conditional a b (conditional c d e))'],
    ['a in [b, c]', '(in a (list b c))'],
    ['a.f(b)[c]', '(index (f a b) c)'],
  ] as const)
    assert.equal(shape(parse(source)), expected, source);
});

test('the smallest int is read, what is beyond it is not', () => {
  assert.equal(shape(parse('-9223372036854775808')), '-9223372036854775808');
  assert.deepEqual(problems('9223372036854775808'), ['0 invalid int literal']);
});

test('several syntax errors are reported at once, as cel-go does', () => {
  assert.deepEqual(problems('*@a | b'), [
    "0 extraneous input '*' expecting …",
    "1 token recognition error at: '@'",
    "4 token recognition error at: '| '",
    "6 extraneous input 'b' expecting <EOF>",
  ]);
  assert.deepEqual(problems('"\\xFh"'), [
    "0 token recognition error at: '\"\\xFh'",
    "5 token recognition error at: '\"'",
    "6 mismatched input '<EOF>' expecting …",
  ]);
  assert.deepEqual(problems('[1, * 2, + 3]'), [
    "4 extraneous input '*' expecting …",
    "9 extraneous input '+' expecting …",
  ]);
  assert.deepEqual(problems('a b c'), ["2 mismatched input 'b' expecting <EOF>"]);
  assert.deepEqual(problems('1 +'), ["3 mismatched input '<EOF>' expecting …"]);
});

test('reserved words are no names', () => {
  assert.deepEqual(problems('a + while'), ['4 reserved identifier: while']);
});

test('nesting, chains, parts and tokens too many are bounded', () => {
  const nested = (n: number): string => `${'('.repeat(n)}a${')'.repeat(n)}`;
  assert.deepEqual(problems(nested(200)), []);
  assert.match(problems(nested(300)).join(), /expression recursion limit exceeded: 250/);
  assert.match(problems(`a${'.b'.repeat(300)}`).join(), /expression recursion limit exceeded: 250/);
  assert.match(problems(`[${'1,'.repeat(10_000)}1]`).join(), /expression has more than 10000 parts/);
  // Each one too many is reported up to a bound, then parsing ends.
  assert.ok(problems(`[${'* 1,'.repeat(100)} 1]`).length <= 31);
});
