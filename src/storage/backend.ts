/**
 * The interface of an embedded driver: a revision-ordered log and the newest version of each key, committed in batches. local-store.ts implements
 * what is common to all drivers (preconditions, group commit, watches, expiry, when to compact).
 */
import type { Revision } from './store.ts';

/** One write, as stored in the log. */
export interface LogEntry {
  readonly revision: Revision;
  readonly key: string;
  /** Undefined for a delete. */
  readonly value?: Buffer | undefined;
  /** Revision of the put that created the key; for a delete, of the key that was deleted. */
  readonly createRevision: Revision;
  /** Revision of the previous write to this key, put or delete; 0 when there is none. */
  readonly previousRevision: Revision;
  /** Milliseconds since the epoch; 0 = never. */
  readonly expiresAtMs: number;
  /** Wall-clock time of the write. */
  readonly timeMs: number;
  /** Total bytes of all log entries before this one: the difference of two is the size of the history between them. */
  readonly position: number;
}

/** The log entry without its value. */
export interface LogHeader extends Omit<LogEntry, 'value'> {
  readonly deleted: boolean;
}

/** The result of the newest write to a key, including a delete (until it is compacted away). */
export interface Head {
  readonly modRevision: Revision;
  readonly createRevision: Revision;
  readonly deleted: boolean;
  readonly expiresAtMs: number;
}

export interface Commit {
  /** In revision order, without gaps after the newest revision. */
  readonly entries: readonly LogEntry[];
  /**
   * History to remove, in revision order: for each header the version that it replaced, and where the header is a delete, the
   * delete too. Applied before `entries`.
   */
  readonly sweep: readonly LogHeader[];
  /** Obsolete expiry marks: their versions are replaced by `entries`. */
  readonly unexpire: readonly Expiry[];
  readonly state: BackendState;
}

/** Written with each commit. */
export interface BackendState {
  readonly revision: Revision;
  readonly compactedRevision: Revision;
  readonly keys: number;
  /** The next entry's `position`. */
  readonly position: number;
}

export interface Expiry {
  readonly atMs: number;
  readonly key: string;
  /** The version that expires. */
  readonly revision: Revision;
}

/** All reads are synchronous, and see every finished commit; they may already see the one in flight. */
export interface Backend {
  /** The state of the last finished commit when opened; the caller maintains it from there. */
  readonly state: BackendState;
  /**
   * What a commit waits for: 'turn' = writes of the whole event loop turn, for backends with expensive commits;
   * 'tick' = writes of the same tick.
   */
  readonly gather: 'turn' | 'tick';
  head(key: string): Head | undefined;
  /** One version, undefined when compacted away. */
  entry(revision: Revision): LogEntry | undefined;
  /** The value alone, when the head has the rest. */
  value(revision: Revision): Buffer | undefined;
  /** Keys from `start` on with this `prefix`, with their heads, including deletes; until `visit` returns false. */
  scan(options: ScanOptions): void;
  /** Entries with revision > after, in order, until `visit` returns false. */
  log(after: Revision, visit: (entry: LogEntry) => boolean): void;
  headers(after: Revision, visit: (header: LogHeader) => boolean): void;
  /** The expiry marks that are due first, soonest first. */
  expiries(limit: number): Expiry[];
  /** Durable when it resolves; when it rejects (with a StoreError), it had no effect. One at a time. */
  commit(commit: Commit): Promise<void>;
  sizeBytes(): number;
  close(): Promise<void>;
}

export interface ScanOptions {
  readonly prefix: string;
  readonly start: string;
  readonly visit: (key: string, head: Head) => boolean;
}
