/** Records every watch that an API server has on its store, and judges it by the oracle of the storage suite: all nine properties, previous values included. */
import type { Store, StoreEvent, StoreWatch, WatchOptions } from '#storage/store.ts';
import {
  judgeWatch,
  Truth,
  type Delivery,
  type SeenEvent,
  type WatchHistory,
} from '#storage/testing/watch-oracle.ts';
import type { SimApiServer, StoreLayer } from './api-server.ts';
import type { EtcdLog } from './etcd-log.ts';

/** As the driver names what it writes to tell how far a watch is. */
const MARK = 'capstan.progress';
/** Breaches that are told of one world. */
const MAX_BREACHES = 20;

export class StoreRecorder {
  readonly watches: WatchHistory[] = [];
  readonly #log: EtcdLog;

  constructor(log: EtcdLog) {
    this.#log = log;
  }

  readonly layer: StoreLayer = (store, server) =>
    new Proxy(store, {
      get: (target, name) => {
        if (name === 'watch') return (options: WatchOptions) => this.#watch(target, { options, server });
        const value = Reflect.get(target, name) as unknown;
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });

  #watch(
    store: Store,
    { options, server }: { readonly options: WatchOptions; readonly server: SimApiServer },
  ): StoreWatch {
    const deliveries: Delivery[] = [];
    const { prefix, afterRevision } = options;
    this.watches.push({
      name: `watch of ${server.identity} from ${this.#log.world.nowMs.toFixed(0)} ms`,
      prefix,
      afterRevision,
      deliveries,
    });
    return store.watch({
      ...options,
      onEvents: (events) => {
        deliveries.push({ events: events.map((event) => this.#seenEvent(event)) });
        options.onEvents(events);
      },
      onReached: (reached) => {
        deliveries.push({ reached });
        options.onReached?.(reached);
      },
    });
  }

  /** Where history was compacted up to the event, its previous value is gone, which etcd does not say: it is taken from the log. */
  #seenEvent({ type, key, revision, value, previous }: StoreEvent): SeenEvent {
    const { state, floor } = this.#log;
    const isGone = !previous && revision <= floor;
    const before = isGone ? state.previousOf(revision) : previous;
    return {
      type,
      key,
      revision,
      ...(value && { value: value.value.toString(), createRevision: value.createRevision }),
      ...(before && { previous: { revision: before.modRevision, value: before.value.toString() } }),
    };
  }

  judge(): string[] {
    const { state } = this.#log;
    const truth = new Truth(
      state.changes.flatMap(({ revision, current, previous }): SeenEvent[] => {
        const key = current.key.toString('latin1');
        // Which the driver keeps to itself.
        if (key.endsWith(MARK)) return [];
        const event = {
          key,
          revision,
          type: current.deleted ? 'delete' : 'put',
          ...(current.deleted ? {} : { value: current.value.toString() }),
          ...(previous && { previous: { revision: previous.modRevision, value: previous.value.toString() } }),
        } as const;
        return [event];
      }),
    );
    return this.watches.flatMap((watch) => judgeWatch(watch, truth)).slice(0, MAX_BREACHES);
  }
}
