/** A real API server with schedulers and no controllers, for tests that assert the resulting objects. */
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pod } from '#api/types.ts';
import { events, namespaces, nodes, pods, serviceAccounts } from '#client/refs.ts';
import { identities } from '#cmd/all-in-one/identities.ts';
import { startTestApi, type TestApi, type TestApiOptions } from '#testing/start-test-api.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { seededRandom } from '#stdx/random.ts';
import { createScheduler, type SchedulerOptions } from '../scheduler.ts';
import { node, pod, type NodeOptions, type PodOptions } from './snapshot.ts';

export const NAMESPACE = 'default';

export async function until<T>(what: string, found: () => Promise<T | undefined | false>): Promise<T> {
  const endMs = Date.now() + 20_000;
  while (Date.now() < endMs) {
    const value = await found();
    if (value !== undefined && value !== false) return value;
    await sleep(20);
  }
  throw new Error(`timed out waiting until ${what}`);
}

export class World {
  readonly testApi: TestApi;
  readonly #schedulers: { stop(): Promise<void> }[] = [];
  constructor(testApi: TestApi) {
    this.testApi = testApi;
  }

  get api(): TestApi['api'] {
    return this.testApi.api;
  }

  /** The scheduler first, then the API it uses. */
  async stop(): Promise<void> {
    for (const scheduler of this.#schedulers) await scheduler.stop();
    await this.testApi.stop();
  }

  async scheduler(options: Partial<SchedulerOptions> = {}): Promise<{ stop(): Promise<void> }> {
    const scheduler = createScheduler({
      api: this.testApi.clientAs(identities.scheduler),
      clock: realClock,
      log: silentLogger,
      identity: 'test',
      leaderElect: false,
      random: seededRandom(7),
      ...options,
    });
    this.#schedulers.push(scheduler);
    await scheduler.start();
    return scheduler;
  }

  async node(name: string, options: NodeOptions = {}): Promise<void> {
    const wanted = node(name, options);
    const made = await this.api.create(nodes, wanted);
    // New nodes have a taint until they report Ready.
    const clean = await this.api.update(nodes, {
      ...made,
      spec: { ...made.spec, taints: wanted.spec?.taints ?? [] },
    });
    await this.api.updateStatus(nodes, {
      ...clean,
      status: { ...wanted.status, conditions: [{ type: 'Ready', status: 'True' }] } as never,
    });
  }

  async pod(name: string, options: PodOptions & { readonly className?: string } = {}): Promise<Pod> {
    const { metadata, spec } = pod(name, options);
    const { priority: _set, ...rest } = spec ?? { containers: [] };
    return this.api.create(pods, {
      metadata: { name, namespace: NAMESPACE, labels: metadata?.labels ?? {} },
      spec: { ...rest, ...(options.className ? { priorityClassName: options.className } : {}) },
    });
  }

  read(name: string): Promise<Pod> {
    return this.api.get(pods, { name, namespace: NAMESPACE });
  }

  placed(name: string): Promise<string> {
    return until(`${name} has a node`, async () => (await this.read(name)).spec?.nodeName || false);
  }

  refusal(name: string): Promise<string> {
    return until(
      `${name} is refused`,
      async () =>
        (await this.read(name)).status?.conditions?.find(
          ({ type, status }) => type === 'PodScheduled' && status === 'False',
        )?.message,
    );
  }

  eventOf(name: string, reason: string): Promise<string> {
    return until(
      `${name} has event ${reason}`,
      async () =>
        (await this.api.list(events, { namespace: NAMESPACE })).items.find(
          (event) => event.involvedObject.name === name && event.reason === reason,
        )?.message,
    );
  }
}

export async function worldFor(
  t: TestContext,
  options: Pick<TestApiOptions, 'serving'> = {},
): Promise<World> {
  const testApi = await startTestApi(options);
  // What controllers do in a complete cluster.
  await testApi.api.create(namespaces, { metadata: { name: NAMESPACE } }).catch(() => {});
  await testApi.api.create(serviceAccounts, { metadata: { name: 'default', namespace: NAMESPACE } });
  const world = new World(testApi);
  t.after(() => world.stop());
  return world;
}
