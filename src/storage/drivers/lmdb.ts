/**
 * The embedded on-disk store: one LMDB file per directory, written by one process. Durability is explained in docs/storage.md.
 *
 *   DIR/store.mdb       the data: tables log, live, expiry and one state record (lmdb-records.ts)
 *   DIR/store.mdb-lock  LMDB's reader table; recreated at each start
 *   DIR/lock, lock.pid  the directory's lock and its holder (dir-lock.ts)
 *
 * Only this file uses lmdb-js. It is opened without `overlappingSync`: then each batch is one classic LMDB transaction, and its promise
 * resolves after mdb_txn_commit, which writes the new pages, calls fdatasync, and writes the meta page that activates them through a
 * descriptor opened with O_DSYNC. All of that happens on a thread of libuv's pool; the JS thread only queues the writes.
 */
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { type Database, open, type RootDatabase } from 'lmdb';
import { assert } from '#stdx/assert.ts';
import type {
  Backend,
  BackendState,
  Commit,
  Expiry,
  Head,
  LogEntry,
  LogHeader,
  ScanOptions,
} from '../backend.ts';
import { compareKeys } from '../keys.ts';
import { LocalStore, type LocalStoreOptions } from '../local-store.ts';
import { type Revision, type Store, StoreError } from '../store.ts';
import { type DirLock, lockDir } from './dir-lock.ts';
import { diskError } from './disk-errors.ts';
import { checkLmdbFile } from './lmdb-check.ts';
import { GATHERED_HEADS, PendingHeads, type Slice } from './lmdb-heads.ts';
import { type CommitSize, Headroom } from './lmdb-space.ts';
import {
  copyValue,
  decodeEntry,
  decodeExpiry,
  decodeHead,
  decodeHeader,
  decodeState,
  encodeEntry,
  encodeHead,
  encodeState,
  expiryKey,
  revisionKey,
  STATE_KEY,
  textKey,
} from './lmdb-records.ts';

export interface LmdbStoreOptions extends LocalStoreOptions {
  /** Created when it does not exist. */
  readonly dir: string;
  /** False: a missing store is an error rather than a new, empty cluster. Default true. */
  readonly mayCreate?: boolean;
  /** Number of heads that are gathered in memory before they are written to their table (lmdb-heads.ts); for tests. */
  readonly gatherHeads?: number;
}

/** Initial address space, not disk; LMDB doubles it when the data exceed it. */
const INITIAL_MAP_BYTES = 256 * 1024 * 1024;
/** Room for some 250 readers of 64 bytes; this process is the only one. */
const READERS_BYTES = 16 * 1024;
/** LMDB does not support empty keys, not even as the start of a range. */
const FIRST_KEY = '\0';
/** The version that LMDB in lmdb-js 3.5 writes into the meta pages. */
const LMDB_DATA_VERSION = 2;
/** Overhead of a log entry besides key and value, including LMDB's own. */
const ENTRY_BYTES = 64;
/** More than LMDB needs for empty tables. */
const NEW_FILE_BYTES = 256 * 1024;
const EIO = 5;
/** Approximate maximum of bytes in one commit. */
const FULL_BELOW_BYTES = 16 * 1024 * 1024;

/** Fails with StoreError locked, missing, corrupt, version, read-only, no-space or io; the directory is unchanged then. */
export async function openLmdbStore(options: LmdbStoreOptions): Promise<Store> {
  const dir = resolve(options.dir);
  const what = `Cannot open store ${dir}`;
  let lock: DirLock | undefined;
  try {
    makeDir(dir);
    lock = lockDir(dir);
    const file = join(dir, 'store.mdb');
    if (existsSync(file)) checkLmdbFile(file, { what, dataVersion: LMDB_DATA_VERSION });
    else if (options.mayCreate ?? true) await createFile(dir, { file, revision: options.startRevision ?? 0 });
    else
      throw new StoreError(
        'missing',
        `${what}: store.mdb is missing, though this cluster has run before; put the directory back from a copy, or mount the disk it is on`,
      );
    return new LocalStore(
      new LmdbBackend({ dir, file, lock, gather: options.gatherHeads ?? GATHERED_HEADS }),
      options,
    );
  } catch (error) {
    lock?.release();
    throw diskError(what, error);
  }
}

