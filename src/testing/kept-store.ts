/** For tests: a store that outlives its servers, as files do, and whose raw bytes and failures are the test's. */
import { createMemoryStore } from '#storage/drivers/memory.ts';
import { StoreError, type Store } from '#storage/store.ts';

/** A new one, in memory. */
export function memoryStore(): Store {
  return createMemoryStore({});
}

/** The same store, which is not closed by who closes this. onPut is called before each write; what it throws is the write's failure. */
export function keptStore(store: Store, onPut: (key: string) => Promise<void> | void = () => {}): Store {
  return {
    get revision() {
      return store.revision;
    },
    get compactedRevision() {
      return store.compactedRevision;
    },
    get: (key, options) => store.get(key, options),
    list: (prefix, options) => store.list(prefix, options),
    delete: (key, options) => store.delete(key, options),
    put: async (key, value, options) => {
      await onPut(key);
      return store.put(key, value, options);
    },
    watch: (options) => store.watch(options),
    compact: (revision) => store.compact(revision),
    stats: () => store.stats(),
    close: () => Promise.resolve(),
  };
}

/** What a store says whose disk cannot be written now. */
export function diskAway(): Error {
  return new StoreError('unavailable', 'the disk is away');
}

/** Every value below the prefix as it lies there, one character a byte. */
export async function rawValues(store: Store, prefix: string): Promise<string[]> {
  return (await store.list(prefix)).items.map(({ value }) => value.toString('latin1'));
}
