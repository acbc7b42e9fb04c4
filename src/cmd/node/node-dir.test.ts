import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { dataDir, prepareDataDir } from '#deploy/data-dir.ts';
import { acquireProcessLock } from '#stdx/process-lock.ts';
import { lockNodeDir, removeNodeFiles, requireSameRoot, writeNodeRecord } from './node-dir.ts';
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

it('keeps to the --root-dir that has its pods, and removes only its own files from it', () => {
  const [dir, root] = [join(base, 'rooted'), join(base, 'root')];
  for (const path of [dir, join(root, 'pods/u1'), join(root, 'pki')]) mkdirSync(path, { recursive: true });
  const record = { server: 'https://127.0.0.1:6443', nodeName: 'n', rootDir: root };
  writeNodeRecord(dir, record);
  requireSameRoot(dir, root);
  assert.throws(() => requireSameRoot(dir, undefined), {
    name: 'UserError',
    message: new RegExp(`--root-dir is ${dir}/kubelet, but the files of this node's pods are in ${root};`),
  });
  rmSync(join(root, 'pods/u1'), { recursive: true });
  requireSameRoot(dir, undefined);
  removeNodeFiles(dir);
  assert.deepEqual(
    [dir, join(root, 'pods'), join(root, 'pki')].map((path) => existsSync(path)),
    [false, false, true],
  );
});
