/**
 * Slows down password guessing: failures are counted by user name and by source address; beyond a bound every further attempt is refused, without
 * verification, for a period that doubles.
 *
 *   counting ──bound reached──► locked ──time over──► one more failure locks again, for twice as long
 *       ▲──────────── success, or a quarter of an hour without failure ──────────────'
 *
 * Several API servers count separately and share their locks: until the first lock an attacker has the bound's attempts at each server; after it,
 * every further failure at any server locks at all of them.
 *
 * An attempt counts as a failure from its start, so that concurrent attempts gain nothing. A user locked by another's guesses can still log in
 * from an address that succeeded before; that address has its own counter. Memory is bounded: the least recently used counters are evicted.
 */
import { hash } from 'node:crypto';
import { isIPv6 } from 'node:net';
import type { Clock } from '#stdx/clock.ts';
import { Lru } from '#stdx/lru.ts';

interface LockoutOptions {
  readonly clock: Clock;
  /** Failures until a user is locked. Default 10. */
  readonly perUser?: number;
  /** Failures until an address is locked. Default 20. */
  readonly perAddress?: number;
  /** Default 30 s. */
  readonly firstLockMs?: number;
  /** Default 15 min. */
  readonly longestLockMs?: number;
  /** Maximum of counters of each kind. Default 8192. */
  readonly remembered?: number;
  /** Locks that hold at every API server. Absent: there is one. */
  readonly shared?: SharedLocks | undefined;
}

/** By a digest of the locked name or address. This file owns the values. */
export interface SharedLocks {
  get(key: string): string | undefined;
  set(key: string, entry: { readonly value: string; readonly endMs: number } | undefined): void;
}

interface Count {
  failures: number;
  lockedUntilMs: number;
  locks: number;
}

interface Attempt {
  /** Reverts the failure, and the user's earlier ones. */
  succeeded(): void;
  /** Counts a wrong password: a new lock is shared with the other servers. */
  failed(): void;
  /** Reverts only this attempt: its outcome is unknown (the directory is down). */
  undecided(): void;
}

const FORGET_MS = 15 * 60_000;
const TRUSTED_MS = 12 * 3_600_000;

export class Lockout {
  readonly #options: Required<Omit<LockoutOptions, 'shared'>> & Pick<LockoutOptions, 'shared'>;
  readonly #users: Lru<string, Count>;
  readonly #addresses: Lru<string, Count>;
  /** 'user address' that got in. */
  readonly #trusted: Lru<string, true>;

