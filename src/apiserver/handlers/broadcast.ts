/**
 * Groups watchers that receive identical bytes: of one resource and key prefix, in one encoding, without selectors. An event is encoded once for all
 * of them. With many watchers or fast events, the events of a few milliseconds are written together, so that a thousand watchers cost one write
 * each for a batch of events.
 *
 *   quiet --event--> written at once --> resting for a time that grows with the watchers --events meanwhile--> written together --> resting …
 */
import type { Clock } from '#stdx/clock.ts';
import type { CacheEvent, ChangeType } from '../watchcache/events.ts';
import type { CacheEntry } from '../watchcache/entry.ts';
import type { CacheListener, ResourceCache } from '../watchcache/resource-cache.ts';

/** One of those who see the same. */
export interface BroadcastMember {
  /** Events of one or more changes, as the stream shows them. */
  write(frames: Buffer): void;
  end(): void;
}

/** Encodes changes. */
interface BroadcastForm {
  /** Equal for all members. */
  readonly encoding: string;
  frame(type: ChangeType, entry: CacheEntry): Buffer;
  /** A frame is sent to so many. */
  sent?(bytes: number, watchers: number): void;
}

interface BroadcastOptions {
  readonly cache: ResourceCache;
  readonly keyPrefix: string;
  readonly form: BroadcastForm;
  readonly clock: Clock;
}

/** Approximate cost of a write to one watcher: after a round of writes, other work gets the same time. */
const REST_MS_PER_MEMBER = 0.02;
const MAX_REST_MS = 50;
/** Shorter rests are none. */
const MIN_REST_MS = 1;
/** Waiting bytes above this go out at once. */
const MAX_PENDING_BYTES = 256 * 1024;

export class Broadcast implements CacheListener {
  readonly keyPrefix: string;
  readonly #options: BroadcastOptions;
  readonly #unsubscribe: () => void;
  readonly #members = new Set<BroadcastMember>();
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  /** By the monotonic clock. */
  #restsUntilMs = 0;
  #timer: { cancel(): void } | undefined;

  private constructor(options: BroadcastOptions) {
    this.keyPrefix = options.keyPrefix;
    this.#options = options;
    this.#unsubscribe = options.cache.subscribe(this);
  }

  /** The one of these options, from the next event on for this member. */
  static join(member: BroadcastMember, options: BroadcastOptions): Broadcast {
    let ofCache = broadcasts.get(options.cache);
    if (!ofCache) broadcasts.set(options.cache, (ofCache = new Map()));
    const key = keyOf(options);
    let broadcast = ofCache.get(key);
    if (!broadcast) ofCache.set(key, (broadcast = new Broadcast(options)));
    // A watcher that joins now has already seen the queued events.
    broadcast.writeWaiting();
    broadcast.#members.add(member);
    return broadcast;
  }

  leave(member: BroadcastMember): void {
    if (!this.#members.delete(member) || this.#members.size > 0) return;
    this.#timer?.cancel();
    this.#unsubscribe();
    broadcasts.get(this.#options.cache)?.delete(keyOf(this.#options));
  }

  deliver(event: CacheEvent): void {
    const { form } = this.#options;
    const change = event.changeFor(undefined);
    if (!change) return;
    const frame = event.frame(change.type, form.encoding, () => form.frame(change.type, change.entry));
    this.#pending.push(frame);
    this.#pendingBytes += frame.length;
  }

  flush(): void {
    const { clock } = this.#options;
    const waitMs = this.#restsUntilMs - clock.monotonic();
    if (waitMs <= 0 || this.#pendingBytes > MAX_PENDING_BYTES) return this.writeWaiting();
    this.#timer ??= clock.after(waitMs, () => this.writeWaiting());
  }

  /** Flushes the queue before a watcher receives something that must follow it. */
  writeWaiting(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const pending = this.#pending;
    if (pending.length === 0) return;
    this.#pending = [];
    this.#pendingBytes = 0;
    const frames = pending.length === 1 ? pending[0]! : Buffer.concat(pending);
    const { form } = this.#options;
    if (form.sent) for (const { length } of pending) form.sent(length, this.#members.size);
    for (const member of this.#members) member.write(frames);
    const restMs = Math.min(MAX_REST_MS, this.#members.size * REST_MS_PER_MEMBER);
    if (restMs >= MIN_REST_MS) this.#restsUntilMs = this.#options.clock.monotonic() + restMs;
  }

  reset(): void {
    this.writeWaiting();
    for (const member of Array.from(this.#members)) member.end();
  }
}

function keyOf({ keyPrefix, form }: BroadcastOptions): string {
  return `${keyPrefix} ${form.encoding}`;
}

/** By keyOf. */
const broadcasts = new WeakMap<ResourceCache, Map<string, Broadcast>>();
