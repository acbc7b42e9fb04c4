import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { until } from '../cluster.ts';
import { Disk } from './disk.ts';

describe("a machine's disk", { skip: process.getuid?.() !== 0 && 'mounts need root' }, () => {
  let base: string;
  let disk: Disk;
  before(() => {
    base = mkdtempSync(join(tmpdir(), 'capstan-disk-'));
    mkdirSync(join(base, 'm1'));
    disk = new Disk(join(base, 'm1'));
  });
  after(() => {
    disk.close();
    rmSync(base, { recursive: true });
  });

  /** In another process: a write to a frozen file system cannot be interrupted. */
  async function writeMs(): Promise<number> {
    const start = performance.now();
    const [code] = await once(
      spawn('dd', ['if=/dev/zero', `of=${disk.path}/written`, 'bs=1', 'count=1']),
      'exit',
    );
    assert.equal(code, 0);
    return performance.now() - start;
  }

  it('can be full, and is as before afterwards', () => {
    disk.fill();
    assert.throws(() => writeFileSync(join(disk.path, 'more'), Buffer.alloc(8192)), { code: 'ENOSPC' });
    disk.restore();
    writeFileSync(join(disk.path, 'more'), Buffer.alloc(8192));
  });

  it('can be slow until it is restored', async (test) => {
    if (!disk.isDevice) return test.skip('there is no loop device');
    disk.makeSlow(30);
    await until('a write to wait', async () => (await writeMs()) > 200);
    disk.restore();
    await until('writes not to wait', async () => (await writeMs()) < 200);
  });
});
