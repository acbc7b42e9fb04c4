/** Types of expressions: what each part is, which overloads are meant, and what is reported of what fits nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CelCompileError } from './errors.ts';
import { compileExpression } from './compile-expression.ts';

const variables = { n: 'int', s: 'string', d: 'dyn', m: 'map' } as const;

function typeOf(source: string): string {
  return compileExpression(source, { variables }).type;
}

function refusal(source: string): string {
  try {
    compileExpression(source, { variables });
  } catch (error) {
    assert.ok(error instanceof CelCompileError);
    return error.message;
  }
  return '';
}

test('each expression has a type', () => {
  for (const [source, type] of [
    ['n + 1', 'int'],
    ['s + "x"', 'string'],
    ['d + 1', 'int'],
    ['d', 'dyn'],
    ['[1, 2].map(x, string(x))', 'list<string>'],
    ['{"a": 1}', 'map<string, int>'],
    ['[1, 2][0]', 'int'],
    ['{"a": [1.5]}["a"][0]', 'double'],
    ['n > 1 ? s : "x"', 'string'],
    ['[1].exists(x, x > 1)', 'bool'],
    ['duration("1h") + duration("1m")', 'google.protobuf.Duration'],
    ['timestamp("2026-01-01T00:00:00Z") - timestamp("2026-01-01T00:00:00Z")', 'google.protobuf.Duration'],
    ['size(s)', 'int'],
    ['has(d.x)', 'bool'],
  ] as const)
    assert.equal(typeOf(source), type, source);
});

test('all that is wrong is reported, each with its line', () => {
  const message = refusal('n + s == unknown &&\n s.nope()');
  assert.match(message, /1:3: found no matching overload for '_\+_' applied to '\(int, string\)'/);
  assert.match(message, /1:10: undeclared reference to 'unknown'/);
  assert.match(message, /2:8: undeclared reference to 'nope'/);
});

test('of more problems than the bound the first are reported', () => {
  const source = Array.from({ length: 200 }, (_, i) => `x${i}`).join(' || ');
  assert.equal(refusal(source).match(/undeclared reference/g)?.length, 100);
});

test('an expression is refused unread beyond its bound of characters', () => {
  assert.match(
    refusal(`"${'x'.repeat(100_000)}"`),
    /expression code point size exceeds limit: size: 100002, limit 100000/,
  );
});

test('variables of macros hide others, and end with the macro', () => {
  assert.equal(typeOf('["a"].map(n, n)'), 'list<string>');
  assert.equal(typeOf('[["a"].map(n, n).size(), n]'), 'list<int>');
  assert.match(refusal('[1].all(x, x > 0) && x > 0'), /1:22: undeclared reference to 'x'/);
});
