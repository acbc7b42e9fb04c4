import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CacheEntry } from './entry.ts';
import { CacheEvent, EventWindow, WindowBudget } from './events.ts';

function change(revision: number, bytes: number): CacheEvent {
  const entry = (at: number): CacheEntry =>
    new CacheEntry('/registry/things/a', { revision: at, value: Buffer.alloc(bytes) });
  return new CacheEvent({
    revision,
    key: '/registry/things/a',
    current: entry(revision),
    previous: entry(revision - 1),
  });
}

const MB = 1024 * 1024;

test('a window goes back as far as its bytes and those of all windows together allow', () => {
  const budget = new WindowBudget(10 * MB);
  const first = new EventWindow(0, budget),
    second = new EventWindow(0, budget);
  for (let i = 1; i <= 12; i++) first.push(change(i, MB));
  // Its own bound: eight megabytes.
  assert.deepEqual([first.after(3), first.after(4)?.length, budget.bytes], [undefined, 8, 8 * MB]);
  for (let i = 13; i <= 20; i++) second.push(change(i, MB));
  assert.ok(budget.bytes <= 10 * MB);
  assert.equal(second.after(18)?.length, 2);
  assert.equal(second.after(17), undefined);
  // Whoever is small is left alone.
  const third = new EventWindow(0, budget);
  for (let i = 21; i <= 30; i++) third.push(change(i, 1000));
  assert.equal(third.after(20)?.length, 10);
  first.release();
  second.release();
  third.release();
  assert.equal(budget.bytes, 0);
});
