/** Whole clusters put back: clients list again, a kill at any step is harmless, refusals leave everything as it was, embedded store and etcd in both directions. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { temporaryDir } from '#backup/testing/cluster-store.ts';
import { createClient } from '#client/create.ts';
import { createDirectTransport } from '#client/direct.ts';
import type { Transport } from '#client/transport.ts';
import { silentLogger } from '#stdx/log.ts';
import { acquireProcessLock } from '#stdx/process-lock.ts';
import { openStore } from '#storage/drivers/index.ts';
import { installedEtcd, startEtcd, unpackedEtcd35, type TestEtcd } from '#storage/drivers/etcd/test-etcd.ts';
import { openEtcdStore } from '#storage/drivers/etcd/etcd-store.ts';
import { capstan, until } from '#testing/cluster.ts';
import { ADMIN, startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { digestStore } from '../store/migrate.ts';
import { requireFinished } from '../store/unfinished.ts';
import { createBackup } from './create.ts';
import { restoreCluster } from './restore-cluster.ts';
import { makeDataDir } from './testing/data-dir.ts';

const MAPS = { group: '', version: 'v1', plural: 'configmaps', kind: 'ConfigMap', namespaced: true };
const map = (name: string): { metadata: { name: string; namespace: string } } => ({
  metadata: { name, namespace: 'default' },
});
const quiet = (): void => {};
const toFlag = (name: string): string => name.replaceAll(/[A-Z]/g, '-$&').toLowerCase();

/** An API server on the store of a data directory. */
async function serve(dataDir: string): Promise<TestApi> {
  return startTestApi({
    store: await openStore({ driver: 'lmdb', dir: join(dataDir, 'store'), log: silentLogger }),
  });
}

async function digest(flags: Parameters<typeof digestStore>[0]): Promise<string> {
  let said = '';
  await digestStore(flags, (line) => (said = line));
  return said.split(' ')[0]!;
}

