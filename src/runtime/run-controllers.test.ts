import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { KubeObject } from '#machinery/object.ts';
import { statusErrors } from '#machinery/errors.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { MetricsRegistry } from '#stdx/metrics-registry.ts';
import type { Client, ResourceRef } from '#client/client.ts';
import { createClient } from '#client/create.ts';
import { createDirectTransport } from '#client/direct.ts';
import { createFakeApi, type FakeApi } from '#client/testing/fake-api.ts';
import { defineController, watch, type ControllerDefinition } from './controller.ts';
import {
  createControllerManager,
  selectControllers,
  type ControllerManagerOptions,
} from './run-controllers.ts';
import type { Component } from './component.ts';

interface Thing extends KubeObject {
  spec?: { color?: string; copyTo?: string };
}
const configMaps: ResourceRef<Thing> = {
  group: '',
  version: 'v1',
  plural: 'configmaps',
  kind: 'ConfigMap',
  namespaced: true,
};
const secrets: ResourceRef<Thing> = {
  group: '',
  version: 'v1',
  plural: 'secrets',
  kind: 'Secret',
  namespaced: true,
};

const thing = (name: string, spec: Thing['spec'] = {}): Thing => ({
  metadata: { name, namespace: 'default' },
  spec,
});

async function until(what: string, condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 1_000; turn += 1) {
    if (condition()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.fail(`never came true: ${what}`);
}

describe('controller manager', () => {
  let fake: FakeApi;
  let clock: FakeClock;
  let api: Client;
  let started: Component[];

  beforeEach(() => {
    fake = createFakeApi();
    clock = new FakeClock();
    api = createClient(
      createDirectTransport((request) => fake.handler(request)),
      { userAgent: 'test', clock },
    );
    started = [];
  });
  afterEach(async () => {
    const stopping = Promise.all(started.map((component) => component.stop()));
    await clock.advance(10_000);
    await stopping;
    await api.close();
  });

  async function run(
    definitions: readonly ControllerDefinition[],
    options: Partial<ControllerManagerOptions> = {},
  ): Promise<ReturnType<typeof createControllerManager>> {
    const manager = createControllerManager(definitions, {
      api,
      clock,
      log: silentLogger,
      identity: 'test',
      ...options,
    });
    started.push(manager);
    await manager.start();
    return manager;
  }

  it('reconciles existing and changed objects, by the keys of old and new', async () => {
    const keys: string[] = [];
    await api.create(configMaps, thing('a', { copyTo: 'x' }));
    await run([
      defineController({
        name: 'copy-controller',
        watches: [watch(configMaps, { keys: (object) => [object.spec?.copyTo ?? 'none'] }), watch(secrets)],
        reconcile: ({ key }) => {
          keys.push(key);
          return Promise.resolve();
        },
      }),
    ]);
    await until('first', () => keys.join() === 'x');
    await api.patch(
      configMaps,
      { name: 'a', namespace: 'default' },
      { type: 'merge', patch: { spec: { copyTo: 'y' } } },
    );
    await until('both keys', () => keys.join() === 'x,y,x');
    await api.create(secrets, thing('s'));
    await until('own key', () => keys.at(-1) === 'default/s');
  });

  it('a controller may write with a client of its own, while caches stay shared', async (t) => {
    const users: string[] = [];
    const own = createClient(
      createDirectTransport((request) => {
        users.push(`${request.method} ${request.path}`);
        return fake.handler(request);
      }),
      { userAgent: 'own', clock },
    );
    t.after(() => own.close());
    await api.create(configMaps, thing('a'));
    await run(
      [
        defineController({
          name: 'copy-controller',
          eventSource: 'copier',
          watches: [watch(configMaps)],
          async reconcile({ key, api: writer, shared, events, informer }) {
            assert.equal(shared, api);
            events.event(informer(configMaps).get(key)!, {
              type: 'Normal',
              reason: 'Copied',
              message: 'copied',
            });
            await writer.create(secrets, thing('copy'));
          },
        }),
      ],
      { clientFor: () => own },
    );
    await until('copied, with both clients', () => users.length === 2);
    assert.deepEqual(users.toSorted(), [
      'POST /api/v1/namespaces/default/events',
      'POST /api/v1/namespaces/default/secrets',
    ]);
  });

  it('skips updates without a relevant change, and enqueues keys of reconcile', async () => {
    const keys: string[] = [];
    await api.create(configMaps, thing('a', { color: 'red' }));
    await run([
      defineController({
        name: 'color-controller',
        watches: [
          watch(configMaps, { changed: (object, previous) => object.spec?.color !== previous.spec?.color }),
        ],
        reconcile({ key, enqueue }) {
          keys.push(key);
          if (keys.length === 1) enqueue('later', 1_000);
          return Promise.resolve();
        },
      }),
    ]);
    await until('first', () => keys.join() === 'default/a');
    await clock.advance(1_000);
    await until('enqueued', () => keys.join() === 'default/a,later');
    const patch = (spec: Thing['spec']): Promise<Thing> =>
      api.patch(configMaps, { name: 'a', namespace: 'default' }, { type: 'merge', patch: { spec } });
    await patch({ copyTo: 'x' });
    await patch({ color: 'blue' });
    await until('the one that counts', () => keys.length === 3);
    await clock.advance(100);
    assert.equal(keys.length, 3);
  });

  it('reads declared informers and indexes, rejects others, and records events under its name', async () => {
    let seen: string[] = [];
    let refused = '';
    await run([
      defineController({
        name: 'index-controller',
        watches: [watch(configMaps)],
        indexes: [
          { resource: configMaps, name: 'color', values: (object: Thing) => [object.spec?.color ?? ''] },
        ],
        reconcile({ informer, events, key }) {
          seen = informer(configMaps)
            .byIndex('color', 'red')
            .map((object) => object.metadata.name);
          events.event(informer(configMaps).get(key)!, { type: 'Normal', reason: 'Seen', message: 'seen' });
          try {
            informer(secrets);
          } catch (error) {
            refused = (error as Error).message;
          }
          return Promise.resolve();
        },
      }),
    ]);
    await api.create(configMaps, thing('a', { color: 'red' }));
    const events = api.informer({
      group: '',
      version: 'v1',
      plural: 'events',
      kind: 'Event',
      namespaced: true,
    });
    await until('event', () => events.list().length === 1);
    assert.deepEqual(seen, ['a']);
    assert.match(refused, /index-controller declares secrets in watches/);
    assert.deepEqual(events.list()[0]!['source'], { component: 'index-controller' });
  });

  it('puts a sync off until the cache has seen what the sync before it wrote', async () => {
    const metrics = new MetricsRegistry();
    const skips = (): number =>
      Number(
        /own_controller_stale_sync_skips_total\{group="",resource="secrets"\} (\d+)/.exec(
          metrics.render(),
        )?.[1],
      );
    const syncs: string[] = [];
    const definition = defineController({
      name: 'own-controller',
      seesOwnWrites: { featureGate: 'Own', subsystem: 'own_controller' },
      watches: [watch(configMaps), watch(secrets, { keys: () => [] })],
      async reconcile({ api: writer, informer, key }) {
        syncs.push(`${key} sees ${informer(secrets).list().length}`);
        if (syncs.length === 1) await writer.create(secrets, thing('copy'));
      },
    });
    await run([definition], { metrics });
    fake.intercept = ({ path, query }) =>
      path.endsWith('/secrets') && query.includes('watch=')
        ? statusErrors.internal('the watch is cut off')
        : undefined;
    fake.endWatches();
    await clock.advance(5_000);
    await api.create(configMaps, thing('a'));
    await until('wrote', () => syncs.length === 1);
    const change = { type: 'merge', patch: { spec: { color: 'red' } } } as const;
    await api.patch(configMaps, { name: 'a', namespace: 'default' }, change);
    await until('put off', () => skips() === 1);
    await api.create(configMaps, thing('b'));
    await until('another key does not wait', () => syncs.length === 2);
    await clock.advance(5);
    await until('put off again', () => skips() === 2);
    fake.intercept = undefined;
    await clock.advance(60_000);
    await until('synced', () => syncs.length === 3);
    assert.deepEqual(syncs, ['default/a sees 0', 'default/b sees 0', 'default/a sees 1']);
  });

  it('retries a failure with growing delays, and requeues when asked to', async () => {
    const atMs: number[] = [];
    await api.create(configMaps, thing('a'));
    await run([
      defineController({
        name: 'flaky-controller',
        watches: [watch(configMaps)],
        reconcile() {
          atMs.push(clock.monotonic());
          if (atMs.length <= 3) return Promise.reject(new Error('not yet'));
          return Promise.resolve(atMs.length === 4 ? { requeueAfterMs: 1_000 } : undefined);
        },
      }),
    ]);
    await clock.advance(10_000);
    assert.deepEqual(atMs, [0, 5, 15, 35, 1_035]);
  });

  it('sweeps with the empty key at once and periodically', async () => {
    let sweeps = 0;
    await run([
      defineController({
        name: 'sweep-controller',
        watches: [],
        resyncEveryMs: 20_000,
        reconcile({ key }) {
          assert.equal(key, '');
          sweeps += 1;
          return Promise.resolve();
        },
      }),
    ]);
    await clock.advance(60_000);
    assert.equal(sweeps, 4);
  });

  it('passes informer events to expectations before keys are enqueued', async () => {
    const results: boolean[] = [];
    await run([
      defineController({
        name: 'expecting-controller',
        watches: [
          watch(configMaps, {
            keys: () => ['owner'],
            observe: { added: (_object, { expectations }) => expectations.creationObserved('owner') },
          }),
        ],
        resyncEveryMs: 3_600_000,
        async reconcile({ key, expectations, api: client }) {
          if (key === 'owner') results.push(expectations.satisfied('owner'));
          else {
            expectations.expectCreations('owner', 2);
            await client.create(configMaps, thing('a'));
            await client.create(configMaps, thing('b'));
          }
        },
      }),
    ]);
    await until('satisfied', () => results.at(-1) === true);
  });

  it('isolates a controller whose resource is not served', async () => {
    fake.intercept = ({ path }) => (path.includes('secrets') ? statusErrors.pathNotFound() : undefined);
    await api.create(configMaps, thing('a'));
    const ran: string[] = [];
    const named = (name: string, resource: ResourceRef<Thing>): ControllerDefinition =>
      defineController({
        name,
        watches: [watch(resource)],
        reconcile: () => {
          ran.push(name);
          return Promise.resolve();
        },
      });
    const starting = run([named('good', configMaps), named('bad', secrets)]);
    await clock.advance(30_000);
    await starting;
    await until('the good one', () => ran.includes('good'));
    fake.intercept = undefined;
    await api.create(secrets, thing('s'));
    await clock.advance(60_000);
    await until('the other, later', () => ran.includes('bad'));
  });

  it('runs on the leader only, and fails over when it stops', async () => {
    const ran: string[] = [];
    const definition = (who: string): ControllerDefinition =>
      defineController({
        name: 'led-controller',
        watches: [watch(configMaps)],
        reconcile: () => {
          ran.push(who);
          return Promise.resolve();
        },
      });
    await api.create(configMaps, thing('a'));
    const first = await run([definition('first')], { identity: 'first', leaderElect: {} });
    await clock.advance(0);
    const second = await run([definition('second')], { identity: 'second', leaderElect: {} });
    await clock.advance(10_000);
    assert.deepEqual(ran, ['first']);
    assert.equal(first.isLeader && !second.isLeader, true);
    await first.stop();
    await clock.advance(5_000);
    assert.deepEqual(ran, ['first', 'second']);
    const { metadata } = await api.get(
      { group: 'coordination.k8s.io', version: 'v1', plural: 'leases', kind: 'Lease', namespaced: true },
      { namespace: 'kube-system', name: 'kube-controller-manager' },
    );
    assert.equal(metadata?.name, 'kube-controller-manager');
  });

  it('stops in bounded time although a reconcile ignores its signal', async () => {
    await api.create(configMaps, thing('a'));
    let began = false;
    const manager = await run([
      defineController({
        name: 'stuck-controller',
        watches: [watch(configMaps)],
        reconcile: () => {
          began = true;
          return new Promise<void>(() => {});
        },
      }),
    ]);
    await until('stuck', () => began);
    const stopped = manager.stop();
    await clock.advance(5_000);
    await stopped;
  });
});

describe('selectControllers', () => {
  const definitions = ['a', 'b', 'c'].map((name) =>
    defineController({ name, watches: [], resyncEveryMs: 1, reconcile: () => Promise.resolve() }),
  );
  const names = (list: readonly string[]): string =>
    selectControllers(definitions, { names: list, offByDefault: ['c'] })
      .map(({ name }) => name)
      .join();

  it('follows --controllers', () => {
    assert.equal(names(['*']), 'a,b');
    assert.equal(names(['*', '-a', 'c']), 'b,c');
    assert.equal(names(['a']), 'a');
    assert.throws(() => names(['*', 'x']), /"x" is not in the list of known controllers/);
  });
});
