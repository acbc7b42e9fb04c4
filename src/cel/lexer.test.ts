/** Tokens: each form of literal, and what is none, in ANTLR's words and at its places. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UnsignedInt } from './datatypes.ts';
import { tokenize } from './lexer.ts';

function values(source: string): unknown[] {
  const { tokens, issues } = tokenize(source);
  assert.deepEqual(issues, [], source);
  return tokens.slice(0, -1).map(({ kind, value, text }) => (kind === 'literal' ? value : text));
}

function problems(source: string): string[] {
  return tokenize(source).issues.map(({ message, at }) => `${at} ${message}`);
}

const unrecognized = (at: number, text: string): string =>
  `${at} Syntax error: token recognition error at: '${text}'`;

test('numbers', () => {
  assert.deepEqual(values('0 12 0x1F 9223372036854775807'), [0n, 12n, 31n, 9223372036854775807n]);
  assert.deepEqual(values('1u 0xFFu'), [new UnsignedInt(1n), new UnsignedInt(255n)]);
  assert.deepEqual(values('1.5 .5 1e3 2.5E-2'), [1.5, 0.5, 1000, 0.025]);
  assert.deepEqual(values('a.b1'), ['a', '.', 'b1']);
  assert.deepEqual(values('[1].x'), ['[', 1n, ']', '.', 'x']);
});

test('texts and bytes', () => {
  assert.deepEqual(values(`"a" 'b' """c"d""" r"\\n" '\\n\\t\\x41\\u00e9\\U0001F600\\101'`), [
    'a',
    'b',
    'c"d',
    '\\n',
    '\n\tAé😀A',
  ]);
  assert.deepEqual(values(`b"é\\xff" rb'\\x'`), [
    new Uint8Array([0xc3, 0xa9, 0xff]),
    new Uint8Array(Buffer.from('\\x')),
  ]);
  assert.deepEqual(values('""'), ['']);
});

test('space and comments are passed over', () => {
  assert.deepEqual(values(' a // b\n\t+ c'), ['a', '+', 'c']);
  assert.deepEqual(values(''), []);
});

test('what is no token is reported, and what follows it is read', () => {
  assert.deepEqual(problems('@a | b # c'), [
    unrecognized(0, '@'),
    unrecognized(3, '| '),
    unrecognized(7, '#'),
  ]);
  assert.deepEqual(problems('a = b'), [unrecognized(2, '= ')]);
  assert.deepEqual(problems('"\\xFh"'), [unrecognized(0, '"\\xFh'), unrecognized(5, '"')]);
  assert.deepEqual(problems('"abc'), [unrecognized(0, '"abc')]);
  assert.deepEqual(problems('"a\nb'), [unrecognized(0, '"a\\n')]);
  assert.deepEqual(problems('"""abc'), [unrecognized(2, '"abc')]);
  assert.deepEqual(
    tokenize('a = b').tokens.map(({ text }) => text),
    ['a', 'b', '<EOF>'],
  );
});

test('numbers out of range, and points that no text has', () => {
  assert.deepEqual(problems('9223372036854775809'), ['0 invalid int literal']);
  assert.deepEqual(problems(`1${'0'.repeat(100_000)}`), ['0 invalid int literal']);
  assert.deepEqual(problems('18446744073709551616u 1e999'), [
    '0 invalid uint literal',
    '22 invalid double literal',
  ]);
  assert.equal(problems('"\\ud800"').length, 1);
  assert.equal(problems('b"\\u0041"').length, 1);
});
