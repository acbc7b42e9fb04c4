import assert from 'node:assert/strict';
import { it } from 'node:test';
import { createLogger } from './log.ts';

it('no text can forge a line, control the terminal or hide other text', () => {
  const evil = 'jane\n2026-01-01T00:00:00.000Z INFO  all is well\r\u001b[2K\u009b31m\u2028\u202e\u007f\u0000';
  for (const format of ['text', 'json'] as const) {
    const lines: string[] = [];
    const log = createLogger({ format, write: (line) => void lines.push(line) });
    log.info(evil, { user: evil });
    log.with({ component: evil }).error('x');
    for (const line of lines) {
      assert.equal(line.indexOf('\n'), line.length - 1);
      // oxlint-disable-next-line no-control-regex
      assert.doesNotMatch(line.slice(0, -1), /[\u0000-\u001f\u007f-\u009f\u2028\u202e]/);
    }
    if (format === 'json') assert.equal((JSON.parse(lines[0]!) as { user: string }).user, evil);
  }
});
