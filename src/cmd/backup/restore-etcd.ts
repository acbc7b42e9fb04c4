/**
 * A restore into an etcd whose API servers are off. While its mark is there, half of it may be written: no API server starts, and another restore goes on.
 *
 *   verify ─► backup what is there ─► marked ─► revision raised ─► written, others deleted ─► compared ─► mark removed, history compacted
 */
import { ROOT } from '#backup/format.ts';
import { openBackup } from '#backup/open-backup.ts';
import { clusterUID, isPassing } from '#backup/snapshot.ts';
import { UserError } from '#deploy/data-dir.ts';
import { createLogger } from '#stdx/log.ts';
import { StoreError, type Store } from '#storage/store.ts';
import { raise } from '../store/copy.ts';
import { openEtcd, requireUnused } from '../store/open.ts';
import { RESTORE_MARK } from '../store/unfinished.ts';
import { decode } from './codec.ts';
import { backUpFirst, verify, type Restore } from './restore-steps.ts';
import { requireSame, Writer } from './restore-writer.ts';
import { countText } from './words.ts';

/** etcd counts up one write at a time: what may have been written since the newest backup. */
const ETCD_MARGIN = 100_000;
const LIST_PAGE = 1_000;

export async function restoreEtcd(restore: Restore): Promise<void> {
  const { flags, say, before, newest, whereThere } = restore;
  const side = await openEtcd({ flags, log: createLogger({ level: 'warn' }) });
  try {
    await requireUnused(side);
    const isResumed = (await side.raw.get(RESTORE_MARK)) !== undefined;
    const cluster = isResumed ? undefined : await clusterIn(side.store);
    if (cluster !== undefined && !flags.yes)
      throw new UserError(`There is a cluster in ${side.name}: ${whereThere}.`);
    await verify(restore, { cluster });
    if (cluster !== undefined) await backUpFirst(restore);
    before('mark');
    await side.raw.put(RESTORE_MARK, Buffer.from(JSON.stringify({ name: restore.backup.name })));
    before('raise');
    await raise(side.raw, newest + (flags.revisionMargin ?? ETCD_MARGIN));
    before('write');
    const { keys, writer } = await writeEtcd(restore, side.store);
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

async function writeEtcd(
  { target, backup, identities, lost }: Restore,
  store: Store,
): Promise<{ readonly keys: ReadonlySet<string>; readonly writer: Writer }> {
  const keys = new Set<string>();
  const writer = new Writer(store, lost);
  await openBackup({
    target,
    name: backup.name,
    identities,
    decode,
    async onObject(record) {
      if (!lost.takes(record)) keys.add(record.key);
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
