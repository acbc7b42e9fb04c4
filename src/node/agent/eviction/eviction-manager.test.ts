/** The manager's rounds, with measurements of a world in the test. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Pod } from '#api/types.ts';
import { CONFIG_SOURCE } from '#component-helpers/static-pods.ts';
import { silentLogger } from '#stdx/log.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { AgentMetrics } from '../agent-metrics.ts';
import { EvictionManager, type EvictionOptions } from './eviction-manager.ts';
import { compareFileSystems, observeNode } from './node-signals.ts';
import type { EvictablePod } from './storage-limits.ts';
import { evictionThresholds, type Signal } from './thresholds.ts';

const MIB = 1024 * 1024;
const DIRECTORIES = { node: '/n', images: '/i', containers: '/i' };

class World {
  readonly clock = new FakeClock();
  readonly happened: string[] = [];
  readonly pods: (EvictablePod & { finished: boolean; failing: boolean; memory: number })[] = [];
  /** In bytes. */
  available: Partial<Record<Signal, number>> = {};
  /** What removing images frees. */
  unusedImages = 0;
  broken = false;
  readonly metrics = new AgentMetrics(this.clock);
  readonly manager: EvictionManager;

  constructor(options: Partial<EvictionOptions> = {}) {
    this.manager = new EvictionManager({
      clock: this.clock,
      log: silentLogger,
      events: {
        event: ({ kind, metadata }, { reason, message }) =>
          void this.happened.push(`${kind ?? 'Pod'} ${metadata?.name} ${reason}: ${message}`),
      },
      metrics: this.metrics,
      nodeName: 'n',
      thresholds: evictionThresholds({ hard: { 'memory.available': '100Mi', 'nodefs.available': '100Mi' } }),
      transitionMs: 60_000,
      maximumPodGraceSeconds: 0,
      workers: () => this.pods,
      directories: async () => DIRECTORIES,
      fileSystems: async () => ({ dedicatedImages: false, splitContainers: false }),
      observe: async () => this.#observe(),
      measure: async (pods) =>
        pods.map((pod) => ({
          memoryBytes: this.pods.find((one) => one.pod === pod)?.memory ?? 0,
          processes: 1,
          containers: [],
        })),
      reclaim: {
        containers: async () => void this.happened.push('removed ended containers'),
        images: async () => {
          this.happened.push('removed unused images');
          this.available['nodefs.available'] = (this.available['nodefs.available'] ?? 0) + this.unusedImages;
        },
      },
      onPressure: () => void this.happened.push(`pressure: ${this.manager.pressures.join()}`),
      ...options,
    });
  }

  #observe() {
    if (this.broken) throw new Error('the runtime is down');
    return new Map(
      Object.entries(this.available).map(([signal, available]) => [
        signal as Signal,
        { available, capacity: 1000 * MIB },
      ]),
    );
  }

  pod(name: string, memory: number, more: Partial<Pod['spec']> & { readonly isStatic?: boolean } = {}): void {
    const { isStatic, ...spec } = more;
    const worker = {
      pod: {
        metadata: { name, namespace: 'd', ...(isStatic ? { annotations: { [CONFIG_SOURCE]: 'file' } } : {}) },
        spec: { containers: [], ...spec },
      },
      finished: false,
      ending: false,
      failing: false,
      memory,
      fail: ({ reason, graceSeconds, disrupted }: Parameters<EvictablePod['fail']>[0]) => {
        worker.failing = true;
        this.happened.push(`failed ${name}: ${reason} in ${graceSeconds} s, disrupted: ${disrupted}`);
      },
    };
    this.pods.push(worker);
  }

  /** What happened since the last call. */
  take(): string[] {
    return this.happened.splice(0);
  }
}

