/** The component against a real API server. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pod, PodSpec } from '#api/types.ts';
import { leases, namespaces, nodes, persistentVolumes, pods, serviceAccounts } from '#client/refs.ts';
import { identities } from '#cmd/all-in-one/identities.ts';
import { realClock } from '#stdx/clock.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { createSimulatedNodes } from './simulated-nodes.ts';

const NAMESPACE = 'default';

async function until<T>(what: string, found: () => Promise<T | undefined | false>): Promise<T> {
  const endMs = Date.now() + 20_000;
  while (Date.now() < endMs) {
    const value = await found();
    if (value !== undefined && value !== false) return value;
    await sleep(20);
  }
  throw new Error(`timed out waiting for ${what}`);
}

interface World extends TestApi {
  readonly components: { stop(): Promise<void> }[];
}

/** Components stop before the API they use. */
async function apiFor(t: TestContext): Promise<World> {
  const testApi = await startTestApi();
  const components: World['components'] = [];
  t.after(async () => {
    for (const component of components) await component.stop();
    await testApi.stop();
  });
  await testApi.api.create(namespaces, { metadata: { name: NAMESPACE } }).catch(() => {});
  await testApi.api.create(namespaces, { metadata: { name: 'kube-node-lease' } }).catch(() => {});
  await testApi.api.create(serviceAccounts, { metadata: { name: 'default', namespace: NAMESPACE } });
  return { ...testApi, components };
}

async function nodesFor(
  { clientAs, components }: World,
  names: readonly string[],
): Promise<{ stop(): Promise<void> }> {
  const component = createSimulatedNodes({
    api: clientAs(identities.simulatedNodes),
    clock: realClock,
    log: silentLogger,
    identity: 'test',
    names,
    kubeletVersion: 'v1.36.0',
  });
  components.push(component);
  await component.start();
  return component;
}

function podOn(
  node: string,
  options: {
    readonly name: string;
    readonly spec?: Partial<PodSpec>;
    readonly annotations?: Record<string, string>;
  },
): Pod {
  return {
    metadata: { name: options.name, namespace: NAMESPACE, annotations: options.annotations ?? {} },
    spec: { nodeName: node, containers: [{ name: 'main', image: 'x' }], ...options.spec },
  };
}

function isReady(pod: Pod): boolean {
  return pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false;
}

