import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_RETENTION, expired, type Kept } from './retention.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const NOW = Date.parse('2026-06-01T12:00:00Z');

/** One every 15 minutes, for so many days. */
function quarterly(days: number): Kept[] {
  return Array.from({ length: days * 96 }, (_, i) => {
    const timeMs = NOW - i * 15 * 60_000;
    return { name: String(timeMs), timeMs, proven: true };
  });
}

test('all of a day, one an hour for a week, one a day for 90 days', () => {
  const backups = quarterly(120);
  const gone = new Set(expired(backups, { nowMs: NOW, policy: DEFAULT_RETENTION }));
  const kept = backups.filter(({ name }) => !gone.has(name));
  const within = (from: number, to: number): number =>
    kept.filter(({ timeMs }) => NOW - timeMs > from && NOW - timeMs <= to).length;
  assert.equal(within(-1, DAY), 97);
  assert.equal(within(DAY, 7 * DAY), 6 * 24);
  assert.equal(within(7 * DAY, 90 * DAY), 84);
  assert.equal(within(90 * DAY, Infinity), 0);
});

test('pruning again removes nothing, and pruning every quarter of an hour keeps the same', () => {
  let kept: Kept[] = [];
  for (const one of quarterly(10).toReversed()) {
    kept.push(one);
    const gone = new Set(expired(kept, { nowMs: one.timeMs, policy: DEFAULT_RETENTION }));
    kept = kept.filter(({ name }) => !gone.has(name));
  }
  assert.deepEqual(expired(kept, { nowMs: NOW, policy: DEFAULT_RETENTION }), []);
  assert.ok(kept.length > 97 + 6 * 24);
});

test('the newest, and the newest that is proven, stay whatever their age', () => {
  const old = (name: string, days: number, proven: boolean): Kept => ({
    name,
    timeMs: NOW - days * DAY,
    proven,
  });
  const backups = [old('a', 400, true), old('b', 300, true), old('c', 200, false), old('d', 100, false)];
  assert.deepEqual(expired(backups, { nowMs: NOW, policy: DEFAULT_RETENTION }), ['a', 'c']);
});

test('of an hour the proven one is kept rather than the first', () => {
  const at = (minutes: number, proven: boolean): Kept => ({
    name: `${minutes}`,
    timeMs: NOW - 3 * DAY + minutes * 60_000,
    proven,
  });
  const gone = expired(
    [at(0, false), at(15, true), at(30, true), { name: 'new', timeMs: NOW, proven: true }],
    {
      nowMs: NOW,
      policy: DEFAULT_RETENTION,
    },
  );
  assert.deepEqual(gone, ['0', '30']);
});