function makeDir(dir: string): void {
  if (existsSync(dir)) return;
  // One by one, because `recursive` reports ENOENT whatever the reason.
  makeDir(dirname(dir));
  mkdirSync(dir, { mode: 0o700 });
}

/** Creates an empty store under another name first: a file named store.mdb is always complete, even after a crash. */
async function createFile(
  dir: string,
  { file, revision }: { readonly file: string; readonly revision: Revision },
): Promise<void> {
  const draft = `${file}.new`;
  // A full disk is detected here instead of in LMDB (lmdb-space.ts).
  writeFileSync(draft, Buffer.alloc(NEW_FILE_BYTES));
  rmSync(draft);
  const tables = openTables(draft);
  await tables.root.put(
    STATE_KEY,
    encodeState({ revision, compactedRevision: revision, keys: 0, position: 0, applied: revision }),
  );
  await tables.root.close();
  rmSync(`${draft}-lock`, { force: true });
  chmodSync(draft, 0o600);
  renameSync(draft, file);
  syncDir(dir);
  syncDir(join(dir, '..'));
}

function syncDir(dir: string): void {
  const fd = openSync(dir, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** lmdb-js takes options in the version's place, which its types omit for this overload. */
const APPEND = { append: true } as unknown as number;

/** Values are read in lmdb-js's buffer, without a copy: each is valid until the next read. */
const IN_PLACE = { encode: (value: Buffer) => value, decode: (value: Buffer) => value };

interface Tables {
  /** LMDB's root table. It also holds our state record, because its page is written with every commit anyway. */
  readonly root: RootDatabase<Buffer, string>;
  readonly log: Database<Buffer, Revision>;
  readonly live: Database<Buffer, string>;
  readonly expiry: Database<Buffer, Buffer>;
}

function openTables(file: string): Tables {
  // Deletes LMDB's reader table of an earlier process, which is safe while we hold the directory. We create it, because LMDB would map a sparse
  // file, and on a full disk, touching a hole ends the process with SIGBUS.
  writeFileSync(`${file}-lock`, Buffer.alloc(READERS_BYTES), { mode: 0o600 });
  const root: RootDatabase<Buffer, string> = open({
    path: file,
    noSubdir: true,
    encoding: 'binary',
    maxDbs: 8,
    mapSize: INITIAL_MAP_BYTES,
    overlappingSync: false,
    // We batch ourselves; with lmdb-js's own batches in addition, a failed commit also rejects an unreachable promise.
    eventTurnBatching: false,
  });
  const table = <K extends Revision | string>(name: string, keyEncoder: unknown): Database<Buffer, K> => {
    // Not a literal argument: lmdb-js's types lack both encoders.
    const options = { name, encoder: IN_PLACE, keyEncoder };
    return root.openDB<Buffer, K>(options);
  };
  return {
    root,
    log: table('log', revisionKey),
    live: table('live', textKey),
    expiry: root.openDB({ name: 'expiry', encoding: 'binary', keyEncoding: 'binary' }),
  };
}

class LmdbBackend implements Backend {
  readonly gather = 'turn';
  readonly state: BackendState;
  readonly #dir: string;
  readonly #file: string;
  readonly #lock: DirLock;
  readonly #headroom: Headroom;
  readonly #pending: PendingHeads;
  #tables: Tables;
  /** The newest durable revision. */
  #last: Revision;

  constructor({ dir, file, lock, gather }: { dir: string; file: string; lock: DirLock; gather: number }) {
    this.#dir = dir;
    this.#file = file;
    this.#lock = lock;
    this.#headroom = new Headroom(file);
    this.#tables = openTables(file);
    const { applied, ...state } = decodeState(this.#tables.root.get(STATE_KEY)!);
    this.state = state;
    this.#last = state.revision;
    this.#pending = new PendingHeads(applied, { gather });
    if (applied < state.revision)
      this.headers(applied, (header) => {
        this.#pending.replay(header);
        return true;
      });
  }

  head(key: string): Head | undefined {
    const pending = this.#pending.get(key);
    if (pending) return pending;
    return this.#read(({ live }) => {
      const record = live.get(key);
      return record && decodeHead(record);
    });
  }

  entry(revision: Revision): LogEntry | undefined {
    return this.#read(({ log }) => {
      const record = log.get(revision);
      return record && decodeEntry(revision, record);
    });
  }

  value(revision: Revision): Buffer | undefined {
    return this.#read(({ log }) => {
      const record = log.get(revision);
      return record && copyValue(record);
    });
  }

  scan({ prefix, start, visit }: ScanOptions): void {
    const pending = this.#pending.keys(prefix, start);
    let next = 0;
    /** Visits pending heads of keys before this one; false = stop. */
    const before = (key: string | undefined): boolean => {
      for (; next < pending.length && (key === undefined || compareKeys(pending[next]!, key) < 0); next++) {
        if (!visit(pending[next]!, this.#pending.get(pending[next]!)!)) return false;
      }
      return true;
    };
    this.#read(({ live }) => {
      for (const { key, value } of live.getRange({ start: start || FIRST_KEY })) {
        if (!key.startsWith(prefix)) break;
        // Decoded at once, because the buffer is valid until the next read.
        const stored = decodeHead(value);
        if (!before(key)) return;
        const isPending = pending[next] === key;
        if (isPending) next++;
        if (!visit(key, isPending ? this.#pending.get(key)! : stored)) return;
      }
      before(undefined);
    });
  }

  log(after: Revision, visit: (entry: LogEntry) => boolean): void {
    this.#read(({ log }) => {
      for (const { key, value } of log.getRange({ start: after + 1 })) {
        if (!visit(decodeEntry(key, value))) return;
      }
    });
  }

  headers(after: Revision, visit: (header: LogHeader) => boolean): void {
    this.#read(({ log }) => {
      for (const { key, value } of log.getRange({ start: after + 1 })) {
        if (!visit(decodeHeader(key, value))) return;
      }
    });
  }

  expiries(limit: number): Expiry[] {
    return this.#read(({ expiry }) =>
      [...expiry.getRange({ limit })].map(({ key, value }) => decodeExpiry(asBuffer(key), asBuffer(value))),
    );
  }

  async commit(commit: Commit): Promise<void> {
    const slice = this.#pending.slice({ entries: commit.entries.length, last: this.#last });
    const forgotten = this.#forgottenBy(commit);
    try {
      await this.#headroom.reserve(sizeOf(commit, slice));
    } catch (error) {
      this.#pending.failed();
      throw diskError(`Cannot write to store ${this.#dir}`, error);
    }
    let appended: Promise<boolean>[] = [];
    try {
      await this.#tables.root.batch(() => {
        appended = this.#write(commit, { slice, forgotten });
      });
      assert((await Promise.all(appended)).every(Boolean), 'a new revision is above all others in the log');
    } catch (error) {
      const problem = await this.#explain(error);
      if (!(await this.#recover(commit, slice))) {
        this.#pending.failed();
        throw problem;
      }
    }
    this.#last = commit.state.revision;
    this.#pending.committed(slice, {
      written: new Map(commit.entries.map((entry) => [entry.key, headOf(entry)])),
      forgotten,
    });
  }

  sizeBytes(): number {
    return statSync(this.#file).size;
  }

  async close(): Promise<void> {
    await this.#settle();
    await this.#tables.root.close();
    await this.#headroom.close();
    this.#lock.release();
  }

  /** Writes pending heads, so that the next start need not read them again. An error is not fatal: they are read again then. */
  async #settle(): Promise<void> {
    if (this.#pending.size === 0) return;
    try {
      const slice = this.#pending.slice({ entries: 0, last: this.#last, all: true });
      const none = {
        entries: [],
        sweep: [],
        unexpire: [],
        state: decodeState(this.#tables.root.get(STATE_KEY)!),
      };
      await this.#headroom.reserve(sizeOf(none, slice));
      await this.#tables.root.batch(() => this.#write(none, { slice, forgotten: [] }));
    } catch {
      this.#pending.failed();
    }
  }

  /** Keys whose only remaining entry is a delete that this commit sweeps. */
  #forgottenBy({ entries, sweep }: Commit): string[] {
    if (!sweep.some(({ deleted }) => deleted)) return [];
    const written = new Set(entries.map(({ key }) => key));
    return sweep
      .filter(
        ({ key, deleted, revision }) =>
          deleted && !written.has(key) && this.head(key)?.modRevision === revision,
      )
      .map(({ key }) => key);
  }

  /** Only queues the writes; lmdb-js executes them on another thread, in this order. */
  #write(
    { entries, sweep, unexpire, state }: Commit,
    { slice, forgotten }: { readonly slice: Slice; readonly forgotten: readonly string[] },
  ): Promise<boolean>[] {
    const { root, log, live, expiry } = this.#tables;
    for (const [key, head] of slice.heads) void live.put(key, encodeHead(key, head));
    for (const header of sweep) {
      if (header.previousRevision > 0) void log.remove(header.previousRevision);
      if (header.deleted) void log.remove(header.revision);
    }
    for (const key of forgotten) void live.remove(key);
    for (const { atMs, revision } of unexpire) void expiry.remove(expiryKey({ atMs, revision }));
    // Appending fills pages completely, where ordinary puts leave half of each empty. Errors are reported by the batch.
    const appended = entries.map((entry) => log.put(entry.revision, encodeEntry(entry), APPEND));
    for (const promise of appended) promise.catch(() => {});
    for (const { key, revision, value, expiresAtMs } of newestOf(entries)) {
      if (value && expiresAtMs > 0)
        void expiry.put(expiryKey({ atMs: expiresAtMs, revision }), Buffer.from(key));
    }
    void root.put(STATE_KEY, encodeState({ ...state, applied: slice.applied }));
    return appended;
  }

  #read<T>(read: (tables: Tables) => T): T {
    try {
      return read(this.#tables);
    } catch (error) {
      throw diskError(`Cannot read store ${this.#dir}`, error);
    }
  }

  /** lmdb-js rejects with a wrapper that provides the cause as a promise. */
  async #explain(error: unknown): Promise<StoreError> {
    const { commitError } = error as { commitError?: Promise<never> };
    const cause: unknown = commitError ? await commitError.catch((reason: unknown) => reason) : error;
    return diskError(
      `Cannot write to store ${this.#dir}`,
      this.#isFull(cause) ? Object.assign(new Error('short write'), { code: 'ENOSPC' }) : cause,
    );
  }

  /**
   * After a failed commit LMDB continues, unless the meta page could not be written: then it rejects everything until it is
   * reopened, and only the file shows whether the commit took effect. If so, it is written once more, as it may not be on disk yet.
   */
  async #recover({ entries, state }: Commit, { applied }: Slice): Promise<boolean> {
    try {
      this.#tables.root.resetReadTxn();
      this.#tables.root.get(STATE_KEY);
      return false;
    } catch {
      await this.#tables.root.close();
    }
    this.#tables = openTables(this.#file);
    const counts =
      entries.length > 0 && decodeState(this.#tables.root.get(STATE_KEY)!).revision === state.revision;
    if (counts)
      await this.#tables.root
        .put(STATE_KEY, encodeState({ ...state, applied }))
        .catch(async (error: unknown) => {
          throw await this.#explain(error);
        });
    return counts;
  }

  /** LMDB reports a partial write as EIO, which is also the first sign of a full disk. */
  #isFull(cause: unknown): boolean {
    if ((cause as { code?: unknown } | undefined)?.code !== EIO) return false;
    const { bavail, bsize } = statfsSync(this.#dir);
    return bavail * bsize < FULL_BELOW_BYTES;
  }
}

function headOf({ revision: modRevision, createRevision, value, expiresAtMs }: LogEntry): Head {
  return { modRevision, createRevision, deleted: !value, expiresAtMs };
}

/** The last entry of each key. */
function newestOf(entries: readonly LogEntry[]): Iterable<LogEntry> {
  return new Map(entries.map((entry) => [entry.key, entry])).values();
}

function sizeOf({ entries, sweep, unexpire }: Commit, slice: Slice): CommitSize {
  // Sweeping an entry removes the version before it; sweeping a delete also removes itself and its key.
  let writes = sweep.reduce(
    (sum, { deleted }) => sum + (deleted ? 3 : 1),
    slice.heads.length + unexpire.length + 1,
  );
  let bytes = 0;
  for (const { key, value, expiresAtMs } of entries) {
    if (expiresAtMs > 0) writes++;
    bytes += ENTRY_BYTES + 3 * key.length + (value?.length ?? 0);
  }
  for (const [key] of slice.heads) bytes += 3 * key.length;
  return { writes, bytes };
}

/** lmdb-js returns a Uint8Array in some cases. */
function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
