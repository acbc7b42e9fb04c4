import assert from 'node:assert/strict';
import { test } from 'node:test';
import { wholeNumber } from './context.ts';

test('a whole number is within its range, below zero too', () => {
  const read = wholeNumber('pod-max-pids', { min: -1, max: 100 });
  assert.equal(read('-1'), -1);
  assert.equal(read('100'), 100);
  for (const text of ['-2', '101', '1.5', '', '-', '1e1', '0x1'])
    assert.throws(
      () => read(text),
      /--pod-max-pids is ".*"; it should be a whole number from -1 to 100\./,
      text,
    );
});
