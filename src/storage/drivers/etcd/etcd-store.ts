/**
 * The Store on an etcd cluster (3.4 and later). Not the embedded store's group commit: etcd orders writes itself, so that only writes to
 * one key keep the order in which they were made. See docs/designs/0001-etcd-store.md.
 *
 *   put ─▶ turn of its key ─▶ Txn (precondition on mod_revision) ─▶ answered ──────────────▶ seen by our watches ─▶ promise resolves
 *                                  └── nobody knows whether it happened ─▶ history of the key ─▶ happened │ refused │ 'unavailable'
 */
import { realClock, type Clock, type Timer } from '#stdx/clock.ts';
import { silentLogger, type Logger } from '#stdx/log.ts';
import { checkKey } from '../../keys.ts';
import { ListRoom } from '../../list-room.ts';
import { MAX_VALUE_BYTES } from '../../local-store.ts';
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
} from '../../store.ts';
import { compacted } from '../../watch-hub.ts';
import { Compactor } from './compactor.ts';
import { EtcdConnection, type ConnectionOptions } from './connection.ts';
import { closedError, EtcdCallError } from './failures.ts';
import { KeySpace } from './key-space.ts';
import { Leases } from './leases.ts';
import { Monitor } from './monitor.ts';
import {
  COMPARE_EQUAL,
  COMPARE_MOD_REVISION,
  int,
  type KeyValue,
  type LeaseTimeToLiveResponse,
  type RangeResponse,
  type TxnResponse,
} from './protocol.ts';
import { ASK_MS, LOST, Stalls } from './stalls.ts';
import { Watcher } from './watcher.ts';

/** Items of one answer while a list is read; doubled from page to page. */
const FIRST_PAGE = 500;
const MAX_PAGE = 10_000;
/** The same for a list that is bounded by bytes: 24 MB where all are of etcd's own limit. */
const FIRST_PAGE_OF_BYTES = 16;
/** For the history of a key to tell what became of a write. */
const RESOLVE_MS = 5_000;
/** Between questions to the watch that reads that history. */
const PROGRESS_MS = 100;
/** Between questions to watches that have not delivered what was written. */
const SEEN_MS = 500;
/** Written under the prefix of a watch that must tell how far it is, where etcd's own word on that cannot be trusted. */
const MARK = 'capstan.progress';

function isMark({ key }: { readonly key: string }): boolean {
  return key.endsWith(MARK);
}

export interface EtcdStoreOptions extends ConnectionOptions {
  /** Put before every key. Default: none. */
  readonly keyPrefix?: string | undefined;
  /** What all keys begin with, and keyPrefix stands in its place: '/registry' kept at '/east'. Default: nothing is replaced. */
  readonly replaces?: string | undefined;
  readonly clock?: Clock | undefined;
  readonly log?: Logger | undefined;
  /** How often old history is forgotten, by one of all servers. Default: 0, never. */
  readonly compactionIntervalMs?: number | undefined;
  /** How often members are asked for version, size and alarms, beside once at the start. Default: 0, never. */
  readonly monitorIntervalMs?: number | undefined;
}

interface Written {
  readonly revision: Revision;
  readonly stored?: StoredValue;
  readonly previous?: StoredValue;
}

interface Write {
  readonly key: string;
  /** Absent for a delete. */
  readonly value?: Buffer;
  readonly expected: Revision | undefined;
  readonly ttlSeconds?: number | undefined;
}

/** A write whose outcome is not known. */
interface Unsettled {
  /** What it replaces, or the newest that was known when it was sent. */
  readonly since: Revision;
  readonly error: StoreError;
}

/** Rejects where no member answers. */
export async function openEtcdStore(options: EtcdStoreOptions): Promise<Store> {
  const store = new EtcdStore(options);
  try {
    await store.open();
  } catch (error) {
    await store.close();
    throw error;
  }
  return store;
}

