import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Turn } from './turn.ts';

test('short work continues at once, long work yields', async () => {
  const turn = new Turn();
  assert.equal(turn.isLong, false);
  const begunMs = performance.now();
  while (performance.now() - begunMs < 15);
  let others = 0;
  setImmediate(() => others++);
  assert.equal(turn.isLong, true);
  await turn.pause();
  assert.equal(others, 1);
  assert.equal(turn.isLong, false);
});