describe('capstan backup restore', () => {
  const root = temporaryDir();
  const origin = join(root.path, 'origin');
  let dataDir = '';
  let name = '';
  let saved = '';
  let current = '';
  let round = 0;
  before(async () => {
    makeDataDir(origin);
    const { api, store, stop } = await serve(origin);
    // As an older version wrote it: without today's defaults.
    await store.put(
      '/registry/namespaces/old',
      Buffer.from('{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"old"}}'),
    );
    for (const one of ['a', 'b', 'c']) await api.create(MAPS, map(one));
    await stop();
    ({ name } = await createBackup({ dataDir: origin }, quiet));
    saved = await digest({ dataDir: origin });
    const later = await serve(origin);
    await later.api.delete(MAPS, { name: 'a', namespace: 'default' });
    await later.api.create(MAPS, map('d'));
    await later.stop();
    current = await digest({ dataDir: origin });
  });
  beforeEach(() => {
    dataDir = join(root.path, `copy${round++}`);
    cpSync(origin, dataDir, { recursive: true });
  });
  after(() => root.remove());

  test('the cluster is started afterwards where that is asked for, with its lock free', async () => {
    const started: string[] = [];
    const start = async ({ path, lock }: { path: string; lock: string }): Promise<void> => {
      acquireProcessLock(lock).release();
      started.push(path);
    };
    await restoreCluster({ dataDir, name, yes: true }, { say: quiet, start });
    assert.deepEqual(started, [], 'it did not run before');
    await restoreCluster({ dataDir, name, yes: true, start: true }, { say: quiet, start });
    assert.deepEqual(started, [dataDir]);
  });

  test('informers list again by themselves, and see what was restored', async () => {
    let server: TestApi = await serve(dataDir);
    /** Over the restart, as a load balancer's address is. */
    const transport: Transport = {
      request: (request) => createDirectTransport(server.server.handler, { user: ADMIN }).request(request),
      close: async () => {},
    };
    const client = createClient(transport, { userAgent: 'test' });
    const informer = client.informer(MAPS, { namespace: 'default' });
    await informer.synced();
    const names = (): string[] =>
      informer
        .list()
        .map(({ metadata }) => metadata.name)
        .filter((one) => one.length === 1)
        .toSorted();
    const versions = new Set(informer.list().map(({ metadata }) => Number(metadata.resourceVersion)));
    assert.deepEqual(names(), ['b', 'c', 'd']);
    await server.stop();
    await restoreCluster({ dataDir, name, yes: true }, { say: quiet });
    server = await serve(dataDir);
    await until('the informer has listed again', () => names().join() === 'a,b,c');
    for (const { metadata } of informer.list())
      assert.ok(Number(metadata.resourceVersion) > Math.max(...versions) + 1e9 - 1, 'no stale future');
    await assert.rejects(
      async () => {
        const options = {
          resourceVersion: String(Math.max(...versions)),
          signal: AbortSignal.timeout(5_000),
        };
        for await (const _ of client.watch(MAPS, options));
      },
      (error: { status?: { code?: number } }) => error.status?.code === 410,
    );
    await client.close();
    await server.stop();
  });

  test('onto a machine that has nothing', async () => {
    const fresh = join(root.path, 'fresh');
    const flags = {
      dataDir: fresh,
      name: 'latest',
      location: join(dataDir, 'backups'),
      identityFile: join(dataDir, 'pki/backup-identity.txt'),
    };
    await restoreCluster(flags, { say: quiet });
    assert.equal(await digest({ dataDir: fresh }), saved);
    assert.equal(readFileSync(join(fresh, 'pki/ca.key'), 'utf8'), 'secret');
    assert.ok(existsSync(join(fresh, 'capstan.json')));
  });

  test('without Nodes whose machines are gone, and the pods there that controllers make again', async () => {
    const node = (name: string): string => `{"kind":"Node","apiVersion":"v1","metadata":{"name":"${name}"}}`;
    const pod = (more: object, nodeName: string): string =>
      JSON.stringify({ kind: 'Pod', apiVersion: 'v1', ...more, spec: { nodeName } });
    const owned = { metadata: { ownerReferences: [{ controller: true, name: 'web' }] } };
    const place = { dataDir, location: join(dataDir, 'with-nodes') };
    const store = await openStore({ driver: 'lmdb', dir: join(dataDir, 'store'), log: silentLogger });
    const put = (key: string, value: string): Promise<unknown> =>
      store.put(`/registry/${key}`, Buffer.from(value));
    for (const name of ['gone', 'stays']) {
      await put(`minions/${name}`, node(name));
      await put(`leases/kube-node-lease/${name}`, '{"kind":"Lease","apiVersion":"coordination.k8s.io/v1"}');
      await put(`pods/default/of-${name}`, pod(owned, name));
    }
    await put('pods/default/bare', pod({ metadata: { name: 'bare' } }, 'gone'));
    await put('pods/default/ended', pod({ ...owned, status: { phase: 'Succeeded' } }, 'gone'));
    await store.close();
    const made = await createBackup({ ...place, drill: false }, quiet);
    const flags = { ...place, name: made.name, yes: true };
    await assert.rejects(restoreCluster({ ...flags, lostNodes: ['typo'] }, { say: quiet }), {
      message: '--lost-nodes has typo, which is no Node of the backup; it has gone, stays.',
    });
    const said: string[] = [];
    await restoreCluster({ ...flags, lostNodes: ['gone'] }, { say: (line) => void said.push(line) });
    assert.ok(said.includes('left out, with their machines: nodes gone'), said.join('\n'));
    const restored = await openStore({ driver: 'lmdb', dir: join(dataDir, 'store'), log: silentLogger });
    const keys = async (prefix: string): Promise<string[]> =>
      (await restored.list(`/registry/${prefix}`)).items.map(({ key }) => key.replace(/.*\//, ''));
    assert.deepEqual(await keys('minions/'), ['stays']);
    assert.deepEqual(await keys('leases/kube-node-lease/'), ['stays']);
    assert.deepEqual(await keys('pods/default/'), ['bare', 'ended', 'of-stays']);
    await restored.close();
  });

  test('what is there is backed up first, and kept', async () => {
    await assert.rejects(restoreCluster({ dataDir, name }, { say: quiet }), {
      message: /There is a cluster in .*: with --yes/,
    });
    assert.equal(await digest({ dataDir }), current);
    const said: string[] = [];
    await restoreCluster({ dataDir, name, yes: true }, { say: (line) => void said.push(line) });
    assert.equal(await digest({ dataDir }), saved);
    const before = /what is there is in (\S+)/.exec(said.join('\n'))?.[1] ?? '';
    await restoreCluster({ dataDir, name: before, yes: true }, { say: quiet });
    assert.equal(await digest({ dataDir }), current);
    assert.equal(readdirSync(dataDir).filter((file) => file.startsWith('store.before-restore-')).length, 2);
  });

  test('a kill before any step leaves the cluster as it was or is mended by the next run', async () => {
    for (const step of ['backup', 'stop', 'write', 'compare', 'rename', 'exchange', 'files']) {
      const copy = join(root.path, `killed-${step}`);
      cpSync(origin, copy, { recursive: true });
      const kill = (at: string): void => {
        if (at === step) throw new Error('killed');
      };
      await assert.rejects(
        restoreCluster({ dataDir: copy, name, yes: true }, { say: quiet, before: kill }),
        /killed/,
      );
      if (!['exchange', 'files'].includes(step)) assert.equal(await digest({ dataDir: copy }), current, step);
      await restoreCluster({ dataDir: copy, name, yes: true }, { say: quiet });
      assert.equal(await digest({ dataDir: copy }), saved, step);
      assert.ok(!existsSync(join(copy, 'store.restoring')), step);
      rmSync(copy, { recursive: true });
    }
  });

  test('a store that is damaged is replaced, and kept', async () => {
    writeFileSync(join(dataDir, 'store/store.mdb'), 'x'.repeat(10_000));
    await restoreCluster({ dataDir, name, yes: true }, { say: quiet });
    assert.equal(await digest({ dataDir }), saved);
  });

  test('refusals change nothing', async () => {
    const other = join(root.path, 'other');
    makeDataDir(other);
    await (await serve(other)).stop();
    const made = await createBackup({ dataDir: other }, quiet);
    const refused = async (
      flags: Partial<Parameters<typeof restoreCluster>[0]>,
      message: RegExp,
    ): Promise<void> => {
      await assert.rejects(restoreCluster({ dataDir, name, yes: true, ...flags }, { say: quiet }), {
        name: 'UserError',
        message,
      });
      assert.equal(await digest({ dataDir }), current);
      assert.ok(!existsSync(join(dataDir, 'store.restoring')));
    };
    const place = { location: join(other, 'backups') };
    const identityFile = join(other, 'pki/backup-identity.txt');
    await refused({ ...place, name: made.name, identityFile }, /it is of another cluster \(/);
    await refused({ ...place, name: made.name }, /it is encrypted for another key/);
    const whole = readFileSync(join(dataDir, 'backups', name));
    const damaged = name.replace(/-r\d+/, '-r7');
    for (const bytes of [whole.subarray(0, whole.length - 100), Buffer.from(whole).fill(0, 5000, 5001)]) {
      writeFileSync(join(dataDir, 'backups', damaged), bytes);
      await refused({ name: damaged }, /it was altered or cut/);
    }
  });

  describe(
    'of etcd',
    { skip: (unpackedEtcd35() ?? installedEtcd()) ? false : 'no etcd can be had here' },
    () => {
      let etcd: TestEtcd;
      before(async () => {
        etcd = await startEtcd((unpackedEtcd35() ?? installedEtcd())!);
      });
      after(() => etcd.close());

      test('from the embedded store to etcd, killed at each step, and back', async () => {
        const { endpoints, caFile, certFile, keyFile } = etcd.options;
        const toEtcd = {
          etcdServers: endpoints,
          etcdCafile: caFile!,
          etcdCertfile: certFile!,
          etcdKeyfile: keyFile!,
        };
        const flags = { dataDir, name, yes: true, revisionMargin: 500, ...toEtcd };
        for (const step of ['mark', 'raise', 'write', 'delete', 'compare', 'finish']) {
          const kill = (at: string): void => {
            if (at === step) throw new Error('killed');
          };
          await assert.rejects(restoreCluster(flags, { say: quiet, before: kill }), /killed/, step);
        }
        const half = await openEtcdStore({ ...etcd.options, log: silentLogger });
        await assert.rejects(requireFinished(half, 'etcd'), { message: /^etcd holds half of a restore/ });
        await half.close();
        const { code, stderr } = await capstan([
          'apiserver',
          `--data-dir=${join(root.path, 'half')}`,
          ...Object.entries(toEtcd).map(([name, value]) => `--${toFlag(name)}=${String(value)}`),
        ]);
        assert.equal(code, 1);
        assert.match(stderr, /^capstan: etcd https:\S+ holds half of a restore that is not finished: run/m);
        await restoreCluster(flags, { say: quiet });
        assert.equal(await digest(toEtcd), saved);
        const store = await openEtcdStore({ ...etcd.options, log: silentLogger });
        const { items } = await store.list('/registry/capstan.');
        assert.deepEqual(items, []);
        await requireFinished(store, 'etcd');
        const ended = await new Promise((resolve) =>
          store.watch({ prefix: '/', afterRevision: 100, onEvents() {}, onClose: resolve }),
        );
        assert.equal((ended as { code?: string }).code, 'compacted');
        // What was written since is gone after the next restore.
        await store.put(
          '/registry/configmaps/default/late',
          Buffer.from('{"kind":"ConfigMap","apiVersion":"v1"}'),
        );
        await store.close();
        await restoreCluster(flags, { say: quiet });
        assert.equal(await digest(toEtcd), saved);
        const made = await createBackup({ dataDir, ...toEtcd }, quiet);
        assert.equal(made.manifest.store, 'etcd');
        await restoreCluster({ dataDir, name: made.name, yes: true }, { say: quiet });
        assert.equal(await digest({ dataDir }), saved);
      });
    },
  );
});
