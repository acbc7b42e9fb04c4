/** Machines come for pods that fit nowhere and go when they are not needed, also while the provider is down, slow or wrong. On a real API server with the real scheduler. */
import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { configMaps } from '#client/refs.ts';
import { parseYaml } from '#machinery/yaml.ts';
import { startScalingWorld, type Group } from './scaling-world.ts';
import type { AutoscalerSettings } from '#capacity/autoscaler/settings.ts';

const MINUTE_MS = 60_000;

type World = Awaited<ReturnType<typeof startScalingWorld>>;

describe('the cluster autoscaler', () => {
  let scaling: World | undefined;
  afterEach(async () => {
    await scaling?.stop();
    scaling = undefined;
  });

  async function start(groups: readonly Group[], settings: Partial<AutoscalerSettings> = {}): Promise<World> {
    scaling = await startScalingWorld({ groups, settings });
    return scaling;
  }
  const running = async (world: World, count: number): Promise<boolean> =>
    Object.values(await world.podsOn()).filter((node) => node !== undefined).length === count;

  it('adds machines for pods that fit nowhere, and removes them when they are idle', async () => {
    const world = await start([{ name: 'small' }]);
    await world.createFixed('fixed', '1');
    for (let index = 0; index < 5; index += 1) await world.createPod(`web-${index}`, { cpu: '2' });
    await world.until('all pods have a node', () => running(world, 5));
    assert.deepEqual(world.calls, ['increase small 3']);
    assert.equal((await world.nodeNames()).length, 4);
    assert.ok(
      (await world.eventsOf('web-0')).includes(
        'TriggeredScaleUp: pod triggered scale-up: [{small 0->3 (max: 10)}]',
      ),
    );
    for (let index = 0; index < 5; index += 1) await world.deletePod(`web-${index}`);
    await world.until('the idle machines are gone', async () => (await world.nodeNames()).length === 1);
    assert.deepEqual(await world.nodeNames(), ['fixed']);
    assert.match(world.metrics.render(), /cluster_autoscaler_scaled_up_nodes_total 3\n/);
    assert.match(world.metrics.render(), /cluster_autoscaler_scaled_down_nodes_total\{reason="empty"\} 3\n/);
  });

  it('says of each pod why no group helps it, and keeps to the limits', async () => {
    const world = await start(
      [
        { name: 'small', maxSize: 1 },
        { name: 'tiny', cpu: '1' },
      ],
      {
        cores: { min: 0, max: 5 },
      },
    );
    await world.createPod('first', { cpu: '3' });
    await world.until('the first has a node', () => running(world, 1));
    await world.createPod('second', { cpu: '3' });
    await world.createPod('huge', { cpu: '64' });
    await world.until('both are reported', async () =>
      (await Promise.all(['second', 'huge'].map((name) => world.eventsOf(name)))).every((all) =>
        all.some((one) => one.startsWith('NotTriggerScaleUp')),
      ),
    );
    assert.ok(
      (await world.eventsOf('huge')).includes(
        "NotTriggerScaleUp: pod didn't trigger scale-up: 1 Insufficient cpu, 1 max node group size reached",
      ),
    );
    // The rest of the first machine, and the last core that there may be.
    await world.createPod('one', { cpu: '900m' });
    await world.createPod('two', { cpu: '900m' });
    await world.until('the last core is used', () => running(world, 3));
    await world.createPod('three', { cpu: '900m' });
    await world.until('the limit is reported', async () =>
      (await world.eventsOf('three')).some((one) => one.includes('max cluster cpu limit reached')),
    );
    assert.match(
      world.metrics.render(),
      /skipped_scale_events_count\{direction="up",reason="CPULimitReached"\}/,
    );
  });

  it("writes its status in upstream's form", async () => {
    const world = await start([{ name: 'small', minSize: 0, maxSize: 4 }]);
    await world.createPod('web', { cpu: '3' });
    await world.until('the pod has a node', () => running(world, 1));
    await world.pass(20_000);
    const status = parseYaml(await world.status()).value as Status;
    assert.equal(status.autoscalerStatus, 'Running');
    assert.match(status.time, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000 UTC$/);
    assert.equal(status.clusterWide.health.status, 'Healthy');
    assert.equal(status.clusterWide.scaleDown.status, 'NoCandidates');
    const [group] = status.nodeGroups;
    assert.deepEqual(
      [group?.name, group?.health.cloudProviderTarget, group?.health.minSize, group?.health.maxSize],
      ['small', 1, 0, 4],
    );
    assert.deepEqual(group?.health.nodeCounts, {
      registered: { total: 1, ready: 1, notStarted: 0, unready: { total: 0, resourceUnready: 0 } },
      longUnregistered: 0,
      unregistered: 0,
    });
    assert.equal(group?.scaleUp.status, 'NoActivity');
  });

  it('spreads over zones, takes the cheapest, and follows priorities', async () => {
    const world = await start(
      [
        { name: 'a', zone: 'a', price: 1 },
        { name: 'b', zone: 'b', price: 1 },
        { name: 'dear', cpu: '8', price: 9 },
      ],
      { expanders: ['price'], balanceSimilarGroups: true },
    );
    for (let index = 0; index < 4; index += 1) await world.createPod(`web-${index}`, { cpu: '4' });
    await world.until('all pods have a node', () => running(world, 4));
    assert.deepEqual(world.calls.toSorted(), ['increase a 2', 'increase b 2']);
  });

  it('follows the priorities of their ConfigMap', async () => {
    const world = await start([{ name: 'first' }, { name: 'second' }], { expanders: ['priority'] });
    await world.world.api.create(configMaps, {
      metadata: { name: 'cluster-autoscaler-priority-expander', namespace: 'kube-system' },
      data: { priorities: '10:\n- .*\n50:\n- ^sec' },
    });
    await world.pass(2_000);
    await world.createPod('web', { cpu: '4' });
    await world.until('the pod has a node', () => running(world, 1));
    assert.deepEqual(world.calls, ['increase second 1']);
  });

  it('adds nothing for expendable pods, and a machine where placeholders were preempted', async () => {
    const world = await start([{ name: 'small' }]);
    await world.createFixed('fixed', '4');
    await world.createPod('expendable', { cpu: '8', priority: -20 });
    await world.createPod('placeholder', { cpu: '3', priority: -5 });
    await world.until('the placeholder runs', async () => (await world.podsOn())['placeholder']);
    await world.pass(MINUTE_MS);
    assert.deepEqual(world.calls, []);
    await world.createPod('web', { cpu: '3', priority: 100 });
    await world.until('it took the place', async () => (await world.podsOn())['web'] === 'fixed');
    // Its controller makes it again.
    await world.createPod('placeholder-again', { cpu: '3', priority: -5 });
    await world.until('there is room again', async () => (await world.podsOn())['placeholder-again']);
    assert.deepEqual(world.calls, ['increase small 1']);
  });
});

interface Status {
  readonly time: string;
  readonly autoscalerStatus: string;
  readonly clusterWide: Readonly<Record<'health' | 'scaleUp' | 'scaleDown', { readonly status: string }>>;
  readonly nodeGroups: readonly {
    readonly name: string;
    readonly health: Readonly<Record<string, unknown>>;
    readonly scaleUp: { readonly status: string };
  }[];
}
