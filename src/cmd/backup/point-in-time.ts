/**
 * `capstan backup restore --at`: the changes between a backup and a later moment, from the change log and, where the cluster is off, the store's own revisions. What history does not
 * have for certain is refused: each change names the revision that it replaced, and a gap is one.
 */
import { existsSync } from 'node:fs';
import { BackupError } from '#backup/errors.ts';
import type { Backup } from '#backup/stored-backups.ts';
import { readSettings, UserError, type DataDir } from '#deploy/data-dir.ts';
import { isRecorded, type Change, type Gap } from '#history/change.ts';
import { findLogEnd } from '#history/log-files.ts';
import { readHistory, type History } from '#history/read-history.ts';
import { realClock } from '#stdx/clock.ts';
import { isoTime } from '#stdx/dates.ts';
import { silentLogger } from '#stdx/log.ts';
import { createMemoryStore } from '#storage/drivers/memory.ts';
import { openStore } from '#storage/drivers/index.ts';
import type { Store } from '#storage/store.ts';
import { parseMoment } from '../history/moment.ts';
import { Overlay, type PointInTime } from './overlay.ts';

const SECOND_MS = 1_000;
/** Of a data directory's change log. */
const LOG_ARG = 'change-log-path=';
const ENCRYPTION_ARG = 'encryption-provider-config=';

export type Moment = { readonly revision: number } | { readonly timeMs: number };

/** '48213', or a time. Throws a UserError. */
export function momentOf(text: string, nowMs: number): Moment {
  if (/^\d+$/.test(text)) return { revision: Number(text) };
  const timeMs = parseMoment('--at', text, nowMs);
  if (timeMs > nowMs) throw new UserError(`--at ${text} is still to come.`);
  return { timeMs };
}

/** The newest backup before it, by the second in its name, which has to be over; throws a UserError where there is none. */
export function backupBefore(backups: readonly Backup[], moment: Moment): Backup {
  const before = backups.filter((one) =>
    'revision' in moment ? one.revision <= moment.revision : one.timeMs + SECOND_MS <= moment.timeMs,
  );
  const [newest] = before.toSorted((a, b) => b.timeMs - a.timeMs);
  if (!newest) throw new UserError('There is no backup from before that moment.');
  return newest;
}

interface Asked {
  readonly moment: Moment;
  readonly backup: Backup;
  /** The store is not in use. */
  readonly isOff: boolean;
  readonly encryptionProviderConfig: string | undefined;
}

/** Throws a UserError or BackupError where history does not reach. */
export async function readPointInTime(dir: DataDir, asked: Asked): Promise<PointInTime> {
  const args = readSettings(dir)?.apiServerArgs ?? [];
  const logDir = argOf(args, LOG_ARG);
  const raw = asked.isOff && existsSync(dir.store) ? await openRaw(dir.store) : undefined;
  try {
    if (!raw && logDir === undefined)
      throw new UserError(
        'The cluster has no change log (--change-log-path), and its store is in use: stop it first (capstan down), and what the store still has is taken.',
      );
    const encryption = asked.encryptionProviderConfig ?? argOf(args, ENCRYPTION_ARG);
    const history = await changesAfter(asked, { raw, logDir });
    requireReach(history, { ...asked, raw, logDir });
    return new Overlay(await revealed(history.changes, encryption), atMsOf(history.changes, asked));
  } finally {
    await raw?.close();
  }
}

function argOf(args: readonly string[], name: string): string | undefined {
  return args.find((arg) => arg.startsWith(name))?.slice(name.length);
}

/** Nothing is compacted while it is read. */
function openRaw(dir: string): Promise<Store> {
  return openStore({ driver: 'lmdb', dir, mayCreate: false, autoCompact: false, log: silentLogger });
}

function atMsOf(changes: readonly Change[], { moment }: Asked): number {
  return 'timeMs' in moment ? moment.timeMs : (changes.at(-1)?.timeMs ?? 0);
}

interface Sources {
  readonly raw: Store | undefined;
  readonly logDir: string | undefined;
}

function changesAfter({ moment, backup }: Asked, { raw, logDir }: Sources): Promise<History> {
  return readHistory(
    { dirs: logDir === undefined ? [] : [logDir], store: raw, reveal: async ({ value }) => value },
    {
      prefix: '/registry/',
      matches: isRecorded,
      afterRevision: backup.revision,
      values: true,
      ...('revision' in moment ? { untilRevision: moment.revision } : { untilMs: moment.timeMs }),
    },
  );
}

function requireReach(
  { from, gaps, changes }: History,
  { moment, backup, raw, logDir }: Asked & Sources,
): void {
  const end = logDir === undefined ? undefined : findLogEnd(logDir);
  const last = 'revision' in moment ? moment.revision : (changes.at(-1)?.revision ?? backup.revision);
  if (!from || from.revision > backup.revision + 1)
    throw new UserError(
      `History does not reach back to ${backup.name} (revision ${backup.revision})${from ? `: it begins at revision ${from.revision}` : ''}.`,
    );
  // Between the end of the log and what the store still has nothing may be missing.
  const joint = raw && Math.max(backup.revision, end?.revision ?? 0);
  if (raw && raw.compactedRevision > joint!)
    throw new UserError(
      `History has a hole: the change log ends at revision ${end?.revision ?? backup.revision}, and the store has compacted up to ${raw.compactedRevision}.`,
    );
  requireNoGap(gaps, { last, backup });
  requireEnd(moment, raw ? { revision: raw.revision, timeMs: Infinity } : end!);
}

/** Between the backup and the last revision that is wanted. */
export function requireNoGap(
  gaps: readonly Gap[],
  { last, backup }: { readonly last: number; readonly backup: Backup },
): void {
  const gap = gaps.find(
    ({ fromRevision, toRevision }) => fromRevision <= last && toRevision > backup.revision,
  );
  if (gap)
    throw new UserError(
      `History has a gap at revisions ${gap.fromRevision} to ${gap.toRevision} (${gap.reason}): restore ${backup.name} itself, or a moment before it.`,
    );
}

function requireEnd(moment: Moment, end: { readonly revision: number; readonly timeMs: number }): void {
  if ('revision' in moment ? moment.revision > end.revision : moment.timeMs > end.timeMs)
    throw new UserError(
      `History ends at revision ${end.revision}${Number.isFinite(end.timeMs) ? ` (${isoTime(end.timeMs)})` : ''}, before that moment.`,
    );
}

async function revealed(changes: readonly Change[], encryptionFile: string | undefined): Promise<Change[]> {
  if (encryptionFile === undefined) return [...changes];
  const { createEncryption } = await import('#apiserver/encryption/encryption.ts');
  const encryption = await createEncryption({
    file: encryptionFile,
    reload: false,
    clock: realClock,
    log: silentLogger,
  });
  const store = encryption.wrap(createMemoryStore());
  try {
    return await Promise.all(changes.map((change) => plain(store, change)));
  } finally {
    await store.close();
    encryption.close();
  }
}

/** Its value as the API server has it. Rejects with a BackupError where it cannot be read. */
export async function plain(store: Store, change: Change): Promise<Change> {
  if (!change.value || change.operation === 'delete') return change;
  const { key, value, revision: modRevision, createRevision } = change;
  const read = await store.reveal!({ key, value, modRevision, createRevision });
  if (read.unreadable === undefined) return { ...change, value: read.value };
  throw new BackupError('refused', `${key} of revision ${modRevision} cannot be read: ${read.unreadable}`);
}
