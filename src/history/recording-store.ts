/**
 * A Store that records what is written through it in a change log. It stands below encryption at rest and upstream's encoding, so that the log has exactly what the store keeps.
 * At its start it looks what the log lacks, and takes it from the store's own revisions (without users), or names the gap.
 */
import { errorMessage, type Logger } from '#stdx/log.ts';
import type {
  DeleteOptions,
  GetOptions,
  ListOptions,
  ListResult,
  PutOptions,
  Revision,
  Store,
  StoredValue,
  StoreStats,
  StoreWatch,
  WatchOptions,
  WriteSource,
} from '#storage/store.ts';
import { isRecorded, type Change } from './change.ts';
import type { ChangeLog } from './change-log.ts';
import { findLogEnd, type LogEnd } from './log-files.ts';
import { readRevisions } from './store-history.ts';

export class RecordingStore implements Store {
  readonly #store: Store;
  readonly #changes: ChangeLog;
  readonly #nowMs: () => number;
  #revision: Revision = 0;

  readonly newestRevision?: () => Promise<Revision>;
  readonly ttlSeconds?: (key: string) => Promise<number | undefined>;
  readonly isStale?: (key: string) => Promise<boolean>;

  constructor(
    store: Store,
    { changes, nowMs }: { readonly changes: ChangeLog; readonly nowMs: () => number },
  ) {
    this.#store = store;
    this.#changes = changes;
    this.#nowMs = nowMs;
    if (store.newestRevision) this.newestRevision = () => store.newestRevision!();
    if (store.ttlSeconds) this.ttlSeconds = (key) => store.ttlSeconds!(key);
    if (store.isStale) this.isStale = (key) => store.isStale!(key);
  }

  get revision(): Revision {
    return this.#store.revision;
  }
  get compactedRevision(): Revision {
    return this.#store.compactedRevision;
  }

  /** The newest revision that was written through it. */
  get written(): Revision {
    return this.#revision;
  }

  async put(key: string, value: Buffer, options: PutOptions = {}): Promise<StoredValue> {
    const stored = await this.#store.put(key, value, options);
    if (isRecorded(key)) {
      const { modRevision: revision, createRevision } = stored;
      const isNew = revision === createRevision;
      this.#record(options.by, {
        key,
        revision,
        createRevision,
        previousRevision: isNew ? 0 : options.expected,
        operation: isNew ? 'create' : 'update',
        ttlSeconds: options.ttlSeconds,
        value,
      });
    }
    return stored;
  }

  async delete(
    key: string,
    options: DeleteOptions = {},
  ): Promise<{ readonly revision: Revision; readonly previous: StoredValue }> {
    const deleted = await this.#store.delete(key, options);
    if (isRecorded(key)) {
      const { modRevision: previousRevision, createRevision, value } = deleted.previous;
      const { revision } = deleted;
      this.#record(options.by, {
        key,
        revision,
        createRevision,
        previousRevision,
        operation: 'delete',
        value,
      });
    }
    return deleted;
  }

  #record(by: WriteSource | undefined, change: Change): void {
    if (change.revision > this.#revision) this.#revision = change.revision;
    this.#changes.record({
      ...change,
      timeMs: this.#nowMs(),
      user: by?.user.name,
      impersonator: by?.impersonator,
      manager: by?.manager,
      subresource: by?.subresource === '' ? undefined : by?.subresource,
    });
  }

  get(key: string, options?: GetOptions): Promise<StoredValue | undefined> {
    return this.#store.get(key, options);
  }
  list(prefix: string, options?: ListOptions): Promise<ListResult> {
    return this.#store.list(prefix, options);
  }
  watch(options: WatchOptions): StoreWatch {
    return this.#store.watch(options);
  }
  compact(revision: Revision): Promise<void> {
    return this.#store.compact(revision);
  }
  stats(): StoreStats {
    return this.#store.stats();
  }
  close(): Promise<void> {
    return this.#store.close();
  }
}

interface Resume {
  readonly store: Store;
  readonly changes: ChangeLog;
  readonly log: Logger;
}

/** Begins a session of the log; resolves when it has what its last server could not write. Never rejects: what cannot be read is a gap. */
export async function resumeLog({ store, changes, log }: Resume): Promise<void> {
  let end: LogEnd | undefined;
  try {
    end = findLogEnd(changes.settings.dir);
    const revision = (await store.newestRevision?.()) ?? store.revision;
    await changes.begin(revision);
    if (!end || isComplete(end, { revision, store })) return;
    await catchUp(end.revision, { store, changes, revision });
  } catch (error) {
    const reason = `what was written before the start cannot be read: ${errorMessage(error)}`;
    log.warn('the change log has a gap', { reason });
    changes.recordGap({
      fromRevision: (end?.revision ?? 0) + 1,
      toRevision: Math.max(store.revision, end?.revision ?? 0),
      count: 0,
      reason,
    });
  }
}

/** What others have written meanwhile is in their logs; but nobody writes to an embedded store that is off. */
function isComplete(
  end: LogEnd,
  { revision, store }: { readonly revision: number; readonly store: Store },
): boolean {
  return end.isClean && (store.newestRevision !== undefined || end.revision === revision);
}

async function catchUp(
  after: number,
  {
    store,
    changes,
    revision,
  }: { readonly store: Store; readonly changes: ChangeLog; readonly revision: number },
): Promise<void> {
  const floor = store.compactedRevision;
  if (after > revision || after < floor)
    changes.recordGap({
      fromRevision: after > revision ? revision : after + 1,
      toRevision: Math.max(after, floor),
      count: 0,
      reason:
        after > revision
          ? 'the store is an older one than the log'
          : 'the server before did not end its log, and the store has compacted these revisions',
    });
  if (after > revision) return;
  for await (const batch of readRevisions(store, { after: Math.max(after, floor), until: revision })) {
    for (const change of batch) if (isRecorded(change.key)) changes.record(change);
    while (!changes.hasRoom) await changes.flush();
  }
}
