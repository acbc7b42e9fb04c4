/** Records the events of a store's watches and the results of its writers, for watch-oracle.ts. Errors of the store are recorded, never hidden. */
import {
  StoreError,
  type DeleteOptions,
  type PutOptions,
  type Revision,
  type Store,
  type StoreEvent,
  type StoreWatch,
} from '../store.ts';
import {
  Truth,
  type Delivery,
  type SeenEvent,
  type WatchHistory,
  type WriteHistory,
} from './watch-oracle.ts';

/** Errors after which the result of the write is unknown. */
const UNKNOWN = /is not known|closed/;

function seenEvent({ type, key, revision, value, previous }: StoreEvent): SeenEvent {
  return {
    type,
    key,
    revision,
    ...(value && { value: value.value.toString(), createRevision: value.createRevision }),
    ...(previous && { previous: { revision: previous.modRevision, value: previous.value.toString() } }),
  };
}

export interface RecordedWatch {
  /** The current state. */
  history(upTo?: Revision): WatchHistory;
  /** Revision of the newest event, or progress. */
  readonly reached: Revision;
  requestProgress(): void;
  stop(): void;
}

/** A watch that is resumed when it ends, as the watch cache does; if it cannot be resumed, the test fails. */
export function recordWatch(
  store: Store,
  {
    name,
    prefix,
    afterRevision,
    onClose,
  }: {
    readonly name: string;
    readonly prefix: string;
    readonly afterRevision: Revision;
    readonly onClose?: (error: Error | undefined) => void;
  },
): RecordedWatch {
  const deliveries: Delivery[] = [];
  let reached = afterRevision;
  let watch: StoreWatch | undefined;
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  const open = (): void => {
    watch = store.watch({
      prefix,
      afterRevision: reached,
      onEvents(events) {
        deliveries.push({ events: events.map(seenEvent) });
        reached = Math.max(reached, events.at(-1)!.revision);
      },
      onReached(revision) {
        deliveries.push({ reached: revision });
        reached = Math.max(reached, revision);
      },
      onClose(error) {
        onClose?.(error);
        if (!stopped && !(error instanceof StoreError && error.code === 'closed'))
          timer = setTimeout(open, 100);
      },
    });
  };
  open();
  return {
    history: (upTo) => ({ name, prefix, afterRevision, upTo, deliveries: [...deliveries] }),
    get reached() {
      return reached;
    },
    requestProgress: () => watch?.requestProgress?.(),
    stop() {
      stopped = true;
      clearTimeout(timer);
      watch?.stop();
    },
  };
}

export class RecordedWriter {
  readonly writes: WriteHistory[] = [];
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /** The revision, or undefined when it failed. */
  put(key: string, value: string, options: PutOptions = {}): Promise<Revision | undefined> {
    return this.#record({ key, value, type: 'put', expected: options.expected }, async () => {
      const { modRevision } = await this.#store.put(key, Buffer.from(value), options);
      return modRevision;
    });
  }

  delete(key: string, options: DeleteOptions = {}): Promise<Revision | undefined> {
    return this.#record({ key, type: 'delete', expected: options.expected }, async () => {
      const { revision } = await this.#store.delete(key, options);
      return revision;
    });
  }

  async #record(
    write: Omit<WriteHistory, 'outcome'>,
    run: () => Promise<Revision>,
  ): Promise<Revision | undefined> {
    try {
      const revision = await run();
      this.writes.push({ ...write, outcome: { revision } });
      return revision;
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      this.writes.push({ ...write, outcome: UNKNOWN.test(error.message) ? 'unknown' : 'refused' });
      return undefined;
    }
  }
}

/** All events below a prefix after a revision, read with a separate watch. */
export async function readTruth(
  store: Store,
  { prefix, after, upTo }: { readonly prefix: string; readonly after: Revision; readonly upTo: Revision },
): Promise<Truth> {
  const events: SeenEvent[] = [];
  await new Promise<void>((resolve, reject) => {
    const asking = setInterval(() => watch.requestProgress?.(), 50);
    const over = (settle: () => void): void => {
      clearInterval(asking);
      settle();
    };
    const watch: StoreWatch = store.watch({
      prefix,
      afterRevision: after,
      onEvents(batch) {
        events.push(...batch.map(seenEvent));
        if (batch.at(-1)!.revision >= upTo) over(resolve);
      },
      onReached: (revision) => revision >= upTo && over(resolve),
      onClose: (error) => over(() => reject(error ?? new Error('the watch ended'))),
    });
    if (after >= upTo) over(resolve);
  });
  return new Truth(events.filter(({ revision }) => revision <= upTo));
}
