/** Device plugins: real sockets on both sides. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { Container, Pod } from '#api/types.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { AgentMetrics } from '../agent/agent-metrics.ts';
import { PluginRegistry } from '../plugins/plugin-registry.ts';
import { registrationMethods } from '../plugins/registration.ts';
import { serveUnixSocket } from '#grpc/server.ts';
import { CHECKPOINT_NAME } from './checkpoint.ts';
import { DeviceManager } from './device-manager.ts';
import { GpuPlugin, gpus } from './testing/gpu-plugin.ts';

const GPU = 'example.com/gpu';

function container(name: string, count: number, more: Partial<Container> = {}): Container {
  return { name, resources: { limits: { [GPU]: String(count) } }, ...more };
}

function pod(uid: string, containers: Container[], initContainers: Container[] = []): Pod {
  return { metadata: { name: uid, namespace: 'd', uid }, spec: { containers, initContainers } };
}

describe('device plugins', () => {
  let dir: string;
  let manager: DeviceManager;
  let clock: FakeClock;
  let active: Set<string>;
  const plugins: GpuPlugin[] = [];

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'capstan-devices-'));
    clock = new FakeClock();
    active = new Set();
    manager = await started();
  });
  afterEach(() => {
    for (const one of plugins.splice(0)) one.stop();
    manager.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  async function started(): Promise<DeviceManager> {
    const made = new DeviceManager({
      dir,
      clock,
      log: silentLogger,
      metrics: new AgentMetrics(clock),
      isActive: (uid) => active.has(uid),
      onChange: () => {},
    });
    await made.start();
    return made;
  }

  function plugin(options: Partial<ConstructorParameters<typeof GpuPlugin>[0]> = {}): GpuPlugin {
    const made = new GpuPlugin({ dir, resource: GPU, devices: gpus('a', 'b', 'c'), ...options });
    plugins.push(made);
    return made;
  }

  async function shows(capacity: string, allocatable: string): Promise<void> {
    for (let left = 400; left > 0; left -= 1) {
      const now = manager.nodeDevices();
      if (now.capacity[GPU] === capacity && now.allocatable[GPU] === allocatable) return;
      await realClock.sleep(25);
    }
    assert.deepEqual(manager.nodeDevices(), {
      capacity: { [GPU]: capacity },
      allocatable: { [GPU]: allocatable },
    });
  }

  /** Its devices, once admitted. */
  async function admit(one: Pod): Promise<(string | undefined)[]> {
    await manager.allocate(one);
    active.add(one.metadata!.uid!);
    const all = [...(one.spec?.initContainers ?? []), ...(one.spec?.containers ?? [])];
    return Promise.all(all.map(async (each) => (await manager.prepareContainer(one, each))?.envs['GPUS']));
  }

  it('become resources of the node, by their health', async () => {
    const gpu = plugin();
    await gpu.start();
    await shows('3', '3');
    gpu.change([...gpus('a', 'b'), { ID: 'c', health: 'Unhealthy' }]);
    await shows('3', '2');
    gpu.change(gpus('a'));
    await shows('1', '1');
  });

  it('that are gone leave unhealthy devices, and after five minutes none', async () => {
    const gpu = plugin();
    await gpu.start();
    await shows('3', '3');
    gpu.stop();
    await shows('3', '0');
    await clock.advance(301_000);
    await shows('0', '0');
    await plugin({ devices: gpus('a') }).start();
    await shows('1', '1');
  });

  it('of another version, or with a wrong resource, are refused in words', async () => {
    await assert.rejects(
      plugin().start('v1'),
      /requested API version "v1" is not supported by kubelet\. Supported version is \["v1beta1"\]/,
    );
    await assert.rejects(plugin({ resource: 'gpu' }).start(), /the ResourceName "gpu" is invalid/);
  });

  it('give devices to containers, each to one, with what the plugin adds', async () => {
    await plugin({
      adds: {
        mounts: [{ containerPath: '/lib/gpu', hostPath: '/usr/lib/gpu', readOnly: true }],
        annotations: { gpu: 'yes' },
        cdiDevices: [{ name: 'example.com/gpu=a' }],
      } as never,
    }).start();
    await shows('3', '3');
    const first = pod('one', [container('x', 1), container('y', 1)]);
    assert.deepEqual(await admit(first), ['a', 'b']);
    assert.deepEqual(await manager.prepareContainer(first, first.spec!.containers[0]!), {
      envs: { GPUS: 'a' },
      annotations: { gpu: 'yes' },
      mounts: [{ containerPath: '/lib/gpu', hostPath: '/usr/lib/gpu', readOnly: true }],
      devices: [{ containerPath: '/dev/gpu-a', hostPath: '/dev/null', permissions: 'rw' }],
      cdiDevices: [{ name: 'example.com/gpu=a' }],
    });
    await assert.rejects(admit(pod('two', [container('x', 2)])), {
      message: 'requested number of devices unavailable for example.com/gpu. Requested: 2, Available: 1',
    });
    assert.deepEqual(await admit(pod('three', [container('x', 1)])), ['c']);
    // The first pod ended.
    active.delete('one');
    assert.deepEqual(await admit(pod('four', [container('x', 2)])), ['a,b']);
    assert.equal(manager.needsDevices(pod('five', [{ name: 'x' }])), false);
  });

  it('of init containers that end are given again; those of sidecars are kept', async () => {
    await plugin().start();
    await shows('3', '3');
    const one = pod(
      'one',
      [container('main', 2)],
      [container('init', 2), container('sidecar', 1, { restartPolicy: 'Always' })],
    );
    // The sidecar takes one of the init container's.
    assert.deepEqual(await admit(one), ['a,b', 'a', 'b,c']);
  });

  it('are chosen by the plugin where it wants to, and told before a container starts', async () => {
    const gpu = plugin({ preStartRequired: true, prefers: (available) => [available.at(-1)!, 'unknown'] });
    await gpu.start();
    await shows('3', '3');
    assert.deepEqual(await admit(pod('one', [container('x', 2)])), ['c,a']);
    assert.deepEqual(gpu.calls, ['allocate c,a', 'start a,c']);
  });

  it('that refuse an allocation, or are unhealthy, reject the pod', async () => {
    const gpu = plugin();
    await gpu.start();
    await shows('3', '3');
    gpu.failure = 'the GPU is on fire';
    await assert.rejects(admit(pod('one', [container('x', 1)])), {
      message: 'rpc error: code = Unknown desc = the GPU is on fire',
    });
    gpu.change([{ ID: 'a', health: 'Unhealthy' }]);
    await shows('1', '0');
    await assert.rejects(admit(pod('one', [container('x', 1)])), {
      message: 'no healthy devices present; cannot allocate unhealthy devices example.com/gpu',
    });
  });

  it('are remembered across a restart of the agent, in upstream’s file', async () => {
    const gpu = plugin({ devices: [{ ID: 'a', health: 'Healthy', topology: { nodes: [{ ID: 1 }] } }] });
    await gpu.start();
    await shows('1', '1');
    const one = pod('one', [container('x', 1)]);
    await admit(one);
    const { Data } = JSON.parse(readFileSync(join(dir, CHECKPOINT_NAME), 'utf8')) as {
      Data: { PodDeviceEntries: object[]; RegisteredDevices: object };
    };
    assert.deepEqual(Data.RegisteredDevices, { [GPU]: ['a'] });
    assert.deepEqual(
      Data.PodDeviceEntries.map((entry) => ({ ...entry, AllocResp: undefined })),
      [
        {
          PodUID: 'one',
          ContainerName: 'x',
          ResourceName: GPU,
          DeviceIDs: { 1: ['a'] },
          AllocResp: undefined,
        },
      ],
    );
    manager.stop();
    gpu.stop();
    manager = await started();
    // Until the plugin comes back there are none, and the container keeps its own.
    assert.deepEqual(manager.nodeDevices().capacity, { [GPU]: '0' });
    assert.equal((await manager.prepareContainer(one, one.spec!.containers[0]!))?.envs['GPUS'], 'a');
    await gpu.start();
    await shows('1', '1');
    await assert.rejects(admit(pod('two', [container('x', 1)])), /Requested: 1, Available: 0/);
  });

  it('whose checkpoint is damaged begin anew', async () => {
    manager.stop();
    writeFileSync(join(dir, CHECKPOINT_NAME), '{');
    manager = await started();
    await plugin().start();
    await shows('3', '3');
  });

  it('also register by a socket in plugins_registry', async () => {
    const registry = new PluginRegistry({ dir: join(dir, 'reg'), clock: realClock, log: silentLogger });
    registry.handle('DevicePlugin', manager);
    const endpoint = join(dir, 'own.sock');
    await plugin({ devices: gpus('a') }).listen(endpoint);
    const told: object[] = [];
    const socket = await serveUnixSocket({
      socketPath: join(dir, 'reg', 'gpu.sock'),
      methods: registrationMethods,
      answers: {
        GetInfo: () => ({ type: 'DevicePlugin', name: GPU, endpoint, supportedVersions: ['v1beta1'] }),
        NotifyRegistrationStatus: (status) => {
          told.push(status);
          return {};
        },
      },
    });
    registry.start();
    await shows('1', '1');
    socket.close();
    await shows('1', '0');
    await registry.stop();
    assert.deepEqual(told, [{ pluginRegistered: true, error: '' }]);
  });
});
