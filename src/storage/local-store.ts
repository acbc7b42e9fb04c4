/**
 * The Store implementation over a Backend in this process, shared by the embedded drivers. It owns the ordering; the backend owns the bytes.
 *
 *   put/delete ─▶ waiting ─▶ plan (check preconditions, assign revisions) ─▶ backend.commit ─▶ publish to watches ─▶ promises resolve
 *                   ▲                                                              │ fails: exactly this batch is rejected,
 *                   └── writes that arrive meanwhile form the next batch           └ revision and history are unchanged
 *
 * One commit is in flight at a time, so a plan always starts from committed state.
 */
import { type Clock, realClock, type Timer } from '#stdx/clock.ts';
import { type Logger, silentLogger } from '#stdx/log.ts';
import type { Backend, Commit, Expiry, Head, LogEntry, LogHeader } from './backend.ts';
import { checkKey } from './keys.ts';
import { ListRoom } from './list-room.ts';
import {
  type DeleteOptions,
  type GetOptions,
  type ListOptions,
  type ListResult,
  type PutOptions,
  type Revision,
  type Store,
  type StoredValue,
  StoreError,
  type StoreEvent,
  type StoreStats,
  type StoreWatch,
  type WatchOptions,
} from './store.ts';
import { compacted, WatchHub } from './watch-hub.ts';

/** Maximum size of a value; above it, put() fails with 'too-large'. Twice Kubernetes' limit of one request. */
export const MAX_VALUE_BYTES = 3 * 1024 * 1024;
/** Bounds of one commit, which also limit how long its planning blocks the event loop; further writes wait for the next one. */
const MAX_BATCH_OPERATIONS = 512;
const MAX_BATCH_BYTES = 8 * 1024 * 1024;
/** Bound of waiting writes; above it writes fail with 'unavailable' to limit memory. */
const MAX_WAITING_BYTES = 256 * 1024 * 1024;
/**
 * Log entries that one commit compacts. Small numbers would make each commit touch old pages, so the sweep waits until this many are
 * due; then it removes more than the commit adds, so that a backlog shrinks, but a bounded number.
 */
const MIN_SWEEP = 256;
const MAX_SWEEP = 1024;
/** Maximum time that a few due entries wait for others, so that paginated lists expire in time. */
const SWEEP_WAIT_MS = 60_000;
/** Keys that a list visits before it yields to the event loop. */
const LIST_SLICE = 1000;
const EXPIRY_BATCH = 256;
const EXPIRY_RETRY_MS = 1000;
/** Accounted overhead per log entry besides key and value. */
const ENTRY_OVERHEAD_BYTES = 64;

/** History is kept within all of these limits; the newest version of each key always is. */
interface CompactionPolicy {
  /** At most this many revisions. */
  readonly keepRevisions: number;
  /** At most this old. */
  readonly keepMs: number;
  /** At most this many bytes, so that large values cannot fill the disk within keepMs. */
  readonly keepBytes: number;
}

/**
 * Upstream compacts every 5 minutes and so guarantees a watch no more than that; 100,000 revisions are 5 minutes at 333 writes/s;
 * 256 MiB bound the disk usage of a busy cluster's history.
 */
const DEFAULT_COMPACTION: CompactionPolicy = {
  keepRevisions: 100_000,
  keepMs: 5 * 60_000,
  keepBytes: 256 * 1024 * 1024,
};

export interface LocalStoreOptions {
  readonly clock?: Clock | undefined;
  readonly log?: Logger | undefined;
  /** Continuous compaction, done along with ordinary commits (an idle store writes nothing); false = only by compact(). */
  readonly autoCompact?: Partial<CompactionPolicy> | false | undefined;
  /** Of a new store: its first write has the next revision, and all before it are compacted. No effect on one that exists. Default 0. */
  readonly startRevision?: Revision | undefined;
}

interface Operation {
  readonly key: string;
  /** Undefined for a delete. */
  readonly value: Buffer | undefined;
  readonly expected: Revision | undefined;
  readonly expiresAtMs: number;
  readonly resolve: (outcome: Outcome) => void;
  readonly reject: (error: unknown) => void;
}

