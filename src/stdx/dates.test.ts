import assert from 'node:assert/strict';
import { test } from 'node:test';
import { httpDate, isoDay, isoTime } from './dates.ts';

const MOMENT = Date.UTC(2026, 0, 2, 3, 4, 5, 678);

test('formats for logs, days and HTTP headers', () => {
  assert.equal(isoTime(MOMENT), '2026-01-02T03:04:05.678Z');
  assert.equal(isoDay(MOMENT), '2026-01-02');
  assert.equal(httpDate(MOMENT), 'Fri, 02 Jan 2026 03:04:05 GMT');
});
