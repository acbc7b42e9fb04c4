/**
 * One watch on etcd: a stream of its own, resumed at another member where it breaks, from the revision that was reached.
 *
 *   opening ──▶ streaming ── stream broke ──▶ opening (for GIVE_UP_MS without an answer) ────────────────▶ ended
 *                   └── compacted │ listener threw │ stop() ─────────────────────────────────────────────▶ ended
 */
import type { Clock, Timer } from '#stdx/clock.ts';
import {
  StoreError,
  type Revision,
  type StoredValue,
  type StoreEvent,
  type WatchOptions,
} from '../../store.ts';
import type { EtcdConnection, OpenedStream } from './connection.ts';
import { EtcdCallError } from './failures.ts';
import { EVENT_DELETE, int, type WatchResponse } from './protocol.ts';
import { hasTrueProgress } from './versions.ts';

/** Without an answer of any member: an election or a restart of members costs no watcher its place, which is kept at `reached`. */
const GIVE_UP_MS = 30_000;
const RETRY_MS = 200;
/** For a member to send anything after its progress was asked for. */
const SILENCE_MS = 1_000;
/** Of one revision that comes in fragments. */
const MAX_FRAGMENT_EVENTS = 200_000;

interface WatcherOptions extends Omit<WatchOptions, 'onReached'> {
  readonly connection: EtcdConnection;
  readonly clock: Clock;
  readonly range: { readonly key: Buffer; readonly rangeEnd: Buffer };
  readonly toStored: (kv: WatchResponse['events'][number]['kv']) => StoredValue;
  /** Writes something that this watch sees, where progress cannot be trusted. */
  readonly onMark?: () => void;
  /** Whether an event is only of such a write, which nobody is to see. */
  readonly isMark?: (event: StoreEvent) => boolean;
  readonly onReached: (revision: Revision) => void;
  /** etcd refuses the watch: history up to this revision is gone. */
  readonly onCompacted: (revision: Revision) => void;
  readonly onEnd: () => void;
}

export class Watcher {
  /** Everything up to this one was delivered. */
  reached: Revision;
  ended = false;
  readonly #options: WatcherOptions;
  #opened: OpenedStream | undefined;
  /** When it broke; undefined since a member answered. */
  #brokenMs: number | undefined;
  #fragments: WatchResponse['events'][number][] = [];
  #retry: Timer | undefined;
  /** When progress was first asked for since the member last sent anything. */
  #askedMs: number | undefined;

  constructor(options: WatcherOptions) {
    this.#options = options;
    this.reached = options.afterRevision;
    void this.#open();
  }

  get prefix(): string {
    return this.#options.prefix;
  }

  /** etcd answers with a revision up to which everything was delivered, also where no event matched. */
  requestProgress(): void {
    if (!this.#opened) return;
    const now = this.#options.clock.monotonic();
    this.#askedMs ??= now;
    if (now - this.#askedMs > SILENCE_MS) this.#opened.suspect();
    if (this.#options.onMark && !this.#trustsProgress) return this.#options.onMark();
    this.#opened.stream.write({ progressRequest: {} });
  }

  /** Whether what this member says of progress is true: each may have another version while a cluster is upgraded. */
  get #trustsProgress(): boolean {
    return hasTrueProgress(this.#opened?.version);
  }

  stop(): void {
    if (this.ended) return;
    this.ended = true;
    this.#retry?.cancel();
    this.#opened?.stream.cancel();
    this.#options.onEnd();
  }

  end(error: Error): void {
    if (this.ended) return;
    this.stop();
    this.#options.onClose?.(error);
  }

  async #open(): Promise<void> {
    let opened: OpenedStream;
    try {
      opened = await this.#options.connection.openStream('Watch', `watch ${this.prefix}`);
    } catch (error) {
      return this.#broke(error instanceof EtcdCallError ? error.failure.error : (error as Error));
    }
    if (this.ended) {
      // Its end is an error to Node, which nobody else listens for.
      opened.stream.on('error', () => {}).cancel();
      return;
    }
    this.#opened = opened;
    this.#askedMs = undefined;
    this.#fragments = [];
    const { stream, endpoint } = opened;
    let over = false;
    const broke = (error: Error): void => {
      if (over || this.ended) return;
      over = true;
      this.#opened = undefined;
      opened.avoid();
      this.#broke(
        new StoreError('unavailable', `The watch at etcd ${endpoint} broke: ${error.message}`, {
          cause: error,
        }),
      );
    };
    stream.on('data', (response: object) => this.#take(response as WatchResponse));
    stream.on('error', broke);
    stream.on('end', () => broke(new Error('the member ended the stream')));
    stream.write({
      createRequest: {
        ...this.#options.range,
        startRevision: this.reached + 1,
        prevKv: true,
        fragment: true,
      },
    });
  }

  #broke(error: Error): void {
    if (this.ended) return;
    const { clock } = this.#options;
    this.#brokenMs ??= clock.monotonic();
    if (clock.monotonic() - this.#brokenMs >= GIVE_UP_MS) return this.end(error);
    this.#retry = clock.after(RETRY_MS, () => void this.#open());
  }

  #take(response: WatchResponse): void {
    if (this.ended) return;
    this.#brokenMs = undefined;
    this.#askedMs = undefined;
    if (response.canceled) return this.#canceled(response);
    if (response.fragment) {
      this.#fragments.push(...response.events);
      if (this.#fragments.length > MAX_FRAGMENT_EVENTS)
        this.end(new StoreError('unavailable', `More than ${MAX_FRAGMENT_EVENTS} events came in one answer`));
      return;
    }
    const events = this.#fragments.length > 0 ? [...this.#fragments, ...response.events] : response.events;
    this.#fragments = [];
    if (events.length > 0) this.#deliver(events.map((event) => this.#eventOf(event)));
    else if (!response.created && this.#trustsProgress) this.#progress(int(response.header.revision));
  }

  #progress(revision: Revision): void {
    if (this.ended || revision <= this.reached) return;
    this.reached = revision;
    this.#options.onReached(revision);
  }

  /** Not what is older than asked for: members before 3.5.22 send it after a watch on a future revision, and some send events twice. */
  #deliver(events: readonly StoreEvent[]): void {
    const fresh = events.filter(({ revision }) => revision > this.reached);
    if (fresh.length === 0) return;
    const newest = fresh.at(-1)!.revision;
    const { isMark, onEvents } = this.#options;
    const seen = isMark ? fresh.filter((event) => !isMark(event)) : fresh;
    try {
      if (seen.length > 0) onEvents(seen);
    } catch (error) {
      return this.end(error instanceof Error ? error : new Error(String(error)));
    }
    this.#progress(newest);
  }

  #canceled({ compactRevision, cancelReason }: WatchResponse): void {
    const floor = int(compactRevision);
    if (floor > 0) {
      this.#options.onCompacted(floor);
      return this.end(
        new StoreError(
          'compacted',
          `Cannot watch after revision ${this.reached}: history up to revision ${floor} was compacted`,
        ),
      );
    }
    this.end(new StoreError('unavailable', `etcd canceled the watch on ${this.prefix}: ${cancelReason}`));
  }

  #eventOf({ type, kv, prevKv }: WatchResponse['events'][number]): StoreEvent {
    const { toStored } = this.#options;
    const stored = toStored(kv);
    const previous = prevKv ? toStored(prevKv) : undefined;
    const isDelete = type === EVENT_DELETE;
    return {
      type: isDelete ? 'delete' : 'put',
      key: stored.key,
      revision: stored.modRevision,
      ...(isDelete ? {} : { value: stored }),
      ...(previous && { previous }),
    };
  }
}