interface Outcome {
  readonly revision: Revision;
  /** The version that a put stored. */
  readonly stored?: StoredValue | undefined;
  /** The version that a delete removed. */
  readonly previous?: StoredValue | undefined;
}

/** An operation whose precondition holds. */
interface Accepted {
  readonly operation: Operation;
  readonly entry: LogEntry;
  readonly outcome: Outcome;
  /** The key's version before. */
  readonly before: Current;
}

/** An operation whose precondition fails. */
interface Refused {
  readonly operation: Operation;
  readonly error: StoreError;
  /** It fails because of a write in the same batch: if that one does not become durable, the result is another one. */
  readonly dependent: boolean;
}

interface Plan {
  readonly accepted: Accepted[];
  readonly refused: Refused[];
  readonly commit: Commit;
}

/** A key's state for the next operation of the batch. */
interface Current {
  readonly head: Head | undefined;
  /** Written in this batch, not yet durable. */
  readonly written: StoredValue | undefined;
  readonly inBatch: boolean;
}

interface CompactWaiter {
  readonly revision: Revision;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class LocalStore implements Store {
  readonly #backend: Backend;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #policy: CompactionPolicy | undefined;
  readonly #watches: WatchHub;
  #revision: Revision;
  /** Reads below it are rejected. Raised before a commit sweeps, so that no read sees partly swept history. */
  #floor: Revision;
  /** History up to it has been removed; the sweep continues from here. */
  #swept: Revision;
  /** When due entries were last checked. */
  #lookedAtMs = 0;
  #keys: number;
  #position: number;
  #waiting: Operation[] = [];
  #waitingBytes = 0;
  #compactWaiters: CompactWaiter[] = [];
  #draining: Promise<void> | undefined;
  #expiryTimer: Timer | undefined;
  #expiryTimerAtMs = Infinity;
  #state: 'open' | 'closing' | 'closed' = 'open';
  #closed: Promise<void> | undefined;

  constructor(backend: Backend, options: LocalStoreOptions = {}) {
    this.#backend = backend;
    this.#clock = options.clock ?? realClock;
    this.#log = options.log ?? silentLogger;
    this.#policy =
      options.autoCompact === false ? undefined : { ...DEFAULT_COMPACTION, ...options.autoCompact };
    const { revision, compactedRevision, keys, position } = backend.state;
    this.#revision = revision;
    this.#floor = compactedRevision;
    this.#swept = compactedRevision;
    this.#keys = keys;
    this.#position = position;
    this.#watches = new WatchHub(this.#watchSource());
    this.#armExpiry();
  }

  get revision(): Revision {
    return this.#revision;
  }

  get compactedRevision(): Revision {
    return this.#floor;
  }

  async get(key: string, options: GetOptions = {}): Promise<StoredValue | undefined> {
    this.#assertOpen();
    checkKey(key);
    const at = options.revision ?? this.#revision;
    this.#checkRevision(at);
    const head = this.#backend.head(key);
    return head && this.#versionAt(key, { head, at });
  }

  async list(prefix: string, options: ListOptions = {}): Promise<ListResult> {
    this.#assertOpen();
    const at = options.revision ?? this.#revision;
    const room = new ListRoom(options);
    const startKey = options.startKey ?? prefix;
    if (!startKey.startsWith(prefix))
      throw new TypeError(
        `list: startKey ${JSON.stringify(startKey)} is outside of prefix ${JSON.stringify(prefix)}`,
      );
    const items: StoredValue[] = [];
    let start: string | undefined = startKey;
    let more = false;
    while (start !== undefined) {
      // Checked again after each pause: compaction may have removed the revision of a long list.
      this.#assertOpen();
      this.#checkRevision(at);
      const slice: ListSlice = this.#listSlice({ prefix, start, at, room });
      for (const item of slice.items) items.push(item);
      more = slice.more;
      start = more ? undefined : slice.next;
      if (start !== undefined) await new Promise<void>((resolve) => setImmediate(resolve));
    }
    return { revision: at, items, more };
  }

  put(key: string, value: Buffer, options: PutOptions = {}): Promise<StoredValue> {
    const { expected, ttlSeconds } = options;
    const expiresAtMs = ttlSeconds === undefined ? 0 : this.#clock.now() + ttlSeconds * 1000;
    return this.#submit({ key, value, expected, expiresAtMs }).then((outcome) => outcome.stored!);
  }

  delete(
    key: string,
    options: DeleteOptions = {},
  ): Promise<{ readonly revision: Revision; readonly previous: StoredValue }> {
    return this.#submit({ key, value: undefined, expected: options.expected, expiresAtMs: 0 }).then(
      ({ revision, previous }) => ({ revision, previous: previous! }),
    );
  }

