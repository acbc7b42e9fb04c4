import assert from 'node:assert/strict';
import {
  appendFileSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, it } from 'node:test';
import { silentLogger } from './log.ts';
import { keepOwnLog, rotateLog } from './log-rotation.ts';
import { FakeClock } from './testing/fake-clock.ts';

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'capstan-log-'));
  path = join(dir, 'x.log');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

it('keeps the configured number and size of files, and loses no line of its own writer', async () => {
  const clock = new FakeClock();
  const fd = openSync(path, 'a');
  const stop = keepOwnLog({ path, clock, log: silentLogger, fd, maxBytes: 1_000, keptFiles: 2 });
  for (let i = 0; i < 4; i++) {
    writeSync(fd, `${i}`.repeat(1_001));
    await clock.advance(5_000);
  }
  writeSync(fd, 'end');
  assert.deepEqual(readdirSync(dir).toSorted(), ['x.log', 'x.log.1', 'x.log.2']);
  assert.deepEqual(
    ['x.log', 'x.log.1', 'x.log.2'].map((name) => readFileSync(join(dir, name), 'utf8').slice(0, 3)),
    ['end', '333', '222'],
  );
  stop();
  writeSync(fd, 'x'.repeat(2_000));
  await clock.advance(60_000);
  assert.equal(readFileSync(path).length, 2_003);
  closeSync(fd);
});

it('ignores short files, and a log that this program does not write', async () => {
  writeFileSync(path, 'short');
  assert.equal(rotateLog(path, { maxBytes: 5, keptFiles: 1 }), false);
  assert.equal(rotateLog(join(dir, 'absent'), { maxBytes: 5, keptFiles: 1 }), false);
  const elsewhere = openSync(join(dir, 'journal'), 'a');
  const clock = new FakeClock();
  keepOwnLog({ path, clock, log: silentLogger, fd: elsewhere, maxBytes: 1, keptFiles: 1 });
  await clock.advance(60_000);
  assert.equal(readFileSync(path, 'utf8'), 'short');
  closeSync(elsewhere);
});

it('truncates the log also when its copy cannot be written', () => {
  mkdirSync(`${path}.1`);
  appendFileSync(path, 'x'.repeat(10));
  assert.throws(() => rotateLog(path, { maxBytes: 1, keptFiles: 1 }));
  rmSync(`${path}.1`, { recursive: true });
  assert.equal(rotateLog(path, { maxBytes: 1, keptFiles: 1 }), true);
  assert.equal(readFileSync(path, 'utf8'), '');
});
