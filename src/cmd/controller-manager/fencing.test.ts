/**
 * What a controller manager and a scheduler send while their lease may be over, on every connection that they have: nothing but the lease. Their processes stood still
 * in the meantime, as it were: the time has gone on and their timers have not fired.
 */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { Client } from '#client/client.ts';
import { createClient } from '#client/create.ts';
import { createDirectTransport } from '#client/direct.ts';
import { configMaps, namespaces, pods, serviceAccounts } from '#client/refs.ts';
import { TransportError } from '#client/transport-error.ts';
import type { Transport } from '#client/transport.ts';
import { createScheduler } from '#scheduler/scheduler.ts';
import type { Component } from '#runtime/component.ts';
import { realClock, type Clock } from '#stdx/clock.ts';
import { createLogger, type Logger } from '#stdx/log.ts';
import { until } from '#testing/cluster.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { identities } from '../all-in-one/identities.ts';
import { startControllerManager } from './compose.ts';
import { createServiceAccountTransport } from './service-account-transport.ts';

const FENCED = /the lease of leader election may be over/;
/** More than the renewal deadline, less than the lease. */
const STOOD_STILL_MS = 12_000;

describe('while the lease may be over', () => {
  it('controllers write nothing: no object, event, account or token', async (t) => {
    const world = await World.start(t);
    const fenced: string[] = [];
    const context = world.context(identities.controllerManager, fenced);
    await world.run(
      await startControllerManager({
        ...context,
        clusterCIDR: '10.244.0.0/16',
        caPem: world.api.pki.ca.certificatePem,
        apiFor: (name, mayWrite) =>
          Promise.resolve(
            createClient(
              createServiceAccountTransport({
                shared: world.transport(),
                api: context.api,
                namespace: 'kube-system',
                name,
                clock: context.clock,
                mayWrite,
              }),
              { userAgent: name },
            ),
          ),
      }),
    );
    await world.work('before');
    await until('the namespace to have an account', () => world.has('before'));
    world.standStill();
    await world.work('after');
    // Tokens of controllers that had no work yet are not asked for either.
    await until('controllers to be refused', () => Promise.resolve(fenced.length >= 5));
    assert.deepEqual(world.writes, []);
    assert.equal(await world.has('after'), false);
  });

  it('the scheduler writes nothing: no binding, condition or event', async (t) => {
    const world = await World.start(t);
    const fenced: string[] = [];
    await world.run(createScheduler(world.context(identities.scheduler, fenced)));
    const condition = async (name: string): Promise<boolean> => {
      const { status } = await world.api.api.get(pods, { name, namespace: 'default' });
      return status?.conditions?.some(({ type }) => type === 'PodScheduled') ?? false;
    };
    await world.pod('before');
    await until('the first pod to be refused', () => condition('before'));
    world.standStill();
    await world.pod('after');
    await until('the scheduler to be refused', () => Promise.resolve(fenced.length > 0));
    assert.deepEqual(world.writes, []);
    assert.equal(await condition('after'), false);
  });
});

/** An API server, and a component whose every request is seen. */
class World {
  readonly api: TestApi;
  readonly writes: string[] = [];
  #stoodStillMs = 0;

  private constructor(api: TestApi) {
    this.api = api;
  }

  static async start(t: TestContext): Promise<World> {
    const api = await startTestApi();
    const world = new World(api);
    t.after(() => api.stop());
    t.after(() => world.#end());
    await api.api.create(namespaces, { metadata: { name: 'default' } }).catch(() => {});
    return world;
  }

  #component: Component | undefined;
  readonly #clients: Client[] = [];

  async run(component: Component): Promise<void> {
    this.#component = component;
    await component.start();
  }

  async #end(): Promise<void> {
    await this.#component?.stop();
    await Promise.all(this.#clients.map((client) => client.close()));
  }

  /** fenced: what its log says of writes that were not sent. */
  context(
    user: Parameters<TestApi['clientAs']>[0],
    fenced: string[],
  ): { api: Client; clock: Clock; log: Logger; identity: string } {
    const api = createClient(this.transport(user), { userAgent: user.name });
    this.#clients.push(api);
    const clock: Clock = { ...realClock, monotonic: () => realClock.monotonic() + this.#stoodStillMs };
    return { api, clock, log: listening(fenced), identity: 'one' };
  }

  /** Without a user: that of each request's credentials. */
  transport(user?: Parameters<TestApi['clientAs']>[0]): Transport {
    const direct = createDirectTransport(this.api.server.handler, user ? { user } : {});
    return {
      request: (request) => {
        const { method, path } = request;
        const isLease = path.startsWith('/apis/coordination.k8s.io/');
        if (this.#stoodStillMs === 0 || method === 'GET') return direct.request(request);
        // The lease is not renewed while the test looks.
        if (isLease) return Promise.reject(new TransportError('reset', 'cut off by the test'));
        this.writes.push(`${method} ${path}`);
        return direct.request(request);
      },
      close: () => direct.close(),
    };
  }

  standStill(): void {
    this.#stoodStillMs = STOOD_STILL_MS;
  }

  /** For several controllers. */
  async work(namespace: string): Promise<void> {
    await this.api.api.create(namespaces, { metadata: { name: namespace } });
    for (const name of ['a', 'b']) await this.api.api.create(configMaps, { metadata: { name, namespace } });
  }

  async has(namespace: string): Promise<boolean> {
    return (await this.api.api.list(serviceAccounts, { namespace })).items.length > 0;
  }

  async pod(name: string): Promise<void> {
    const spec = { containers: [{ name: 'c', image: 'i' }] };
    await this.api.api
      .create(serviceAccounts, { metadata: { name: 'default', namespace: 'default' } })
      .catch(() => {});
    await this.api.api.create(pods, { metadata: { name, namespace: 'default' }, spec });
  }
}

function listening(fenced: string[]): Logger {
  return createLogger({ level: 'debug', write: (line) => FENCED.test(line) && fenced.push(line) });
}
