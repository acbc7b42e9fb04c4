/** Faults of backup, drill and restore, a row of the table in docs/backup.md each: the cluster is as it was or as the backup, and the next run succeeds. */
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { listBackups } from '#backup/stored-backups.ts';
import { DirectoryTarget } from '#backup/targets/directory.ts';
import { temporaryDir } from '#backup/testing/cluster-store.ts';
import { backupName } from '#backup/format.ts';
import { configMaps, leases, namespaces } from '#api/refs.ts';
import { writeKubeconfig } from '#deploy/pki/kubeconfig.ts';
import { realClock, type Clock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { acquireProcessLock } from '#stdx/process-lock.ts';
import { openStore } from '#storage/drivers/index.ts';
import { openEtcdStore } from '#storage/drivers/etcd/etcd-store.ts';
import { installedEtcd, startEtcd, unpackedEtcd35, type TestEtcd } from '#storage/drivers/etcd/test-etcd.ts';
import { FAKETIME } from '#testing/chaos/faketime.ts';
import { freePort, until } from '#testing/cluster.ts';
import { ADMIN, startTestApi } from '#testing/start-test-api.ts';
import { digestStore } from '../store/migrate.ts';
import { createBackup } from './create.ts';
import { pruneOld, verifyBackup } from './inspect.ts';
import { restoreCluster } from './restore-cluster.ts';
import { startBackups } from './schedule.ts';
import { makeDataDir } from './testing/data-dir.ts';
import type { Fault } from './testing/faults-main.ts';

const PROGRAM = join(import.meta.dirname, 'testing/faults-main.ts');
const CREATE_STEPS =
  'tidy snapshot open write sync link unlink note rename drill-decode drill-read drill-serve note rename';
const RESTORE_STEPS = 'backup stop write compare rename exchange files';
/** Of scheduled backups, which write with the same code: half a file, two names, half a note, half a drill. */
const WORKER_STEPS = 'sync unlink rename drill-serve';
const isRoot = process.getuid?.() === 0;
const ETCD_STEPS = 'mark raise write delete compare finish';
const WAIT_MS = 120_000;
/** At a time, as the gate has processors. */
const CHILDREN = 2;
const YEAR_SECONDS = 365 * 86_400;
const etcdProgram = unpackedEtcd35() ?? installedEtcd();
const quiet = (): void => {};
/** Tries again at once, not after a minute. */
const hasty: Clock = { ...realClock, sleep: (ms, signal) => realClock.sleep(Math.min(ms, 100), signal) };

interface Ended {
  readonly steps: readonly string[];
  readonly signal: NodeJS.Signals | null;
  readonly code: number | null;
  readonly errors: string;
}

function run(fault: Fault, environment: NodeJS.ProcessEnv = {}): Promise<Ended> {
  const child = spawn(process.execPath, [PROGRAM, JSON.stringify(fault)], {
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [said, errors] = ['', ''];
  child.stdout.on('data', (chunk) => (said += String(chunk)));
  child.stderr.on('data', (chunk) => (errors += String(chunk)));
  return new Promise((resolve) =>
    child.once('close', (code, signal) =>
      resolve({ steps: said.split('\n').slice(0, -1), signal, code, errors }),
    ),
  );
}

/** Kills the command before each of its steps in turn; `check` gets what it was killed at. */
async function killAtEach(
  steps: string,
  {
    fault,
    check,
  }: {
    readonly fault: (at: number) => Omit<Fault, 'killAt'>;
    readonly check: (step: string, at: number) => Promise<void>;
  },
): Promise<void> {
  const names = steps.split(' ');
  for (let first = 0; first < names.length; first += CHILDREN) {
    const turn = names.slice(first, first + CHILDREN).map((name, i) => ({ name, at: first + i }));
    await Promise.all(
      turn.map(async ({ at }) => {
        const { steps: seen, signal, errors } = await run({ ...fault(at), killAt: at });
        assert.deepEqual({ seen, signal }, { seen: names.slice(0, at + 1), signal: 'SIGKILL' }, errors);
      }),
    );
    for (const { name, at } of turn) await check(name, at);
  }
}

async function digest(flags: Parameters<typeof digestStore>[0]): Promise<string> {
  let said = '';
  await digestStore(flags, (line) => (said = line));
  return said.split(' ')[0]!;
}

/** Every backup that is listed is whole. */
async function requireWhole(dataDir: string): Promise<number> {
  const backups = await listBackups(new DirectoryTarget(join(dataDir, 'backups')));
  for (const { name } of backups) await verifyBackup({ dataDir, name }, quiet);
  return backups.length;
}

function parts(dataDir: string): string[] {
  return readdirSync(join(dataDir, 'backups')).filter((name) => name.endsWith('.part'));
}

describe('faults of backup, drill and restore', () => {
  const root = temporaryDir();
  const origin = join(root.path, 'origin');
  const mounts: string[] = [];
  let name = '';
  let saved = '';
  let current = '';
  let round = 0;

  before(async () => {
    makeDataDir(origin);
    const write = async (...maps: readonly string[]): Promise<void> => {
      const store = await openStore({ driver: 'lmdb', dir: join(origin, 'store'), log: silentLogger });
      const { api, stop } = await startTestApi({ store });
      for (const one of maps) await api.create(configMaps, { metadata: { name: one, namespace: 'default' } });
      await stop();
    };
    await write('a', 'b');
    ({ name } = await createBackup({ dataDir: origin }, quiet));
    saved = await digest({ dataDir: origin });
    await write('c');
    current = await digest({ dataDir: origin });
  });
  after(() => {
    for (const mount of mounts) spawnSync('umount', [mount]);
    root.remove();
  });

  const copy = (): string => {
    const dataDir = join(root.path, `copy${round++}`);
    cpSync(origin, dataDir, { recursive: true });
    return dataDir;
  };

  test('a backup and its drill, killed before each step', async () => {
    const dirs = CREATE_STEPS.split(' ').map(copy);
    await killAtEach(CREATE_STEPS, {
      fault: (at) => ({ command: 'create', flags: { dataDir: dirs[at]! } }),
      async check(step, at) {
        const dataDir = dirs[at]!;
        assert.equal(await digest({ dataDir }), current, step);
        const whole = await requireWhole(dataDir);
        assert.equal(whole, at <= CREATE_STEPS.split(' ').indexOf('link') ? 1 : 2, step);
        await createBackup({ dataDir }, quiet);
        assert.deepEqual(parts(dataDir), [], step);
        const [newest] = await listBackups(new DirectoryTarget(join(dataDir, 'backups')));
        assert.ok(newest?.note?.drill?.passed, step);
        rmSync(dataDir, { recursive: true });
      },
    });
  });

  test('a restore, killed before each step', async () => {
    const dirs = RESTORE_STEPS.split(' ').map(copy);
    await killAtEach(RESTORE_STEPS, {
      fault: (at) => ({ command: 'restore', flags: { dataDir: dirs[at]!, name, yes: true } }),
      async check(step, at) {
        const dataDir = dirs[at]!;
        // Between the renames there is no store, with which no API server starts.
        if (step === 'exchange') assert.ok(!existsSync(join(dataDir, 'store')));
        else assert.equal(await digest({ dataDir }), step === 'files' ? saved : current, step);
        await restoreCluster({ dataDir, name, yes: true }, { say: quiet });
        assert.equal(await digest({ dataDir }), saved, step);
        assert.ok(!existsSync(join(dataDir, 'store.restoring')), step);
        // What was there is in a backup, whichever run made it.
        assert.ok((await requireWhole(dataDir)) >= 2, step);
        rmSync(dataDir, { recursive: true });
      },
    });
  });

  test('a disk that is full at any step of a backup', { skip: !isRoot }, async () => {
    const dataDir = copy();
    const location = join(root.path, 'full');
    const disk = mountDisk(location, '1m');
    for (const [at, step] of CREATE_STEPS.split(' ').entries()) {
      let count = 0;
      const kept = (await listBackups(new DirectoryTarget(location))).length;
      const full = (): void => void (count++ === at && disk.fill());
      const isRefused = await createBackup({ dataDir, location, before: full }, quiet).then(
        () => false,
        (error: Error) => {
          assert.equal(error.message, `The disk that holds ${location} is full.`, step);
          return true;
        },
      );
      // What follows needs no room.
      const needsNone = step === 'sync' || at === CREATE_STEPS.split(' ').length - 1;
      assert.ok(isRefused || needsNone || ['link', 'unlink'].includes(step), step);
      disk.free();
      assert.equal(await digest({ dataDir }), current, step);
      const backups = await listBackups(new DirectoryTarget(location));
      for (const one of backups.slice(kept)) await verifyBackup({ dataDir, location, name: one.name }, quiet);
      await createBackup({ dataDir, location }, quiet);
      assert.ok(
        readdirSync(location).every((file) => !file.endsWith('.part')),
        step,
      );
      for (const file of readdirSync(location)) rmSync(join(location, file));
    }
  });

  test('a disk that is full while a restore writes', { skip: !isRoot }, async () => {
    const dataDir = join(root.path, 'small');
    const disk = mountDisk(dataDir, '24m');
    cpSync(origin, dataDir, { recursive: true });
    for (const step of ['stop', 'write']) {
      const full = (at: string): void => void (at === step && disk.fill());
      await assert.rejects(
        restoreCluster({ dataDir, name, yes: true }, { say: quiet, before: full }),
        (error: Error) => {
          assert.match(error.message, /full|space/i, step);
          return true;
        },
      );
      assert.ok(!existsSync(join(dataDir, 'store.restoring')), step);
      disk.free();
      assert.equal(await digest({ dataDir }), current, step);
    }
    await restoreCluster({ dataDir, name, yes: true }, { say: quiet });
    assert.equal(await digest({ dataDir }), saved);
  });

  test('a store that is in use is refused, and left alone', async () => {
    const dataDir = copy();
    const lock = acquireProcessLock(join(dataDir, 'run/lock'));
    const store = await openStore({ driver: 'lmdb', dir: join(dataDir, 'store'), log: silentLogger });
    await assert.rejects(createBackup({ dataDir }, quiet), { name: 'UserError' });
    await assert.rejects(restoreCluster({ dataDir, name }, { say: quiet }), {
      message: /There is a cluster in .*, and it runs: with --yes/,
    });
    lock.release();
    // A process that has no lock of the directory, as an API server by itself.
    const { code, errors } = await run({ command: 'create', flags: { dataDir }, killAt: -1 });
    assert.equal(code, 1);
    assert.match(errors, /locked by process/);
    await store.put('/registry/configmaps/default/kept', Buffer.from('{"kind":"ConfigMap"}'));
    await store.delete('/registry/configmaps/default/kept');
    await store.close();
    await createBackup({ dataDir }, quiet);
    assert.equal(await digest({ dataDir }), current);
  });

  test('a clock a year ahead, and a year behind', { skip: FAKETIME.obstacle ?? false }, async () => {
    const dataDir = copy();
    const target = new DirectoryTarget(join(dataDir, 'backups'));
    let revision = 0;
    for (const seconds of [YEAR_SECONDS, -YEAR_SECONDS]) {
      const store = await openStore({ driver: 'lmdb', dir: join(dataDir, 'store'), log: silentLogger });
      const object = {
        kind: 'ConfigMap',
        apiVersion: 'v1',
        metadata: { name: `of${seconds}`, namespace: 'default' },
      };
      await store.put(`/registry/configmaps/default/of${seconds}`, Buffer.from(JSON.stringify(object)));
      await store.close();
      const moved = FAKETIME.environment(seconds);
      const made = await run({ command: 'create', flags: { dataDir }, killAt: -1 }, moved);
      assert.equal(made.code, 0, made.errors);
      const [newest] = await listBackups(target);
      assert.ok(Math.abs(newest!.timeMs - Date.now() - seconds * 1000) < 60_000, 'its clock was moved');
      assert.ok(newest!.revision > revision && newest!.note?.drill?.passed);
      revision = newest!.revision;
      const before = await digest({ dataDir });
      const restored = await run(
        { command: 'restore', flags: { dataDir, name: newest!.name, yes: true }, killAt: -1 },
        moved,
      );
      assert.equal(restored.code, 0, restored.errors);
      assert.equal(await digest({ dataDir }), before);
    }
    const made = await createBackup({ dataDir }, quiet);
    assert.equal((await listBackups(target))[0]!.name, made.name, 'the newest has the highest revision');
    await pruneOld({ dataDir }, quiet);
    assert.ok((await listBackups(target)).some((one) => one.name === made.name));
  });

  describe('of an API server that runs', () => {
    test('its backups, killed at a step each, while it serves', async () => {
      const file = join(root.path, 'kills');
      writeFileSync(file, '');
      Object.assign(process.env, { KILLS_FILE: file, KILL_AT: WORKER_STEPS });
      const location = join(root.path, 'scheduled');
      const { api, store, clientAs, stop } = await startTestApi();
      const backups = startBackups(
        {
          intervalMs: 900_000,
          target: { location },
          roots: [],
          recipientsFile: undefined,
          pkiDir: root.path,
        },
        {
          store,
          api: clientAs(ADMIN),
          clock: hasty,
          log: silentLogger,
          firstMs: 0,
          worker: join(import.meta.dirname, 'testing/killed-worker-main.ts'),
        },
      );
      try {
        const killed = `${WORKER_STEPS.replaceAll(' ', '\n')}\n`;
        await until('each worker was killed', () => readFileSync(file, 'utf8') === killed, WAIT_MS);
        await until(
          'one is proven',
          () => /^capstan_backup_drill_result 1$/m.test(backups.metrics()),
          WAIT_MS,
        );
        assert.match(backups.metrics(), /^capstan_backup_failures_total 4$/m);
        assert.ok(!readdirSync(location).some((one) => one.endsWith('.part')));
        await api.create(configMaps, { metadata: { name: 'served', namespace: 'default' } });
        const found = await listBackups(new DirectoryTarget(location));
        const identityFile = join(root.path, 'backup-identity.txt');
        for (const one of found)
          await verifyBackup({ location, identityFile, dataDir: origin, name: one.name }, quiet);
      } finally {
        delete process.env['KILLS_FILE'];
        delete process.env['KILL_AT'];
        await backups.stop();
        await stop();
      }
    });
  });

  describe('of etcd', { skip: etcdProgram ? false : 'no etcd can be had here' }, () => {
    let etcd: TestEtcd;
    let flags: Pick<Fault['flags'], 'etcdServers' | 'etcdCafile' | 'etcdCertfile' | 'etcdKeyfile'>;
    before(async () => {
      etcd = await startEtcd(etcdProgram!);
      const { endpoints, caFile, certFile, keyFile } = etcd.options;
      flags = { etcdServers: endpoints, etcdCafile: caFile!, etcdCertfile: certFile!, etcdKeyfile: keyFile! };
    });
    after(() => etcd.close());

    test('a restore, killed before each step', async () => {
      const restore = { dataDir: origin, name, yes: true, revisionMargin: 10, ...flags };
      await killAtEach(ETCD_STEPS, {
        fault: () => ({ command: 'restore', flags: restore }),
        check: async () => {},
      });
      await restoreCluster(restore, { say: quiet });
      assert.equal(await digest(flags), saved);
    });

    test('one that API servers run on: a command takes their Lease, and then tidies', async () => {
      const dataDir = copy();
      const kubeconfig = join(dataDir, 'admin.conf');
      const port = await freePort();
      const store = await openEtcdStore(etcd.options);
      const { api, pki, stop } = await startTestApi({ store, etcdPrefix: '/registry', port });
      await writeKubeconfig(kubeconfig, {
        server: `https://127.0.0.1:${port}`,
        caPem: pki.ca.certificatePem,
        clusterName: 'test',
        userName: 'kubernetes-super-admin',
        credentials: { certificate: pki.clients['super-admin'] },
      });
      const { uid } = (await api.get(namespaces, { name: 'kube-system' })).metadata;
      const left = `${backupName({ cluster: uid, time: '2026-01-01T00:00:00Z', revision: 1 })}.part`;
      writeFileSync(join(dataDir, 'backups', left), 'half');
      const lease = (): Promise<unknown> =>
        api.get(leases, { namespace: 'kube-system', name: 'capstan-backup' });
      await assert.rejects(lease(), { reason: 'NotFound' });
      await createBackup({ dataDir, kubeconfig, ...flags }, quiet);
      await lease();
      assert.deepEqual(parts(dataDir), []);
      await stop();
      // Without one it is made all the same, and what may be another command's stays.
      writeFileSync(join(dataDir, 'backups', left), 'half');
      await createBackup({ dataDir, kubeconfig, ...flags }, quiet);
      assert.deepEqual(parts(dataDir), [left]);
    });

    test('an etcd that stopped answering: one sentence, and the next run succeeds', async () => {
      const dataDir = copy();
      await etcd.pause();
      await assert.rejects(createBackup({ dataDir, ...flags }, quiet), {
        name: 'UserError',
        message: /etcd/,
      });
      etcd.goOn();
      await createBackup({ dataDir, ...flags }, quiet);
      const restore = { dataDir, name, yes: true, revisionMargin: 10, ...flags };
      const paused: Promise<void>[] = [];
      const stopAt = (at: string): void => void (at === 'write' && paused.push(etcd.pause()));
      await assert.rejects(restoreCluster(restore, { say: quiet, before: stopAt }), { name: 'UserError' });
      await Promise.all(paused);
      etcd.goOn();
      await restoreCluster(restore, { say: quiet });
      assert.equal(await digest(flags), saved);
    });
  });

  /** A disk of its own. */
  function mountDisk(path: string, size: string): { fill(): void; free(): void } {
    mkdirSync(path, { recursive: true });
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'full', path]);
    mounts.push(path);
    const file = join(path, 'ballast');
    return {
      fill: () => assert.throws(() => writeFileSync(file, Buffer.alloc(32 * 2 ** 20)), /ENOSPC/),
      free: () => rmSync(file, { force: true }),
    };
  }
});
