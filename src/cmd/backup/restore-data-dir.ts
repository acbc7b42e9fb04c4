/**
 * A restore into a data directory. Until the last rename the old store is in place, and between the last two no store is, with which no API server starts.
 *
 *   backup what is there ─► stop ─► DIR/store.restoring written and compared ─► DIR/store renamed aside ─► renamed into its place ─► missing files
 */
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import type { BackupFile } from '#backup/format.ts';
import { openBackup } from '#backup/open-backup.ts';
import { runningPid, stopDaemon } from '#deploy/daemon.ts';
import { prepareDataDir, UserError, type DataDir } from '#deploy/data-dir.ts';
import { createLogger, errorMessage } from '#stdx/log.ts';
import { acquireProcessLock } from '#stdx/process-lock.ts';
import type { Revision } from '#storage/store.ts';
import { openEmbedded, type OpenedSide } from '../store/open.ts';
import { decode } from './codec.ts';
import type { PointInTime } from './overlay.ts';
import { readPointInTime } from './point-in-time.ts';
import { backUpFirst, isDamage, verify, type Restore } from './restore-steps.ts';
import { requireSame, Writer } from './restore-writer.ts';
import { encryptionIn, writeMissing } from './restored-files.ts';
import { countText } from './words.ts';

/** As etcd's own restore does: more than any client can have seen. */
const BUMP = 1_000_000_000;
const STOP_TIMEOUT_MS = 120_000;

export async function restoreDataDir(restore: Restore, dir: DataDir): Promise<void> {
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
    writeMissing(dir, { files, facts: restore.facts, identityFile: restore.flags.identityFile });
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
  const scratch = `${incoming}.encryption.yaml`;
  rmSync(incoming, { recursive: true, force: true });
  before('write');
  const files: BackupFile[] = [];
  let side: OpenedSide | undefined;
  let writer: Writer | undefined;
  const open = async (): Promise<Writer> => {
    mkdirSync(incoming, { recursive: true, mode: 0o700 });
    const encryptionProviderConfig = encryptionFor(restore, { files, scratch });
    side = await openEmbedded(incoming, {
      flags: { ...flags, encryptionProviderConfig },
      log: createLogger({ level: 'warn' }),
      mayCreate: true,
      startRevision,
    });
    return new Writer(side.store, restore.lost);
  };
  try {
    await openBackup({
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
    say(`${countText(writer.count)} objects written and compared, at revision ${side!.raw.revision}`);
  } finally {
    await side?.close();
    rmSync(scratch, { force: true });
  }
  return files;
}

/** The file that is named, else the backup's own, kept for the time of the restore. */
function encryptionFor(
  { flags: { encryptionProviderConfig }, facts }: Restore,
  { files, scratch }: { readonly files: readonly BackupFile[]; readonly scratch: string },
): string | undefined {
  const stored = encryptionIn(files, facts);
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
