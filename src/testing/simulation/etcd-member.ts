/**
 * One member of the model of etcd, as its clients see it over gRPC: linearizable reads, transactions, compaction, watches with progress, status. It answers
 * from what it has applied, which may be less than what was committed.
 *
 *   log entry committed ─▶ applied after the member's lag ─▶ events to its watches ─▶ answers to whoever waited for the entry
 */
import { status } from '@grpc/grpc-js';
import type { EtcdMethod } from '#storage/drivers/etcd/protocol.ts';
import { hasTrueProgress } from '#storage/drivers/etcd/versions.ts';
import type { Revision } from '#storage/store.ts';
import type { EtcdLog, LogEntry } from './etcd-log.ts';
import type { Change, RangeRequest, TxnRequest } from './etcd-state.ts';
import type { SimNode } from './world.ts';

const VERSION = '3.5.26';
/** Of answers that are followed by more of the same, so many say that they are fragments. */
const FRAGMENTS = 0.5;
/** Events of a version that tells of progress before them. */
const LATE_EVENTS_MS = { low: 0, high: 60 };
/** As etcd gives up on a proposal. */
const GIVE_UP_MS = 7_000;
/** A member that has had no leader for so long says so to whoever requires one. */
const NO_LEADER_MS = 1_000;
const USUAL_LAG = { low: 0.05, high: 2 };
/** Between two commits of what was applied to the disk, as etcd batches them. */
const USUAL_COMMIT_MS = 100;
const SLOW_LAG = { low: 20, high: 600 };
const SLOW_COMMIT_MS = 5_000;
/** Events that one answer of a watch carries at most. */
const MAX_BATCH = 4;

/** What gRPC tells the client. */
export interface RpcError {
  readonly code: number;
  readonly details: string;
}

interface Call {
  readonly method: EtcdMethod;
  readonly request: object;
  readonly requiresLeader: boolean;
  readonly succeed: (response: object) => void;
  readonly fail: (error: RpcError) => void;
}

interface WatchRange {
  readonly key: Buffer;
  readonly rangeEnd: Buffer;
  readonly startRevision: number;
}

/** The member's end of one Watch stream, with the one watch that the driver opens on it. */
interface WatchStream {
  readonly send: (response: object) => void;
  readonly end: (error: RpcError) => void;
  range?: WatchRange;
  /** The next revision that it is to be sent. */
  next: Revision;
}

const NO_LEADER: RpcError = { code: status.UNAVAILABLE, details: 'etcdserver: no leader' };
const TIMED_OUT: RpcError = {
  code: status.UNAVAILABLE,
  details: 'etcdserver: request timed out, possibly due to previous leader failure',
};
const FUTURE: RpcError = {
  code: status.OUT_OF_RANGE,
  details: 'etcdserver: mvcc: required revision is a future revision',
};
const COMPACTED: RpcError = {
  code: status.OUT_OF_RANGE,
  details: 'etcdserver: mvcc: required revision has been compacted',
};

interface EtcdMemberOptions {
  readonly node: SimNode;
  /** Default: one that has what production needs. */
  readonly version?: string | undefined;
}

export class SimEtcdMember {
  readonly node: SimNode;
  #lag: { readonly low: number; readonly high: number } = USUAL_LAG;
  /** Entries of the log. */
  applied = 0;
  revision: Revision = 1;
  floor: Revision = 0;
  #commitMs = USUAL_COMMIT_MS;
  /** What of it is on the disk. */
  #committed = { applied: 0, revision: 1 as Revision, floor: 0 as Revision };
  #committing = false;
  /** As Status tells it. */
  readonly #version: string;
  /** As versions before 3.5.13 do, it tells of progress that its watches have not made, and sends events before the first that was asked for. */
  readonly #isOld: boolean;
  readonly #log: EtcdLog;
  #applying = false;
  #untilApplied: { readonly length: number; readonly callback: () => void }[] = [];
  readonly #streams = new Set<WatchStream>();

