/** A cluster as it was between two backups: by revision and by time, from the store's revisions and from the change log; refused where history does not reach. */
import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { configMaps } from '#api/refs.ts';
import type { Backup } from '#backup/stored-backups.ts';
import { temporaryDir } from '#backup/testing/cluster-store.ts';
import { silentLogger } from '#stdx/log.ts';
import { openStore } from '#storage/drivers/index.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { createBackup } from './create.ts';
import { backupBefore } from './point-in-time.ts';
import { restoreCluster } from './restore-cluster.ts';
import { makeDataDir } from './testing/data-dir.ts';

const quiet = (): void => {};
const map = (name: string, value: string): never =>
  ({ metadata: { name, namespace: 'default' }, data: { value } }) as never;
const at = (name: string): { name: string; namespace: string } => ({ name, namespace: 'default' });

describe('restore to a moment', () => {
  const root = temporaryDir();
  const dataDir = join(root.path, 'data');
  const log = join(root.path, 'changes');
  let revision = '';
  let middle = '';

  const serve = async (autoCompact: false | undefined): Promise<TestApi> =>
    startTestApi({
      store: await openStore({ driver: 'lmdb', dir: join(dataDir, 'store'), autoCompact, log: silentLogger }),
      settings: { changeLog: { dir: log, maxFileBytes: 2 ** 20, maxFiles: 8, maxAgeMs: 86_400_000 } },
    });
  /** What a server on the restored directory has. */
  const restored = async (moment: string): Promise<string[]> => {
    await restoreCluster({ dataDir, at: moment, yes: true }, { say: quiet });
    const server = await startTestApi({
      store: await openStore({ driver: 'lmdb', dir: join(dataDir, 'store'), log: silentLogger }),
    });
    const { items } = await server.api.list(configMaps, { namespace: 'default' });
    await server.stop();
    return items
      .filter(({ metadata }) => metadata.name.length === 1)
      .map((one) => `${one.metadata.name}=${(one as { data?: { value?: string } }).data?.value}`)
      .toSorted();
  };

  before(async () => {
    makeDataDir(dataDir);
    const settingsFile = join(dataDir, 'capstan.json');
    const settings = JSON.parse(readFileSync(settingsFile, 'utf8')) as object;
    writeFileSync(settingsFile, JSON.stringify({ ...settings, apiServerArgs: [`change-log-path=${log}`] }));
    const first = await serve(false);
    await first.api.create(configMaps, map('a', '1'));
    await first.api.create(configMaps, map('b', '1'));
    await first.stop();
    await createBackup({ dataDir, drill: false }, quiet);
    const second = await serve(false);
    await second.api.patch(configMaps, at('a'), { type: 'merge', patch: { data: { value: '2' } } });
    await second.api.create(configMaps, map('c', '1'));
    await second.api.delete(configMaps, at('b'));
    const { metadata } = await second.api.list(configMaps);
    revision = metadata?.resourceVersion ?? '';
    middle = String(Number((await second.api.get(configMaps, at('c'))).metadata.resourceVersion));
    await second.api.patch(configMaps, at('a'), { type: 'merge', patch: { data: { value: '3' } } });
    // Then the log alone has them.
    await second.store.compact(second.store.revision);
    await second.stop();
  });
  after(() => root.remove());

  test('has the writes and deletions up to it, and none after', async () => {
    assert.deepEqual(await restored(middle), ['a=2', 'b=1', 'c=1']);
    await assert.rejects(
      restoreCluster({ dataDir, at: '1', yes: true }, { say: quiet }),
      /no backup from before that moment/,
    );
    // What was restored is another history: the log knows nothing of it, the store begins anew.
    await assert.rejects(
      restoreCluster({ dataDir, at: revision, name: 'latest', yes: true }, { say: quiet }),
      /--at finds the backup itself/,
    );
  });

  test('a moment that is not in the log is refused, and nothing changes', async () => {
    rmSync(log, { recursive: true });
    await assert.rejects(
      restoreCluster({ dataDir, at: revision, yes: true }, { say: quiet }),
      /History (does not reach back|has a hole|lacks)/,
    );
  });
});

test('a backup of the same second may be from after the moment', () => {
  const backups = [1_000, 3_000].map((timeMs) => ({ name: `of ${timeMs}`, timeMs }) as Backup);
  const newestBefore = (timeMs: number): string => backupBefore(backups, { timeMs }).name;
  assert.equal(newestBefore(2_000), 'of 1000');
  assert.equal(newestBefore(3_999), 'of 1000');
  assert.equal(newestBefore(4_000), 'of 3000');
  assert.throws(() => newestBefore(1_999), /There is no backup from before that moment/);
});
