/**
 * `capstan backup restore NAME`: a whole cluster, into a data directory or an etcd whose API servers are off. Every revision of the restored store is above all that a client
 * may have seen, and older ones are compacted, so that clients list again. Running it again after a kill at any step ends the same.
 *
 *   data directory   backup what is there ─► stop ─► DIR/store.restoring written and compared ─► DIR/store renamed aside ─► renamed into its place ─► missing files
 *   etcd             verify ─► backup what is there ─► marked ─► revision raised ─► written, others deleted ─► compared ─► mark removed, history compacted
 */
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { findBackup, listBackups, type Backup } from '#backup/stored-backups.ts';
import { DigestBuilder, differences } from '#backup/digests.ts';
import { BackupError } from '#backup/errors.ts';
import {
  ROOT,
  type BackupFile,
  type BackupHeader,
  type BackupRecord,
  type Manifest,
} from '#backup/format.ts';
import { openBackup } from '#backup/open-backup.ts';
import { clusterUID, isPassing, takeSnapshot } from '#backup/snapshot.ts';
import type { BackupTarget } from '#backup/targets/target.ts';
import { runningPid, stopDaemon } from '#deploy/daemon.ts';
import { prepareDataDir, readSettings, UserError, type DataDir } from '#deploy/data-dir.ts';
import { createLogger, errorMessage } from '#stdx/log.ts';
import { acquireProcessLock } from '#stdx/process-lock.ts';
import { StoreError, type Revision, type Store } from '#storage/store.ts';
import { raise } from '../store/copy.ts';
import { openEmbedded, openEtcd, requireUnused, type OpenedSide } from '../store/open.ts';
import { decode } from './codec.ts';
import { createBackup, type CreateFlags } from './create.ts';
import { identitiesFor } from './keys.ts';
import { findPlace, type Place } from './place.ts';
import { backupBefore, momentOf, readPointInTime, type Moment, type PointInTime } from './point-in-time.ts';
import { openTarget } from './target.ts';
import { countText, explained, type Say } from './words.ts';

/** As etcd's own restore does: more than any client can have seen. */
const BUMP = 1_000_000_000;
/** etcd counts up one write at a time: what may have been written since the newest backup. */
const ETCD_MARGIN = 100_000;
const MARK = `${ROOT}capstan.restore`;
const STOP_TIMEOUT_MS = 120_000;
/** Writes in flight. */
const WRITING = 256;
const LIST_PAGE = 1_000;
const ENCRYPTION_FILE = 'encryption-provider-config.yaml';

export interface RestoreFlags extends CreateFlags {
  /** Undefined only with `at`. */
  readonly name?: string | undefined;
  /** A revision or a time: the newest backup before it, and the changes since. */
  readonly at?: string | undefined;
  readonly yes?: boolean | undefined;
  readonly revisionMargin?: number | undefined;
  /** Of a data directory: whether the cluster runs afterwards. Default: as before. */
  readonly start?: boolean | undefined;
}

export interface RestoreContext {
  readonly say: Say;
  /** Starts the cluster of a data directory as `capstan up --detach` does. Undefined: the command is only named. */
  readonly start?: ((dir: DataDir) => Promise<void>) | undefined;
  /** Called before each step, by its name; tests throw there, as if the process were killed. */
  readonly before?: ((step: string) => void) | undefined;
}

interface Restore {
  readonly say: Say;
  readonly start: RestoreContext['start'];
  readonly before: (step: string) => void;
  readonly flags: RestoreFlags;
  readonly place: Place;
  readonly target: BackupTarget;
  readonly backup: Backup;
  readonly moment: Moment | undefined;
  readonly identities: readonly string[];
  /** The newest revision that a backup of the location has seen. */
  readonly newest: Revision;
}

export async function restoreCluster(
  flags: RestoreFlags,
  { say, start, before = () => {} }: RestoreContext,
): Promise<void> {
  await explained(async () => {
    const place = findPlace(flags);
    const target = await openTarget(flags, place.location);
    const moment = flags.at === undefined ? undefined : momentOf(flags.at, Date.now());
    if (moment && (flags.name !== undefined || flags.etcdServers))
      throw new UserError(
        '--at finds the backup itself, and is for data directories: not with a name or --etcd-servers.',
      );
    const backup = moment
      ? backupBefore(await listBackups(target), moment)
      : await findBackup(target, flags.name ?? 'latest');
    const known = await listBackups(target, backup.cluster);
    const restore: Restore = {
      flags,
      say,
      start,
      before,
      place,
      target,
      backup,
      moment,
      identities: identitiesFor(flags, place.pkiDir),
      newest: Math.max(...known.map(({ revision }) => revision)),
    };
    if (flags.etcdServers) await restoreEtcd(restore);
    else if (place.dir) await restoreDataDir(restore, place.dir);
    else
      throw new UserError(
        'The objects of this machine are in etcd: give --etcd-servers and its certificates.',
      );
  });
}

