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
  const gone = new Set(expired(backups, DEFAULT_RETENTION));
  const kept = backups.filter(({ name }) => !gone.has(name));
  const within = (from: number, to: number): number =>
    kept.filter(({ timeMs }) => NOW - timeMs > from && NOW - timeMs <= to).length;
  assert.equal(within(-1, DAY), 97);
  assert.equal(within(DAY, 7 * DAY), 6 * 24);
  assert.equal(within(7 * DAY, 90 * DAY), 83);
  assert.equal(within(90 * DAY, 91 * DAY), 1, 'the day that is 90 days ago');
  assert.equal(within(91 * DAY, Infinity), 0);
});

test('pruning again removes nothing, and pruning every quarter of an hour keeps the same', () => {
  let kept: Kept[] = [];
  for (const one of quarterly(10).toReversed()) {
    kept.unshift(one);
    const gone = new Set(expired(kept, DEFAULT_RETENTION));
    kept = kept.filter(({ name }) => !gone.has(name));
  }
  assert.deepEqual(expired(kept, DEFAULT_RETENTION), []);
  assert.ok(kept.length > 97 + 6 * 24);
});

test('the newest, and the newest that is proven, stay whatever the policy', () => {
  const one = (name: string, proven: boolean, minutes: number): Kept => ({
    name,
    proven,
    timeMs: NOW - minutes * 60_000,
  });
  const backups = [one('d', false, 0), one('c', false, 10), one('b', true, 20), one('a', true, 30)];
  assert.deepEqual(expired(backups, { allMs: 0, hourlyMs: 0, dailyMs: 0 }), ['a', 'c']);
});

test('of an hour the proven one is kept rather than the first', () => {
  const at = (minutes: number, proven: boolean): Kept => ({
    name: `${minutes}`,
    timeMs: NOW - 3 * DAY + minutes * 60_000,
    proven,
  });
  const day = quarterly(2);
  const gone = expired([...day, at(30, true), at(15, true), at(0, false)], DEFAULT_RETENTION);
  assert.deepEqual(
    gone.filter((name) => name.length < 3),
    ['0', '30'],
  );
});

test('a clock that jumps, forth or back, for once or again and again, removes no more than a day would', () => {
  const YEAR = 365 * DAY;
  const whole = quarterly(120);
  const gone = new Set(expired(whole, DEFAULT_RETENTION));
  const before = whole.filter(({ name }) => !gone.has(name));
  for (const jumps of [[YEAR], [-YEAR], [YEAR, 0], [-20 * YEAR, 0], [YEAR, -YEAR, YEAR, -YEAR]]) {
    let kept = before;
    for (const [i, jump] of jumps.entries()) {
      const timeMs = NOW + jump + (i + 1) * 15 * 60_000;
      kept = [{ name: `after ${i}`, timeMs, proven: true }, ...kept];
      const removed = new Set(expired(kept, DEFAULT_RETENTION));
      kept = kept.filter(({ name }) => !removed.has(name));
    }
    const lost = before.filter((one) => !kept.includes(one));
    assert.ok(lost.length <= 4 * jumps.length + 2, `${jumps.join()}: ${lost.length} lost`);
  }
});

test('a cluster that was off for a year has lost nothing', () => {
  const whole = quarterly(9);
  const gone = new Set(expired(whole, DEFAULT_RETENTION));
  const kept = whole.filter(({ name }) => !gone.has(name));
  const removed = expired(
    [{ name: 'new', timeMs: NOW + 365 * DAY, proven: true }, ...kept],
    DEFAULT_RETENTION,
  );
  assert.ok(removed.length <= 5, removed.join());
});
