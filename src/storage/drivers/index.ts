/** The list of storage drivers: add a line here to add a driver. */
import type { LocalStoreOptions } from '../local-store.ts';
import type { Store } from '../store.ts';

interface DriverOptions extends LocalStoreOptions {
  /** Directory of the driver's files; `memory` has none. */
  readonly dir?: string | undefined;
  /** False: a missing store is an error instead of being created. No effect on drivers without files. */
  readonly mayCreate?: boolean;
}

/** Imported on demand: a driver may contain native code. */
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
