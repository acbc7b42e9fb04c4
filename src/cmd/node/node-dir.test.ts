import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { dataDir, prepareDataDir } from '#deploy/data-dir.ts';
import { acquireProcessLock } from '#stdx/process-lock.ts';
import { lockNodeDir } from './node-dir.ts';
import { runNode } from './run.ts';
import { prepareReset } from './reset.ts';

let base: string;
before(() => {
  base = mkdtempSync(join(tmpdir(), 'capstan-node-dir-'));
});
after(() => rmSync(base, { recursive: true, force: true }));

it('is locked once, and the refusal names the process', () => {
  const lock = lockNodeDir(join(base, 'node'));
  assert.throws(() => lockNodeDir(join(base, 'node')), {
    name: 'UserError',
    message: `The node in ${join(base, 'node')} is already run by process ${process.pid}.`,
  });
  lock.release();
  lockNodeDir(join(base, 'node')).release();
});

it('is refused, to run and to reset, while its cluster runs it', async () => {
  const cluster = dataDir(join(base, 'cluster'));
  prepareDataDir(cluster);
  const locks = [acquireProcessLock(cluster.lock), lockNodeDir(cluster.node)];
  const by = `run by the cluster in ${cluster.path} \\(process ${process.pid}\\)`;
  assert.throws(() => lockNodeDir(cluster.node), {
    name: 'UserError',
    message: new RegExp(`^The node in ${cluster.node} is already ${by}\\.$`),
  });
  await assert.rejects(prepareReset({ dataDir: cluster.node }), {
    name: 'UserError',
    message: new RegExp(`is ${by}; remove it with: capstan delete --data-dir ${cluster.path}$`),
  });
  for (const lock of locks) lock.release();
});

it("is not a cluster's directory", { skip: process.getuid?.() === 0 ? false : 'needs root' }, async () => {
  const path = join(base, 'settled');
  mkdirSync(path);
  writeFileSync(join(path, 'capstan.json'), '{}');
  await assert.rejects(runNode({ runtime: 'cri', dataDir: path }), {
    name: 'UserError',
    message: `${path} is the directory of a cluster of 'capstan up'; it should be a directory of the node's own.`,
  });
});

it('is not looked at without root', async (t) => {
  t.mock.method(process as { getuid(): number }, 'getuid', () => 1000);
  await assert.rejects(runNode({ runtime: 'cri', dataDir: join(base, 'nobody') }), {
    name: 'UserError',
    message: 'A node with real containers needs root. Simulated nodes do not: --runtime simulated.',
  });
});
