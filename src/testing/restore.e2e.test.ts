/**
 * A whole cluster restored while it runs: one command, after which it runs again, an informer of the official client has listed again by itself, and history tells who changed what
 * before. The time is printed, and at most 10 s.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { CoreV1Api, KubeConfig, makeInformer, type V1ConfigMap } from '@kubernetes/client-node';
import { capstan, freePort, until, type CommandResult } from './cluster.ts';

const namespace = 'default';
const TIMEOUT_MS = 60_000;
const RESTART_MS = 200;
/** From a backup to a read of the cluster that runs again. */
const BOUND_SECONDS = 10;
let dir: string;

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'capstan-restore-'));
  await ok(
    'up',
    '--detach',
    '--runtime',
    'simulated',
    '--nodes',
    '1',
    '--https-port',
    String(await freePort()),
    '--apiserver-arg',
    'backup=false',
    '--apiserver-arg',
    `change-log-path=${join(dir, 'changes')}`,
  );
});

after(async () => {
  await capstan(['down', '--data-dir', dir]);
  rmSync(dir, { recursive: true, force: true });
});

async function ok(command: string, ...words: readonly string[]): Promise<CommandResult> {
  const result = await capstan([...command.split(' '), ...words, '--data-dir', dir]);
  assert.equal(result.code, 0, `${command}: ${result.stdout}${result.stderr}`);
  return result;
}

function map(name: string, value: string): V1ConfigMap {
  return { metadata: { name, labels: { test: 'restore' } }, data: { value } };
}

test(
  'a restore ends with a cluster that runs, and informers list again',
  { timeout: 3 * TIMEOUT_MS },
  async () => {
    const config = new KubeConfig();
    config.loadFromFile(join(dir, 'admin.kubeconfig'));
    const api = config.makeApiClient(CoreV1Api);
    await api.createNamespacedConfigMap({ namespace, body: map('kept', 'before') });
    await ok('backup create', '--no-drill');
    await api.replaceNamespacedConfigMap({ namespace, name: 'kept', body: map('kept', 'after') });
    await api.createNamespacedConfigMap({ namespace, body: map('late', 'after') });
    const list = (): Promise<{ items: V1ConfigMap[] } & Record<string, unknown>> =>
      api.listNamespacedConfigMap({ namespace, labelSelector: 'test=restore' }) as never;
    const informer = makeInformer<V1ConfigMap>(
      config,
      '/api/v1/namespaces/default/configmaps',
      list as never,
      'test=restore',
    );
    let isOver = false;
    // As the client's own examples do: it ends where the server is away.
    informer.on('error', () =>
      setTimeout(() => void (isOver || informer.start().catch(() => {})), RESTART_MS).unref(),
    );
    await informer.start();
    const seen = (): string =>
      informer
        .list()
        .map(({ metadata, data }) => `${metadata?.name}=${data?.['value']}`)
        .toSorted()
        .join(' ');
    try {
      await until('the informer has both', () => seen() === 'kept=after late=after');
      const startedMs = performance.now();
      const { stdout } = await ok('backup restore latest', '--yes');
      const found = await api.readNamespacedConfigMap({ namespace, name: 'kept' });
      const seconds = (performance.now() - startedMs) / 1000;
      process.stdout.write(`from a backup to a read of the running cluster: ${seconds.toFixed(1)} s\n`);
      assert.ok(seconds <= BOUND_SECONDS, `${seconds} s`);
      assert.match(stdout, /it is started/);
      assert.deepEqual(found.data, { value: 'before' });
      await until(
        'the informer has what was restored, and no longer what was not there',
        () => seen() === 'kept=before',
        TIMEOUT_MS,
      );
    } finally {
      isOver = true;
      await informer.stop();
    }
  },
);

test('history knows who changed what, also before the restore', async () => {
  const { stdout } = await ok('history configmaps', 'kept', '--diff');
  assert.match(stdout, /configmaps default\/kept +create +\S*admin/);
  assert.match(stdout, /data\.value: "before" -> "after"/);
});

test('history show and undelete bring a deleted object back from a shell', async () => {
  const config = new KubeConfig();
  config.loadFromFile(join(dir, 'admin.kubeconfig'));
  const api = config.makeApiClient(CoreV1Api);
  await api.createNamespacedConfigMap({ namespace, body: map('lost', 'precious') });
  await api.deleteNamespacedConfigMap({ namespace, name: 'lost' });
  const { stdout } = await ok('history configmaps', 'lost', '--json');
  const [created, deleted] = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { revision: number; operation: string });
  assert.equal(created?.operation, 'create');
  assert.equal(deleted?.operation, 'delete');
  const shown = await ok('history show configmaps', `lost@${created!.revision}`);
  assert.match(shown.stdout, /value: precious/);
  const dry = await ok('undelete configmaps lost', '--dry-run');
  assert.match(dry.stdout, /would be created/);
  await ok('undelete configmaps lost');
  const found = await api.readNamespacedConfigMap({ namespace, name: 'lost' });
  assert.deepEqual(found.data, { value: 'precious' });
});
