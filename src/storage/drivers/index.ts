/** The list of storage drivers: the one place to add a line when a driver is added. */
import type { LocalStoreOptions } from '../local-store.ts';
import type { Store } from '../store.ts';

interface DriverOptions extends LocalStoreOptions {
  /** Where a driver keeps its files; `memory` has none. */
  readonly dir?: string | undefined;
  /** False: what is missing is not made. A driver without files has nothing to miss. */
  readonly mayCreate?: boolean;
}

/** Imported only when it is asked for: a driver may bring native code. */
const DRIVERS = {
  lmdb: async (options: DriverOptions) =>
    (await import('./lmdb.ts')).openLmdbStore({ ...options, dir: needDir('lmdb', options.dir) }),
  memory: async (options: DriverOptions) => (await import('./memory.ts')).createMemoryStore(options),
} satisfies Readonly<Record<string, (options: DriverOptions) => Promise<Store>>>;

export type StorageDriver = keyof typeof DRIVERS;

interface OpenStoreOptions extends DriverOptions {
  readonly driver: StorageDriver;
}

export const STORAGE_DRIVERS = Object.keys(DRIVERS) as readonly StorageDriver[];

export function openStore(options: OpenStoreOptions): Promise<Store> {
  const open = Object.hasOwn(DRIVERS, options.driver) ? DRIVERS[options.driver] : undefined;
  if (!open)
    throw new TypeError(
      `There is no storage driver ${JSON.stringify(options.driver)}; there are ${STORAGE_DRIVERS.join(', ')}`,
    );
  return open(options);
}

function needDir(driver: string, dir: string | undefined): string {
  if (dir === undefined) throw new TypeError(`The storage driver ${driver} needs a dir`);
  return dir;
}
