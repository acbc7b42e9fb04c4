/**
 * Encryption at rest: a Store that transforms values between the API server and its storage driver. An unreadable value is returned with `unreadable`
 * in its place.
 *
 *   put ──► sealed ──► driver ──► event with the sealed bytes ──► the writer's own bytes, without decryption ──► watches ──► put resolves
 *
 * Events keep the order and the guarantee of Store.watch: when a put resolves, every watch has received its event, even if an earlier event waits
 * for a remote key.
 */
import {
  StoreError,
  type DeleteOptions,
  type GetOptions,
  type ListOptions,
  type ListResult,
  type PutOptions,
  type Revision,
  type Store,
  type StoredValue,
  type StoreEvent,
  type StoreStats,
  type StoreWatch,
  type WatchOptions,
} from '#storage/store.ts';
import { IDENTITY_PROBLEM, isEncrypted, TransformError, type Plain } from './transformer.ts';

/** How one resource is stored. */
export interface StoredForm {
  fromStorage(stored: Buffer, context: string): Plain | Promise<Plain>;
  toStorage(value: Buffer, context: string): Buffer;
}

interface EncryptedStoreOptions {
  /** The transformer of this key; undefined = stored in plain. Called at each use: it may change. */
  readonly formOf: (key: string) => StoredForm | undefined;
  /** The authenticated context of the stored form: upstream uses the key in etcd. Default: the key. */
  readonly contextOf?: ((key: string) => string) | undefined;
}

const NOTHING = Buffer.alloc(0);

export class EncryptedStore implements Store {
  readonly #store: Store;
  readonly #formOf: EncryptedStoreOptions['formOf'];
  readonly #contextOf: (key: string) => string;
  /** Sealed → plain of puts in flight. */
  readonly #ours = new Map<Buffer, Buffer>();
  readonly #watches = new Set<Delivery>();
  /** Keys whose last read failed. */
  readonly #unreadable = new Set<string>();

  readonly newestRevision?: () => Promise<Revision>;
  readonly ttlSeconds?: (key: string) => Promise<number | undefined>;

  constructor(store: Store, { formOf, contextOf = (key) => key }: EncryptedStoreOptions) {
    this.#contextOf = contextOf;
    this.#store = store;
    if (store.newestRevision) this.newestRevision = () => store.newestRevision!();
    if (store.ttlSeconds) this.ttlSeconds = (key) => store.ttlSeconds!(key);
    this.#formOf = formOf;
  }

  get revision(): Revision {
    return this.#store.revision;
  }
  get compactedRevision(): Revision {
    return this.#store.compactedRevision;
  }

  async get(key: string, options?: GetOptions): Promise<StoredValue | undefined> {
    const stored = await this.#store.get(key, options);
    return stored && this.#reveal(stored);
  }