// ── data directory ───────────────────────────────────────────────────────────────────────────────────────────────────────────

async function restoreDataDir(restore: Restore, dir: DataDir): Promise<void> {
  const { flags, before } = restore;
  const running = runningPid(dir);
  if (!flags.yes && (running !== undefined || existsSync(dir.store)))
    throw new UserError(
      `There is a cluster in ${dir.path}${running === undefined ? '' : ', and it runs'}: with --yes it is backed up${running === undefined ? '' : ', stopped'} and replaced.`,
    );
  // Refused before anything is stopped.
  const cluster = await clusterOf(restore, dir);
  const point =
    restore.moment &&
    (await readPointInTime(dir, {
      moment: restore.moment,
      backup: restore.backup,
      isOff: running === undefined,
      encryptionProviderConfig: flags.encryptionProviderConfig,
    }));
  await verify(restore, { cluster, point });
  const isDamaged = existsSync(dir.store) && (await backUpFirst(restore)) === undefined;
  before('stop');
  if (!(await stopDaemon(dir, { timeoutMs: STOP_TIMEOUT_MS })))
    throw new UserError(`The cluster in ${dir.path} did not stop within ${STOP_TIMEOUT_MS / 1000} s.`);
  try {
    await replaceStore(restore, { dir, isDamaged, point });
  } catch (error) {
    if (running !== undefined && existsSync(dir.store)) await goOn(restore, dir);
    throw error;
  }
  await startAgain(restore, { dir, wasRunning: running !== undefined });
}

async function replaceStore(
  restore: Restore,
  {
    dir,
    isDamaged,
    point,
  }: { readonly dir: DataDir; readonly isDamaged: boolean; readonly point: PointInTime | undefined },
): Promise<void> {
  prepareDataDir(dir);
  const lock = acquireProcessLock(dir.lock);
  try {
    const newest = isDamaged ? 0 : await revisionOf(restore, dir);
    const incoming = `${dir.store}.restoring`;
    const startRevision = Math.max(newest, restore.newest) + BUMP;
    const files = await writeStore(restore, { incoming, startRevision, point }).catch((error: unknown) => {
      // It may be what fills the disk of the cluster that goes on.
      rmSync(incoming, { recursive: true, force: true });
      throw error;
    });
    exchange(restore, { dir, incoming });
    restore.before('files');
    writeMissing(dir, files);
  } finally {
    lock.release();
  }
}

/** A cluster that was stopped for a restore which failed serves again. */
async function goOn({ flags, say, start }: Restore, dir: DataDir): Promise<void> {
  if (!start || flags.start === false) return;
  say(`the restore failed: the cluster in ${dir.path} is started again`);
  await start(dir).catch((error: unknown) => say(`it did not start: ${errorMessage(error)}`));
}

/** With the lock released, which the cluster takes. */
async function startAgain(
  { flags, say, start }: Restore,
  { dir, wasRunning }: { readonly dir: DataDir; readonly wasRunning: boolean },
): Promise<void> {
  if (!start || !(flags.start ?? wasRunning))
    return say(`restored in ${dir.path}; start it with: capstan up --data-dir ${dir.path}`);
  say(`restored in ${dir.path}; it is started`);
  await start(dir);
}

/** The whole backup is read once before anything changes. cluster: of the objects that are there. */
async function verify(
  { target, backup, identities, say }: Restore,
  { cluster, point }: { readonly cluster: string | undefined; readonly point?: PointInTime | undefined },
): Promise<Manifest> {
  const manifest = await openBackup({
    target,
    name: backup.name,
    identities,
    decode,
    onHeader: (header) => requireCluster(header, cluster),
    onObject: (record) => point?.see(record),
  });
  point?.requireWhole();
  if (point) say(`${backup.name} and ${countText(point.changes)} changes since`);
  say(`verified: ${countText(manifest.objects)} objects, sha256 ${manifest.sha256}`);
  return manifest;
}

function requireCluster({ cluster }: BackupHeader, expected: string | undefined): void {
  if (expected !== undefined && cluster !== expected)
    throw new BackupError('refused', `it is of another cluster (${cluster}, and ${expected} is there)`);
}

