/**
 * The log of a modelled etcd cluster, which the members (etcd-member.ts) apply each at its own pace, and its leader, without which nothing is decided. Raft
 * itself is not modelled: that a committed entry is never lost and that members apply the same entries in the same order is taken for granted.
 *
 *   proposal ─▶ leader? ─yes─▶ committed after a while ─▶ applied by each member ─▶ the member that was asked answers
 *                  └─no──▶ waits: for a new leader, or until it is given up, after which it may be decided all the same
 */
import type { Revision } from '#storage/store.ts';
import { EtcdState, type TxnRequest, type TxnResult } from './etcd-state.ts';
import type { World } from './world.ts';

const COMPACT_KEY = Buffer.from('compact_rev_key');
const COMMIT_MS = { low: 0.3, high: 4 };
/** Of proposals that were waiting when the leader was lost, so many are lost with it. */
const LOST_WITH_LEADER = 0.4;

export type LogEntry =
  | { readonly kind: 'txn'; readonly result: TxnResult }
  | { readonly kind: 'compact'; readonly revision: Revision; readonly problem: string | undefined };

interface Proposal {
  readonly decided: (entry: LogEntry) => void;
  readonly request: { readonly txn: TxnRequest } | { readonly compact: Revision };
}

/** A member, as the log tells it what happens. */
interface Follower {
  /** Entries were committed. */
  catchUp(): void;
  leaderLost(): void;
}

export class EtcdLog {
  readonly world: World;
  readonly state = new EtcdState();
  readonly entries: LogEntry[] = [];
  /** Compacted, as of the end of the log. */
  floor: Revision = 0;
  /** Since when there is no leader. */
  leaderlessSinceMs: number | undefined;
  #waiting: Proposal[] = [];
  #reads: (() => void)[] = [];
  readonly #followers: Follower[] = [];

  constructor(world: World) {
    this.world = world;
  }

  follow(follower: Follower): void {
    this.#followers.push(follower);
  }

  /** What servers agreed to compact (drivers/etcd/compactor.ts), and no longer serve, though it may not be done yet. */
  get agreedFloor(): Revision {
    const { kvs } = this.state.range({ key: COMPACT_KEY }, this.state.revision);
    return Math.max(this.floor, Number(kvs[0]?.value.toString() ?? 0));
  }

  /** `decided` may never be called. */
  propose(request: Proposal['request'], decided: (entry: LogEntry) => void): void {
    const proposal: Proposal = { request, decided };
    const { low, high } = COMMIT_MS;
    this.world.clock.after(this.world.between(low, high), () => {
      if (this.leaderlessSinceMs === undefined) this.#commit(proposal);
      else this.#waiting.push(proposal);
    });
  }

  /** Tells, once a leader confirmed that it is one, how much of the log there is. */
  readIndex(confirmed: (length: number) => void): void {
    const { low, high } = COMMIT_MS;
    const confirm = (): void => {
      if (this.leaderlessSinceMs === undefined) confirmed(this.entries.length);
      else this.#reads.push(confirm);
    };
    this.world.clock.after(this.world.between(low, high), confirm);
  }

  loseLeader(): void {
    if (this.leaderlessSinceMs !== undefined) return;
    this.leaderlessSinceMs = this.world.nowMs;
    for (const member of this.#followers) member.leaderLost();
  }

  electLeader(): void {
    if (this.leaderlessSinceMs === undefined) return;
    this.leaderlessSinceMs = undefined;
    const waiting = this.#waiting;
    const reads = this.#reads;
    this.#waiting = [];
    this.#reads = [];
    for (const proposal of waiting) if (!this.world.chance(LOST_WITH_LEADER)) this.#commit(proposal);
    for (const read of reads) read();
  }

  #commit({ request, decided }: Proposal): void {
    const entry: LogEntry =
      'txn' in request
        ? { kind: 'txn', result: this.state.txn(request.txn, this.world.nowMs) }
        : this.#compact(request.compact);
    this.entries.push(entry);
    for (const member of this.#followers) member.catchUp();
    decided(entry);
  }

  #compact(revision: Revision): LogEntry {
    const problem =
      revision <= this.floor
        ? 'etcdserver: mvcc: required revision has been compacted'
        : revision > this.state.revision
          ? 'etcdserver: mvcc: required revision is a future revision'
          : undefined;
    if (!problem) this.floor = revision;
    return { kind: 'compact', revision, problem };
  }
}
