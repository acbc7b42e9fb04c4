/**
 * `capstan apiserver`: the API server as a program of its own, from a data directory, from flags with upstream's names, or from both (a flag
 * wins). In the foreground; SIGTERM lets requests under way finish.
 *
 *   flags ─► [data directory: lock, certificates] ─► store ─► listening ─► ready ──SIGTERM──► closed, unlocked, exit 0
 */
import { isoTime } from '#stdx/dates.ts';
import { openStore } from '#storage/drivers/index.ts';
import type { Store } from '#storage/store.ts';
import { publishCertificates } from '#deploy/cluster-certificates.ts';
import {
  dataDir,
  hasRun,
  prepareDataDir,
  readSettings,
  UserError,
  writeFileAtomic,
  writeSettings,
  type ClusterSettings,
  type DataDir,
} from '#deploy/data-dir.ts';
import type { DaemonState } from '#deploy/daemon.ts';
import { CertificateRenewal } from '#deploy/pki/renewal.ts';
import { ensurePki } from '#deploy/pki/pki.ts';
import { findHostAddress } from '#node/host-address.ts';
import { realClock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import { releaseMemoryWhenQuiet } from '#stdx/memory-release.ts';
import { keepFiles } from '#stdx/kept-files.ts';
import { acquireProcessLock } from '#stdx/process-lock.ts';
import { etcdFrom } from './flags/etcd.ts';
import { composeApiServer } from './compose.ts';
import { loggerFrom } from '../flags/common.ts';
import type { ApiServerFlags } from './flags.ts';
import { listKeptFiles, lostSentence } from '../all-in-one/kept-dir.ts';
import { type Plan, planFrom, serverUrl, settingsAfter } from './plan.ts';
import { pkiOptions, publishOptions, startRenewal } from './certificates.ts';
import { composeOptionsFrom, settingsFrom } from './from-flags.ts';
import { explained } from './start-errors.ts';
import { backupsFrom } from './flags/backup.ts';

/** Resolves after it was stopped by a signal; throws a UserError when it cannot start. */
export async function runApiServer(flags: ApiServerFlags): Promise<void> {
  const log = loggerFrom(flags, 'kube-apiserver');
  const dir = flags.dataDir === undefined ? undefined : dataDir(flags.dataDir);
  const stopped = stopRequest(log);
  const cleanup: (() => Promise<void> | void)[] = [];
  try {
    // Before anything is made or locked.
    etcdFrom(flags);
    const settings = settingsFrom(flags, dir?.pki);
    const stored = dir ? openDataDir(dir, cleanup) : undefined;
    const plan = planFrom(flags, { dir, stored, hostAddress: await findHostAddress() });
    const backups = plan.driver === 'memory' ? undefined : backupsFrom(flags, dir);
    const mayCreate = !dir || !hasRun(dir, stored);
    if (dir) writeSettings(dir, settingsAfter(plan, stored));
    const pki = dir ? await ensurePki({ ...pkiOptions(dir, plan), mayCreate }) : undefined;
    for (const { message } of pki?.warnings ?? []) log.warn(message);
    let renewal: CertificateRenewal | undefined;
    const fromFlags = composeOptionsFrom(flags, { settings, pki });
    const store = await openStoreOf(plan, { flags, mayCreate, log });
    cleanup.push(() => store.close());
    const server = await composeApiServer({
      store,
      etcdPrefix: etcdFrom(flags)?.keyPrefix,
      ...fromFlags,
      serviceCIDR: plan.serviceCIDR,
      listen: [plan.bindAddress],
      port: plan.port,
      advertiseAddress: plan.advertiseAddress,
      metrics: () => renewal?.metrics() ?? '',
      backups,
      clock: realClock,
      log,
    });
    cleanup.push(() => server.stop());
    await server.ready();
    const url = serverUrl(plan);
    if (dir && pki) {
      const initial = await publishCertificates(dir, { ...publishOptions(url), pki, nowMs: Date.now() });
      renewal = startRenewal(dir, { plan, pki, initial, log });
      cleanup.push(() => renewal?.stop());
      saveState(dir, url);
    }
    cleanup.push(releaseMemoryWhenQuiet({ clock: realClock, log, trims: true }));
    log.info('ready', { server: url });
    await Promise.race([stopped, ...(dir ? [lostFiles(dir, { plan, cleanup })] : [])]);
    server.leave();
    await realClock.sleep(settings.shutdownDelayMs ?? 0);
  } catch (error) {
    throw explained(error, { flags, dir });
  } finally {
    for (const step of cleanup.toReversed()) await step();
  }
  log.info('stopped');
}

async function openStoreOf(
  { driver, storeDir }: Plan,
  {
    flags,
    mayCreate,
    log,
  }: { readonly flags: ApiServerFlags; readonly mayCreate: boolean; readonly log: Logger },
): Promise<Store> {
  const etcd = etcdFrom(flags);
  if (driver !== 'etcd' || !etcd)
    return openStore({
      driver: driver === 'etcd' ? 'lmdb' : driver,
      dir: storeDir,
      mayCreate,
      log: log.with({ component: 'store' }),
    });
  const { openEtcdStore } = await import('#storage/drivers/etcd/etcd-store.ts');
  const store = await openEtcdStore({ ...etcd, log: log.with({ component: 'store' }) });
  try {
    await (await import('../store/unfinished.ts')).requireFinished(store, `etcd ${etcd.endpoints.join(',')}`);
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** Takes the lock; returns the directory's settings. */
function openDataDir(dir: DataDir, cleanup: (() => void)[]): ClusterSettings | undefined {
  prepareDataDir(dir);
  const lock = acquireProcessLock(dir.lock);
  cleanup.push(() => lock.release());
  return readSettings(dir);
}

/** Rejects when the directory was moved or removed. */
function lostFiles(
  dir: DataDir,
  { plan, cleanup }: { readonly plan: Plan; readonly cleanup: (() => Promise<void> | void)[] },
): Promise<never> {
  return new Promise((_, reject) => {
    const kept = keepFiles({
      paths: listKeptFiles(dir, plan.driver === 'lmdb' ? plan.storeDir : undefined),
      clock: realClock,
      onLost: (path) => reject(new UserError(lostSentence(dir, path))),
    });
    cleanup.push(() => kept.close());
  });
}

/** The state that `capstan status` reads. */
function saveState(dir: DataDir, url: string): void {
  const state: DaemonState = {
    pid: process.pid,
    server: url,
    startedAt: isoTime(Date.now()),
    phase: 'ready',
    components: { 'kube-apiserver': 'running' },
  };
  writeFileAtomic(dir.state, JSON.stringify(state));
}

/** Resolves at the first SIGTERM or SIGINT; the second ends the process. */
function stopRequest(log: Logger): Promise<void> {
  return new Promise((resolve) => {
    let asked = false;
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        if (asked) process.exit(1);
        asked = true;
        log.info('stopping', { signal });
        resolve();
      });
    }
  });
}
