/** Faults as a store or a watch cache could have them, put between the driver and the API server. The simulation must find each: it is judged by that. */
import type { Random } from '#stdx/random.ts';
import {
  StoreError,
  type Store,
  type StoredValue,
  type StoreEvent,
  type StoreWatch,
  type WatchOptions,
} from '#storage/store.ts';
import type { StoreLayer } from './api-server.ts';

const RARELY = 0.02;
/** With a write that has no answer. */
const PATIENCE_MS = 100;

/** A store of which some methods are replaced. */
function replacing(store: Store, methods: Partial<Store>): Store {
  return new Proxy(store, {
    get(target, name) {
      const value = (methods as Record<PropertyKey, unknown>)[name] ?? (Reflect.get(target, name) as unknown);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

/** Every so often an event is held back until the next came. */
const swapsEvents: StoreLayer = (store, { world }) =>
  replacing(store, {
    watch: (options: WatchOptions): StoreWatch => {
      let held: Batch = [];
      return store.watch({
        ...options,
        onEvents: (events) => {
          const before = held;
          held = before.length === 0 && world.chance(RARELY) ? events : [];
          if (held.length === 0) options.onEvents([...events, ...before]);
        },
      });
    },
  });

type Batch = readonly StoreEvent[];

/** Of watches; marks of progress stay as they are. */
function changingEvents(change: (events: Batch, random: Random) => readonly Batch[]): StoreLayer {
  return (store, { world }) =>
    replacing(store, {
      watch: (options: WatchOptions): StoreWatch =>
        store.watch({
          ...options,
          onEvents: (events) => {
            for (const batch of change(events, world.random)) if (batch.length > 0) options.onEvents(batch);
          },
        }),
    });
}

/** Holds events back for a while, though what follows does not wait. */
const lateEvents: StoreLayer = (store, { world, node }) =>
  replacing(store, {
    watch: (options: WatchOptions): StoreWatch =>
      store.watch({
        ...options,
        onEvents: (events) => {
          if (world.chance(RARELY)) node.clock.after(50, () => options.onEvents(events));
          else options.onEvents(events);
        },
      }),
  });

/** Says of itself that it has everything. */
const neverAsks: StoreLayer = (store) => replacing(store, { newestRevision: () => Promise.resolve(0) });

/** Tells the watch that it is further than it is. */
const fakedProgress: StoreLayer = (store, { node }) =>
  replacing(store, {
    newestRevision: () => store.newestRevision!(),
    watch: (options: WatchOptions): StoreWatch => {
      const watch = store.watch({
        ...options,
        onEvents: (events) => node.clock.after(30, () => options.onEvents(events)),
      });
      return {
        stop: () => watch.stop(),
        requestProgress: () =>
          void store.newestRevision!().then(
            (revision) => options.onReached?.(revision),
            () => {},
          ),
      };
    },
  });

/** A watch from a revision that was compacted goes on from the floor, and says nothing. */
const ignoresCompaction: StoreLayer = (store) =>
  replacing(store, {
    watch: (options: WatchOptions): StoreWatch => {
      let watch: StoreWatch;
      const open = (afterRevision: number): StoreWatch =>
        store.watch({
          ...options,
          afterRevision: Math.max(afterRevision, store.compactedRevision),
          onClose: (error) => {
            if (error instanceof StoreError && error.code === 'compacted') watch = open(store.revision);
            else options.onClose?.(error);
          },
        });
      watch = open(options.afterRevision);
      return { stop: () => watch.stop(), requestProgress: () => watch.requestProgress?.() };
    },
  });

/** A write that takes long is sent again, as if the first had not happened. */
const retriesBlindly: StoreLayer = (store, { node }) =>
  replacing(store, {
    put: (key, value, options) => {
      const first = store.put(key, value, options);
      const late = node.clock.sleep(PATIENCE_MS).then(() => store.put(key, value));
      return Promise.race([first, late]);
    },
  });

/** Of a write that takes long, success is reported. */
const acknowledgesEarly: StoreLayer = (store, { node }) =>
  replacing(store, {
    put: (key, value, options) => {
      const guess = (): StoredValue => {
        const modRevision = store.revision + 1;
        return { key, value, modRevision, createRevision: modRevision };
      };
      return Promise.race([store.put(key, value, options), node.clock.sleep(PATIENCE_MS).then(guess)]);
    },
  });

const ignoresPreconditions: StoreLayer = (store, { world }) =>
  replacing(store, {
    put: (key, value, options) => store.put(key, value, world.chance(0.3) ? {} : options),
  });

/** A page is read as it is now, not as it was at the revision of the first. */
const pagesOfNow: StoreLayer = (store) =>
  replacing(store, {
    list: (prefix, options = {}) => {
      if (prefix === '/registry/') return store.list(prefix, options);
      const { revision: _, ...now } = options;
      return store.list(prefix, now);
    },
  });

interface PlantedFault {
  readonly layer: StoreLayer;
  /** With which it shows, by name. Default: all. */
  readonly faults?: RegExp;
}

/** By what they do; each has to be found within a few seeds. */
export const PLANTED_FAULTS: Readonly<Record<string, PlantedFault>> = {
  'an event is dropped': {
    layer: changingEvents((events, random) => [events.filter(() => random() >= RARELY)]),
  },
  'an event is delivered twice': {
    layer: changingEvents((events, random) => (random() < RARELY ? [events, events] : [events])),
  },
  'events come in the wrong order': { layer: swapsEvents },
  'an event comes late': { layer: lateEvents },
  'a delete is taken for an update': {
    layer: changingEvents((events, random) => [
      events.map((event) =>
        event.type === 'delete' && event.previous && random() < 0.2
          ? { ...event, type: 'put' as const, value: { ...event.previous, modRevision: event.revision } }
          : event,
      ),
    ]),
  },
  'a consistent read does not ask etcd': { layer: neverAsks },
  'progress is reported that was not made': { layer: fakedProgress },
  'a compaction is ignored': { layer: ignoresCompaction, faults: /compacted|cut off from etcd/ },
  'a write that takes long is sent again': { layer: retriesBlindly },
  'a write is acknowledged before it is decided': { layer: acknowledgesEarly },
  'a precondition is ignored': { layer: ignoresPreconditions },
  'a page is of another revision than the first': { layer: pagesOfNow },
};
