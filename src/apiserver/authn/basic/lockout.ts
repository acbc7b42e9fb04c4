/**
 * Slows down whoever guesses passwords: failures are counted by user name and by source address, and past a bound every further attempt is
 * refused for a while that doubles, unheard.
 *
 *   counting ──bound reached──► locked ──time over──► one more failure locks again, for twice as long
 *       ▲──────────── success, or a quarter of an hour without failure ──────────────'
 *
 * An attempt counts as a failure from its beginning, so that many at once gain nothing. A user who is locked by somebody else's guesses still
 * gets in from an address that he used successfully before; that address has its own count. Memory is bounded: the counts used least recently are
 * forgotten first.
 */
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
  /** Counts kept of each kind. Default 8192. */
  readonly remembered?: number;
}

interface Count {
  failures: number;
  lockedUntilMs: number;
  locks: number;
}

interface Attempt {
  /** Takes the failure back, and the user's earlier ones. */
  succeeded(): void;
  /** Takes only this one back: nobody can tell whether it was right (the directory is down). */
  undecided(): void;
}

const FORGET_MS = 15 * 60_000;
const TRUSTED_MS = 12 * 3_600_000;

export class Lockout {
  readonly #options: Required<LockoutOptions>;
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
    const byUser = this.#trusted.has(pair(user, network)) ? 0 : left(this.#users.get(user));
    return Math.max(byUser, left(this.#addresses.get(network)));
  }

  begin({ user: typed, address }: { readonly user: string; readonly address: string }): Attempt {
    const user = nameKey(typed);
    const network = networkOf(address);
    const { perUser, perAddress } = this.#options;
    const undo = [this.#count(this.#users, user, perUser), this.#count(this.#addresses, network, perAddress)];
    return {
      undecided: () => undo.forEach((one) => one()),
      succeeded: () => {
        undo.forEach((one) => one());
        this.#users.delete(user);
        this.#trusted.set(pair(user, network), true);
      },
    };
  }

  #count(counts: Lru<string, Count>, key: string, bound: number): () => void {
    const { clock, firstLockMs, longestLockMs } = this.#options;
    const count = counts.get(key) ?? { failures: 0, lockedUntilMs: 0, locks: 0 };
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

/** Directories take several spellings for one name. */
function nameKey(typed: string): string {
  return typed.normalize('NFKC').toLowerCase().replaceAll(/\s+/g, ' ').trim();
}

function pair(user: string, network: string): string {
  return `${network} ${user}`;
}

/** Whoever has one IPv6 address has its whole /64. */
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
