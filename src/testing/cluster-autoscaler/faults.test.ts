/** The provider is down, slow, or does not do what it says: pods get machines as soon as it can be, and nothing is removed that is needed. */
import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { DEFAULT_SETTINGS, type AutoscalerSettings } from '#capacity/autoscaler/settings.ts';
import { startScalingWorld, type Group } from './scaling-world.ts';

const MINUTE_MS = 60_000;

/** Less to wait for. */
const SOON: Partial<AutoscalerSettings> = {
  scaleDownDelayAfterAddMs: MINUTE_MS,
  groupDefaults: {
    ...DEFAULT_SETTINGS.groupDefaults,
    maxNodeProvisionMs: 3 * MINUTE_MS,
    scaleDownUnneededMs: MINUTE_MS,
  },
  initialBackoffMs: 2 * MINUTE_MS,
};

type World = Awaited<ReturnType<typeof startScalingWorld>>;

describe('the cluster autoscaler under faults of its provider', () => {
  let scaling: World | undefined;
  afterEach(async () => {
    await scaling?.stop();
    scaling = undefined;
  });

  async function start(groups: readonly Group[] = [{ name: 'small' }]): Promise<World> {
    scaling = await startScalingWorld({ groups, settings: SOON });
    return scaling;
  }
  const hasNode = (world: World, name: string) => async (): Promise<unknown> => (await world.podsOn())[name];
  const statusHas = (world: World, words: RegExp) => async (): Promise<boolean> =>
    words.test(await world.status());

  for (const fault of ['isDown', 'isSlow'] as const)
    it(`while it is ${fault === 'isDown' ? 'down' : 'slow'} nothing is removed, and then it goes on`, async () => {
      const world = await start();
      await world.createPod('web', { cpu: '3' });
      await world.until('the pod has a node', hasNode(world, 'web'));
      world.faults[fault] = true;
      await world.until('it is reported', statusHas(world, /autoscalerStatus: Initializing/));
      await world.createPod('more', { cpu: '3' });
      await world.deletePod('web');
      await world.pass(4 * MINUTE_MS);
      assert.equal((await world.nodeNames()).length, 1);
      assert.match(world.metrics.render(), /errors_total\{type="cloudProviderError"\} [1-9]/);
      world.faults[fault] = false;
      await world.until('the other pod has a node', hasNode(world, 'more'));
    });

  it('instances that fail are removed, the group is backed off, and another one grows', async () => {
    const world = await start([
      { name: 'cheap', price: 1 },
      { name: 'dear', price: 5, cpu: '8' },
    ]);
    world.faults.makesFailures = 'QuotaExceeded';
    await world.createPod('web', { cpu: '3' });
    await world.until('it is backed off', statusHas(world, /errorCode: QuotaExceeded/));
    delete world.faults.makesFailures;
    await world.until('the pod has a node', hasNode(world, 'web'));
    assert.equal(world.calls[0], 'increase cheap 1');
    assert.match(world.calls[1] ?? '', /^delete cheap ghost:/);
    assert.equal(world.calls[2], 'increase dear 1');
    const events = await world.eventsOf('cluster-autoscaler-status');
    assert.ok(
      events.includes(
        'ScaleUpFailed: Failed adding 1 nodes to group cheap due to QuotaExceeded: no more machines',
      ),
    );
    // After the backoff it is tried again.
    await world.pass(3 * MINUTE_MS);
    await world.createPod('later', { cpu: '4' });
    await world.createPod('later-still', { cpu: '4' });
    await world.until('the others have nodes', hasNode(world, 'later-still'));
    assert.ok(world.calls.slice(3).some((call) => call.startsWith('increase cheap')));
  });

  it('instances that never become Nodes are removed, and others are asked for', async () => {
    const world = await start();
    world.faults.makesGhosts = true;
    await world.createPod('web', { cpu: '3' });
    await world.until('it was asked for', async () => world.calls.includes('increase small 1'));
    await world.pass(2 * MINUTE_MS);
    assert.deepEqual(world.calls, ['increase small 1'], 'it is waited for');
    world.faults.makesGhosts = false;
    await world.until('the ghost is removed', async () =>
      world.calls.some((call) => call.includes('ghost:')),
    );
    await world.until('the pod has a node', hasNode(world, 'web'));
    const events = await world.eventsOf('cluster-autoscaler-status');
    assert.ok(
      events.some((one) =>
        /^ScaleUpTimedOut: Nodes added to group small failed to register within 1[89]\ds/.test(one),
      ),
    );
    assert.match(world.metrics.render(), /failed_scale_ups_total\{reason="timeout"\} 1\n/);
    assert.match(world.metrics.render(), /old_unregistered_nodes_removed_count 1\n/);
  });

  it('a target above what there is is waited for, and then corrected', async () => {
    const world = await start();
    world.faults.targetError = 1;
    await world.createPod('web', { cpu: '3' });
    await world.until('the target is corrected', async () => world.calls.includes('decrease small -1'));
    await world.until('the pod has a node', hasNode(world, 'web'));
    assert.deepEqual(world.calls, ['decrease small -1', 'increase small 1']);
  });

  it('Nodes that are Ready stay, though their instances are not told of', async () => {
    const world = await start();
    await world.createPod('web', { cpu: '3' });
    await world.until('the pod has a node', hasNode(world, 'web'));
    world.faults.hidesInstances = true;
    world.faults.targetError = -1;
    await world.pass(6 * MINUTE_MS);
    assert.equal((await world.nodeNames()).length, 1);
    assert.notEqual((await world.podsOn())['web'], undefined);
  });

  it('a Node that was only said to be deleted takes pods again', async () => {
    const world = await start();
    await world.createPod('web', { cpu: '3' });
    await world.until('the pod has a node', hasNode(world, 'web'));
    world.faults.onlySaysDeleted = true;
    await world.deletePod('web');
    const [name = ''] = await world.nodeNames();
    await world.until('it was asked to delete', async () =>
      world.calls.some((call) => call.startsWith('delete')),
    );
    await world.until('it is reported', async () =>
      (await world.eventsOf(name)).some((one) => /^ScaleDownFailed: .*which is still there/.test(one)),
    );
    await world.createPod('again', { cpu: '3' });
    await world.until('it takes pods', async () => (await world.podsOn())['again'] === name);
  });
});
