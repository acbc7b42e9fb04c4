import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { it } from 'node:test';
import { kernelDefaultProblems } from './kernel-defaults.ts';

it('kernel settings that differ are named', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-sysctl-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const settings = {
    'vm/overcommit_memory': '1',
    'vm/panic_on_oom': '0',
    'kernel/panic': '10',
    'kernel/panic_on_oops': '1',
    'kernel/keys/root_maxkeys': '1000000',
    'kernel/keys/root_maxbytes': '25000000',
  };
  for (const [path, value] of Object.entries(settings)) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), `${value}\n`);
  }
  assert.deepEqual(await kernelDefaultProblems(dir), []);
  writeFileSync(join(dir, 'vm/overcommit_memory'), '0\n');
  rmSync(join(dir, 'kernel/panic'));
  assert.deepEqual(await kernelDefaultProblems(dir), [
    'vm.overcommit_memory is 0, should be 1',
    'kernel.panic is unreadable, should be 10',
  ]);
});
