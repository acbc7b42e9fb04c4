/** Several API servers of a test in its own process, on one real etcd. */
import { openEtcdStore } from '#storage/drivers/etcd/etcd-store.ts';
import { installedEtcd, startEtcd, unpackedEtcd35, type TestEtcd } from '#storage/drivers/etcd/test-etcd.ts';
import type { Store } from '#storage/store.ts';
import type { ApiServerOptions } from '../options.ts';
import { startTestServer, type TestServer } from './server.ts';

/** The newest that can be had here. */
export function someEtcd(): string | undefined {
  return unpackedEtcd35() ?? installedEtcd();
}

export interface SharedEtcd {
  readonly etcd: TestEtcd;
  /** Of the same keys as every other. */
  openStore(): Promise<Store>;
  /** Bootstrapped. */
  start(options?: Partial<ApiServerOptions>): Promise<TestServer>;
  close(): Promise<void>;
}

export async function startSharedEtcd(program: string): Promise<SharedEtcd> {
  const etcd = await startEtcd(program);
  const openStore = (): Promise<Store> => openEtcdStore(etcd.options);
  return {
    etcd,
    openStore,
    async start(options = {}) {
      const server = await startTestServer({
        bootstrapObjects: true,
        ...options,
        store: options.store ?? (await openStore()),
      });
      await server.server.ready();
      return server;
    },
    close: () => etcd.close(),
  };
}
