/**
 * The Store interface: a revisioned key-value store with transactional writes and watches, which holds all state of the API server.
 * Stores keys and bytes, not Kubernetes objects. Modelled on etcd v3 (one revision for the whole store, MVCC reads,
 * watch from a revision, compaction). Drivers live in drivers/; storage.suite.ts runs over all of them.
 */

/** A whole-store revision, starting at 1 for the first write. Every successful write (put or delete) gets the next one. */
export type Revision = number;

export interface StoredValue {
  readonly key: string;
  readonly value: Buffer;
  /** Revision of the write that created this version: Kubernetes' resourceVersion. */
  readonly modRevision: Revision;
  readonly createRevision: Revision;
  /** Why the value cannot be read (its encryption key is missing): `value` is empty then. */
  readonly unreadable?: string | undefined;
}

export interface StoreEvent {
  readonly type: 'put' | 'delete';
  readonly key: string;
  readonly revision: Revision;
  /** The new value; undefined for a delete. */
  readonly value?: StoredValue;
  /** The value before this write; undefined for a create (and when compacted away). */
  readonly previous?: StoredValue;
  /** When it was written, for events that an embedded store reads from its history. */
  readonly timeMs?: number;
}

/** Who writes, for a store that records changes; others ignore it. */
export interface WriteSource {
  readonly user: { readonly name: string };
  /** Who acts as the user. */
  readonly impersonator?: string | undefined;
  /** The field manager. */
  readonly manager: string;
  /** '' = the object itself. */
  readonly subresource: string;
}

export interface GetOptions {
  /** Read as of this revision; `StoreError('compacted')` below the compaction floor, `('future')` above the newest. */
  readonly revision?: Revision;
}

export interface ListOptions extends GetOptions {
  /** At most this many items; `more` tells whether others follow. */
  readonly limit?: number;
  /** Ends with the item that brings the values to this many bytes; `more` tells whether others follow. At least one item is returned. */
  readonly maxBytes?: number;
  /** May return empty values: only keys and revisions are needed. */
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
  /** The store deletes the key (with an ordinary delete event) about this many seconds after the write. */
  readonly ttlSeconds?: number | undefined;
  readonly by?: WriteSource | undefined;
  /** What the value encodes, for a store that keeps another encoding: it need not read the value. Not changed, and not used after put() has returned its promise. */
  readonly decoded?: object | undefined;
}

export interface DeleteOptions {
  readonly expected?: Revision;
  readonly by?: WriteSource | undefined;
}

export interface WatchOptions {
  readonly prefix: string;
  /** Delivers events with revision > this, which may be in the future. Below the compaction floor: watch() throws `StoreError('compacted')`. */
  readonly afterRevision: Revision;
  /**
   * Called synchronously with each committed batch's matching events in revision order, after the batch is durable and BEFORE the
   * writers' promises resolve, so every watcher has seen a write before it is acknowledged. Must not throw
   * (a throw ends the watch through onClose) and must not write synchronously.
   * A watch from an old revision first catches up from history, in slices after watch() has returned; the guarantee holds after that.
   */
  readonly onEvents: (events: readonly StoreEvent[]) => void;
  /** Every event up to this revision was delivered, including those that did not match. Called only by stores with newestRevision. */
  readonly onReached?: (revision: Revision) => void;
  /** The watch ended (store closed, connection lost, listener threw). Not called after stop(). */
  readonly onClose?: (error?: Error) => void;
}

export interface StoreWatch {
  /** Requests a call of onReached. Undefined for stores without other writers. */
  requestProgress?(): void;
  stop(): void;
}

export interface StoreStats {
  readonly revision: Revision;
  readonly compactedRevision: Revision;
  readonly keys: number;
  /** Bytes on disk, 0 for memory. */
  readonly sizeBytes: number;
  /** The store's name in metrics, for remote ones. Default: 'embedded'. */
  readonly cluster?: string;
  /** Why it answers nothing at the moment, where it knows; it may come back by itself. */
  readonly problem?: string | undefined;
}

export interface Store {
  /** The newest durable revision. */
  readonly revision: Revision;
  /** Revisions older than this are compacted. */
  readonly compactedRevision: Revision;
  /** A key is any well-formed string of 1 to 1024 bytes of UTF-8 (else a TypeError, or 'too-large'). */
  get(key: string, options?: GetOptions): Promise<StoredValue | undefined>;
  /** In the order of the keys' UTF-8 bytes. '' is the prefix of all keys. */
  list(prefix: string, options?: ListOptions): Promise<ListResult>;
  /** Resolves once the write is durable. The caller must not change the value afterwards: the event of this write may carry the same bytes. */
  put(key: string, value: Buffer, options?: PutOptions): Promise<StoredValue>;
  /** Resolves to the deleted value and the delete's revision once durable; `StoreError('not-found')` where the key is absent. */
  delete(
    key: string,
    options?: DeleteOptions,
  ): Promise<{ readonly revision: Revision; readonly previous: StoredValue }>;
  watch(options: WatchOptions): StoreWatch;
  /** Compacts history at and below this revision (live values stay). Bounded work per call; resolves when done. */
  compact(revision: Revision): Promise<void>;
  stats(): StoreStats;
  /** Reads the newest revision of a store with other writers. Undefined: `revision` is the newest, and every live watch has reached it. */
  newestRevision?(): Promise<Revision>;
  /** The remaining TTL of a key in seconds; undefined: it has none, or does not exist. Optional for wrappers of drivers. */
  ttlSeconds?(key: string): Promise<number | undefined>;
  /** Whether the value would be stored in a different form if it were written again. Undefined: never. */
  isStale?(key: string): Promise<boolean>;
  /** A value as the store below keeps it, as this one returns it. Undefined: they are the same. */
  reveal?(stored: StoredValue): Promise<StoredValue>;
  /** Flushes, stops watches, releases locks. Idempotent. */
  close(): Promise<void>;
}

/**
 * locked: another process holds the store · missing: an existing store was expected · corrupt: damaged (kept unchanged) · version: written by a newer program ·
 * no-space / read-only / io: errors of the disk · closed: the store is closed · too-large: a value exceeds the driver's limit ·
 * unavailable: a remote store cannot be reached, or too many bytes are waiting to be written (retry later).
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
  /** For `conflict`: the stored version (undefined = the key does not exist). */
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
