/** Which machines go, how their pods leave, and what keeps them. On a real API server with the real scheduler. */
import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { DEFAULT_SETTINGS, type AutoscalerSettings } from '#capacity/autoscaler/settings.ts';
import { nodes, podDisruptionBudgets } from '#client/refs.ts';
import { startScalingWorld, type Group } from './scaling-world.ts';

const MINUTE_MS = 60_000;
const SAFE_TO_EVICT = 'cluster-autoscaler.kubernetes.io/safe-to-evict';

/** Less to wait for. */
const SOON: Partial<AutoscalerSettings> = {
  scaleDownDelayAfterAddMs: MINUTE_MS,
  unremovableRecheckMs: 10_000,
  groupDefaults: {
    ...DEFAULT_SETTINGS.groupDefaults,
    scaleDownUnneededMs: MINUTE_MS,
    scaleDownUnreadyMs: 2 * MINUTE_MS,
  },
};

type World = Awaited<ReturnType<typeof startScalingWorld>>;

describe('scale-down', () => {
  let scaling: World | undefined;
  afterEach(async () => {
    await scaling?.stop();
    scaling = undefined;
  });

  async function start(
    groups: readonly Group[] = [{ name: 'small' }],
    settings: Partial<AutoscalerSettings> = {},
  ): Promise<World> {
    scaling = await startScalingWorld({ groups, settings: { ...SOON, ...settings } });
    return scaling;
  }
  /** So many machines with a pod that fills most of each. */
  async function fill(world: World, count: number): Promise<readonly string[]> {
    for (let index = 0; index < count; index += 1) await world.createPod(`full-${index}`, { cpu: '3' });
    await world.until('all have a node', async () =>
      Object.values(await world.podsOn()).every((node) => node !== undefined),
    );
    return world.nodeNames();
  }
  const deletions = (world: World): number => world.calls.filter((call) => call.startsWith('delete')).length;
  const nodeOf = async (world: World, pod: string): Promise<string> => (await world.podsOn())[pod] ?? '';
  const find = (world: World, name: string) => world.world.api.get(nodes, { name });
  const annotate = (world: World, name: string, annotations: Readonly<Record<string, string | null>>) =>
    world.world.api.patch(nodes, { name }, { type: 'merge', patch: { metadata: { annotations } } });
  async function protect(world: World, maxUnavailable: number): Promise<void> {
    await world.world.api.create(podDisruptionBudgets, {
      metadata: { name: 'web', namespace: 'shop' },
      spec: { maxUnavailable, selector: { matchLabels: { app: 'web' } } },
    });
  }

  it('evicts the pods of a machine that others have room for', async () => {
    const world = await start();
    await fill(world, 2);
    await world.createPod('web', { cpu: '500m', labels: { app: 'web' } });
    await world.until('it has a node', () => nodeOf(world, 'web'));
    const name = await nodeOf(world, 'web');
    const beside = Object.entries(await world.podsOn()).find(([pod, node]) => node === name && pod !== 'web');
    await world.deletePod(beside![0]);
    await world.until('it is marked', async () =>
      (await find(world, name)).spec?.taints?.some(
        ({ key }) => key === 'DeletionCandidateOfClusterAutoscaler',
      ),
    );
    await world.until('the machine is gone', async () => !(await world.nodeNames()).includes(name));
    assert.deepEqual(
      Object.keys(await world.podsOn()).includes('web'),
      false,
      'its controller makes it again',
    );
    const events = await world.eventsOf('cluster-autoscaler-status');
    assert.ok(
      events.includes(
        `ScaleDown: Scale-down: removing node ${name}, utilization: 0.13, pods to reschedule: shop/web`,
      ),
      events.join('\n'),
    );
    assert.ok((await world.eventsOf('web')).includes('ScaleDown: deleting pod for node scale down'));
    assert.match(world.metrics.render(), /scaled_down_nodes_total\{reason="underutilized"\} 1\n/);
    assert.match(world.metrics.render(), /evicted_pods_total\{eviction_result="succeeded"\} 1\n/);
  });

  it('keeps machines by annotations, budgets and minima, until they allow it', async () => {
    const world = await start([{ name: 'small', minSize: 1 }]);
    const [first = '', second = '', third = ''] = await fill(world, 3);
    await annotate(world, first, { 'cluster-autoscaler.kubernetes.io/scale-down-disabled': 'true' });
    for (const name of await world.nodeNames()) {
      const [pod] = Object.entries(await world.podsOn()).find(([, node]) => node === name)!;
      await world.deletePod(pod);
    }
    const pinned = (node: string) => ({ nodeSelector: { 'kubernetes.io/hostname': node } });
    await world.createPod('unsafe', {
      cpu: '500m',
      spec: pinned(second),
      annotations: { [SAFE_TO_EVICT]: 'false' },
    });
    await world.createPod('alone', { cpu: '500m', spec: pinned(third), isReplicated: false });
    await world.pass(6 * MINUTE_MS);
    assert.equal(deletions(world), 0);
    assert.match(world.metrics.render(), /unremovable_nodes_count\{reason="ScaleDownDisabledAnnotation"\} 1/);
    assert.match(world.metrics.render(), /unremovable_nodes_count\{reason="NotSafeToEvictAnnotation"\} 1/);
    assert.match(world.metrics.render(), /unremovable_nodes_count\{reason="NotReplicated"\} 1/);
    await annotate(world, first, { 'cluster-autoscaler.kubernetes.io/scale-down-disabled': null });
    await world.deletePod('unsafe');
    await world.deletePod('alone');
    await world.until('one is left', async () => (await world.nodeNames()).length === 1);
    await world.pass(5 * MINUTE_MS);
    assert.equal((await world.nodeNames()).length, 1, 'the minimum');
  });

  it('takes the marks back where a budget forbids the eviction after all', async () => {
    const world = await start();
    await fill(world, 2);
    await world.createPod('web', { cpu: '500m', labels: { app: 'web' } });
    await world.until('it has a node', () => nodeOf(world, 'web'));
    const name = await nodeOf(world, 'web');
    const [beside = ''] = Object.entries(await world.podsOn()).find(
      ([pod, node]) => node === name && pod !== 'web',
    )!;
    await world.deletePod(beside);
    await world.until('its deletion has begun', async () =>
      (await find(world, name)).spec?.taints?.some(({ key }) => key === 'ToBeDeletedByClusterAutoscaler'),
    );
    assert.equal((await find(world, name)).spec?.unschedulable, true);
    await protect(world, 0);
    await world.until('it failed', async () =>
      (await world.eventsOf(name)).some((one) =>
        one.startsWith(
          'ScaleDownFailed: failed to drain and delete the node: failed to evict 1 pods, shop/web',
        ),
      ),
    );
    const { spec, metadata } = await find(world, name);
    assert.equal(spec?.unschedulable, undefined);
    assert.deepEqual(
      (spec?.taints ?? []).filter(({ key }) => key.startsWith('ToBeDeleted')),
      [],
    );
    assert.equal(metadata.annotations?.['capacity.capstan.dev/cordoned'], undefined);
    assert.equal(deletions(world), 0);
    assert.equal(await nodeOf(world, 'web'), name);
  });

  it('the next leader takes back what an earlier one left half done', async () => {
    const world = await start();
    const [name = ''] = await fill(world, 1);
    const node = await find(world, name);
    await world.world.api.update(nodes, {
      ...node,
      metadata: {
        ...node.metadata,
        annotations: { ...node.metadata.annotations, 'capacity.capstan.dev/cordoned': 'true' },
      },
      spec: {
        ...node.spec,
        unschedulable: true,
        taints: [{ key: 'ToBeDeletedByClusterAutoscaler', value: '1', effect: 'NoSchedule' }],
      },
    });
    await world.restart();
    await world.until(
      'it takes pods again',
      async () => (await find(world, name)).spec?.unschedulable !== true,
    );
    assert.deepEqual((await find(world, name)).spec?.taints ?? [], []);
  });

  it('a machine that remediation gave up is replaced, below the minimum too', async () => {
    const world = await start([{ name: 'small', minSize: 1 }]);
    const [name = ''] = await fill(world, 1);
    await world.pass(2 * MINUTE_MS);
    await annotate(world, name, { 'remediation.capstan.dev/replace-requested': 'now' });
    await world.until('it is gone', async () => !(await world.nodeNames()).includes(name));
    await world.until('another one is there', async () => (await world.nodeNames()).length === 1);
  });

  it('waits for annotations that delay a deletion, and not for ever', async () => {
    const world = await start();
    const [name = ''] = await fill(world, 1);
    await annotate(world, name, { 'delay-deletion.cluster-autoscaler.kubernetes.io/volumes': 'true' });
    await world.deletePod('full-0');
    await world.until('its deletion has begun', async () =>
      (await world.eventsOf(name)).some((one) => one.startsWith('ScaleDown: marked')),
    );
    await world.pass(MINUTE_MS);
    assert.equal(deletions(world), 0);
    await world.until('it went on', async () => deletions(world) === 1);
  });
});