  constructor(log: EtcdLog, { node, version = VERSION }: EtcdMemberOptions) {
    this.#version = version;
    this.#isOld = !hasTrueProgress(version);
    this.#log = log;
    log.follow(this);
    this.node = node;
  }

  /** Entries were committed. */
  catchUp(): void {
    if (this.#applying || this.applied >= this.#log.entries.length) return;
    this.#applying = true;
    const { low, high } = this.#lag;
    this.node.clock.after(this.node.world.between(low, high), () => {
      this.#applying = false;
      this.#apply(this.#log.entries[this.applied++]!);
      this.catchUp();
    });
  }

  #apply(entry: LogEntry): void {
    if (entry.kind === 'compact' && !entry.problem) this.floor = entry.revision;
    if (entry.kind === 'txn') this.revision = Math.max(this.revision, entry.result.revision);
    this.#commitLater();
    for (const stream of Array.from(this.#streams)) this.#feedSoon(stream);
    const ready = this.#untilApplied.filter(({ length }) => length <= this.applied);
    this.#untilApplied = this.#untilApplied.filter(({ length }) => length > this.applied);
    for (const { callback } of ready) callback();
  }

  #commitLater(): void {
    if (this.#committing) return;
    this.#committing = true;
    this.node.clock.after(this.#commitMs, () => {
      this.#committing = false;
      const { applied, revision, floor } = this;
      this.#committed = { applied, revision, floor };
    });
  }

  #whenApplied(length: number, callback: () => void): void {
    if (length <= this.applied) callback();
    else this.#untilApplied.push({ length, callback });
  }