/** Undefined where there is none, or its store cannot be read: then what is there is the reason to restore. */
async function clusterOf({ flags, place }: Restore, dir: DataDir): Promise<string | undefined> {
  const { openSource } = await import('./source.ts');
  if (!existsSync(dir.store)) return undefined;
  try {
    const source = await openSource(flags, place);
    try {
      return await source.cluster();
    } finally {
      await source.close();
    }
  } catch (error) {
    if (isDamage(error)) return undefined;
    throw error;
  }
}

/** The name of the backup; undefined where the store cannot be read. */
async function backUpFirst({ flags, say, before }: Restore): Promise<string | undefined> {
  before('backup');
  try {
    const { name } = await createBackup({ ...flags, json: false, drill: false }, () => {});
    say(`what is there is in ${name}`);
    return name;
  } catch (error) {
    if (!isDamage((error as Error).cause)) throw error;
    say(`what is there cannot be backed up, and is kept as it is: ${(error as Error).message}`);
    return undefined;
  }
}

function isDamage(error: unknown): boolean {
  if (error instanceof UserError) return isDamage(error.cause);
  if (error instanceof StoreError) return ['corrupt', 'missing', 'version'].includes(error.code);
  return error instanceof BackupError && ['damaged', 'missing'].includes(error.code);
}

async function revisionOf({ flags }: Restore, dir: DataDir): Promise<Revision> {
  if (!existsSync(dir.store)) return 0;
  const side = await openEmbedded(dir.store, {
    flags,
    log: createLogger({ level: 'warn' }),
    mayCreate: false,
  });
  try {
    return side.raw.revision;
  } finally {
    await side.close();
  }
}

/** Writes the objects into a new store; resolves to the backup's files. */
async function writeStore(
  restore: Restore,
  {
    incoming,
    startRevision,
    point,
  }: {
    readonly incoming: string;
    readonly startRevision: Revision;
    readonly point: PointInTime | undefined;
  },
): Promise<readonly BackupFile[]> {
  const { flags, target, backup, identities, before, say } = restore;
  const scratch = `${incoming}.${ENCRYPTION_FILE}`;
  rmSync(incoming, { recursive: true, force: true });
  before('write');
  const files: BackupFile[] = [];
  let side: OpenedSide | undefined;
  let writer: Writer | undefined;
  const open = async (): Promise<Writer> => {
    mkdirSync(incoming, { recursive: true, mode: 0o700 });
    const encryptionProviderConfig = encryptionFor(flags, { files, scratch });
    side = await openEmbedded(incoming, {
      flags: { ...flags, encryptionProviderConfig },
      log: createLogger({ level: 'warn' }),
      mayCreate: true,
      startRevision,
    });
    return new Writer(side.store);
  };
  try {
    const manifest = await openBackup({
      target,
      name: backup.name,
      identities,
      decode,
      onFile: (file) => void files.push(file),
      async onObject(record) {
        writer ??= await open();
        for (const one of point?.over(record) ?? [record]) await writer.write(one);
      },
    });
    writer ??= await open();
    for (const one of point?.rest() ?? []) await writer.write(one);
    await writer.finish();
    before('compare');
    await requireSame(side!.store, writer);
    say(`${countText(manifest.objects)} objects written and compared, at revision ${side!.raw.revision}`);
  } finally {
    await side?.close();
    rmSync(scratch, { force: true });
  }
  return files;
}

/** The file that is named, else the backup's own, kept for the time of the restore. */
function encryptionFor(
  { encryptionProviderConfig }: RestoreFlags,
  { files, scratch }: { readonly files: readonly BackupFile[]; readonly scratch: string },
): string | undefined {
  const stored = files.find(({ path }) => path === ENCRYPTION_FILE);
  if (encryptionProviderConfig !== undefined || !stored) return encryptionProviderConfig;
  writeFileSync(scratch, stored.content, { mode: 0o600 });
  return scratch;
}

/** A kill between the two renames leaves no store, with which no API server starts; the next run goes on. */
function exchange(
  { before, say }: Restore,
  { dir, incoming }: { readonly dir: DataDir; readonly incoming: string },
): void {
  before('rename');
  if (existsSync(dir.store)) {
    const aside = `${dir.store}.before-restore-${Date.now()}`;
    renameSync(dir.store, aside);
    say(`the store before is kept in ${aside}`);
  }
  before('exchange');
  renameSync(incoming, dir.store);
}

/** What is on this machine stays: its certificates may be newer than the backup. */
function writeMissing(dir: DataDir, files: readonly BackupFile[]): void {
  for (const { path, mode, content } of files) {
    const file = path === ENCRYPTION_FILE ? encryptionFileOf(dir) : join(dir.path, path);
    if (file === undefined || existsSync(file)) continue;
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    writeFileSync(`${file}.new`, content, { mode });
    renameSync(`${file}.new`, file);
  }
}

