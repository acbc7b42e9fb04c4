/**
 * `capstan backup restore --at` of a cluster with etcd: the changes since a backup from etcd's own revisions where they reach, else from the change logs of all its API servers. etcd
 * has no times: they are those of the objects (managedFields), and a moment is the revision before the first change that is known to be later.
 *
 *   etcd has the cluster, and all revisions since the backup ─► these (and logs for their times)
 *   else ─► logs of as many servers as the cluster had, each without a gap from the backup to that moment
 */
import type { BackupRecord } from '#backup/format.ts';
import type { Backup } from '#backup/stored-backups.ts';
import { UserError } from '#deploy/data-dir.ts';
import { isRecorded, type Change } from '#history/change.ts';
import { findLogEnd, listLogFiles, readLogFile } from '#history/log-files.ts';
import { readHistory, type History } from '#history/read-history.ts';
import { isoTime } from '#stdx/dates.ts';
import { StoreError, type Store } from '#storage/store.ts';
import type { OpenedSide } from '../store/open.ts';
import { Overlay, type PointInTime } from './overlay.ts';
import { plain, requireNoGap, type Moment } from './point-in-time.ts';

/** Clocks of servers differ: changes that are known to be later by less than this end what is read. */
const CLOCK_MS = 120_000;
/** Between questions to a watch that has nothing to deliver. */
const PROGRESS_MS = 100;
const API_SERVERS = '/registry/endpointslices/default/kubernetes';

interface Asked {
  readonly moment: Moment;
  readonly backup: Backup;
  readonly side: OpenedSide;
  /** etcd holds the cluster of the backup, whole or half restored from it. */
  readonly isSameCluster: boolean;
  readonly logDirs: readonly string[];
}

export interface EtcdMoment {
  readonly point: PointInTime;
  /** The moment exactly, for a restore that goes on after a kill. */
  readonly revision: number;
}

/** Throws a UserError or BackupError where history does not reach. */
export async function readPointOfEtcd(asked: Asked): Promise<EtcdMoment> {
  const { moment, backup, side, logDirs } = asked;
  const reaches = await storeReaches(asked);
  if (!reaches) requireLogs(asked);
  const history = await readHistory(
    {
      dirs: logDirs,
      store: reaches ? side.raw : undefined,
      reveal: async (change) => (change.value ? (await plain(side.store, change)).value : undefined),
    },
    {
      prefix: '/registry/',
      matches: isRecorded,
      afterRevision: backup.revision,
      values: true,
      ...('revision' in moment ? { untilRevision: moment.revision } : { untilMs: moment.timeMs + CLOCK_MS }),
    },
  );
  const wanted = upTo(history.changes, moment);
  const revision = 'revision' in moment ? moment.revision : (wanted.at(-1)?.revision ?? backup.revision);
  if (!reaches) requireNoGap(history.gaps, { last: revision, backup });
  const newest = (await side.raw.newestRevision?.()) ?? side.raw.revision;
  if (reaches && revision > newest)
    throw new UserError(`History ends at revision ${newest}, before that moment.`);
  const changes = await Promise.all(wanted.map((change) => plain(side.store, change)));
  const overlay = new Overlay(changes, 'timeMs' in moment ? moment.timeMs : lastMs(history));
  return {
    revision,
    point: reaches ? overlay : new OfAllServers(overlay, { changes, logs: logDirs.length }),
  };
}

/** A prefix of history: what has no time is as late as what was before it. */
function upTo(changes: readonly Change[], moment: Moment): readonly Change[] {
  if ('revision' in moment) return changes;
  const end = changes.findIndex(({ timeMs }) => timeMs !== undefined && timeMs > moment.timeMs);
  if (end === -1) return changes;
  const { revision } = changes[end]!;
  return changes.filter((change) => change.revision < revision);
}

function lastMs({ changes }: History): number {
  return changes.findLast(({ timeMs }) => timeMs !== undefined)?.timeMs ?? 0;
}

