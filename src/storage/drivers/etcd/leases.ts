/** Leases of etcd, each shared by many keys as upstream shares them: a lease a key would cost etcd more than the key. */
import type { EtcdConnection } from './connection.ts';
import type { LeaseId } from './protocol.ts';

/** Keys on one lease, and for how long a lease takes new ones: keys live up to so much longer than was asked for. */
const MAX_KEYS = 1000;
const REUSE_MS = 60_000;
/** A short life is lengthened by at most this part. */
const REUSE_PART = 0.05;

interface Shared {
  readonly id: LeaseId;
  keys: number;
  readonly untilMs: number;
}

export class Leases {
  readonly #connection: EtcdConnection;
  readonly #byTtl = new Map<number, Promise<Shared>>();

  constructor(connection: EtcdConnection) {
    this.#connection = connection;
  }

  async leaseFor(ttlSeconds: number): Promise<LeaseId> {
    const ttl = Math.max(1, Math.ceil(ttlSeconds));
    const pending = this.#byTtl.get(ttl);
    const known = pending && (await pending);
    if (known && known.keys < MAX_KEYS && Date.now() < known.untilMs) {
      known.keys++;
      return known.id;
    }
    // Whoever comes meanwhile takes the one that is being made.
    if (this.#byTtl.get(ttl) === pending) this.#byTtl.set(ttl, this.#grant(ttl));
    const made = this.#byTtl.get(ttl)!;
    const shared = await made.catch((error: unknown) => {
      if (this.#byTtl.get(ttl) === made) this.#byTtl.delete(ttl);
      throw error;
    });
    shared.keys++;
    return shared.id;
  }

  async #grant(ttl: number): Promise<Shared> {
    const reuseMs = Math.min(REUSE_MS, ttl * 1000 * REUSE_PART);
    // A grant that is sent twice leaves a lease without keys, which ends by itself.
    const { ID } = await this.#connection.call<{ readonly ID: LeaseId }>(
      'LeaseGrant',
      { TTL: Math.ceil(ttl + reuseMs / 1000), ID: 0 },
      { doing: 'grant a lease', idempotent: true },
    );
    return { id: ID, keys: 0, untilMs: Date.now() + reuseMs };
  }
}