/** Where the settings say that it is. */
function encryptionFileOf(dir: DataDir): string | undefined {
  const name = 'encryption-provider-config=';
  return readSettings(dir)
    ?.apiServerArgs?.find((arg) => arg.startsWith(name))
    ?.slice(name.length);
}

// ── etcd ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

async function restoreEtcd(restore: Restore): Promise<void> {
  const { flags, say, before, newest } = restore;
  const side = await openEtcd({ flags, log: createLogger({ level: 'warn' }) });
  try {
    await requireUnused(side);
    const isResumed = (await side.raw.get(MARK)) !== undefined;
    const cluster = isResumed ? undefined : await clusterIn(side.store);
    if (cluster !== undefined && !flags.yes)
      throw new UserError(`There is a cluster in ${side.name}: with --yes it is backed up and replaced.`);
    const manifest = await verify(restore, { cluster });
    if (cluster !== undefined) await backUpFirst(restore);
    before('mark');
    await side.raw.put(MARK, Buffer.from(JSON.stringify({ name: restore.backup.name })));
    before('raise');
    await raise(side.raw, newest + (flags.revisionMargin ?? ETCD_MARGIN));
    before('write');
    const { keys, writer } = await writeEtcd(restore, side.store);
    before('delete');
    await deleteOthers(side.raw, keys);
    before('compare');
    await requireSame(side.store, writer);
    before('finish');
    await side.raw.delete(MARK).catch(ignoreMissing);
    for (const { key } of (await side.raw.list(`${ROOT}capstan.`)).items)
      await side.raw.delete(key).catch(ignoreMissing);
    await side.raw.compact(await side.raw.newestRevision!());
    say(`restored in ${side.name} at revision ${side.raw.revision}: ${countText(manifest.objects)} objects`);
  } finally {
    await side.close();
  }
}

async function clusterIn(store: Store): Promise<string | undefined> {
  const { items } = await store.list(ROOT, { limit: 1, keysOnly: true });
  if (items.length === 0) return undefined;
  return clusterUID(store);
}

async function writeEtcd(
  { target, backup, identities }: Restore,
  store: Store,
): Promise<{ readonly keys: ReadonlySet<string>; readonly writer: Writer }> {
  const keys = new Set<string>();
  const writer = new Writer(store);
  await openBackup({
    target,
    name: backup.name,
    identities,
    decode,
    async onObject(record) {
      keys.add(record.key);
      await writer.write(record);
    },
  });
  await writer.finish();
  return { keys, writer };
}

async function deleteOthers(raw: Store, keys: ReadonlySet<string>): Promise<void> {
  for (let startKey: string | undefined = ROOT; startKey !== undefined;) {
    const page = await raw.list(ROOT, { limit: LIST_PAGE, startKey, keysOnly: true });
    const others = page.items.filter(({ key }) => !keys.has(key) && !isPassing(key));
    await Promise.all(others.map(({ key }) => raw.delete(key).catch(ignoreMissing)));
    startKey = page.more ? `${page.items.at(-1)!.key}\0` : undefined;
  }
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof StoreError) || error.code !== 'not-found') throw error;
}

// ── both ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Puts in the order of keys, a bounded number in flight. */
class Writer {
  /** Of the objects as they were given, which has defaults that the stored bytes may lack. */
  readonly digests = new DigestBuilder();
  readonly #store: Store;
  #flying: Promise<unknown>[] = [];

  constructor(store: Store) {
    this.#store = store;
  }

  async write({ key, value, ttlSeconds }: BackupRecord): Promise<void> {
    this.digests.add({ key, value });
    const put = this.#store.put(
      key,
      value,
      ttlSeconds === undefined ? {} : { ttlSeconds: Math.max(1, ttlSeconds) },
    );
    put.catch(() => {});
    this.#flying.push(put);
    if (this.#flying.length >= WRITING) await this.finish();
  }

  async finish(): Promise<void> {
    const flying = this.#flying;
    this.#flying = [];
    await Promise.all(flying);
  }
}

/** As it is read again. Events may have expired meanwhile. */
async function requireSame(store: Store, { digests }: Writer): Promise<void> {
  const found = new DigestBuilder();
  const snapshot = await takeSnapshot(store);
  for await (const batch of snapshot.records) for (const record of batch) found.add(record);
  const different = differences(digests.finish(), found.finish()).filter(
    (line) => !line.startsWith('events:'),
  );
  if (different.length > 0)
    throw new BackupError('mismatch', `what was written differs from the backup: ${different[0]}`);
}
