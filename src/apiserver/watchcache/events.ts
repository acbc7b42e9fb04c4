/** What happened to a resource, as watchers see it, and a bounded memory of the newest events from which watches resume. */
import type { CacheEntry } from './entry.ts';

export type ChangeType = 'ADDED' | 'MODIFIED' | 'DELETED';

/** One change as one watcher sees it: with a selector, an object that stops matching is DELETED for it. */
export interface Change {
  readonly type: ChangeType;
  readonly entry: CacheEntry;
}

export class CacheEvent {
  readonly revision: number;
  readonly key: string;
  /** The stored state; undefined = deleted. */
  readonly current: CacheEntry | undefined;
  readonly previous: CacheEntry | undefined;
  /** Size of the previous state, which only this event references; measured when it was created, since reading adds to it. */
  readonly heldBytes: number;
  #departed: CacheEntry | undefined;
  /** Encoded forms, shared by all watchers while the event is handed out, then dropped. */
  #frames: Map<string, Buffer> | undefined;

  constructor({
    revision,
    key,
    current,
    previous,
  }: {
    readonly revision: number;
    readonly key: string;
    readonly current: CacheEntry | undefined;
    readonly previous: CacheEntry | undefined;
  }) {
    this.revision = revision;
    this.key = key;
    this.current = current;
    this.previous = previous;
    this.heldBytes = previous?.byteLength ?? 0;
  }

  /** The last state before the change with the change's resourceVersion: what DELETED carries. */
  get departed(): CacheEntry {
    return (this.#departed ??= this.previous!.at(this.revision));
  }

  /** Undefined = this watcher does not see it. */
  changeFor(matches: ((entry: CacheEntry) => boolean) | undefined): Change | undefined {
    const { current, previous } = this;
    const isIn = current !== undefined && (matches === undefined || matches(current));
    const wasIn = previous !== undefined && (matches === undefined || matches(previous));
    if (isIn) return { type: wasIn ? 'MODIFIED' : 'ADDED', entry: current };
    return wasIn ? { type: 'DELETED', entry: this.departed } : undefined;
  }

  /** encoding names the bytes' form ('json', 'protobuf v2', …); made once for all watchers of that form. */
  frame(type: ChangeType, encoding: string, make: () => Buffer): Buffer {
    const key = `${type} ${encoding}`;
    let frame = this.#frames?.get(key);
    if (frame === undefined) {
      frame = make();
      (this.#frames ??= new Map()).set(key, frame);
    }
    return frame;
  }

  dropFrames(): void {
    this.#frames = undefined;
  }
}

/** The window of one resource forgets its oldest events above either bound. */
export const MAX_WINDOW_EVENTS = 8192;
const MAX_PREVIOUS_BYTES = 8 * 1024 * 1024;
/** Bound of all windows of a server together: above it a window that takes an event drops its own old ones, except these. Dropped events are read from the store's log. */
const MAX_ALL_PREVIOUS_BYTES = 48 * 1024 * 1024;
const KEPT_PREVIOUS_BYTES = 256 * 1024;

/** Total size of the windows of one server. */
export class WindowBudget {
  readonly #maxBytes: number;
  bytes = 0;

  constructor(maxBytes = MAX_ALL_PREVIOUS_BYTES) {
    this.#maxBytes = maxBytes;
  }

  get isExceeded(): boolean {
    return this.bytes > this.#maxBytes;
  }
}

export class EventWindow {
  #events: CacheEvent[] = [];
  #head = 0;
  #previousBytes = 0;
  #floor: number;
  readonly #budget: WindowBudget;

  /** floor: the revision after which all events are here. */
  constructor(floor: number, budget: WindowBudget) {
    this.#floor = floor;
    this.#budget = budget;
  }

  push(event: CacheEvent): void {
    this.#events.push(event);
    this.#hold(event.heldBytes);
    while (this.#isOverfull()) this.#forgetOldest();
    if (this.#head > 1024 && this.#head * 2 > this.#events.length) {
      this.#events = this.#events.slice(this.#head);
      this.#head = 0;
    }
  }

  /** The events after this revision, or undefined when some of them are forgotten. */
  after(revision: number): CacheEvent[] | undefined {
    if (revision < this.#floor) return undefined;
    let low = this.#head,
      high = this.#events.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#events[middle]!.revision <= revision) low = middle + 1;
      else high = middle;
    }
    return this.#events.slice(low);
  }

  /** Releases the window's share; it must not be used afterwards. */
  release(): void {
    this.#hold(-this.#previousBytes);
    this.#events = [];
  }

  #isOverfull(): boolean {
    if (this.#events.length - this.#head > MAX_WINDOW_EVENTS || this.#previousBytes > MAX_PREVIOUS_BYTES)
      return true;
    return this.#budget.isExceeded && this.#previousBytes > KEPT_PREVIOUS_BYTES;
  }

  #hold(bytes: number): void {
    this.#previousBytes += bytes;
    this.#budget.bytes += bytes;
  }

  #forgetOldest(): void {
    const event = this.#events[this.#head]!;
    this.#events[this.#head] = undefined as unknown as CacheEvent;
    this.#head++;
    this.#floor = event.revision;
    this.#hold(-event.heldBytes);
  }
}
