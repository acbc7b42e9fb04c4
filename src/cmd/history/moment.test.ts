import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseMoment } from './moment.ts';

const NOW = new Date(2026, 11, 2, 14, 10).getTime();
const at = (text: string): number => parseMoment('--since', text, NOW);

test('a time of today, or of yesterday where it is still to come', () => {
  assert.equal(at('14:02'), new Date(2026, 11, 2, 14, 2).getTime());
  assert.equal(at('14:02:30'), new Date(2026, 11, 2, 14, 2, 30).getTime());
  assert.equal(at('15:00'), new Date(2026, 11, 1, 15).getTime());
});

test('an age, a date, RFC 3339', () => {
  assert.equal(at('1h30m'), NOW - 5_400_000);
  assert.equal(at('2026-12-01'), new Date(2026, 11, 1).getTime());
  assert.equal(at('2026-12-01T10:00:00Z'), Date.UTC(2026, 11, 1, 10));
  assert.equal(at('2026-12-01 10:00:00+01:00'), Date.UTC(2026, 11, 1, 9));
});

test('anything else is refused', () => {
  for (const text of ['', 'noon', '25:00', '2026-13-01', '5', '2026-12-01T10'])
    assert.throws(() => at(text), /--since is "/);
});
