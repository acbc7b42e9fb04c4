import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ApiResponse } from './request.ts';
import { warn, warningLines } from './warnings.ts';

for (const [title, warnings, lines] of [
  ['nothing', [''], []],
  ['each text once', ['a', 'b', 'a'], ['299 - "a"', '299 - "b"']],
  ['quotes and backslashes are escaped', ['say "x\\y"'], ['299 - "say \\"x\\\\y\\""']],
  ['line ends are blanks', ['a\r\nb\u007f'], ['299 - "a  b "']],
  ['other characters go as the bytes of UTF-8', ['é'], ['299 - "\u00c3\u00a9"']],
  ['a long one alone stays whole', ['x'.repeat(4096)], [`299 - "${'x'.repeat(4096)}"`]],
  [
    'beyond the bound each is cut, counted in characters',
    ['😀'.repeat(4096), 'y'.repeat(300)],
    [`299 - "${Buffer.from('😀'.repeat(256)).toString('latin1')}"`, `299 - "${'y'.repeat(256)}"`],
  ],
] as const) {
  test(`warnings: ${title}`, () => assert.deepEqual(warningLines(warnings), lines));
}

test('several warnings are lines of their own, after those of a server behind', () => {
  const answer = (more: Partial<ApiResponse> = {}): ApiResponse => ({
    status: 200,
    headers: {},
    body: Buffer.alloc(0),
    ...more,
  });
  const one = answer(),
    two = answer(),
    added = answer({ headers: { warning: '299 - "theirs"' } });
  warn(one, ['a']);
  warn(two, ['a', 'b']);
  warn(added, ['ours']);
  assert.deepEqual([one.headers, one.repeated], [{ warning: '299 - "a"' }, undefined]);
  assert.deepEqual([two.headers, two.repeated], [{}, { warning: ['299 - "a"', '299 - "b"'] }]);
  assert.deepEqual([added.headers, added.repeated], [{}, { warning: ['299 - "theirs"', '299 - "ours"'] }]);
});
