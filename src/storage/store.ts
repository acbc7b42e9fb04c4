/**
 * The Store: a revisioned key-value store with transactional writes and watches, the one thing the API server keeps state in.
 * It knows keys and bytes, never Kubernetes objects. Shape after etcd v3 (one revision for the whole store, MVCC reads,
 * watch from a revision, compaction). Drivers live in drivers/; storage.suite.ts runs over all of them.
 */

/** A whole-store revision, starting at 1 for the first write. Every successful write (put or delete) gets the next one. */
export type Revision = number;

export interface StoredValue {
  readonly key: string;
  readonly value: Buffer;
  /** Revision of the write that made this version: Kubernetes' resourceVersion. */
  readonly modRevision: Revision;
  readonly createRevision: Revision;
  /** Why the value cannot be read (it is encrypted with a key that is not there): `value` is empty then. */
  readonly unreadable?: string | undefined;
}

export interface StoreEvent {
  readonly type: 'put' | 'delete';
  readonly key: string;
  readonly revision: Revision;
  /** The new value; for a delete, absent. */
  readonly value?: StoredValue;
  /** The value before this write, absent for a create (and when compacted away). */
  readonly previous?: StoredValue;
}

export interface GetOptions {
  /** Read as of this revision; `StoreError('compacted')` below the compaction floor, `('future')` above the newest. */
  readonly revision?: Revision;
}

export interface ListOptions extends GetOptions {
  /** At most this many items; `more` tells whether others follow. */
  readonly limit?: number;
  /** Values may be left empty: only keys and revisions are wanted. */
  readonly keysOnly?: boolean;
  /** Start at this key, inclusive (must be within the prefix). */
  readonly startKey?: string;
}

export interface ListResult {
  /** The revision the list is consistent at. */
  readonly revision: Revision;
  readonly items: readonly StoredValue[];
  readonly more: boolean;
}

export interface PutOptions {
  /**
   * Precondition on the key's current modRevision; 0 = must not exist; absent = unconditional.
   * When it fails: `StoreError('conflict')` with `current`.
   */
  readonly expected?: Revision;
  /** The key is deleted by the store (as an ordinary delete event) about this many seconds after the write. */
  readonly ttlSeconds?: number;
}

export interface DeleteOptions {
  readonly expected?: Revision;
}

export interface WatchOptions {
  readonly prefix: string;
  /** Deliver events with revision > this, which may be one that is still to come. Below the compaction floor: `StoreError('compacted')` thrown by watch(). */
  readonly afterRevision: Revision;
  /**
   * Called synchronously with each committed batch's matching events in revision order, after the batch is durable and BEFORE the
   * writers' promises resolve, so whoever's write was acknowledged has already been seen by every watcher. Must not throw
   * (a throw ends the watch through onClose) and must not write synchronously.
   * A watch from an old revision first catches up from history, in slices after watch() has returned; only then does the rule above hold.
   */
  readonly onEvents: (events: readonly StoreEvent[]) => void;
  /** Every event up to here was delivered, also where the newest ones did not match. Called by stores with newestRevision only. */
  readonly onReached?: (revision: Revision) => void;
  /** The watch ended by itself (store closed, connection lost, listener threw). Not called after stop(). */
  readonly onClose?: (error?: Error) => void;
}

export interface StoreWatch {
  /** Asks for onReached to be called. Absent where nobody else writes. */
  requestProgress?(): void;
  stop(): void;
}

export interface StoreStats {
  readonly revision: Revision;
  readonly compactedRevision: Revision;
  readonly keys: number;
  /** Bytes on disk, 0 for memory. */
  readonly sizeBytes: number;
  /** Of a remote store: its name in metrics. Default: 'embedded'. */
  readonly cluster?: string;
}

export interface Store {
  /** The newest durable revision. */
  readonly revision: Revision;
  /** Older revisions than this are forgotten. */
  readonly compactedRevision: Revision;
  /** A key is any well-formed string of 1 to 1024 bytes of UTF-8 (else a TypeError, or 'too-large'). */
  get(key: string, options?: GetOptions): Promise<StoredValue | undefined>;
  /** In the order of the keys' UTF-8 bytes. '' is the prefix of everything. */
  list(prefix: string, options?: ListOptions): Promise<ListResult>;
  /** Resolves only once the write is durable. The value must not be changed by the caller afterwards. */
  put(key: string, value: Buffer, options?: PutOptions): Promise<StoredValue>;
  /** Resolves to the deleted value and the delete's revision once durable; `StoreError('not-found')` where the key is absent. */
  delete(
    key: string,
    options?: DeleteOptions,
  ): Promise<{ readonly revision: Revision; readonly previous: StoredValue }>;
  watch(options: WatchOptions): StoreWatch;
  /** Forget history at and below this revision (live values stay). Bounded work per call; resolves when done. */
  compact(revision: Revision): Promise<void>;
  stats(): StoreStats;
  /** The newest revision of a store that others write too, asked now. Absent: `revision` is it, and every live watch has reached it. */
  newestRevision?(): Promise<Revision>;
  /** Seconds until the key is deleted by the store; undefined: it has no time to live, or is not there. Drivers have it, what wraps them need not. */
  ttlSeconds?(key: string): Promise<number | undefined>;
  /** True when the value at the key would be stored in another form if it were written again. Absent: never. */
  isStale?(key: string): Promise<boolean>;
  /** Flush, stop watches, release locks. Idempotent. */
  close(): Promise<void>;
}

/**
 * locked: another process holds the store · missing: there was one, and it is gone · corrupt: damaged (kept as it is) · version: made by a newer program ·
 * no-space / read-only / io: the disk refused · closed: the store is closed · too-large: one value above the driver's bound ·
 * unavailable: a remote store cannot be reached, or too many bytes wait for the disk already (try again later).
 */
export type StoreErrorCode =
  | 'conflict'
  | 'not-found'
  | 'compacted'
  | 'future'
  | 'locked'
  | 'missing'
  | 'corrupt'
  | 'version'
  | 'no-space'
  | 'read-only'
  | 'io'
  | 'closed'
  | 'too-large'
  | 'unavailable';

export class StoreError extends Error {
  readonly code: StoreErrorCode;
  /** For `conflict`: what is stored now (absent = the key does not exist). */
  readonly current: StoredValue | undefined;
  constructor(
    code: StoreErrorCode,
    message: string,
    options: { current?: StoredValue | undefined; cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.name = 'StoreError';
    this.code = code;
    this.current = options.current;
  }
}
