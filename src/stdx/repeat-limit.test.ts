import assert from 'node:assert/strict';
import { it } from 'node:test';
import { createLogger } from './log.ts';
import { limitRepeats } from './repeat-limit.ts';
import { FakeClock } from './testing/fake-clock.ts';

it('writes the first lines of a message per minute, then the number of omitted ones', async () => {
  const clock = new FakeClock();
  const lines: string[] = [];
  const log = limitRepeats(
    createLogger({ level: 'debug', write: (line) => void lines.push(line.replace(/^\S+ /, '').trim()) }),
    { clock, burst: 2 },
  );
  const named = log.with({ component: 'x' });
  for (let i = 0; i < 5; i++) {
    named.warn('refused', { i });
    log.error('refused', { i });
  }
  log.debug('any');
  log.debug('any');
  log.debug('any');
  await clock.advance(60_000);
  assert.deepEqual(lines, [
    'WARN  refused component="x" i=0',
    'ERROR refused i=0',
    'WARN  refused component="x" i=1',
    'ERROR refused i=1',
    'DEBUG any',
    'DEBUG any',
    'DEBUG any',
    'WARN  refused leftOut=3 seconds=60',
    'ERROR refused leftOut=3 seconds=60',
  ]);
  lines.length = 0;
  log.warn('refused', { i: 9 });
  await clock.advance(600_000);
  assert.deepEqual(lines, ['WARN  refused i=9']);
});

it('bounds the number of messages, and reports omitted lines of evicted ones', () => {
  const lines: string[] = [];
  const log = limitRepeats(createLogger({ write: (line) => void lines.push(line) }), {
    clock: new FakeClock(),
    burst: 1,
  });
  log.warn('first');
  log.warn('first');
  for (let i = 0; i < 1_000; i++) log.warn(`message ${i}`);
  assert.match(lines.find((line) => line.includes('leftOut')) ?? '', /first leftOut=1/);
});