  constructor(options: LockoutOptions) {
    this.#options = {
      perUser: 10,
      perAddress: 20,
      firstLockMs: 30_000,
      longestLockMs: FORGET_MS,
      remembered: 8192,
      ...options,
    };
    const { clock, remembered: maximum } = this.#options;
    this.#users = new Lru({ maximum, clock, ttlMs: FORGET_MS });
    this.#addresses = new Lru({ maximum, clock, ttlMs: FORGET_MS });
    this.#trusted = new Lru({ maximum, clock, ttlMs: TRUSTED_MS });
  }

  /** How long this user may not try from this address; 0 = he may. */
  lockedForMs({ user: typed, address }: { readonly user: string; readonly address: string }): number {
    const user = nameKey(typed);
    const now = this.#options.clock.monotonic();
    const left = (count: Count | undefined): number => Math.max(0, (count?.lockedUntilMs ?? 0) - now);
    const network = networkOf(address);
    const byUser = this.#trusted.has(pair(user, network))
      ? 0
      : Math.max(left(this.#users.get(user)), this.#lockedElsewhereMs(digestOf('user', user)));
    const byAddress = this.#lockedElsewhereMs(digestOf('address', network));
    return Math.max(byUser, byAddress, left(this.#addresses.get(network)));
  }

  begin({ user: typed, address }: { readonly user: string; readonly address: string }): Attempt {
    const user = nameKey(typed);
    const network = networkOf(address);
    const { perUser, perAddress } = this.#options;
    const userKey = digestOf('user', user),
      addressKey = digestOf('address', network);
    const undo = [
      this.#count(this.#users, user, { bound: perUser, shared: this.#sharedLock(userKey) }),
      this.#count(this.#addresses, network, { bound: perAddress, shared: this.#sharedLock(addressKey) }),
    ];
    return {
      failed: () => {
        this.#share(userKey, this.#users.get(user));
        this.#share(addressKey, this.#addresses.get(network));
      },
      undecided: () => undo.forEach((one) => one()),
      succeeded: () => {
        undo.forEach((one) => one());
        this.#users.delete(user);
        if (this.#sharedLock(userKey)) this.#options.shared?.set(userKey, undefined);
        this.#trusted.set(pair(user, network), true);
      },
    };
  }

  #lockedElsewhereMs(key: string): number {
    const { clock, longestLockMs } = this.#options;
    // The clocks of servers differ: never for longer than any lock.
    return Math.min(longestLockMs, Math.max(0, (this.#sharedLock(key)?.untilMs ?? 0) - clock.now()));
  }

  #sharedLock(key: string): SharedLock | undefined {
    const text = this.#options.shared?.get(key);
    if (text === undefined) return undefined;
    const [untilMs = NaN, locks = NaN] = text.split(' ').map(Number);
    return Number.isFinite(untilMs) && Number.isFinite(locks) ? { untilMs, locks } : undefined;
  }

  #share(key: string, count: Count | undefined): void {
    const { clock, shared } = this.#options;
    const leftMs = (count?.lockedUntilMs ?? 0) - clock.monotonic();
    if (!shared || !count || leftMs <= 0) return;
    const untilMs = Math.ceil(clock.now() + leftMs);
    shared.set(key, { value: `${untilMs} ${count.locks}`, endMs: untilMs + FORGET_MS });
  }

  #count(
    counts: Lru<string, Count>,
    key: string,
    { bound, shared }: { readonly bound: number; readonly shared: SharedLock | undefined },
  ): () => void {
    const { clock, firstLockMs, longestLockMs } = this.#options;
    const count = counts.get(key) ?? { failures: 0, lockedUntilMs: 0, locks: 0 };
    // Locked once at any server: no further attempts are free.
    if (shared && shared.locks > count.locks) {
      count.failures = Math.max(count.failures, bound - 1);
      count.locks = shared.locks;
    }
    counts.set(key, count);
    count.failures += 1;
    if (count.failures < bound)
      return () => {
        count.failures -= 1;
      };
    const before = count.lockedUntilMs;
    count.lockedUntilMs = clock.monotonic() + Math.min(firstLockMs * 2 ** count.locks, longestLockMs);
    count.locks += 1;
    return () => {
      count.failures -= 1;
      count.locks -= 1;
      count.lockedUntilMs = before;
    };
  }
}

interface SharedLock {
  /** By the wall clock of the server that locked. */
  readonly untilMs: number;
  readonly locks: number;
}

/** Of a ConfigMap's key: names may be anything. */
function digestOf(kind: string, key: string): string {
  return `${kind}.${hash('sha256', key).slice(0, 40)}`;
}

/** Directories take several spellings for one name. */
function nameKey(typed: string): string {
  return typed.normalize('NFKC').toLowerCase().replaceAll(/\s+/g, ' ').trim();
}

function pair(user: string, network: string): string {
  return `${network} ${user}`;
}

/** An IPv6 client controls its whole /64. */
function networkOf(address: string): string {
  if (address.startsWith('::ffff:')) return address.slice('::ffff:'.length);
  if (!isIPv6(address)) return address;
  const [head = '', tail = ''] = address.split('%', 1)[0]!.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === '' ? [] : tail.split(':');
  const groups = address.includes('::')
    ? [...left, ...Array.from({ length: Math.max(0, 8 - left.length - right.length) }, () => '0'), ...right]
    : left;
  return groups
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ''))
    .join(':');
}
