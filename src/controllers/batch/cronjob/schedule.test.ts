import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatTime } from '#machinery/time.ts';
import { lastDueMs, parseSchedule } from './schedule.ts';
import { WallClock } from './wall-clock.ts';

function times(
  schedule: string,
  after: string,
  { count = 1, timeZone = 'UTC' }: { count?: number; timeZone?: string } = {},
): string {
  const parsed = parseSchedule(schedule, new WallClock(timeZone));
  const found: string[] = [];
  let ms: number | undefined = Date.parse(after);
  for (let at = 0; at < count; at++) {
    ms = parsed.next(ms);
    if (ms === undefined) return [...found, 'never'].join(' ');
    found.push(formatTime(ms));
  }
  return found.join(' ');
}

describe('cron schedules', () => {
  it('fields, ranges, steps, names and macros', () => {
    assert.equal(
      times('*/15 * * * *', '2026-01-01T00:00:00Z', { count: 3 }),
      '2026-01-01T00:15:00Z 2026-01-01T00:30:00Z 2026-01-01T00:45:00Z',
    );
    assert.equal(
      times('5/20 3,4 * * *', '2026-01-01T03:45:00Z', { count: 2 }),
      '2026-01-01T04:05:00Z 2026-01-01T04:25:00Z',
    );
    assert.equal(times('0 12 * feb MON-FRI', '2026-01-30T13:00:00Z'), '2026-02-02T12:00:00Z');
    assert.equal(times('@weekly', '2026-01-01T00:00:00Z'), '2026-01-04T00:00:00Z');
    assert.equal(times('@hourly', '2026-01-01T00:00:00Z'), '2026-01-01T01:00:00Z');
    assert.equal(times('@every 1h30m', '2026-01-01T00:00:00.5Z'), '2026-01-01T01:30:00Z');
    assert.equal(times('0 0 29 2 *', '2026-01-01T00:00:00Z'), '2028-02-29T00:00:00Z');
    assert.equal(times('0 0 30 2 *', '2026-01-01T00:00:00Z'), 'never');
  });

  it('with both day fields restricted, either may match', () => {
    assert.equal(
      times('0 0 13 * 5', '2026-01-01T00:00:00Z', { count: 3 }),
      '2026-01-02T00:00:00Z 2026-01-09T00:00:00Z 2026-01-13T00:00:00Z',
    );
    assert.equal(times('0 0 */1 * 5', '2026-01-01T00:00:00Z'), '2026-01-02T00:00:00Z');
  });

  it('time zones: skipped and repeated times', () => {
    assert.equal(
      times('30 9 * * *', '2026-01-01T00:00:00Z', { timeZone: 'Asia/Kolkata' }),
      '2026-01-01T04:00:00Z',
    );
    assert.equal(
      times('30 2 * * *', '2026-03-28T12:00:00Z', { timeZone: 'Europe/Berlin' }),
      '2026-03-30T00:30:00Z',
    );
    assert.equal(
      times('30 2 * * *', '2026-10-24T12:00:00Z', { timeZone: 'Europe/Berlin', count: 3 }),
      '2026-10-25T00:30:00Z 2026-10-25T01:30:00Z 2026-10-26T01:30:00Z',
    );
    // Midnight is skipped in Beirut on that day.
    assert.equal(
      times('15 1 29 3 *', '2026-03-01T00:00:00Z', { timeZone: 'Asia/Beirut' }),
      '2026-03-28T22:15:00Z',
    );
    assert.equal(
      times('0 0 1 11 *', '2026-10-01T00:00:00Z', { timeZone: 'America/Havana' }),
      '2026-11-01T04:00:00Z',
    );
    assert.equal(
      new WallClock('America/St_Johns').text(Date.parse('2026-01-01T00:00:00Z')),
      '2025-12-31T20:30:00-03:30',
    );
  });

  it("rejects what upstream's parser rejects", () => {
    const refuse = (text: string, message: RegExp): void =>
      assert.throws(() => parseSchedule(text, new WallClock('UTC')), message);
    refuse('* * * *', /expected exactly 5 fields, found 4/);
    refuse('60 * * * *', /end of range \(60\) above maximum \(59\)/);
    refuse('* * * * 7', /above maximum \(6\)/);
    refuse('*/0 * * * *', /step of range should be a positive number/);
    refuse('@reboot', /unrecognized descriptor: @reboot/);
    refuse('@every soon', /failed to parse duration @every soon/);
  });

  it('finds the last scheduled time, however long ago', () => {
    const last = (text: string, earliest: string, now: string): string | undefined => {
      const ms = lastDueMs(parseSchedule(text, new WallClock('UTC')), {
        earliestMs: Date.parse(earliest),
        nowMs: Date.parse(now),
      });
      return ms === undefined ? undefined : formatTime(ms);
    };
    assert.equal(last('* * * * *', '2020-01-01T00:00:00Z', '2026-01-01T00:00:30Z'), '2026-01-01T00:00:00Z');
    assert.equal(last('0 0 1 * *', '2020-01-01T00:00:00Z', '2026-01-20T00:00:00Z'), '2026-01-01T00:00:00Z');
    assert.equal(last('0 0 1 1 *', '2025-06-01T00:00:00Z', '2026-01-01T00:00:00Z'), '2026-01-01T00:00:00Z');
    assert.equal(last('0 0 1 1 *', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z'), undefined);
  });
});