class EtcdStore implements Store {
  readonly #connection: EtcdConnection;
  readonly #clock: Clock;
  readonly #leases: Leases;
  readonly #stalls: Stalls;
  readonly #keySpace: KeySpace;
  readonly #markKey: Buffer;
  readonly #monitor: Monitor;
  readonly #compactor: Compactor | undefined;
  readonly #watchers = new Set<Watcher>();
  /** The last write under way of each key. */
  readonly #turns = new Map<string, Promise<unknown>>();
  /** The value of the write that was sent of each key. */
  readonly #sent = new Map<string, Buffer>();
  /** Writes that wait until our watches have seen them. */
  readonly #unseen = new Set<{
    readonly key: string;
    readonly revision: Revision;
    readonly resolve: () => void;
  }>();
  #revision = 0;
  #floor = 0;
  #keys = 0;
  #marking = false;
  #asking: Timer | undefined;
  #closed: Promise<void> | undefined;

  constructor({
    keyPrefix = '',
    replaces = '',
    clock = realClock,
    log = silentLogger,
    compactionIntervalMs = 0,
    monitorIntervalMs = 0,
    ...options
  }: EtcdStoreOptions) {
    this.#keySpace = new KeySpace({ prefix: keyPrefix, replaces });
    this.#markKey = this.#keySpace.encode(MARK);
    this.#clock = clock;
    const connection = (this.#connection = new EtcdConnection({ ...options, clock }));
    this.#stalls = new Stalls({ clock, ask: () => this.#askNewest(ASK_MS) });
    this.#leases = new Leases(connection);
    this.#monitor = new Monitor({ connection, clock, log, intervalMs: monitorIntervalMs });
    if (compactionIntervalMs > 0)
      this.#compactor = new Compactor({
        connection,
        clock,
        log,
        intervalMs: compactionIntervalMs,
        compact: (revision) => this.compact(revision),
        onCompacted: (revision) => (this.#floor = Math.max(this.#floor, revision)),
      });
  }

  /** The newest revision that this store has heard of; open() asks etcd. */
  get revision(): Revision {
    return this.#revision;
  }

  /** As far as this store knows. */
  get compactedRevision(): Revision {
    return this.#floor;
  }

  async get(key: string, { revision }: GetOptions = {}): Promise<StoredValue | undefined> {
    this.#assertOpen();
    checkKey(key);
    if (revision === 0) return this.#atZero();
    const { kvs } = await this.#range(
      { key: this.#keySpace.encode(key), revision: revision ?? 0 },
      `read ${key}`,
    );
    return kvs[0] && this.#keySpace.toStored(kvs[0]);
  }

  /** Page by page, all at the revision of the first. */
  async list(prefix: string, options: ListOptions = {}): Promise<ListResult> {
    this.#assertOpen();
    const { startKey = prefix } = options;
    if (!startKey.startsWith(prefix))
      throw new TypeError(
        `list: startKey ${JSON.stringify(startKey)} is outside of prefix ${JSON.stringify(prefix)}`,
      );
    if (options.revision === 0) return { revision: 0, items: [], more: this.#atZero() !== undefined };
    const { rangeEnd } = this.#keySpace.rangeOf(prefix);
    const items: StoredValue[] = [];
    const room = new ListRoom(options);
    const { keysOnly = false } = options;
    let from = this.#keySpace.startOf(startKey);
    let revision = options.revision ?? 0;
    const first = options.maxBytes === undefined ? FIRST_PAGE : FIRST_PAGE_OF_BYTES;
    for (let page = first; ; page = Math.min(MAX_PAGE, page * 2)) {
      const answer = await this.#range(
        { key: from, rangeEnd, revision, limit: room.pageOf(page), keysOnly },
        `list ${prefix}`,
      );
      revision ||= int(answer.header.revision);
      for (const kv of answer.kvs) {
        const stored = this.#keySpace.toStored(kv);
        if (isMark(stored)) continue;
        if (!room.take(stored)) return { revision, items, more: true };
        items.push(stored);
      }
      if (!answer.more || room.isFull) return { revision, items, more: answer.more };
      from = Buffer.concat([answer.kvs.at(-1)!.key, Buffer.alloc(1)]);
    }
  }

  async put(key: string, value: Buffer, { expected, ttlSeconds }: PutOptions = {}): Promise<StoredValue> {
    if (value.length > MAX_VALUE_BYTES)
      throw new StoreError(
        'too-large',
        `Cannot store ${value.length} bytes at ${key}: at most ${MAX_VALUE_BYTES} are allowed`,
      );
    return (await this.#submit({ key, value, expected, ttlSeconds })).stored!;
  }

  async delete(
    key: string,
    { expected }: DeleteOptions = {},
  ): Promise<{ readonly revision: Revision; readonly previous: StoredValue }> {
    const { revision, previous } = await this.#submit({ key, expected });
    return { revision, previous: previous! };
  }

  /** A revision that was compacted by somebody else is reported through onClose. */
  watch(options: WatchOptions): StoreWatch {
    this.#assertOpen();
    if (options.afterRevision < this.#floor) throw compacted(options.afterRevision, this.#floor);
    const watcher: Watcher = new Watcher({
      ...options,
      connection: this.#connection,
      clock: this.#clock,
      range: this.#keySpace.rangeOf(options.prefix),
      toStored: (kv) => this.#withOwnValue(this.#keySpace.toStored(kv)),
      onMark: () => this.#mark(options.prefix),
      isMark,
      onReached: (revision) => {
        this.#revision = Math.max(this.#revision, revision);
        options.onReached?.(revision);
        this.#releaseSeen();
      },
      onCompacted: (revision) => (this.#floor = Math.max(this.#floor, revision)),
      onEnd: () => {
        this.#watchers.delete(watcher);
        this.#releaseSeen();
      },
    });
    this.#watchers.add(watcher);
    return { stop: () => watcher.stop(), requestProgress: () => watcher.requestProgress() };
  }

  async compact(revision: Revision): Promise<void> {
    this.#assertOpen();
    if (revision <= this.#floor) return;
    try {
      await this.#call(
        'Compact',
        { revision, physical: true },
        {
          doing: `compact up to revision ${revision}`,
        },
      );
    } catch (error) {
      if (!(error instanceof StoreError) || error.code !== 'compacted') throw error;
    }
    this.#floor = Math.max(this.#floor, revision);
  }

  /** Linearizable: what was acknowledged to anybody before is not newer. */
  async newestRevision(): Promise<Revision> {
    this.#assertOpen();
    const { header } = await this.#askNewest();
    return int(header.revision);
  }

  /** With the very bytes that are being put, where they are the same: who wrapped them knows what they encode. */
  #withOwnValue(stored: StoredValue): StoredValue {
    const own = this.#sent.get(stored.key);
    return own?.equals(stored.value) ? { ...stored, value: own } : stored;
  }

  #askNewest(timeoutMs?: number): Promise<RangeResponse> {
    return this.#call<RangeResponse>(
      'Range',
      { key: this.#markKey, countOnly: true },
      { doing: 'ask for the newest revision', isUrgent: true, timeoutMs },
    );
  }

  async ttlSeconds(key: string): Promise<number | undefined> {
    this.#assertOpen();
    const { kvs } = await this.#range({ key: this.#keySpace.encode(key), keysOnly: true }, `read ${key}`);
    const lease = kvs[0]?.lease;
    if (!lease || int(lease) === 0) return undefined;
    const { TTL } = await this.#call<LeaseTimeToLiveResponse>(
      'LeaseTimeToLive',
      { ID: lease },
      { doing: `read the time to live of ${key}` },
    );
    return Math.max(1, int(TTL));
  }

  /** One at a time: its event tells how far the watch is, whichever write it was. Where it fails, who waits asks again. */
  #mark(prefix: string): void {
    if (this.#marking) return;
    this.#marking = true;
    const request = {
      compare: [],
      success: [{ requestPut: { key: this.#keySpace.encode(prefix + MARK), value: Buffer.alloc(0) } }],
      failure: [],
    };
    const over = (): void => void (this.#marking = false);
    // It says nothing, so that it may be written twice.
    this.#connection
      .call('Txn', request, { doing: 'mark the progress of a watch', idempotent: true })
      .then(over, over);
  }

  /** keys as of open(), sizeBytes as of the last round of the monitor. */
  stats(): StoreStats {
    return {
      revision: this.#revision,
      compactedRevision: this.#floor,
      keys: this.#keys,
      sizeBytes: this.#monitor.sizeBytes,
      cluster: 'etcd-0',
      problem: this.#connection.problem,
    };
  }

  /** Asks etcd for the newest revision, the number of keys, its versions and size; then every interval. */
  async open(): Promise<void> {
    const { count } = await this.#range({ ...this.#keySpace.rangeOf(''), countOnly: true }, 'count the keys');
    this.#keys = int(count);
    await this.#monitor.round();
    this.#monitor.start();
    this.#compactor?.start();
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#monitor.stop();
    this.#compactor?.stop();
    await Promise.allSettled(this.#turns.values());
    this.#stalls.close();
    this.#asking?.cancel();
    for (const watcher of Array.from(this.#watchers)) watcher.end(closedError());
    this.#connection.close();
  }

  // ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

  #submit(write: Write): Promise<Written> {
    const before = this.#turns.get(write.key);
    const turn = (async () => {
      this.#assertOpen();
      checkKey(write.key);
      if (before) await before.catch(() => {});
      return this.#write(write);
    })();
    this.#turns.set(write.key, turn);
    const over = (): void => {
      if (this.#turns.get(write.key) === turn) this.#turns.delete(write.key);
    };
    turn.then(over, over);
    return turn;
  }

  async #write(write: Write): Promise<Written> {
    const lease = write.ttlSeconds === undefined ? undefined : await this.#lease(write.ttlSeconds);
    if (this.#stalls.held) await this.#stalls.held;
    const since = write.expected || this.#revision;
    if (write.value) this.#sent.set(write.key, write.value);
    try {
      const written = await this.#send(write, lease).catch((error: unknown) => {
        if (!(error instanceof EtcdCallError)) throw error;
        if (error.failure.certain) throw error.failure.error;
        return this.#settle(write, { lease, since, error: error.failure.error });
      });
      await this.#seen(write.key, written.revision);
      return written;
    } finally {
      this.#sent.delete(write.key);
    }
  }

  async #send(write: Write, lease: unknown): Promise<Written> {
    const doing = `write ${write.key}`;
    const answer = await this.#stalls.follow(
      this.#connection.call<TxnResponse>('Txn', this.#txnOf(write, lease), { doing, idempotent: false }),
    );
    if (answer === LOST)
      throw new EtcdCallError({
        error: new StoreError(
          'unavailable',
          `Cannot ${doing}: etcd's leader was lost while it was under way`,
        ),
        certain: false,
        elsewhere: true,
      });
    this.#saw(answer);
    return this.#outcome(write, answer);
  }

  /**
   * What became of a write that etcd did not answer. One that replaces a revision is sent once more: of both at most one happens, whenever they arrive, because a
   * revision never comes back. A create is not: between the two, another client may have deleted what the first one made.
   */
  async #settle(
    write: Write,
    { lease, since, error }: Unsettled & { readonly lease: unknown },
  ): Promise<Written> {
    if (!write.expected || error.code !== 'unavailable') return this.#resolve(write, { since, error });
    try {
      return await this.#send(write, lease);
    } catch {
      return this.#resolve(write, { since, error });
    }
  }

  #txnOf({ key: name, value, expected }: Write, lease: unknown): object {
    const key = this.#keySpace.encode(name);
    const read = { requestRange: { key } };
    return {
      compare:
        expected === undefined
          ? []
          : [{ result: COMPARE_EQUAL, target: COMPARE_MOD_REVISION, key, modRevision: expected }],
      success: value
        ? [
            { requestPut: { key, value, ...(lease === undefined ? {} : { lease }) } },
            // In the same transaction, for the revision that created the key; a create is that revision.
            ...(expected === 0 ? [] : [{ requestRange: { key, keysOnly: true } }]),
          ]
        : [{ requestDeleteRange: { key, prevKv: true } }],
      failure: [read],
    };
  }

  #outcome({ key, value, expected }: Write, { succeeded, responses, header }: TxnResponse): Written {
    const revision = int(header.revision);
    if (!succeeded) throw this.#refused({ key, value, expected }, responses[0]!.responseRange!.kvs[0]);
    if (value) {
      const createRevision =
        expected === 0 ? revision : int(responses[1]!.responseRange!.kvs[0]!.createRevision);
      return { revision, stored: { key, value, modRevision: revision, createRevision } };
    }
    const removed = responses[0]!.responseDeleteRange!.prevKvs[0];
    if (!removed) throw notFound(key);
    return { revision, previous: this.#keySpace.toStored(removed) };
  }

  #refused(
    { key, value, expected }: Pick<Write, 'key' | 'expected'> & { value: Buffer | undefined },
    found: KeyValue | undefined,
  ): StoreError {
    if (!found && !value) return notFound(key);
    const current = found && this.#keySpace.toStored(found);
    const is = current ? `it is at revision ${current.modRevision}` : 'it does not exist';
    return new StoreError(
      'conflict',
      `Cannot write ${key}: ${is}, not ${expected === 0 ? 'absent' : `at revision ${expected}`}`,
      { current },
    );
  }

  /** What happened to the key since tells. A write that did not happen yet may still do so. */
  async #resolve({ key, value, expected }: Write, { since, error }: Unsettled): Promise<Written> {
    const unknown = new StoreError(
      error.code,
      `${error.message}; whether the write to ${key} happened is not known`,
      {
        cause: error,
      },
    );
    // Such a write was applied before its response, or never will be: reading the key decides.
    const undecided = error.code === 'no-space' ? error : unknown;
    const current = await this.get(key).catch(() => {
      throw unknown;
    });
    // Where progress cannot be trusted, a key that is gone leaves it open.
    const upTo = current ? Math.max(current.modRevision, since) : this.#revision;
    if (current && current.modRevision <= since)
      throw !expected || current.modRevision === expected ? undecided : writtenMeanwhile(key, current);
    const events = await this.#history(key, { after: since, upTo }).catch(() => {
      throw unknown;
    });
    const isOurs = ({ value: stored }: StoreEvent): boolean =>
      value ? stored?.value.equals(value) === true : stored === undefined;
    // What was to replace one revision is decided by the first write since. A create may happen whenever the key is absent, also later.
    const ours = expected ? events[0] : events.find(isOurs);
    if (ours && isOurs(ours))
      return {
        revision: ours.revision,
        ...(ours.value && { stored: { ...ours.value, key } }),
        ...(ours.previous && { previous: ours.previous }),
      };
    if (expected && ours) throw writtenMeanwhile(key, current);
    throw undecided;
  }

  /** What was written to one key after a revision. */
  #history(key: string, { after, upTo }: { after: Revision; upTo: Revision }): Promise<StoreEvent[]> {
    const { promise, resolve, reject } = Promise.withResolvers<StoreEvent[]>();
    const events: StoreEvent[] = [];
    const start = this.#keySpace.encode(key);
    const watcher = new Watcher({
      prefix: key,
      afterRevision: after,
      connection: this.#connection,
      clock: this.#clock,
      range: { key: start, rangeEnd: Buffer.concat([start, Buffer.alloc(1)]) },
      toStored: (kv) => this.#keySpace.toStored(kv),
      onEvents: (batch) => events.push(...batch),
      onReached: (revision) => revision >= upTo && resolve(events),
      onClose: (error) => reject(error),
      onCompacted: () => {},
      onEnd: () => {},
    });
    const asking = repeat(this.#clock, PROGRESS_MS, () => watcher.requestProgress());
    const timer = this.#clock.after(RESOLVE_MS, () => reject(new Error('etcd did not tell in time')));
    // The clock's timers do not: a command that waits for this would end.
    const keepsProcessAlive = setTimeout(() => {}, RESOLVE_MS);
    return promise.finally(() => {
      clearTimeout(keepsProcessAlive);
      asking.cancel();
      timer.cancel();
      watcher.stop();
    });
  }

  /** Until each of our watches on the key has handed the write out. */
  #seen(key: string, revision: Revision): Promise<void> | undefined {
    if (this.#isSeen(key, revision)) return undefined;
    this.#asking ??= repeat(this.#clock, SEEN_MS, () => this.#askUnseen());
    return new Promise((resolve) => this.#unseen.add({ key, revision, resolve }));
  }

  /** A watch whose member has vanished would hold writers up until keepalive notices. */
  #askUnseen(): void {
    if (this.#unseen.size === 0) {
      this.#asking?.cancel();
      this.#asking = undefined;
      return;
    }
    for (const watcher of this.#watchers)
      for (const { key, revision } of this.#unseen)
        if (watcher.reached < revision && key.startsWith(watcher.prefix)) {
          watcher.requestProgress();
          break;
        }
  }

  #isSeen(key: string, revision: Revision): boolean {
    for (const { prefix, reached } of this.#watchers)
      if (reached < revision && key.startsWith(prefix)) return false;
    return true;
  }

  #releaseSeen(): void {
    for (const one of this.#unseen) {
      if (!this.#isSeen(one.key, one.revision)) continue;
      this.#unseen.delete(one);
      one.resolve();
    }
  }

  async #lease(ttlSeconds: number): Promise<unknown> {
    try {
      return await this.#leases.leaseFor(ttlSeconds);
    } catch (error) {
      throw error instanceof EtcdCallError ? error.failure.error : error;
    }
  }

  // ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

  #range(request: object, doing: string): Promise<RangeResponse> {
    return this.#call<RangeResponse>('Range', request, { doing });
  }

  /** A request that may be sent more than once. */
  async #call<Response extends Pick<RangeResponse, 'header'>>(
    method: 'Range' | 'Compact' | 'LeaseTimeToLive',
    request: object,
    options: {
      readonly doing: string;
      readonly isUrgent?: boolean;
      readonly timeoutMs?: number | undefined;
    },
  ): Promise<Response> {
    try {
      const answer = await this.#connection.call<Response>(method, request, {
        ...options,
        idempotent: true,
      });
      this.#saw(answer);
      return answer;
    } catch (error) {
      throw error instanceof EtcdCallError ? error.failure.error : error;
    }
  }

  #saw({ header }: { readonly header: RangeResponse['header'] }): void {
    this.#revision = Math.max(this.#revision, int(header.revision));
    this.#stalls.saw(header.raftTerm ?? 0);
  }

  #atZero(): undefined {
    if (this.#floor > 0) throw compacted(0, this.#floor);
  }

  #assertOpen(): void {
    if (this.#closed) throw closedError();
  }
}

/** Every so many milliseconds, until it is cancelled. */
function repeat(clock: Clock, everyMs: number, callback: () => void): Timer {
  let timer: Timer;
  const next = (): void => {
    timer = clock.after(everyMs, () => {
      next();
      callback();
    });
  };
  next();
  return { cancel: () => timer.cancel() };
}

function writtenMeanwhile(key: string, current: StoredValue | undefined): StoreError {
  return new StoreError('conflict', `Cannot write ${key}: it was written meanwhile`, { current });
}

function notFound(key: string): StoreError {
  return new StoreError('not-found', `Cannot delete ${key}: it does not exist`);
}