  /** It is killed and starts again: what was not on its disk is applied anew from the log. */
  restart(): void {
    this.node.die();
    Object.assign(this, this.#committed);
    this.#committing = false;
    this.#streams.clear();
    this.#untilApplied = [];
    this.#applying = false;
    this.catchUp();
  }

  /** Its disk is slow: it applies late, and commits seldom. */
  slowDown(): void {
    this.#lag = SLOW_LAG;
    this.#commitMs = SLOW_COMMIT_MS;
  }

  speedUp(): void {
    this.#lag = USUAL_LAG;
    this.#commitMs = USUAL_COMMIT_MS;
  }

  leaderLost(): void {
    this.node.clock.after(NO_LEADER_MS, () => {
      if (!this.#isLeaderless) return;
      for (const stream of Array.from(this.#streams)) stream.end(NO_LEADER);
      this.#streams.clear();
    });
  }

  get #isLeaderless(): boolean {
    const since = this.#log.leaderlessSinceMs;
    return since !== undefined && this.node.world.nowMs - since >= NO_LEADER_MS;
  }

  handle(call: Call): void {
    const { method, request, succeed, fail } = call;
    if (method === 'Status') return succeed(this.#status());
    if (call.requiresLeader && this.#isLeaderless) return fail(NO_LEADER);
    const once = this.#givingUp(call);
    if (method === 'Range') return this.#range(request as RangeRequest, once);
    if (method === 'Txn') return this.#txn(request as TxnRequest, once);
    if (method === 'Compact') return this.#compact((request as { revision: Revision }).revision, once);
    once.fail({ code: status.UNIMPLEMENTED, details: `the model of etcd has no ${method}` });
  }

  #givingUp({ succeed, fail }: Call): Pick<Call, 'succeed' | 'fail'> {
    let over = false;
    const first = <T>(then: (value: T) => void): ((value: T) => void) => {
      return (value) => {
        if (over) return;
        over = true;
        timer.cancel();
        then(value);
      };
    };
    const failOnce = first(fail);
    const timer = this.node.clock.after(GIVE_UP_MS, () => failOnce(TIMED_OUT));
    return { succeed: first(succeed), fail: failOnce };
  }

  #range(request: RangeRequest, { succeed, fail }: Pick<Call, 'succeed' | 'fail'>): void {
    const { life } = this.node;
    this.#log.readIndex((length) =>
      this.node.run(life, () =>
        this.#whenApplied(length, () => {
          const at = request.revision || this.revision;
          if (at > this.revision) fail(FUTURE);
          else if (at < this.floor) fail(COMPACTED);
          else succeed({ header: this.#header, ...this.#log.state.range(request, at) });
        }),
      ),
    );
  }

  #txn(txn: TxnRequest, { succeed }: Pick<Call, 'succeed'>): void {
    this.#propose({ txn }, (entry) => {
      if (entry.kind !== 'txn') return;
      const { revision, succeeded, responses } = entry.result;
      succeed({ header: { revision }, succeeded, responses });
    });
  }

  #compact(compact: Revision, { succeed, fail }: Pick<Call, 'succeed' | 'fail'>): void {
    this.#propose({ compact }, (entry) => {
      if (entry.kind === 'compact' && entry.problem !== undefined)
        fail({ code: status.OUT_OF_RANGE, details: entry.problem });
      else succeed({ header: this.#header });
    });
  }

  #propose(request: Parameters<EtcdLog['propose']>[0], applied: (entry: LogEntry) => void): void {
    const { life } = this.node;
    this.#log.propose(request, (entry) => {
      const { length } = this.#log.entries;
      this.node.run(life, () => this.#whenApplied(length, () => applied(entry)));
    });
  }

  #status(): object {
    return { header: this.#header, version: this.#version, dbSize: 0, leader: {}, errors: [] };
  }

  get #header(): { readonly revision: Revision } {
    return { revision: this.revision };
  }

  /** Returns what takes the client's messages. */
  openWatch(ends: Pick<WatchStream, 'send' | 'end'>): {
    readonly take: (message: object) => void;
    readonly closed: () => void;
  } {
    const stream: WatchStream = { ...ends, next: 0 };
    if (this.#isLeaderless) ends.end(NO_LEADER);
    else this.#streams.add(stream);
    return {
      closed: () => this.#streams.delete(stream),
      take: (message) => {
        if (!this.#streams.has(stream)) return;
        if ('createRequest' in message) this.#create(stream, message.createRequest as WatchRange);
        else if (stream.range) this.#progress(stream);
      },
    };
  }

  #create(stream: WatchStream, range: WatchRange): void {
    stream.send({ header: this.#header, created: true, events: [] });
    stream.range = range;
    const next = range.startRevision > 0 ? range.startRevision : this.revision + 1;
    // Old versions send a watch on the future what it did not ask for.
    stream.next = this.#isOld ? Math.min(next, this.revision + 1) : next;
    this.#feed(stream);
  }

  #feedSoon(stream: WatchStream): void {
    if (!this.#isOld) return this.#feed(stream);
    const { low, high } = LATE_EVENTS_MS;
    this.node.clock.after(
      this.node.world.between(low, high),
      () => this.#streams.has(stream) && this.#feed(stream),
    );
  }

  /** What it has not had yet; in order, all that was applied. */
  #feed(stream: WatchStream): void {
    const { range } = stream;
    if (!range || stream.next > this.revision) return;
    if (stream.next < this.floor) {
      stream.send({ header: this.#header, canceled: true, compactRevision: this.floor, events: [] });
      this.#streams.delete(stream);
      return;
    }
    const changes = this.#log.state.changesIn(range, { from: stream.next, upTo: this.revision });
    stream.next = this.revision + 1;
    for (let i = 0; i < changes.length; i += MAX_BATCH)
      stream.send({
        header: this.#header,
        fragment: i + MAX_BATCH < changes.length && this.node.world.chance(FRAGMENTS),
        events: changes.slice(i, i + MAX_BATCH).map((change) => this.#eventOf(change)),
      });
  }

  #eventOf({ revision, current, previous }: Change): object {
    return {
      type: current.deleted ? 1 : 0,
      kv: current,
      // At the floor itself what was replaced is gone.
      ...(previous && revision > this.floor && { prevKv: previous }),
    };
  }

  #progress(stream: WatchStream): void {
    if (!this.#isOld) this.#feed(stream);
    if (this.#streams.has(stream)) stream.send({ header: this.#header, events: [] });
  }
}