  async list(prefix: string, options?: ListOptions): Promise<ListResult> {
    const { items, ...rest } = await this.#store.list(prefix, options);
    if (options?.keysOnly) return { ...rest, items };
    const revealed = items.map((item) => this.#reveal(item));
    return {
      ...rest,
      items: revealed.some(isPending) ? await Promise.all(revealed) : (revealed as StoredValue[]),
    };
  }

  async put(key: string, value: Buffer, options?: PutOptions): Promise<StoredValue> {
    const sealed = this.#formOf(key)?.toStorage(value, this.#contextOf(key)) ?? value;
    if (sealed !== value) this.#ours.set(sealed, value);
    try {
      const stored = await this.#store.put(key, sealed, options);
      const late = this.#late();
      if (late) await late;
      return sealed === value ? stored : { ...stored, value };
    } catch (error) {
      throw await this.#revealConflict(error);
    } finally {
      this.#ours.delete(sealed);
    }
  }

  async delete(
    key: string,
    options?: DeleteOptions,
  ): Promise<{ readonly revision: Revision; readonly previous: StoredValue }> {
    try {
      const { revision, previous } = await this.#store.delete(key, options);
      this.#unreadable.delete(key);
      const late = this.#late();
      if (late) await late;
      return { revision, previous: await this.#reveal(previous, { past: true }) };
    } catch (error) {
      throw await this.#revealConflict(error);
    }
  }

  watch(options: WatchOptions): StoreWatch {
    const delivery = new Delivery(options);
    const inner = this.#store.watch({
      prefix: options.prefix,
      afterRevision: options.afterRevision,
      onEvents: (events) => delivery.take(events.map((event) => this.#revealEvent(event))),
      ...(options.onReached ? { onReached: (revision: Revision) => delivery.reached(revision) } : {}),
      onClose: (error) => {
        this.#watches.delete(delivery);
        delivery.close(error);
      },
    });
    const stop = (): void => {
      this.#watches.delete(delivery);
      delivery.stop();
      inner.stop();
    };
    delivery.onStop = stop;
    if (!delivery.ended) this.#watches.add(delivery);
    return { stop, ...(inner.requestProgress ? { requestProgress: () => inner.requestProgress!() } : {}) };
  }

  /** True when a write now would store another form; false when it is deleted or unreadable. */
  async isStale(key: string): Promise<boolean> {
    const stored = await this.#store.get(key);
    const form = stored && this.#formOf(key);
    if (!form) return false;
    try {
      return (await form.fromStorage(stored.value, this.#contextOf(key))).stale;
    } catch (error) {
      if (error instanceof TransformError) return false;
      throw error;
    }
  }

  /** Encryption keys were added: where a read failed, watches end, so that their owners relist. */
  keysChanged(): void {
    if (this.#unreadable.size === 0) return;
    this.#unreadable.clear();
    for (const delivery of Array.from(this.#watches)) {
      delivery.onStop?.();
      delivery.options.onClose?.(new Error('keys of encryption at rest have changed'));
    }
  }

  async reveal(stored: StoredValue): Promise<StoredValue> {
    return this.#reveal((await this.#store.reveal?.(stored)) ?? stored, { past: true });
  }
  compact(revision: Revision): Promise<void> {
    return this.#store.compact(revision);
  }
  stats(): StoreStats {
    return this.#store.stats();
  }
  close(): Promise<void> {
    return this.#store.close();
  }

  /** past: it is of no account whether it can be read. */
  #reveal(stored: StoredValue, { past = false } = {}): StoredValue | Promise<StoredValue> {
    const { key, value } = stored;
    const unread = (unreadable: string): StoredValue => {
      if (!past) this.#unreadable.add(key);
      return { ...stored, value: NOTHING, unreadable };
    };
    const form = this.#formOf(key);
    if (!form) return isEncrypted(value) ? unread(IDENTITY_PROBLEM) : stored;
    try {
      const plain = form.fromStorage(value, this.#contextOf(key));
      if (!isPending(plain)) return this.#read(stored, plain);
      return plain.then(
        (one) => this.#read(stored, one),
        (error: unknown) => unread(problemOf(error)),
      );
    } catch (error) {
      return unread(problemOf(error));
    }
  }

  #read(stored: StoredValue, { value }: Plain): StoredValue {
    if (this.#unreadable.size > 0) this.#unreadable.delete(stored.key);
    return value === stored.value ? stored : { ...stored, value };
  }

  #revealEvent(event: StoreEvent): StoreEvent | Promise<StoreEvent> {
    const { value: stored, previous } = event;
    const ours = stored && this.#ours.get(stored.value);
    const revealed = ours ? { ...stored, value: ours } : stored && this.#reveal(stored),
      before = previous && this.#reveal(previous, { past: true });
    const made = (value: StoredValue | undefined, old: StoredValue | undefined): StoreEvent => ({
      type: event.type,
      key: event.key,
      revision: event.revision,
      ...(value ? { value } : {}),
      ...(old ? { previous: old } : {}),
    });
    if (!isPending(revealed) && !isPending(before)) return made(revealed, before);
    return Promise.all([revealed, before]).then(([value, old]) => made(value, old));
  }

  /** Resolves when all watches have the events received so far; undefined where none is pending. */
  #late(): Promise<unknown> | undefined {
    const waiting = [...this.#watches].flatMap(({ waiting: one }) => one ?? []);
    return waiting.length === 0 ? undefined : Promise.all(waiting);
  }

  async #revealConflict(error: unknown): Promise<unknown> {
    if (!(error instanceof StoreError) || !error.current) return error;
    return new StoreError(error.code, error.message, {
      current: await this.#reveal(error.current),
      cause: error,
    });
  }
}

/** Hands events out in order, at once where nothing before them waits. */
class Delivery {
  readonly options: WatchOptions;
  onStop: (() => void) | undefined;
  ended = false;
  waiting: Promise<void> | undefined;

  constructor(options: WatchOptions) {
    this.options = options;
  }

  take(events: readonly (StoreEvent | Promise<StoreEvent>)[]): void {
    if (!this.waiting && !events.some(isPending)) return this.options.onEvents(events as StoreEvent[]);
    const before = this.waiting;
    const now = (async () => {
      const all = await Promise.all(events);
      await before;
      this.#handOut(all);
    })();
    this.waiting = now;
    void now.finally(() => {
      if (this.waiting === now) this.waiting = undefined;
    });
  }

  /** As in the store: a listener that throws ends its watch. */
  #handOut(events: readonly StoreEvent[]): void {
    if (this.ended) return;
    try {
      this.options.onEvents(events);
    } catch (error) {
      this.onStop?.();
      this.options.onClose?.(error as Error);
    }
  }

  /** Waits until pending decryptions were delivered; callers check again. */
  reached(revision: Revision): void {
    if (!this.waiting && !this.ended) this.options.onReached?.(revision);
  }

  stop(): void {
    this.ended = true;
  }

  close(error: Error | undefined): void {
    if (this.ended) return;
    this.ended = true;
    this.options.onClose?.(error);
  }
}

function isPending<T>(value: T | Promise<T>): value is Promise<T> {
  return value instanceof Promise;
}

/** Errors of other kinds are of this program's making. */
function problemOf(error: unknown): string {
  if (error instanceof TransformError) return error.message;
  throw error;
}
