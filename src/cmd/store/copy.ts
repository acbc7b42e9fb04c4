/**
 * Copies all objects of one store to an empty one, in the order of their last writes, at revisions above the source's, so that no client sees a
 * resourceVersion go back or change its meaning. An interrupted copy can be continued.
 *
 *   target empty, or marked by this copy ─▶ mark ─▶ raise the revision ─▶ copy what is missing, in order ─▶ compare both ─▶ [the caller sets the
 *   source aside] ─▶ finish: the mark removed, older history compacted, so that clients relist
 */
import { StoreError, type Revision, type Store } from '#storage/store.ts';
import { MIGRATION_MARK } from './unfinished.ts';
import { readContents, ROOT, visitAll, type Contents } from './digest.ts';

/** Keys of the copy itself. */
const OWN = `${ROOT}capstan.`;
const FILLER = `${OWN}revision`;
/** Writes in flight while the revision is raised, and between two compactions of the remainder. */
const RAISING = 256;
const FORGET_AFTER = 50_000;
/** For a store that keeps the order of concurrent requests. */
const COPYING = 256;

export interface Side {
  /** As the API server sees it. */
  readonly store: Store;
  /** The driver below it: lives of keys. */
  readonly raw: Store;
}

export class CopyRefused extends Error {}

/** Rejects with a CopyRefused where the two may not be copied, or differ afterwards. */
export async function copyStore(
  source: Side,
  target: Side,
  {
    contents,
    say,
    onMarked,
  }: {
    readonly contents: Contents;
    readonly say: (line: string) => void;
    /** From now on the target is this copy's. */
    readonly onMarked: () => void;
  },
): Promise<void> {
  const isResumed = await mark(target, contents);
  onMarked();
  say(isResumed ? 'going on with the copy' : `copying ${contents.keys.length} objects`);
  await raise(target.raw, { to: contents.revision });
  const there = new Set<string>();
  await visitAll(target.store, ({ key }) => void there.add(key));
  await copyMissing(
    source,
    target,
    contents.keys.map(({ key }) => key).filter((key) => !there.has(key)),
  );
  const [before, after] = [await readContents(source.store), await readContents(target.store)];
  if (before.digest !== contents.digest)
    throw new CopyRefused('The source was written while it was copied: stop every API server that uses it');
  if (after.digest !== contents.digest)
    throw new CopyRefused(
      `The copy differs from the source: ${after.keys.length} objects with digest ${after.digest}, which should be ${contents.keys.length} with ${contents.digest}`,
    );
  say(`copied and compared: ${after.keys.length} objects, digest ${after.digest}`);
}

/** Once the target is the one in use. Idempotent. */
export async function finishCopy({ raw }: Pick<Side, 'raw'>): Promise<void> {
  for (const { key } of (await raw.list(OWN)).items)
    await raw.delete(key).catch((error: unknown) => {
      if (!(error instanceof StoreError) || error.code !== 'not-found') throw error;
    });
  await raw.compact((await raw.newestRevision?.()) ?? raw.revision);
}

/** Whether this copy was started before. */
async function mark({ raw }: Side, { digest, revision }: Contents): Promise<boolean> {
  const own = JSON.stringify({ digest, revision });
  const found = await raw.get(MIGRATION_MARK);
  if (found?.value.toString() === own) return true;
  if (found)
    throw new CopyRefused('The target holds the beginning of a copy of something else: empty it first');
  const { items } = await raw.list(ROOT, { limit: 1 });
  if (items.length > 0) throw new CopyRefused(`The target is not empty: it has ${items[0]!.key}`);
  await raw.put(MIGRATION_MARK, Buffer.from(own), { expected: 0 });
  return false;
}

/** Each write raises it by one, whatever it is. keepsHistory: what was before is still to be read. */
export async function raise(
  raw: Store,
  { to, keepsHistory = false }: { readonly to: Revision; readonly keepsHistory?: boolean | undefined },
): Promise<void> {
  let forgotten = raw.revision;
  for (;;) {
    const newest = (await raw.newestRevision?.()) ?? raw.revision;
    if (newest >= to) return;
    const count = Math.min(RAISING, to - newest);
    // etcd orders writes to different keys itself, and each is a revision.
    await Promise.all(
      Array.from({ length: count }, (_, i) =>
        raw.put(raw.newestRevision ? `${FILLER}${i}` : FILLER, Buffer.alloc(0)),
      ),
    );
    if (keepsHistory || raw.revision - forgotten < FORGET_AFTER) continue;
    await raw.compact(raw.revision);
    forgotten = raw.revision;
  }
}

async function copyMissing(source: Side, target: Side, keys: readonly string[]): Promise<void> {
  // Only an embedded store keeps the order of writes to different keys.
  const width = target.raw.newestRevision ? 1 : COPYING;
  for (let at = 0; at < keys.length; at += COPYING) {
    const slice = keys.slice(at, at + COPYING);
    const items = await Promise.all(
      slice.map(async (key) => ({
        item: await source.store.get(key),
        ttlSeconds: await source.raw.ttlSeconds?.(key),
      })),
    );
    for (let i = 0; i < items.length; i += width)
      await Promise.all(
        items.slice(i, i + width).map(
          ({ item, ttlSeconds }) =>
            // Absent: it has expired since.
            item && target.store.put(item.key, item.value, ttlSeconds === undefined ? {} : { ttlSeconds }),
        ),
      );
  }
}
