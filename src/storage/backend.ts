/**
 * What an embedded driver brings: a revision-ordered log and the newest version of each key, committed in batches. Everything that
 * is the same for all of them (preconditions, group commit, watches, expiry, when to compact) is local-store.ts's.
 */
import type { Revision } from './store.ts';

/** One write, as the log keeps it. */
export interface LogEntry {
  readonly revision: Revision;
  readonly key: string;
  /** Absent for a delete. */
  readonly value?: Buffer | undefined;
  /** Revision of the put that created the key; for a delete, of the key that was deleted. */
  readonly createRevision: Revision;
  /** Revision of the write to this key before this one, put or delete; 0 where there is none. */
  readonly previousRevision: Revision;
  /** Milliseconds since the epoch; 0 = never. */
  readonly expiresAtMs: number;
  /** Wall-clock time of the write. */
  readonly timeMs: number;
  /** Bytes of all log entries ever written before this one: the difference of two is the size of the history between. */
  readonly position: number;
}

/** The log entry without its value. */
export interface LogHeader extends Omit<LogEntry, 'value'> {
  readonly deleted: boolean;
}

/** What the newest write to a key left, a delete included (until it is compacted away). */
export interface Head {
  readonly modRevision: Revision;
  readonly createRevision: Revision;
  readonly deleted: boolean;
  readonly expiresAtMs: number;
}

export interface Commit {
  /** In revision order, without a hole after the newest revision. */
  readonly entries: readonly LogEntry[];
  /**
   * History to forget, in revision order: for each header the version that it replaced, and where the header is a delete, the
   * delete too. Applied before `entries`.
   */
  readonly sweep: readonly LogHeader[];
  /** Expiry marks that no longer hold: the versions they belong to are replaced by `entries`. */
  readonly unexpire: readonly Expiry[];
  readonly state: BackendState;
}

/** What is written with each commit. */
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
  /** As of the last finished commit when opened; the caller keeps it from there. */
  readonly state: BackendState;
  /**
   * What a commit waits for before it takes the writes that arrived: 'turn' = all that the event loop has read from its sockets,
   * where a commit is dear; 'tick' = what is written in the same tick.
   */
  readonly gather: 'turn' | 'tick';
  head(key: string): Head | undefined;
  /** One version, undefined when compacted away. */
  entry(revision: Revision): LogEntry | undefined;
  /** Its value alone, for the frequent case that the head says the rest. */
  value(revision: Revision): Buffer | undefined;
  /** Keys from `start` on that begin with `prefix`, with their heads, deletes included; until `visit` answers false. */
  scan(options: ScanOptions): void;
  /** Entries with revision > after, in order, until `visit` answers false. */
  log(after: Revision, visit: (entry: LogEntry) => boolean): void;
  headers(after: Revision, visit: (header: LogHeader) => boolean): void;
  /** The marks that expire first, soonest first. */
  expiries(limit: number): Expiry[];
  /** Durable when it resolves; when it rejects (with a StoreError), nothing of it happened. One at a time. */
  commit(commit: Commit): Promise<void>;
  sizeBytes(): number;
  close(): Promise<void>;
}

export interface ScanOptions {
  readonly prefix: string;
  readonly start: string;
  readonly visit: (key: string, head: Head) => boolean;
}
