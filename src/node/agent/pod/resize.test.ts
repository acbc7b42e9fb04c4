/** Decisions of a resize; that the kernel follows is shown with real containers (testing/conformance/real). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, Pod, ResourceRequirements } from '#api/types.ts';
import { realClock } from '#stdx/clock.ts';
import { rejection, resizeRefusal } from '../admission.ts';
import type { PodCgroup } from '../config/resources.ts';
import type { PodRuntime, RuntimeContainer } from '../runtime-view.ts';
import { PodResize, type PodResizeDependencies, type ResizeRefusal } from './resize.ts';

const MIB = 2 ** 20;

function amounts(cpu: string, memory: string): ResourceRequirements {
  return { requests: { cpu, memory }, limits: { cpu, memory } };
}

function podOf(resources: ResourceRequirements, more: Partial<Container> = {}): Pod {
  return {
    metadata: { name: 'p', uid: 'u', generation: 1 },
    spec: { containers: [{ name: 'c', resources, ...more }] },
  };
}

const RUNTIME: PodRuntime = {
  uid: 'u',
  name: 'p',
  namespace: 'n',
  sandboxes: [],
  containers: [{ id: 'id', name: 'c', phase: 'running' } as RuntimeContainer],
};

/** A node whose runtime and kernel only note what they are told. */
function node({
  refusal,
  usageBytes = 0,
}: { readonly refusal?: () => ResizeRefusal | undefined; readonly usageBytes?: number } = {}) {
  const done: string[] = [];
  const events: string[] = [];
  const dependencies = {
    clock: realClock,
    cgroupRoot: '/r',
    machineMemoryBytes: 2 ** 33,
    resizeRefusal: refusal ?? (() => undefined),
    cgroups: {
      version: 1,
      update: async ({ cpuQuota, memoryLimitBytes }: PodCgroup) =>
        void done.push(`pod ${cpuQuota} ${memoryLimitBytes / MIB}`),
    },
    cri: {
      updateContainerResources: async ({
        linux,
      }: {
        readonly linux: { readonly cpuQuota: number; readonly memoryLimitInBytes: number };
      }) => void done.push(`container ${linux.cpuQuota} ${linux.memoryLimitInBytes / MIB}`),
      containerStats: async () => ({ stats: { memory: { usageBytes: { value: usageBytes } } } }),
    },
    events: { event: (_: Pod, { reason }: { readonly reason: string }) => void events.push(reason) },
  } as unknown as PodResizeDependencies;
  return { dependencies, done, events };
}

test('more: the pod first; less: the containers first', async () => {
  const { dependencies, done, events } = node();
  const small = podOf(amounts('20m', '30Mi'));
  const resize = new PodResize(dependencies, small);
  resize.started('c');
  resize.cgroupMade({ path: '', cpuShares: 20, cpuQuota: 2000, memoryLimitBytes: 30 * MIB });
  for (const desired of [podOf(amounts('30m', '40Mi')), small]) {
    assert.equal(resize.consider(desired), true);
    assert.deepEqual(
      resize.conditions().map(({ type }) => type),
      ['PodResizeInProgress'],
    );
    const { restart } = await resize.actuate(resize.allocated(desired), RUNTIME);
    assert.equal(restart.size, 0);
    assert.deepEqual(resize.conditions(), []);
    assert.deepEqual(resize.actual('c'), desired.spec?.containers[0]?.resources);
  }
  assert.deepEqual(done, [
    'pod 3000 40',
    'container 3000 40',
    'pod 3000 40',
    'pod 3000 40',
    'container 2000 30',
    'pod 2000 30',
  ]);
  assert.deepEqual(events, ['ResizeStarted', 'ResizeCompleted', 'ResizeStarted', 'ResizeCompleted']);
});

test('an init container too, while it runs', async () => {
  const { dependencies, done } = node();
  const withInit = (resources: ResourceRequirements): Pod => ({
    ...podOf(amounts('20m', '30Mi')),
    spec: {
      initContainers: [{ name: 'i', resources }],
      containers: [{ name: 'c', resources: amounts('20m', '30Mi') }],
    },
  });
  const resize = new PodResize(dependencies, withInit(amounts('20m', '30Mi')));
  resize.started('i');
  const desired = withInit(amounts('30m', '40Mi'));
  assert.equal(resize.consider(desired), true);
  await resize.actuate(resize.allocated(desired), {
    ...RUNTIME,
    containers: [{ id: 'id', name: 'i', phase: 'running' } as RuntimeContainer],
  });
  assert.deepEqual([done.includes('container 3000 40'), resize.actual('i')], [true, amounts('30m', '40Mi')]);
});

test('without room it waits, runs with what it has, and goes on when there is room', () => {
  let refusal: ResizeRefusal | undefined = { reason: 'Deferred', message: 'not now' };
  const { dependencies } = node({ refusal: () => refusal });
  const resize = new PodResize(dependencies, podOf(amounts('20m', '30Mi')));
  const desired = podOf(amounts('30m', '30Mi'));
  assert.equal(resize.consider(desired), false);
  assert.deepEqual(
    resize.conditions().map(({ type, reason }) => [type, reason]),
    [['PodResizePending', 'Deferred']],
  );
  assert.deepEqual(resize.allocated(desired).spec?.containers[0]?.resources, amounts('20m', '30Mi'));
  refusal = undefined;
  assert.equal(resize.consider(desired), true);
  assert.equal(resize.deferred, false);
  assert.deepEqual(resize.allocated(desired).spec?.containers[0]?.resources, amounts('30m', '30Mi'));
});