/** Whether etcd still has every revision since the backup, of the backup's cluster. */
async function storeReaches({ side: { raw }, backup, isSameCluster }: Asked): Promise<boolean> {
  if (!isSameCluster) return false;
  await learnCompacted(raw, backup.revision);
  return raw.compactedRevision <= backup.revision;
}

/** A driver knows what others have compacted once a watch was refused for it. */
function learnCompacted(raw: Store, afterRevision: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (error?: Error): void => {
      watch.stop();
      clearInterval(asking);
      if (error) reject(error);
      else resolve();
    };
    const watch = raw.watch({
      prefix: '/registry/capstan.',
      afterRevision,
      onEvents: () => {},
      onReached: () => done(),
      onClose(error) {
        const isCompacted = error instanceof StoreError && error.code === 'compacted';
        done(isCompacted ? undefined : (error ?? new StoreError('closed', 'The store is closed')));
      },
    });
    const asking = setInterval(() => watch.requestProgress?.(), PROGRESS_MS);
    watch.requestProgress?.();
  });
}

/** Each goes back to the backup, and on to the moment. */
function requireLogs({ moment, backup, side, isSameCluster, logDirs }: Asked): void {
  if (logDirs.length === 0)
    throw new UserError(
      `${side.name} ${isSameCluster ? `has compacted its history up to revision ${side.raw.compactedRevision}` : 'does not have the history of that cluster'}, and ${backup.name} is of revision ${backup.revision}: give the change logs of all its API servers with --change-log-path DIR,..., or restore that backup itself.`,
    );
  for (const dir of logDirs) {
    const end = findLogEnd(dir);
    const begin = firstRevision(dir);
    if (!end || begin === undefined) throw new UserError(`There is no change log in ${dir}.`);
    if (begin > backup.revision + 1)
      throw new UserError(
        `The change log ${dir} does not reach back to ${backup.name} (revision ${backup.revision}): it begins at revision ${begin}.`,
      );
    const isBefore = 'revision' in moment ? end.revision < moment.revision : end.timeMs < moment.timeMs;
    if (isBefore && !end.isClean)
      throw new UserError(
        `The change log ${dir} ends at revision ${end.revision} (${isoTime(end.timeMs)}), before that moment.`,
      );
  }
}

function firstRevision(dir: string): number | undefined {
  for (const { path } of listLogFiles(dir))
    for (const { header } of readLogFile(path)) return header.firstRevision;
  return undefined;
}

/** Refuses where the cluster had more API servers, between the backup and that moment, than logs are there. */
class OfAllServers implements PointInTime {
  readonly #overlay: Overlay;
  readonly #logs: number;
  readonly #servers = new Set<string>();

  constructor(
    overlay: Overlay,
    { changes, logs }: { readonly changes: readonly Change[]; readonly logs: number },
  ) {
    this.#overlay = overlay;
    this.#logs = logs;
    for (const { key, value, operation } of changes)
      if (key === API_SERVERS && value && operation !== 'delete') this.#count(value);
  }

  get changes(): number {
    return this.#overlay.changes;
  }

  see(record: BackupRecord): void {
    if (record.key === API_SERVERS) this.#count(record.value);
    this.#overlay.see(record);
  }

  requireWhole(): void {
    const servers = [...this.#servers];
    if (servers.length > this.#logs)
      throw new UserError(
        `The cluster had ${servers.length} API servers (${servers.join(', ')}) and ${this.#logs} change logs are given: those of all are needed.`,
      );
    this.#overlay.requireWhole();
  }

  over(record: BackupRecord): readonly BackupRecord[] {
    return this.#overlay.over(record);
  }

  rest(): readonly BackupRecord[] {
    return this.#overlay.rest();
  }

  #count(value: Buffer): void {
    const { endpoints = [] } = JSON.parse(value.toString()) as { endpoints?: { addresses?: string[] }[] };
    for (const { addresses = [] } of endpoints) for (const one of addresses) this.#servers.add(one);
  }
}
