/**
 * A real API server inside the test's process, over the memory store, with the real authentication, RBAC and admission; and clients of it acting
 * as any user. The default user is an administrator. Nothing listens on the network unless asked to.
 */
import { createClient } from '#client/create.ts';
import type { Client } from '#client/client.ts';
import { createDirectTransport } from '#client/direct.ts';
import type { Serving } from '#cmd/apiserver/flags/serving.ts';
import { composeApiServer, type ComposedApiServer } from '#cmd/apiserver/compose.ts';
import type { ApiServerSettings } from '#cmd/apiserver/settings.ts';
import { ensurePki, type Pki } from '#deploy/pki/pki.ts';
import type { UserInfo } from '#machinery/object.ts';
import { realClock, type Clock } from '#stdx/clock.ts';
import { silentLogger, type Logger } from '#stdx/log.ts';
import { createMemoryStore } from '#storage/drivers/memory.ts';
import type { Store } from '#storage/store.ts';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const ADMIN: UserInfo = { name: 'admin', groups: ['system:masters', 'system:authenticated'] };

export interface TestApi {
  /** As an administrator. */
  readonly api: Client;
  readonly server: ComposedApiServer;
  readonly pki: Pki;
  readonly store: Store;
  clientAs(user: UserInfo): Client;
  /** Ends clients and server, removes temporary files. */
  stop(): Promise<void>;
}

export interface TestApiOptions {
  readonly clock?: Clock;
  readonly log?: Logger;
  readonly store?: Store;
  /** The store is an etcd with upstream's encoding: '/registry'. */
  readonly etcdPrefix?: string;
  /** Listen on this loopback port too, for foreign clients (see pki for credentials). */
  readonly port?: number;
  readonly serviceCIDR?: string;
  /** Where the Service kubernetes leads. Default 127.0.0.1, for which there are no endpoints. */
  readonly advertiseAddress?: string;
  /** What flags would set. */
  readonly settings?: ApiServerSettings;
  readonly serving?: Serving;
}

export async function startTestApi(options: TestApiOptions = {}): Promise<TestApi> {
  const dir = await mkdtemp(join(tmpdir(), 'capstan-test-'));
  const {
    clock = realClock,
    log = silentLogger,
    store = createMemoryStore({}),
    serviceCIDR = '10.96.0.0/16',
  } = options;
  const clients: Client[] = [];
  const pki = await ensurePki({
    dir: join(dir, 'pki'),
    nowMs: Date.now(),
    apiServer: { hostName: 'localhost', serviceIP: '10.96.0.1', bindAddresses: ['127.0.0.1'] },
  });
  const server = await composeApiServer({
    store,
    etcdPrefix: options.etcdPrefix,
    pki,
    serviceCIDR,
    clock,
    log,
    advertiseAddress: options.advertiseAddress ?? '127.0.0.1',
    settings: options.settings,
    serving: options.serving,
    port: options.port ?? 6443,
    listen: options.port === undefined ? [] : ['127.0.0.1'],
  });
  await server.ready();
  const clientAs = (user: UserInfo): Client => {
    const client = createClient(createDirectTransport(server.handler, { user }), {
      userAgent: 'test',
      clock,
    });
    clients.push(client);
    return client;
  };
  return {
    api: clientAs(ADMIN),
    server,
    pki,
    store,
    clientAs,
    async stop() {
      await Promise.all(clients.map((client) => client.close()));
      await server.stop();
      await store.close();
      await rm(dir, { recursive: true, force: true });
    },
  };
}
