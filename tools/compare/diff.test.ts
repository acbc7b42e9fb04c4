import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { compareAnswers, compareBodies } from './diff.ts';

const invalid = (causes: readonly object[], message = 'is invalid'): object => ({
  kind: 'Status',
  status: 'Failure',
  reason: 'Invalid',
  message,
  code: 422,
  details: { name: 'a', causes },
});
const answer = (
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): Parameters<typeof compareAnswers>[0] => ({ status, headers, body });

describe('compareAnswers', () => {
  it('finds nothing where nothing differs', () => {
    assert.deepEqual(
      compareAnswers(
        answer(200, { a: [1, { b: null }] }, { warning: 'x' }),
        answer(200, { a: [1, { b: null }] }, { warning: 'x' }),
      ),
      [],
    );
  });

  it('says of different codes only what was answered', () => {
    assert.deepEqual(
      compareAnswers(answer(422, invalid([])), answer(201, { kind: 'Pod' }, { other: 'header' })),
      [{ kind: 'status', path: '', reference: '422 Invalid: is invalid', subject: '201 Pod' }],
    );
  });

  it('compares causes as a set and pairs those of one field', () => {
    const reference = invalid([
      { field: 'a', reason: 'X', message: 'one' },
      { field: 'b', reason: 'X', message: 'two' },
      { field: 'c', reason: 'X', message: 'same' },
    ]);
    const subject = invalid([
      { field: 'c', reason: 'X', message: 'same' },
      { field: 'b', reason: 'X', message: 'zwei' },
      { field: 'd', reason: 'X', message: 'four' },
    ]);
    assert.deepEqual(compareAnswers(answer(422, reference), answer(422, subject)), [
      { kind: 'cause', path: 'a', reference: 'X: one', subject: '(absent)' },
      { kind: 'cause', path: 'b', reference: 'X: two', subject: 'X: zwei' },
      { kind: 'cause', path: 'd', reference: '(absent)', subject: 'X: four' },
    ]);
  });

  it('tells another order of the same words from other words', () => {
    const kinds = (left: string, right: string): string[] =>
      compareAnswers(answer(422, invalid([], left)), answer(422, invalid([], right))).map(({ kind }) => kind);
    assert.deepEqual(kinds('[a: x, b: y]', '[b: y, a: x]'), ['order']);
    assert.deepEqual(kinds('a: x', 'a: z'), ['message']);
  });

  it('compares headers, warnings one by one', () => {
    assert.deepEqual(
      compareAnswers(
        { ...answer(200, ''), headers: { warning: ['a', 'b'] } },
        { ...answer(200, ''), headers: { warning: ['b'], vary: 'x' } },
      ),
      [
        { kind: 'header', path: 'vary', reference: '(absent)', subject: 'x' },
        { kind: 'header', path: 'warning', reference: 'a', subject: '(absent)' },
      ],
    );
  });
});

describe('compareBodies', () => {
  it('aligns lists by names', () => {
    assert.deepEqual(
      compareBodies(
        [
          { name: 'a', v: 1 },
          { name: 'b', v: 1 },
        ],
        [{ name: 'b', v: 2 }],
      ),
      [
        { kind: 'body', path: '[a]', reference: '{"name":"a","v":1}', subject: '(absent)' },
        { kind: 'body', path: '[b].v', reference: '1', subject: '2' },
      ],
    );
  });

  it('aligns other lists by place', () => {
    assert.deepEqual(compareBodies([[1], [2]], [[1], [3], [4]]), [
      { kind: 'body', path: '[1][0]', reference: '2', subject: '3' },
      { kind: 'body', path: '[2]', reference: '(absent)', subject: '[4]' },
    ]);
  });

  it('tells absence from null, and reports the order of fields where all else is equal', () => {
    assert.deepEqual(compareBodies({ a: null }, {}), [
      { kind: 'body', path: 'a', reference: 'null', subject: '(absent)' },
    ]);
    assert.deepEqual(compareBodies({ a: 1, b: 2 }, { b: 2, a: 1 }), [
      { kind: 'order', path: '', reference: 'a, b', subject: 'b, a' },
    ]);
  });
});
