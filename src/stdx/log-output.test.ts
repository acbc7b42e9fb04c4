import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { describe, it } from 'node:test';
import { LogOutput } from './log-output.ts';

/** A disk with so much room; what it holds. */
class FakeDisk {
  room: number;
  content = '';

  constructor(room: number) {
    this.room = room;
  }

  write(bytes: Uint8Array): number {
    const length = Math.min(this.room, bytes.length);
    if (length === 0) throw new Error('ENOSPC');
    this.content += Buffer.from(bytes.subarray(0, length)).toString();
    this.room -= length;
    return length;
  }
}

describe('log output', () => {
  it('drops and counts lines while the disk is full, and tells how many were lost', () => {
    const disk = new FakeDisk(8);
    const output = new LogOutput((bytes) => disk.write(bytes));
    for (const line of ['first\n', 'second\n', 'third\n']) output.write(line);
    disk.room = 1_000;
    output.write('fourth\n');
    output.write('fifth\n');
    assert.equal(
      disk.content,
      'first\nse\n2 log lines before this one could not be written\nfourth\nfifth\n',
    );
  });

  it('goes on after a line that was written in parts', () => {
    const disk = new FakeDisk(1_000);
    const output = new LogOutput((bytes) => disk.write(bytes.subarray(0, 3)));
    output.write('whole\n');
    assert.equal(disk.content, 'whole\n');
  });

  it('never ends a program whose log is on a full disk', { skip: process.platform !== 'linux' }, () => {
    const full = openSync('/dev/full', 'w');
    const program = `
      const { createLogger } = await import(${JSON.stringify(new URL('./log.ts', import.meta.url).href)});
      const log = createLogger();
      log.info('one');
      await new Promise((resolve) => setTimeout(resolve, 20));
      log.info('two');
      console.log('goes on');`;
    const { status, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', full],
      encoding: 'utf8',
    });
    closeSync(full);
    assert.deepEqual([status, stdout], [0, 'goes on\n']);
  });
});
