/** With processes that look like shims; that real ones are ended after crashes is shown by containerd.test.ts. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { containerdLayout } from './layout.ts';
import { OrphanedShims } from './orphaned-shims.ts';
import { readStartTime } from './process.ts';

test('a shim whose container is gone at two looks is ended with its children; others stay', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'capstan-shims-'));
  const layout = containerdLayout({ dir, runBase: dir });
  const shim = (id: string): number => {
    const script = 'require("child_process").spawn("sleep", ["1000"]); setInterval(() => {}, 1e6)';
    const child = spawn(process.execPath, ['-e', script, '--', '-id', id, '-address', layout.socketPath], {
      argv0: 'containerd-shim-runc-v2',
      stdio: 'ignore',
      detached: true,
    });
    const { pid } = child;
    assert.ok(pid);
    // Of the one that was ended the group is gone.
    t.after(() => readStartTime(pid) && process.kill(-pid, 'SIGKILL'));
    return pid;
  };
  const listChildren = (pid: number): number[] =>
    readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
  t.after(() => rm(dir, { recursive: true, force: true }));
  const [served, orphan, ending] = [shim('served'), shim('orphan'), shim('ending')];
  const known = new Set(['served']);
  const shims = new OrphanedShims({
    layout,
    log: silentLogger,
    runc: 'runc',
    containers: async () => known,
  });
  while (listChildren(orphan).length === 0) await realClock.sleep(5);
  const [child = 0] = listChildren(orphan);
  assert.equal(await shims.sweep(), 0);
  known.add('ending');
  assert.equal(await shims.sweep(), 1);
  while (readStartTime(orphan) !== undefined || readStartTime(child) !== undefined) await realClock.sleep(5);
  assert.ok(readStartTime(served) && readStartTime(ending));
});
