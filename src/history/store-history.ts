/** The store's own revisions as changes: what a watch from an old revision delivers. They know no users; those of etcd no times. */
import { StoreError, type Store, type StoreEvent } from '#storage/store.ts';
import type { Change } from './change.ts';

const ROOT = '/registry/';
/** Events that wait for their reader before the watch is stopped and begun again behind them. */
const MAX_WAITING = 5_000;
/** Between questions to a watch that may have nothing to deliver. */
const PROGRESS_MS = 100;

interface Range {
  /** Not below the store's compacted revision. */
  readonly after: number;
  readonly until: number;
  readonly prefix?: string | undefined;
}

/** In the order of revisions. Rejects with a StoreError 'compacted' where compaction overtakes it. */
export async function* readRevisions(
  store: Store,
  { after, until, prefix = ROOT }: Range,
): AsyncGenerator<readonly Change[], void, void> {
  for (let reached = after; reached < until;) {
    const part = await readPart(store, { after: reached, until, prefix });
    yield part.changes;
    reached = part.reached;
  }
}

/** What is there, at most some MAX_WAITING and a slice of the watch. */
function readPart(
  store: Store,
  { after, until, prefix }: Range & { readonly prefix: string },
): Promise<{ readonly changes: Change[]; readonly reached: number }> {
  return new Promise((resolve, reject) => {
    const changes: Change[] = [];
    const end = (reached: number): void => {
      watch.stop();
      clearInterval(asking);
      resolve({ changes: changes.filter(({ revision }) => revision <= Math.min(reached, until)), reached });
    };
    const watch = store.watch({
      // An embedded store does not say how far a watch is, but every one of its revisions is a write.
      prefix: store.newestRevision ? prefix : '',
      afterRevision: after,
      onEvents: (events) => {
        for (const event of events) if (event.key.startsWith(prefix)) changes.push(toChange(event));
        const reached = events.at(-1)?.revision ?? after;
        if (reached >= until) end(until);
        else if (changes.length >= MAX_WAITING) end(reached);
      },
      onReached: (revision) => {
        if (revision >= until) end(until);
      },
      onClose: (error) => {
        clearInterval(asking);
        reject(error ?? new StoreError('closed', 'The store is closed'));
      },
    });
    const asking = setInterval(() => watch.requestProgress?.(), PROGRESS_MS);
    watch.requestProgress?.();
  });
}

function toChange({ type, key, revision, value, previous, timeMs }: StoreEvent): Change {
  const createRevision = value?.createRevision ?? previous?.createRevision ?? 0;
  const isNew = value !== undefined && value.createRevision === revision;
  return {
    key,
    revision,
    createRevision,
    previousRevision: isNew ? 0 : previous?.modRevision,
    operation: type === 'delete' ? 'delete' : isNew ? 'create' : 'update',
    timeMs,
    value: (value ?? previous)?.value,
  };
}