describe('simulated nodes', () => {
  it('register, are ready and have leases', async (t) => {
    const testApi = await apiFor(t);
    await nodesFor(testApi, ['n1', 'n2', 'n3']);
    const { items } = await testApi.api.list(nodes);
    assert.deepEqual(
      items.map((node) => [
        node.metadata?.name,
        node.status?.conditions?.find(({ type }) => type === 'Ready')?.status,
      ]),
      [
        ['n1', 'True'],
        ['n2', 'True'],
        ['n3', 'True'],
      ],
    );
    assert.equal((await testApi.api.list(leases, { namespace: 'kube-node-lease' })).items.length, 3);
  });

  it('are Ready again after a pause, and their pods too', async (t) => {
    const { clientAs, components, api } = await apiFor(t);
    const clock = new FakeClock(Date.now());
    const component = createSimulatedNodes({
      api: clientAs(identities.simulatedNodes),
      clock,
      log: silentLogger,
      identity: 'test',
      names: ['n1'],
      kubeletVersion: 'v1.36.0',
    });
    components.push(component);
    await component.start();
    await api.create(pods, podOn('n1', { name: 'p' }));
    const pod = (): Promise<Pod> => api.get(pods, { name: 'p', namespace: NAMESPACE });
    await until('the pod to run', async () => {
      await clock.advance(100);
      return isReady(await pod());
    });
    // Time passes while nothing runs; the node lifecycle controller gives the node up.
    clock.setNow(clock.now() + 60_000);
    const lost = (status: string): object => ({ status: { conditions: [{ type: 'Ready', status }] } });
    const write = { type: 'strategic', subresource: 'status' } as const;
    await api.patch(nodes, { name: 'n1' }, { ...write, patch: lost('Unknown') });
    await api.patch(pods, { name: 'p', namespace: NAMESPACE }, { ...write, patch: lost('False') });
    await clock.advance(10_000);
    await until('the node to be Ready', async () =>
      (await api.get(nodes, { name: 'n1' })).status?.conditions?.some(
        ({ type, status }) => type === 'Ready' && status === 'True',
      ),
    );
    await until('the pod to be Ready', async () => isReady(await pod()));
  });

  it('beat while others still register', async (t) => {
    const { clientAs, components, api } = await apiFor(t);
    const clock = new FakeClock();
    const own = clientAs(identities.simulatedNodes);
    const { promise: letGo, resolve: go } = Promise.withResolvers<void>();
    const slow = new Proxy(own, {
      get: (target, name) => {
        const value = Reflect.get(target, name) as unknown;
        if (name !== 'create') return typeof value === 'function' ? (value.bind(target) as unknown) : value;
        return async (...words: Parameters<typeof own.create>) => {
          if (words[1].metadata?.name === 'late') await letGo;
          return target.create(...words);
        };
      },
    });
    const component = createSimulatedNodes({
      api: slow,
      clock,
      log: silentLogger,
      identity: 'test',
      names: ['early', 'late'],
      kubeletVersion: 'v1.36.0',
    });
    components.push(component);
    const started = component.start();
    const renewed = async (): Promise<string | undefined> =>
      (await api.get(leases, { name: 'early', namespace: 'kube-node-lease' }).catch(() => undefined))?.spec
        ?.renewTime;
    const first = await until('the lease', renewed);
    await until('the beat to be set', () => Promise.resolve(clock.pending > 0));
    await clock.advance(10_000);
    await until('another beat', async () => (await renewed()) !== first);
    go();
    await started;
  });

  it('give pods an address of each range of their node', async (t) => {
    const testApi = await apiFor(t);
    const { api } = testApi;
    const podCIDRs = ['fd00:244:0:1::/64', '10.244.1.0/24'];
    await api.create(nodes, { metadata: { name: 'n1' }, spec: { podCIDRs } });
    await nodesFor(testApi, ['n1']);
    for (const name of ['p1', 'p2']) await api.create(pods, podOn('n1', { name }));
    const all = await until('both pods to be ready', async () => {
      const { items } = await api.list(pods, { namespace: NAMESPACE });
      return items.length === 2 && items.every(isReady) && items;
    });
    assert.deepEqual(all.map(({ status }) => status?.podIPs?.map(({ ip }) => ip).join()).toSorted(), [
      'fd00:244:0:1::2,10.244.1.2',
      'fd00:244:0:1::3,10.244.1.3',
    ]);
  });

  it('run hundreds of pods, each with its own address, and end deleted ones', async (t) => {
    const testApi = await apiFor(t);
    const { api } = testApi;
    await nodesFor(testApi, ['n1', 'n2', 'n3']);
    const count = 200;
    await Promise.all(
      Array.from({ length: count }, (_, index) =>
        api.create(pods, podOn(`n${1 + (index % 3)}`, { name: `p${index}` })),
      ),
    );
    const all = await until('all pods to be ready', async () => {
      const { items } = await api.list(pods, { namespace: NAMESPACE });
      return items.length === count && items.every(isReady) && items;
    });
    assert.equal(new Set(all.map((pod) => pod.status?.podIP)).size, count);
    assert.ok(
      all.every((pod) => pod.status?.phase === 'Running' && pod.status.containerStatuses?.[0]?.ready),
    );
    await Promise.all(
      all.map((pod) => api.delete(pods, { name: pod.metadata?.name ?? '', namespace: NAMESPACE })),
    );
    await until(
      'all pods to be gone',
      async () => (await api.list(pods, { namespace: NAMESPACE })).items.length === 0,
    );
  });

  it('let tasks come to their end', async (t) => {
    const testApi = await apiFor(t);
    const { api } = testApi;
    await nodesFor(testApi, ['n1']);
    await api.create(
      pods,
      podOn('n1', {
        name: 'good',
        spec: { restartPolicy: 'Never' },
        annotations: { 'capstan.dev/simulate-run-seconds': '0.1' },
      }),
    );
    await api.create(
      pods,
      podOn('n1', {
        name: 'bad',
        spec: { restartPolicy: 'Never' },
        annotations: { 'capstan.dev/simulate-run-seconds': '0.1', 'capstan.dev/simulate-exit-code': '2' },
      }),
    );
    const phase = (name: string): Promise<string> =>
      until(`the end of ${name}`, async () => {
        const found = (await api.get(pods, { name, namespace: NAMESPACE })).status?.phase;
        return (found === 'Succeeded' || found === 'Failed') && found;
      });
    assert.deepEqual([await phase('good'), await phase('bad')], ['Succeeded', 'Failed']);
  });

  it('take over what another process simulated: same address, same container, no restart', async (t) => {
    const testApi = await apiFor(t);
    const { api } = testApi;
    const first = await nodesFor(testApi, ['n1']);
    await api.create(pods, podOn('n1', { name: 'kept' }));
    await api.create(
      pods,
      podOn('n1', {
        name: 'crashing',
        annotations: { 'capstan.dev/simulate-run-seconds': '0.1', 'capstan.dev/simulate-exit-code': '1' },
      }),
    );
    const read = (name: string): Promise<Pod> => api.get(pods, { name, namespace: NAMESPACE });
    const before = await until('the pod to be ready', async () => {
      const pod = await read('kept');
      return isReady(pod) && pod;
    });
    await until(
      'the other to back off',
      async () =>
        (await read('crashing')).status?.containerStatuses?.[0]?.state?.waiting?.reason ===
        'CrashLoopBackOff',
    );
    await first.stop();
    await nodesFor(testApi, ['n1']);
    await api.create(pods, podOn('n1', { name: 'later' }));
    const later = await until('a later pod to be ready', async () => {
      const pod = await read('later');
      return isReady(pod) && pod;
    });
    const after = await read('kept');
    assert.deepEqual(after.status, before.status);
    assert.notEqual(later.status?.podIP, after.status?.podIP);
    const crashing = (await read('crashing')).status;
    assert.deepEqual([crashing?.phase, crashing?.containerStatuses?.[0]?.restartCount], ['Running', 1]);
  });
});

describe('volumes of simulated nodes', () => {
  it('are offered, and released when they are deleted', async (t) => {
    const world = await apiFor(t);
    const { api } = world;
    await nodesFor(world, ['one', 'two']);
    const node = await api.get(nodes, { name: 'two' });
    assert.equal(node.metadata.annotations?.['local-path.capstan.dev/directory'], '/simulated/local-path');
    await api.create(persistentVolumes, {
      metadata: {
        name: 'v',
        labels: { 'local-path.capstan.dev/node': 'two' },
        finalizers: ['local-path.capstan.dev/directory'],
      },
      spec: { capacity: { storage: '1Gi' }, accessModes: ['ReadWriteOnce'], hostPath: { path: '/x' } },
    });
    // No protection controller runs here, and it is not bound.
    await api.patch(
      persistentVolumes,
      { name: 'v' },
      { type: 'merge', patch: { metadata: { finalizers: ['local-path.capstan.dev/directory'] } } },
    );
    await api.delete(persistentVolumes, { name: 'v' });
    await until('the volume is gone', async () =>
      api.get(persistentVolumes, { name: 'v' }).then(
        () => false,
        () => true,
      ),
    );
  });
});
