import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  findCondition,
  isConditionTrue,
  updateCondition,
  withCondition,
  withoutCondition,
} from './conditions.ts';

const old = { type: 'A', status: 'True', reason: 'R', lastTransitionTime: 't1' };
const other = { type: 'B', status: 'False', reason: 'S', lastTransitionTime: 't1' };

test('lastTransitionTime changes only with the status', () => {
  assert.deepEqual(withCondition([old, other], { ...old, lastTransitionTime: 't2' }), [old, other]);
  assert.deepEqual(withCondition([old, other], { ...old, reason: 'N', lastTransitionTime: 't2' }), [
    other,
    { ...old, reason: 'N' },
  ]);
  const changed = { ...old, status: 'False', lastTransitionTime: 't2' };
  assert.deepEqual(withCondition([old], changed), [changed]);
  assert.deepEqual(withCondition(undefined, old), [old]);
});

test('reading and removing', () => {
  assert.equal(findCondition([old], 'B'), undefined);
  assert.equal(isConditionTrue([old, other], 'A'), true);
  assert.equal(isConditionTrue([old, other], 'B'), false);
  assert.equal(isConditionTrue(undefined, 'A'), false);
  assert.deepEqual(withoutCondition([old, other], 'A'), [other]);
});

test('a condition is updated in place', () => {
  const again = { ...old, reason: 'N', lastTransitionTime: 't2' };
  assert.deepEqual(updateCondition([old, other], again), [{ ...again, lastTransitionTime: 't1' }, other]);
  const changed = { type: 'A', status: 'False', lastTransitionTime: 't2' };
  assert.deepEqual(updateCondition<typeof changed>([old, other], changed), [changed, other]);
  assert.deepEqual(updateCondition([other], old), [other, old]);
  assert.deepEqual(updateCondition(undefined, old), [old]);
});
