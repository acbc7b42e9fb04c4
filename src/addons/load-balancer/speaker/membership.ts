/**
 * Which nodes live, by their Speakers. Time is counted in this node's own renewals as they come back by the watch: while the API server answers nobody, they do not come, and nobody is
 * counted out; a watch that is behind is behind for all. Pure.
 */
interface Renewal {
  readonly node: string;
  readonly renewTime: string;
  /** It renews seldom: there is nobody else, it believes. */
  readonly isSlow: boolean;
  readonly pools: readonly string[];
}

interface Peer extends Renewal {
  readonly seenAt: number;
}

/** Own renewals without one of the peer's, after which it is gone. */
const MISSED = 4;
/** Of a peer that renews a tenth as often. */
const MISSED_SLOW = 40;

export class Membership {
  readonly #node: string;
  readonly #peers = new Map<string, Peer>();
  #renewals = 0;

  constructor(node: string) {
    this.#node = node;
  }

  /** A Speaker as it is now. */
  seen(renewal: Renewal): void {
    const before = this.#peers.get(renewal.node);
    const isRenewed = before?.renewTime !== renewal.renewTime;
    if (isRenewed && renewal.node === this.#node) this.#renewals += 1;
    this.#peers.set(renewal.node, {
      ...renewal,
      seenAt: isRenewed ? this.#renewals : before.seenAt,
    });
  }

  left(node: string): void {
    this.#peers.delete(node);
  }

  /** Those that live and announce this pool. */
  announcers(pool: string): string[] {
    return [...this.#peers.values()]
      .filter((peer) => this.#isLive(peer) && peer.pools.includes(pool))
      .map(({ node }) => node);
  }

  /** Whether another node lives, whatever it announces. */
  get hasPeers(): boolean {
    return [...this.#peers.values()].some((peer) => peer.node !== this.#node && this.#isLive(peer));
  }

  #isLive({ node, seenAt, isSlow }: Peer): boolean {
    return node === this.#node || this.#renewals - seenAt < (isSlow ? MISSED_SLOW : MISSED);
  }
}
