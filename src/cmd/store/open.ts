/** The stores that `capstan store` works on, none of them in use: the embedded one of a data directory, and an etcd. */
import { existsSync } from 'node:fs';
import { CodecStore } from '#apiserver/storagecodec/codec-store.ts';
import type { Encryption } from '#apiserver/encryption/encryption.ts';
import { UserError, type DataDir } from '#deploy/data-dir.ts';
import { realClock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import { openStore } from '#storage/drivers/index.ts';
import { openEtcdStore } from '#storage/drivers/etcd/etcd-store.ts';
import { StoreError, type Revision, type Store } from '#storage/store.ts';
import { etcdFrom, ROOT } from '../apiserver/flags/etcd.ts';
import type { Side } from './copy.ts';

/** As `capstan apiserver` has them. */
export interface StoreFlags {
  readonly dataDir?: string | undefined;
  readonly etcdServers?: readonly string[];
  readonly etcdPrefix?: string;
  readonly etcdCafile?: string;
  readonly etcdCertfile?: string;
  readonly etcdKeyfile?: string;
  readonly encryptionProviderConfig?: string | undefined;
}

export interface OpenedSide extends Side {
  readonly name: string;
  close(): Promise<void>;
}

interface Opening {
  readonly flags: StoreFlags;
  readonly log: Logger;
}

export async function openEmbedded(
  dir: string,
  {
    flags,
    log,
    mayCreate,
    startRevision,
  }: Opening & { readonly mayCreate: boolean; readonly startRevision?: Revision | undefined },
): Promise<OpenedSide> {
  if (!mayCreate && !existsSync(dir)) throw new UserError(`There is no store in ${dir}.`);
  const raw = await sentence(() => openStore({ driver: 'lmdb', dir, mayCreate, startRevision, log }));
  return { raw, name: dir, ...(await seen(raw, { flags, log, isEtcd: false })) };
}

export async function openEtcd({ flags, log }: Opening): Promise<OpenedSide> {
  const options = etcdFrom(flags);
  if (!options) throw new UserError('--etcd-servers URL,... is needed: the members of etcd.');
  const raw = await sentence(() =>
    openEtcdStore({ ...options, compactionIntervalMs: 0, monitorIntervalMs: 0, log }),
  );
  const name = `etcd ${options.endpoints.join(',')}`;
  try {
    return { raw, name, ...(await seen(raw, { flags, log, isEtcd: true })) };
  } catch (error) {
    await raw.close();
    throw error;
  }
}

/** No API server has a lease there, ours or upstream's. */
export async function requireUnused({ raw, name }: OpenedSide): Promise<void> {
  const { items } = await raw.list(`${ROOT}/masterleases/`, { limit: 1 });
  if (items.length > 0)
    throw new UserError(
      `${name} is in use by the API server at ${items[0]!.key.split('/').at(-1)}: stop every API server first, and wait 15 s where one was killed.`,
    );
}

async function seen(
  raw: Store,
  { flags, log, isEtcd }: Opening & { readonly isEtcd: boolean },
): Promise<Pick<OpenedSide, 'store' | 'close'>> {
  let encryption: Encryption | undefined;
  if (flags.encryptionProviderConfig !== undefined) {
    const { createEncryption } = await import('#apiserver/encryption/encryption.ts');
    encryption = await createEncryption({
      file: flags.encryptionProviderConfig,
      reload: false,
      clock: realClock,
      log,
    });
  }
  const prefix = flags.etcdPrefix ?? ROOT;
  const inEtcd = (key: string): string => prefix + key.slice(ROOT.length);
  const plain = encryption?.wrap(raw, isEtcd ? inEtcd : undefined) ?? raw;
  const close = async (): Promise<void> => {
    await raw.close();
    encryption?.close();
  };
  return { store: isEtcd ? new CodecStore(plain) : plain, close };
}

async function sentence<T>(open: () => Promise<T>): Promise<T> {
  try {
    return await open();
  } catch (error) {
    throw error instanceof StoreError ? new UserError(`${error.message}.`, error) : error;
  }
}

/** Throws a UserError for a directory that runs. */
export function requireDataDir(dir: DataDir): void {
  if (!existsSync(dir.path)) throw new UserError(`There is no data directory ${dir.path}.`);
}