describe('the eviction manager', () => {
  it('evicts one pod, waits for its end, and measures again', async () => {
    const world = new World();
    world.pod('large', 500 * MIB);
    world.pod('small', 50 * MIB);
    world.available = { 'memory.available': 50 * MIB };
    world.manager.start();
    await world.clock.advance(100);
    assert.deepEqual(world.take(), [
      'pressure: MemoryPressure',
      'Node n EvictionThresholdMet: Attempting to reclaim memory',
      'Pod large Evicted: The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. ',
      'failed large: Evicted in 1 s, disrupted: true',
    ]);
    await world.clock.advance(5_000);
    assert.deepEqual(world.take(), []);
    world.pods[0]!.finished = true;
    world.available = { 'memory.available': 550 * MIB };
    await world.clock.advance(1_000);
    assert.deepEqual([world.take(), world.manager.pressures], [[], ['MemoryPressure']]);
    await world.clock.advance(70_000);
    assert.deepEqual([world.take(), world.manager.pressures], [['pressure: '], []]);
    const text = world.metrics.render().join('\n');
    assert.match(text, /kubelet_evictions\{eviction_signal="memory.available"\} 1/);
    assert.match(text, /kubelet_eviction_stats_age_seconds_count\{eviction_signal="memory.available"\} 1/);
    await world.manager.stop();
  });

  it('does not wait for ever for a pod that does not end', async () => {
    const world = new World();
    world.pod('stuck', 500 * MIB);
    world.pod('next', 50 * MIB);
    world.available = { 'memory.available': 50 * MIB };
    world.manager.start();
    await world.clock.advance(100);
    world.take();
    await world.clock.advance(31_000);
    assert.equal(world.take().at(-1), 'failed next: Evicted in 1 s, disrupted: true');
    await world.manager.stop();
  });

  it('frees disk of the node first, and evicts nothing when that is enough', async () => {
    const world = new World();
    world.pod('p', 0);
    world.available = { 'nodefs.available': 50 * MIB };
    world.unusedImages = 200 * MIB;
    await world.manager.synchronize();
    assert.deepEqual(world.take(), [
      'pressure: DiskPressure',
      'Node n EvictionThresholdMet: Attempting to reclaim ephemeral-storage',
      'removed ended containers',
      'removed unused images',
    ]);
    world.available = { 'nodefs.available': 10 * MIB };
    world.unusedImages = 20 * MIB;
    await world.manager.synchronize();
    assert.equal(world.take().at(-1), 'failed p: Evicted in 1 s, disrupted: true');
  });

  it('leaves critical pods, static ones and those that are evicted already', async () => {
    const world = new World();
    world.pod('critical', 900 * MIB, { priority: 2_000_000_000 });
    world.pod('static', 800 * MIB, { isStatic: true });
    world.available = { 'memory.available': 0 };
    assert.equal(await world.manager.synchronize(), undefined);
    world.pod('usual', MIB);
    assert.equal((await world.manager.synchronize())?.pod.metadata?.name, 'usual');
    assert.equal(await world.manager.synchronize(), undefined);
  });

  it('gives a pod that a soft threshold evicts its own grace period, up to the maximum', async () => {
    const world = new World({
      thresholds: evictionThresholds({
        hard: {},
        soft: { 'memory.available': '100Mi' },
        softGracePeriod: { 'memory.available': '0s' },
      }),
    });
    world.pod('p', MIB);
    world.available = { 'memory.available': 0 };
    // Without a grace period of its own it is as a hard one.
    await world.manager.synchronize();
    assert.match(world.take().at(-1) ?? '', /in 1 s/);
    const soft = new World({
      maximumPodGraceSeconds: 20,
      thresholds: evictionThresholds({
        hard: {},
        soft: { 'memory.available': '100Mi' },
        softGracePeriod: { 'memory.available': '1m' },
      }),
    });
    soft.pod('long', 9 * MIB, { terminationGracePeriodSeconds: 60 });
    soft.pod('short', MIB, { terminationGracePeriodSeconds: 5 });
    soft.available = { 'memory.available': 0 };
    assert.equal(await soft.manager.synchronize(), undefined);
    await soft.clock.advance(60_000);
    await soft.manager.synchronize();
    assert.match(soft.take().at(-1) ?? '', /failed long: Evicted in 20 s/);
    await soft.manager.synchronize();
    assert.match(soft.take().at(-1) ?? '', /failed short: Evicted in 5 s/);
  });

  it('keeps what it knew while the node cannot be measured', async () => {
    const world = new World();
    world.available = { 'memory.available': 50 * MIB };
    world.manager.start();
    await world.clock.advance(100);
    world.broken = true;
    await world.clock.advance(30_000);
    assert.deepEqual(world.manager.pressures, ['MemoryPressure']);
    await world.manager.stop();
  });
});

it('the signals of a machine', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'capstan-signals-'));
  t.after(() => rm(dir, { recursive: true }));
  await mkdir(join(dir, 'sys', 'kernel'), { recursive: true });
  await writeFile(
    join(dir, 'meminfo'),
    'MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    900 kB\nInactive(file):   50 kB\n',
  );
  await writeFile(join(dir, 'sys', 'kernel', 'pid_max'), '4000\n');
  await writeFile(join(dir, 'sys', 'kernel', 'threads-max'), '3000\n');
  await writeFile(join(dir, 'loadavg'), '0.00 0.00 0.00 1/250 4711\n');
  const observed = await observeNode(
    {
      cri: { imageFsInfo: () => Promise.reject(new Error('not asked')) },
      cgroups: { usage: async () => ({ cpuNanos: 0, memoryBytes: 0, workingSetBytes: 300, rssBytes: 0 }) },
      cgroupRoot: '/r',
      dir,
      imageDir: dir,
      limits: async () => ({ milliCpu: 1, memoryBytes: 1000, processes: 1 }),
      proc: dir,
    },
    { node: dir, images: dir, containers: dir },
  );
  assert.deepEqual(observed.get('memory.available'), { available: 150 * 1024, capacity: 1000 * 1024 });
  assert.deepEqual(observed.get('pid.available'), { available: 2750, capacity: 3000 });
  assert.deepEqual(observed.get('allocatableMemory.available'), { available: 700, capacity: 1000 });
  assert.deepEqual(
    [...observed.keys()].filter((signal) => signal.startsWith('nodefs')),
    ['nodefs.available', 'nodefs.inodesFree'],
  );
  assert.deepEqual(await compareFileSystems({ node: dir, images: dir, containers: dir }), {
    dedicatedImages: false,
    splitContainers: false,
  });
  assert.deepEqual(await compareFileSystems({ node: dir, images: '/proc', containers: '/proc' }), {
    dedicatedImages: true,
    splitContainers: false,
  });
});
