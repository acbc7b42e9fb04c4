/**
 * A restore into an etcd whose API servers are off. While its mark is there, half of it may be written: no API server starts, and another restore goes on.
 *
 *   verify ─► backup what is there ─► marked ─► revision raised ─► written, others deleted ─► compared ─► mark removed, history compacted
 */
import { ROOT, type BackupRecord } from '#backup/format.ts';
import { openBackup } from '#backup/open-backup.ts';
import { clusterUID, isPassing } from '#backup/snapshot.ts';
import { findBackup } from '#backup/stored-backups.ts';
import { UserError } from '#deploy/data-dir.ts';
import { createLogger } from '#stdx/log.ts';
import { StoreError, type Store } from '#storage/store.ts';
import { raise } from '../store/copy.ts';
import { openEtcd, requireUnused, type OpenedSide } from '../store/open.ts';
import { RESTORE_MARK } from '../store/unfinished.ts';
import { decode } from './codec.ts';
import type { PointInTime } from './overlay.ts';
import type { EtcdMoment } from './point-in-time-etcd.ts';
import type { Moment } from './point-in-time.ts';
import { backUpFirst, verify, type Restore } from './restore-steps.ts';
import { requireSame, Writer } from './restore-writer.ts';
import { countText } from './words.ts';

/** etcd counts up one write at a time: what may have been written since the newest backup. */
const ETCD_MARGIN = 100_000;
const LIST_PAGE = 1_000;

/** In etcd while a restore is under way. */
interface Mark {
  readonly name: string;
  /** Of --at: the moment exactly. */
  readonly at?: number | undefined;
  /** Whether etcd has the history of the backup's cluster. */
  readonly isSameCluster?: boolean | undefined;
}

export async function restoreEtcd(asked: Restore): Promise<void> {
  const { flags, say, before, newest, whereThere } = asked;
  const side = await openEtcd({ flags, log: createLogger({ level: 'warn' }) });
  try {
    await requireUnused(side);
    const mark = await readMark(side.raw);
    const restore = await resumed(asked, mark);
    const cluster = mark ? undefined : await clusterIn(side.store);
    if (cluster !== undefined && !flags.yes)
      throw new UserError(`There is a cluster in ${side.name}: ${whereThere}.`);
    const isSameCluster = mark?.isSameCluster ?? cluster !== undefined;
    const moment =
      restore.moment && (await readMoment(restore, { side, moment: restore.moment, isSameCluster }));
    await verify(restore, { cluster, point: moment?.point });
    if (cluster !== undefined) await backUpFirst(restore);
    before('mark');
    await side.raw.put(RESTORE_MARK, Buffer.from(JSON.stringify(markOf(restore, { moment, isSameCluster }))));
    before('raise');
    const to = newest + (flags.revisionMargin ?? ETCD_MARGIN);
    await raise(side.raw, { to, keepsHistory: moment !== undefined });
    before('write');
    const { keys, writer } = await writeEtcd(restore, { store: side.store, point: moment?.point });
    before('delete');
    await deleteOthers(side.raw, keys);
    before('compare');
    await requireSame(side.store, writer);
    before('finish');
    await side.raw.delete(RESTORE_MARK).catch(ignoreMissing);
    for (const { key } of (await side.raw.list(`${ROOT}capstan.`)).items)
      await side.raw.delete(key).catch(ignoreMissing);
    await side.raw.compact(await side.raw.newestRevision!());
    say(`restored in ${side.name} at revision ${side.raw.revision}: ${countText(writer.count)} objects`);
  } finally {
    await side.close();
  }
}

async function clusterIn(store: Store): Promise<string | undefined> {
  const { items } = await store.list(ROOT, { limit: 1, keysOnly: true });
  if (items.length === 0) return undefined;
  return clusterUID(store);
}

async function readMark(raw: Store): Promise<Mark | undefined> {
  const found = await raw.get(RESTORE_MARK);
  return found && (JSON.parse(found.value.toString()) as Mark);
}

/** A restore of a moment goes on to the same one, though etcd has newer revisions by now. */
async function resumed(restore: Restore, mark: Mark | undefined): Promise<Restore> {
  if (!restore.moment || mark?.at === undefined) return restore;
  return { ...restore, moment: { revision: mark.at }, backup: await findBackup(restore.target, mark.name) };
}

async function readMoment(
  { backup, flags, say }: Restore,
  asked: { readonly side: OpenedSide; readonly moment: Moment; readonly isSameCluster: boolean },
): Promise<EtcdMoment> {
  const { readPointOfEtcd } = await import('./point-in-time-etcd.ts');
  const found = await readPointOfEtcd({ ...asked, backup, logDirs: flags.changeLogPath ?? [] });
  say(`that moment is revision ${found.revision}`);
  return found;
}

function markOf(
  { backup }: Restore,
  { moment, isSameCluster }: { readonly moment: EtcdMoment | undefined; readonly isSameCluster: boolean },
): Mark {
  return { name: backup.name, ...(moment && { at: moment.revision, isSameCluster }) };
}

async function writeEtcd(
  { target, backup, identities, lost }: Restore,
  { store, point }: { readonly store: Store; readonly point: PointInTime | undefined },
): Promise<{ readonly keys: ReadonlySet<string>; readonly writer: Writer }> {
  const keys = new Set<string>();
  const writer = new Writer(store, lost);
  const write = async (record: BackupRecord): Promise<void> => {
    if (!lost.takes(record)) keys.add(record.key);
    await writer.write(record);
  };
  await openBackup({
    target,
    name: backup.name,
    identities,
    decode,
    async onObject(record) {
      for (const one of point?.over(record) ?? [record]) await write(one);
    },
  });
  for (const one of point?.rest() ?? []) await write(one);
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