test('what may only change with a new container is left to one', async () => {
  const { dependencies, done } = node();
  const policy: Partial<Container> = {
    resizePolicy: [{ resourceName: 'memory', restartPolicy: 'RestartContainer' }],
  };
  const resize = new PodResize(dependencies, podOf(amounts('20m', '30Mi'), policy));
  resize.started('c');
  const desired = podOf(amounts('20m', '40Mi'), policy);
  resize.consider(desired);
  const { restart } = await resize.actuate(resize.allocated(desired), RUNTIME);
  assert.deepEqual([...restart], ['c']);
  assert.deepEqual(
    resize.conditions().map(({ type }) => type),
    ['PodResizeInProgress'],
  );
  resize.started('c');
  await resize.actuate(resize.allocated(desired), {
    ...RUNTIME,
    containers: [{ ...RUNTIME.containers[0], id: 'next' } as RuntimeContainer],
  });
  assert.deepEqual(resize.conditions(), []);
  assert.ok(!done.some((word) => word.startsWith('container')), done.join(', '));
});

test('a limit of the pod holds containers without their own: written to them, the larger cgroup first, or a new container', async () => {
  const { dependencies, done } = node();
  const podWith = (cpu: string, policy: Partial<Container> = {}): Pod => ({
    ...podOf({}, policy),
    spec: { resources: { limits: { cpu, memory: '30Mi' } }, ...podOf({}, policy).spec! },
  });
  const resize = new PodResize(dependencies, podWith('20m'));
  resize.started('c');
  resize.cgroupMade({ path: '', cpuShares: 20, cpuQuota: 2000, memoryLimitBytes: 30 * MIB });
  for (const desired of [podWith('30m'), podWith('20m')]) {
    resize.consider(desired);
    await resize.actuate(resize.allocated(desired), RUNTIME);
    assert.deepEqual(resize.actual('c'), {}, 'its status shows what is its own');
  }
  assert.deepEqual(done, [
    'pod 3000 30',
    'container 3000 30',
    'pod 3000 30',
    'pod 3000 30',
    'container 2000 30',
    'pod 2000 30',
  ]);
  done.length = 0;
  const restarts = { resizePolicy: [{ resourceName: 'cpu', restartPolicy: 'RestartContainer' }] };
  const desired = podWith('10m', restarts);
  resize.consider(desired);
  const { restart } = await resize.actuate(resize.allocated(desired), RUNTIME);
  assert.deepEqual([...restart], ['c']);
  assert.deepEqual(done, ['pod 2000 30'], 'not below the quota of the container that is still there');
  resize.started('c');
  await resize.actuate(resize.allocated(desired), {
    ...RUNTIME,
    containers: [{ ...RUNTIME.containers[0], id: 'next' } as RuntimeContainer],
  });
  assert.equal(done.at(-1), 'pod 1000 30');
});

test('less memory than is in use is an error that is tried again; nothing was changed', async () => {
  const { dependencies, done, events } = node({ usageBytes: 35 * MIB });
  const resize = new PodResize(dependencies, podOf(amounts('20m', '40Mi')));
  resize.started('c');
  const desired = podOf(amounts('20m', '30Mi'));
  resize.consider(desired);
  for (let turn = 0; turn < 2; turn += 1)
    assert.notEqual((await resize.actuate(resize.allocated(desired), RUNTIME)).retryAtMs, Infinity);
  const [condition] = resize.conditions();
  assert.equal(condition?.reason, 'Error');
  assert.match(condition?.message ?? '', /memory limit \(31457280\) below current usage \(36700160\)$/);
  assert.deepEqual([done, events], [[], ['ResizeStarted', 'ResizeError']]);
});

test('an agent goes on with what the one before allocated', () => {
  const { dependencies } = node({ refusal: () => ({ reason: 'Deferred', message: '' }) });
  const before = amounts('20m', '30Mi');
  const pod: Pod = {
    ...podOf(amounts('30m', '30Mi')),
    status: {
      containerStatuses: [
        {
          name: 'c',
          image: '',
          imageID: '',
          ready: true,
          restartCount: 0,
          allocatedResources: before.requests ?? {},
          resources: before,
        },
      ],
    },
  };
  assert.deepEqual(new PodResize(dependencies, pod).allocated(pod).spec?.containers[0]?.resources, before);
});

test('room on a node: never enough, not now, enough', () => {
  const allocatable = { cpu: '2', memory: '1Gi', pods: '10' };
  const of = (cpu: string): Pod => podOf({ requests: { cpu } });
  const asked = (cpu: string): ResizeRefusal | undefined =>
    resizeRefusal({ pod: of(cpu), others: [of('1')], node: undefined, allocatable });
  assert.deepEqual(asked('3'), {
    reason: 'Infeasible',
    message: "Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000",
  });
  assert.deepEqual(asked('1500m'), {
    reason: 'Deferred',
    message: "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000",
  });
  assert.equal(asked('1'), undefined);
  assert.equal(rejection({ pod: of('1'), others: [of('1')], node: undefined, allocatable }), undefined);
});