  watch(options: WatchOptions): StoreWatch {
    this.#assertOpen();
    return this.#watches.watch(options);
  }

  compact(revision: Revision): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#assertOpen();
      if (revision > this.#revision) throw future(revision, this.#revision);
      if (revision <= this.#swept) return resolve();
      this.#compactWaiters.push({ revision, resolve, reject });
      this.#wake();
    });
  }

  stats(): StoreStats {
    return {
      revision: this.#revision,
      compactedRevision: this.#floor,
      keys: this.#keys,
      sizeBytes: this.#backend.sizeBytes(),
    };
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#state = 'closing';
    this.#expiryTimer?.cancel();
    await this.#draining;
    this.#state = 'closed';
    this.#watches.closeAll(closedError());
    await this.#backend.close();
  }

  // ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

  #submit(request: Pick<Operation, 'key' | 'value' | 'expected' | 'expiresAtMs'>): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      this.#assertOpen();
      checkKey(request.key);
      const bytes = request.value?.length ?? 0;
      if (bytes > MAX_VALUE_BYTES)
        throw new StoreError(
          'too-large',
          `Cannot store ${bytes} bytes at ${request.key}: at most ${MAX_VALUE_BYTES} are allowed`,
        );
      if (this.#waitingBytes + bytes > MAX_WAITING_BYTES) {
        throw new StoreError(
          'unavailable',
          `Cannot write ${request.key}: ${this.#waitingBytes} bytes are waiting for the disk already`,
        );
      }
      this.#waiting.push({ ...request, resolve, reject });
      this.#waitingBytes += bytes;
      this.#wake();
    });
  }

  #wake(): void {
    this.#draining ??= this.#drain();
  }

  async #drain(): Promise<void> {
    while (this.#waiting.length > 0 || this.#compactWaiters.length > 0) {
      if (this.#backend.gather === 'turn') await new Promise<void>((resolve) => setImmediate(resolve));
      else await undefined;
      const batch = this.#takeBatch();
      let plan: Plan | undefined;
      try {
        plan = this.#plan(batch);
        const { entries, sweep, state } = plan.commit;
        if (entries.length > 0 || sweep.length > 0 || state.compactedRevision > this.#swept)
          await this.#backend.commit(plan.commit);
      } catch (error) {
        this.#fail(plan?.refused ?? [], { batch, error });
        continue;
      }
      this.#finish(plan);
    }
    this.#draining = undefined;
  }

  #takeBatch(): Operation[] {
    let bytes = 0;
    let count = 0;
    for (const { value } of this.#waiting) {
      const size = value?.length ?? 0;
      if (count > 0 && (count === MAX_BATCH_OPERATIONS || bytes + size > MAX_BATCH_BYTES)) break;
      bytes += size;
      count++;
    }
    const batch = count === this.#waiting.length ? this.#waiting : this.#waiting.slice(0, count);
    this.#waiting = count === this.#waiting.length ? [] : this.#waiting.slice(count);
    this.#waitingBytes -= bytes;
    return batch;
  }

  #plan(batch: readonly Operation[]): Plan {
    const accepted: Accepted[] = [];
    const refused: Refused[] = [];
    const unexpire: Expiry[] = [];
    const currents = new Map<string, Current>();
    const timeMs = this.#clock.now();
    let { revision, keys, position } = {
      revision: this.#revision,
      keys: this.#keys,
      position: this.#position,
    };
    for (const operation of batch) {
      const { key, value } = operation;
      const current = currents.get(key) ?? {
        head: this.#backend.head(key),
        written: undefined,
        inBatch: false,
      };
      const { head } = current;
      const exists = head !== undefined && !head.deleted;
      const problem = this.#refusal(operation, current);
      if (problem) {
        refused.push({ operation, error: problem, dependent: current.inBatch });
        continue;
      }
      revision++;
      const createRevision = exists ? head.createRevision : revision;
      const entry: LogEntry = {
        revision,
        key,
        value,
        createRevision,
        previousRevision: head?.modRevision ?? 0,
        expiresAtMs: operation.expiresAtMs,
        timeMs,
        position,
      };
      const stored: StoredValue | undefined = value && { key, value, modRevision: revision, createRevision };
      const previous = exists && !value ? this.#stored(key, current) : undefined;
      accepted.push({ operation, entry, outcome: { revision, stored, previous }, before: current });
      if (exists && head.expiresAtMs > 0 && !current.inBatch)
        unexpire.push({ atMs: head.expiresAtMs, key, revision: head.modRevision });
      currents.set(key, {
        head: { modRevision: revision, createRevision, deleted: !value, expiresAtMs: operation.expiresAtMs },
        written: stored,
        inBatch: true,
      });
      position += entrySize(entry);
      if (!exists && value) keys++;
      if (exists && !value) keys--;
    }
    const entries = accepted.map(({ entry }) => entry);
    const { sweep, floor } = this.#planSweep(entries.length, { revision, position, timeMs });
    this.#floor = Math.max(this.#floor, floor);
    return {
      accepted,
      refused,
      commit: { entries, sweep, unexpire, state: { revision, compactedRevision: floor, keys, position } },
    };
  }

  /** The error of this operation's precondition, if any. */
  #refusal({ key, value, expected }: Operation, current: Current): StoreError | undefined {
    const exists = current.head !== undefined && !current.head.deleted;
    if (!value && !exists) return new StoreError('not-found', `Cannot delete ${key}: it does not exist`);
    const modRevision = exists ? current.head.modRevision : 0;
    if (expected === undefined || expected === modRevision) return undefined;
    const stored = exists ? this.#stored(key, current) : undefined;
    const is = exists ? `it is at revision ${modRevision}` : 'it does not exist';
    return new StoreError(
      'conflict',
      `Cannot write ${key}: ${is}, not ${expected === 0 ? 'absent' : `at revision ${expected}`}`,
      { current: stored },
    );
  }

  #stored(key: string, { head, written, inBatch }: Current): StoredValue | undefined {
    return inBatch ? written : head && this.#newest(key, head);
  }

  #finish({ accepted, refused, commit }: Plan): void {
    const { revision, compactedRevision, keys, position } = commit.state;
    this.#revision = revision;
    this.#swept = compactedRevision;
    this.#keys = keys;
    this.#position = position;
    this.#publish(accepted);
    for (const { operation, outcome } of accepted) operation.resolve(outcome);
    for (const { operation, error } of refused) operation.reject(error);
    const waiters = this.#compactWaiters;
    this.#compactWaiters = waiters.filter((waiter) => waiter.revision > this.#swept);
    for (const waiter of waiters) if (waiter.revision <= this.#swept) waiter.resolve();
    if (accepted.some(({ entry }) => entry.expiresAtMs > 0)) this.#armExpiry();
  }

  /** Events are created only now, for watches that started while the commit was in flight too. */
  #publish(accepted: readonly Accepted[]): void {
    const events: StoreEvent[] = [];
    for (const { entry, outcome, before } of accepted) {
      if (!this.#watches.wants(entry.key)) continue;
      const existed = before.head !== undefined && !before.head.deleted;
      events.push(
        toEvent(entry, {
          stored: outcome.stored,
          previous: outcome.previous ?? (existed ? this.#stored(entry.key, before) : undefined),
        }),
      );
    }
    if (events.length > 0) this.#watches.publish(events);
  }

  #fail(
    refused: readonly Refused[],
    { batch, error }: { batch: readonly Operation[]; error: unknown },
  ): void {
    // Settled first with their own result; the second settlement has no effect.
    for (const { operation, error: own, dependent } of refused) if (!dependent) operation.reject(own);
    for (const operation of batch) operation.reject(error);
    const waiters = this.#compactWaiters;
    this.#compactWaiters = [];
    for (const waiter of waiters) waiter.reject(error);
  }

  // ── forgetting ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The part of the history that this commit compacts: requested by compact() or by the policy, within the bound. */
  #planSweep(
    added: number,
    newest: { revision: Revision; position: number; timeMs: number },
  ): { sweep: LogHeader[]; floor: Revision } {
    const asked = Math.max(0, ...this.#compactWaiters.map((waiter) => waiter.revision));
    const policy = this.#policy;
    const outdated = (header: LogHeader): boolean =>
      policy !== undefined &&
      (header.revision <= newest.revision - policy.keepRevisions ||
        header.timeMs < newest.timeMs - policy.keepMs ||
        newest.position - header.position > policy.keepBytes);
    const sweep: LogHeader[] = [];
    let floor = this.#swept;
    if (asked <= floor && !this.#isEnoughDue(outdated, newest.timeMs)) return { sweep, floor };
    const bound = asked > floor ? MAX_SWEEP : Math.min(MAX_SWEEP, Math.max(MIN_SWEEP, 2 * added));
    let ended = true;
    this.#backend.headers(floor, (header) => {
      ended = header.revision > this.#revision;
      if (ended || sweep.length === bound || !(header.revision <= asked || outdated(header))) return false;
      sweep.push(header);
      floor = header.revision;
      return (ended = true);
    });
    // The log may end before the requested revision: its last deletes were swept already.
    return { sweep, floor: ended ? Math.max(floor, asked) : floor };
  }

  #isEnoughDue(outdated: (header: LogHeader) => boolean, nowMs: number): boolean {
    if (!this.#policy) return false;
    if (this.#swept + MIN_SWEEP <= this.#revision && this.#isDue(this.#swept + MIN_SWEEP - 1, outdated))
      return true;
    if (nowMs - this.#lookedAtMs < SWEEP_WAIT_MS) return false;
    this.#lookedAtMs = nowMs;
    return this.#isDue(this.#swept, outdated);
  }

  /** The header of the entry after a revision. All entries above the floor exist, so one read suffices. */
  #isDue(after: Revision, outdated: (header: LogHeader) => boolean): boolean {
    let due = false;
    this.#backend.headers(after, (header) => {
      due = outdated(header);
      return false;
    });
    return due;
  }

  ttlSeconds(key: string): Promise<number | undefined> {
    const head = this.#backend.head(key);
    const expires = head && !head.deleted && head.expiresAtMs > 0;
    return Promise.resolve(expires ? Math.max(1, (head.expiresAtMs - this.#clock.now()) / 1000) : undefined);
  }

  // ── expiring ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

  #armExpiry(): void {
    if (this.#state !== 'open') return;
    const atMs = this.#backend.expiries(1)[0]?.atMs ?? Infinity;
    if (atMs < this.#expiryTimerAtMs) this.#setExpiryTimer(atMs);
  }

  #setExpiryTimer(atMs: number): void {
    this.#expiryTimer?.cancel();
    this.#expiryTimerAtMs = atMs;
    this.#expiryTimer = this.#clock.after(Math.max(0, atMs - this.#clock.now()), () => void this.#expire());
  }

  async #expire(): Promise<void> {
    let failed = false;
    while (this.#state === 'open' && !failed) {
      const due = this.#dueExpiries();
      if (due.length === 0) break;
      const outcomes = await Promise.allSettled(
        due.map(({ key, revision }) => this.delete(key, { expected: revision })),
      );
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected' && !isRace(outcome.reason)) failed = true;
      }
      if (failed) this.#log.warn('cannot delete expired keys, trying again', { retryMs: EXPIRY_RETRY_MS });
    }
    this.#expiryTimerAtMs = Infinity;
    if (this.#state !== 'open') return;
    if (failed) this.#setExpiryTimer(this.#clock.now() + EXPIRY_RETRY_MS);
    else this.#armExpiry();
  }

  #dueExpiries(): Expiry[] {
    const now = this.#clock.now();
    return this.#backend.expiries(EXPIRY_BATCH).filter(({ atMs }) => atMs <= now);
  }

  // ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

  #listSlice({
    prefix,
    start,
    at,
    room,
  }: {
    prefix: string;
    start: string;
    at: Revision;
    room: ListRoom;
  }): ListSlice {
    const items: StoredValue[] = [];
    let seen = 0;
    let more = false;
    let next: string | undefined;
    this.#backend.scan({
      prefix,
      start,
      visit: (key, head) => {
        if (seen++ === LIST_SLICE) {
          next = key;
          return false;
        }
        const version = this.#versionAt(key, { head, at });
        if (!version) return true;
        more = !room.take(version);
        if (!more) items.push(version);
        return !more;
      },
    });
    return { items, more, next };
  }

  /** A key's newest version at a revision, found by following the log back from its head. */
  #versionAt(key: string, { head, at }: { head: Head; at: Revision }): StoredValue | undefined {
    if (head.modRevision <= at) return head.deleted ? undefined : this.#newest(key, head);
    let entry = this.#backend.entry(head.modRevision);
    while (entry && entry.revision > at)
      entry = entry.previousRevision === 0 ? undefined : this.#backend.entry(entry.previousRevision);
    return entry && toStored(entry);
  }

  #newest(key: string, { modRevision, createRevision }: Head): StoredValue | undefined {
    const value = this.#backend.value(modRevision);
    return value && { key, value, modRevision, createRevision };
  }

  #storedAt(revision: Revision): StoredValue | undefined {
    const entry = revision === 0 ? undefined : this.#backend.entry(revision);
    return entry && toStored(entry);
  }

  #watchSource(): ConstructorParameters<typeof WatchHub>[0] {
    const revision = (): Revision => this.#revision;
    const floor = (): Revision => this.#floor;
    return {
      get revision() {
        return revision();
      },
      get compactedRevision() {
        return floor();
      },
      replay: (prefix, options) => this.#replay(prefix, options),
    };
  }

  #replay(
    prefix: string,
    { after, limit }: { after: Revision; limit: number },
  ): { events: StoreEvent[]; reached: Revision } {
    const events: StoreEvent[] = [];
    let reached = this.#revision;
    let read = 0;
    this.#backend.log(after, (entry) => {
      if (entry.revision > this.#revision) return false;
      if (read++ === limit) {
        reached = entry.revision - 1;
        return false;
      }
      if (entry.key.startsWith(prefix))
        events.push({
          ...toEvent(entry, { stored: toStored(entry), previous: this.#storedAt(entry.previousRevision) }),
          timeMs: entry.timeMs,
        });
      return true;
    });
    return { events, reached };
  }

  #checkRevision(at: Revision): void {
    if (at > this.#revision) throw future(at, this.#revision);
    if (at < this.#floor) throw compacted(at, this.#floor);
  }

  #assertOpen(): void {
    if (this.#state !== 'open') throw closedError();
  }
}

interface ListSlice {
  readonly items: readonly StoredValue[];
  readonly more: boolean;
  /** The start of the next slice; undefined at the end. */
  readonly next: string | undefined;
}

function toStored({ key, value, revision, createRevision }: LogEntry): StoredValue | undefined {
  return value && { key, value, modRevision: revision, createRevision };
}

function toEvent(
  entry: LogEntry,
  { stored, previous }: { stored: StoredValue | undefined; previous: StoredValue | undefined },
): StoreEvent {
  return {
    type: stored ? 'put' : 'delete',
    key: entry.key,
    revision: entry.revision,
    ...(stored && { value: stored }),
    ...(previous && { previous }),
  };
}

function entrySize({ key, value }: LogEntry): number {
  return ENTRY_OVERHEAD_BYTES + key.length + (value?.length ?? 0);
}

/** The key was written or deleted meanwhile, so it does not expire; or the store is closing, and it expires later. */
function isRace(error: unknown): boolean {
  return (
    error instanceof StoreError &&
    (error.code === 'conflict' || error.code === 'not-found' || error.code === 'closed')
  );
}

function future(revision: Revision, newest: Revision): StoreError {
  return new StoreError('future', `Cannot read revision ${revision}: the newest is ${newest}`);
}

function closedError(): StoreError {
  return new StoreError('closed', 'The store is closed');
}
