import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compilePattern, LogBuffer } from './log-buffer.ts';

function matched(pattern: string, messages: readonly string[], size = 10): readonly string[] {
  const buffer = new LogBuffer(size);
  for (const [timeMs, message] of messages.entries()) buffer.push({ timeMs, message });
  return buffer.match(compilePattern(pattern)).map(({ message }) => message);
}

test('a pattern ends where the newest line ends', () => {
  assert.deepEqual(matched('Killed process \\d+ .*', ['a', 'Killed process 12 (x)']), [
    'Killed process 12 (x)',
  ]);
  assert.deepEqual(matched('Killed process \\d+ .*', ['Killed process 12 (x)', 'later']), []);
  assert.deepEqual(matched('blocked', ['task x blocked for more']), []);
});

test('a pattern over several lines', () => {
  const lines = ['first', 'BUG: here', 'at there', 'end of trace'];
  assert.deepEqual(matched('BUG: .*\\n.*\\nend of trace', lines), lines.slice(1));
  assert.deepEqual(matched('(?s)BUG: .*end of trace', lines), lines.slice(1));
  assert.deepEqual(matched('(?s)BUG: .*end of trace', lines, 2), [], 'the buffer is too small');
});

test('an alternation binds the end to its last branch, as upstream does', () => {
  assert.deepEqual(matched('one|two', ['one and more', 'x']), ['one and more']);
  assert.deepEqual(matched('one|two', ['two', 'x']), []);
});

test('a pattern of one line does not match over the line break', () => {
  assert.deepEqual(matched('a.*b', ['a', 'b']), []);
  assert.deepEqual(matched('a\\s+b', ['a', 'b']), ['a', 'b']);
});
