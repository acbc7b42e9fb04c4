/** A cluster with etcd as it was between two backups: by etcd's own revisions, also after a kill at each step; by the change logs of all its API servers; refused where history does not reach. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { configMaps } from '#api/refs.ts';
import { temporaryDir } from '#backup/testing/cluster-store.ts';
import { silentLogger } from '#stdx/log.ts';
import { openEtcdStore } from '#storage/drivers/etcd/etcd-store.ts';
import { installedEtcd, startEtcd, unpackedEtcd35, type TestEtcd } from '#storage/drivers/etcd/test-etcd.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { createBackup } from './create.ts';
import { restoreCluster } from './restore-cluster.ts';
import type { RestoreFlags } from './restore-steps.ts';
import { makeDataDir } from './testing/data-dir.ts';

const program = unpackedEtcd35() ?? installedEtcd();
const quiet = (): void => {};
const map = (name: string, value: string): never =>
  ({ metadata: { name, namespace: 'default' }, data: { value } }) as never;
const at = (name: string): { name: string; namespace: string } => ({ name, namespace: 'default' });
const STEPS = ['mark', 'raise', 'write', 'delete', 'compare', 'finish'];

describe('restore of etcd to a moment', { skip: program ? false : 'no etcd can be had here' }, () => {
  const root = temporaryDir();
  const logs = ['a', 'b'].map((name) => join(root.path, `log-${name}`));
  let etcd: TestEtcd;
  let empty: TestEtcd;
  let flags: RestoreFlags;
  let revision = '';
  let time = '';

  const serve = async (one: TestEtcd, log?: number): Promise<TestApi> =>
    startTestApi({
      store: await openEtcdStore({ ...one.options, log: silentLogger }),
      etcdPrefix: '/registry',
      ...(log !== undefined && {
        advertiseAddress: `10.0.0.${log + 1}`,
        settings: {
          changeLog: { dir: logs[log]!, maxFileBytes: 2 ** 20, maxFiles: 8, maxAgeMs: 86_400_000 },
        },
      }),
    });
  const etcdFlags = ({ options }: TestEtcd): Partial<RestoreFlags> => ({
    etcdServers: options.endpoints,
    etcdCafile: options.caFile!,
    etcdCertfile: options.certFile!,
    etcdKeyfile: options.keyFile!,
  });
  const restore = (more: Partial<RestoreFlags>, before?: (step: string) => void): Promise<void> =>
    restoreCluster({ ...flags, yes: true, revisionMargin: 500, ...more }, { say: quiet, before });
  /** What a server on it has. */
  const found = async (one: TestEtcd): Promise<string> => {
    const server = await serve(one);
    const { items } = await server.api.list(configMaps, { namespace: 'default' });
    await server.stop();
    return items
      .filter(({ metadata }) => metadata.name.length === 1)
      .map((item) => `${item.metadata.name}=${(item as { data?: { value?: string } }).data?.value}`)
      .toSorted()
      .join(' ');
  };
  const refused = (more: Partial<RestoreFlags>, message: RegExp): Promise<void> =>
    assert.rejects(restore(more), { name: 'UserError', message });

  before(async () => {
    [etcd, empty] = await Promise.all([startEtcd(program!), startEtcd(program!)]);
    makeDataDir(join(root.path, 'data'));
    flags = { dataDir: join(root.path, 'data'), location: join(root.path, 'backups'), ...etcdFlags(etcd) };
    const [a, b] = [await serve(etcd, 0), await serve(etcd, 1)];
    try {
      await a.api.create(configMaps, map('a', '1'));
      await a.api.create(configMaps, map('b', '1'));
      await createBackup({ ...flags, drill: false }, quiet);
      // The moment below comes after the second of its name.
      await sleep(1_000);
      await b.api.patch(configMaps, at('a'), { type: 'merge', patch: { data: { value: '2' } } });
      await a.api.create(configMaps, map('c', '1'));
      await b.api.delete(configMaps, at('b'));
      const { metadata } = await b.api.list(configMaps);
      revision = metadata?.resourceVersion ?? '';
      // Its clock has moved on when the next one is written.
      await sleep(5);
      time = new Date().toISOString();
      await sleep(5);
      await a.api.patch(configMaps, at('a'), { type: 'merge', patch: { data: { value: '3' } } });
    } finally {
      await Promise.all([a.stop(), b.stop()]);
    }
  });
  after(async () => {
    await Promise.all([etcd.close(), empty.close()]);
    root.remove();
  });

  test("by etcd's own revisions, killed before each step", async () => {
    await refused({ at: '99999999' }, /History ends at revision/);
    for (const step of STEPS)
      await assert.rejects(
        restore({ at: revision }, (one) => {
          if (one === step) throw new Error('killed');
        }),
        /killed/,
        step,
      );
    await restore({ at: revision });
    assert.equal(await found(etcd), 'a=2 c=1');
  });

  test('by the change logs of all servers, where etcd has compacted its own', async () => {
    await refused({ at: revision }, /has compacted its history up to revision \d+, and .* --change-log-path/);
    await refused(
      { at: revision, changeLogPath: [logs[0]!] },
      /The cluster had 2 API servers \(10\.0\.0\.1, 10\.0\.0\.2\)/,
    );
    await refused({ at: revision, changeLogPath: [root.path] }, /There is no change log in/);
    await restore({ at: time, changeLogPath: logs });
    assert.equal(await found(etcd), 'a=2 c=1');
  });

  test('onto an etcd that has nothing', async () => {
    await refused({ ...etcdFlags(empty), at: revision }, /does not have the history of that cluster/);
    await restore({ ...etcdFlags(empty), at: revision, changeLogPath: logs });
    assert.equal(await found(empty), 'a=2 c=1');
  });
});
