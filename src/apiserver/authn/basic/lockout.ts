/**
 * Slows down password guessing: failures are counted by user name and by source address; beyond a bound every further attempt is refused, without
 * verification, for a period that doubles.
 *
 *   counting ──bound reached──► locked ──time over──► one more failure locks again, for twice as long
 *       ▲──────────── success, or a quarter of an hour without failure ──────────────'
 *
 * Several API servers share their counts, a second late at most, and their locks, at once: spreading guesses over them gains no more than what fits
 * into that second.
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
  /** To a number, soon. */
  add(key: string, addition: { readonly by: number; readonly endMs: number }): void;
  set(key: string, entry: { readonly value: string; readonly endMs: number } | undefined): void;
}

interface Count {
  /** Of this server, attempts under way among them. */
  failures: number;
  underWay: number;
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
    const counted = [
      this.#count(this.#users, user, { bound: perUser, sharedKey: userKey }),
      this.#count(this.#addresses, network, { bound: perAddress, sharedKey: addressKey }),
    ];
    return {
      failed: () => counted.forEach((one) => one.failed()),
      undecided: () => counted.forEach((one) => one.undo()),
      succeeded: () => {
        counted.forEach((one) => one.undo());
        this.#users.delete(user);
        this.#forgetShared(userKey);
        this.#trusted.set(pair(user, network), true);
      },
    };
  }

  #forgetShared(key: string): void {
    const { shared } = this.#options;
    for (const one of [key, failuresOf(key)]) if (shared?.get(one) !== undefined) shared.set(one, undefined);
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

  /** A failure, or the lock that it led to. */
  #share(key: string, count: Count): void {
    const { clock, shared } = this.#options;
    if (!shared) return;
    const leftMs = count.lockedUntilMs - clock.monotonic();
    if (leftMs <= 0) return shared.add(failuresOf(key), { by: 1, endMs: clock.now() + FORGET_MS });
    const untilMs = Math.ceil(clock.now() + leftMs);
    shared.set(key, { value: `${untilMs} ${count.locks}`, endMs: untilMs + FORGET_MS });
  }

  /** Wrong passwords at all servers before the first lock. */
  #sharedFailures(key: string): number {
    const failures = Number(this.#options.shared?.get(failuresOf(key)) ?? 0);
    return Number.isFinite(failures) ? failures : 0;
  }

  #count(
    counts: Lru<string, Count>,
    key: string,
    { bound, sharedKey }: { readonly bound: number; readonly sharedKey: string },
  ): Counted {
    const { clock, firstLockMs, longestLockMs } = this.#options;
    const count = counts.get(key) ?? { failures: 0, underWay: 0, lockedUntilMs: 0, locks: 0 };
    const shared = this.#sharedLock(sharedKey);
    // Locked once at any server: no further attempts are free.
    if (shared && shared.locks > count.locks) {
      count.failures = Math.max(count.failures, bound - 1);
      count.locks = shared.locks;
    }
    counts.set(key, count);
    count.failures += 1;
    count.underWay += 1;
    const reached = Math.max(count.failures, this.#sharedFailures(sharedKey) + count.underWay);
    const before = count.lockedUntilMs;
    const isLock = reached >= bound;
    if (isLock) {
      count.failures = reached;
      count.lockedUntilMs = clock.monotonic() + Math.min(firstLockMs * 2 ** count.locks, longestLockMs);
      count.locks += 1;
    }
    return {
      failed: () => {
        count.underWay -= 1;
        this.#share(sharedKey, count);
      },
      undo: () => {
        count.underWay -= 1;
        count.failures -= 1;
        if (!isLock) return;
        count.locks -= 1;
        count.lockedUntilMs = before;
      },
    };
  }
}

/** One attempt in one counter. */
interface Counted {
  failed(): void;
  undo(): void;
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

/** Of their number, beside the lock. */
function failuresOf(key: string): string {
  return `${key}.failures`;
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
